"""Objects: bytes of any size under a name, for what is too large for a document.

Apart from :class:`detectors.state.store.Store`, because nothing here takes part in its promises: an object is written
whole, listed by name and deleted; there are no versions. Each namespace is a place of its own: what one feature keeps,
lists and deletes is never seen by another.
"""

import re
from typing import Literal, Protocol, get_args

Namespace = Literal["quarantine", "inventory"]
"""What the stream set aside, and the snapshots of the inventory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_PREFIX = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,199})?")


class Objects(Protocol):
    """Durable bytes by name. Every method raises :class:`detectors.state.store.StoreUnavailable`.

    A name has 1 to 200 ASCII letters, digits, ``-`` and ``_``, and begins with a letter or digit (``ValueError``
    otherwise): it is a blob's name as it is.
    """

    async def put_object(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, in the place of what is there. Durable when the call returns."""

    async def get_object(self, name: str) -> bytes | None:
        """The bytes of *name*, or None."""

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        """The first *limit* names that begin with *prefix*, in the order of their characters.

        Raises ``ValueError`` for a prefix that no name can begin with.
        """

    async def delete_object(self, name: str) -> None:
        """Delete *name*; one that is not there is fine."""


class ObjectStore(Protocol):
    """What both stores are beside :class:`detectors.state.store.Store`."""

    def objects(self, namespace: Namespace) -> Objects:
        """The objects of *namespace*; the same place in every process. ``ValueError`` for one that is unknown."""


def check_namespace(namespace: str) -> None:
    """Raise ``ValueError`` unless *namespace* is one that the stores keep."""
    if namespace not in get_args(Namespace):
        raise ValueError(f"Objects are kept in the namespaces {', '.join(get_args(Namespace))}; not in {namespace!r}")


def check_object_name(name: str) -> None:
    """Raise ``ValueError`` unless *name* may name an object."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"An object's name has 1 to 200 ASCII letters, digits, '-' and '_': {name!r}")


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` unless an object's name may begin with *prefix*."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"An object's name cannot begin with {prefix!r}: ASCII letters, digits, '-' and '_' only")
