"""Objects: bytes of any size under a name, for what is too large for a document. Quarantine keeps its bytes here.

Apart from :class:`detectors.state.store.Store`, because nothing here takes part in its promises: an object is written
whole, listed by name and deleted; there are no versions.
"""

import re
from typing import Protocol, runtime_checkable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


@runtime_checkable
class Objects(Protocol):
    """Durable bytes by name. Every method raises :class:`detectors.state.store.StoreUnavailable`.

    A name has 1 to 200 ASCII letters, digits, ``-`` and ``_``, and begins with a letter or digit (``ValueError``
    otherwise): it is a blob's name as it is.
    """

    async def put_object(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, in the place of what is there. Durable when the call returns."""

    async def get_object(self, name: str) -> bytes | None:
        """The bytes of *name*, or None."""

    async def list_objects(self, limit: int) -> list[str]:
        """The first *limit* names, in the order of their characters."""

    async def delete_object(self, name: str) -> None:
        """Delete *name*; one that is not there is fine."""


def check_object_name(name: str) -> None:
    """Raise ``ValueError`` unless *name* may name an object."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"An object's name has 1 to 200 ASCII letters, digits, '-' and '_': {name!r}")
