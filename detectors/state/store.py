"""The Store protocol: the only thing the rest of the detector knows about persistence.

Two implementations pass one contract test (``tests/state/``): :class:`detectors.state.azure.AzureStore` and
:class:`detectors.state.sqlite.SqliteStore`.
"""

import dataclasses
from datetime import datetime
from typing import Protocol

from detectors.model import Record


class Conflict(Exception):
    """Somebody else wrote first. Read again and decide anew; nothing was changed by the failed call."""


class StoreUnavailable(Exception):
    """The store did not answer or refused (network, throttle, permission). The message names store and cause.

    The write may or may not have happened: every caller must be able to repeat its step.
    """


@dataclasses.dataclass(frozen=True)
class Stored:
    """A record as read, with the version that a conditional write must name."""

    record: Record
    version: str


@dataclasses.dataclass(frozen=True)
class Document:
    """A small named value (a watermark, a rate window) with its version."""

    value: bytes
    version: str


class Store(Protocol):
    """Durable, shared by concurrent processes, and safe against a crash between any two calls.

    Every method raises :class:`StoreUnavailable` when the store cannot be reached.
    """

    async def open(self) -> None:
        """Create tables and containers that are missing. Idempotent; called once before any other method."""

    async def close(self) -> None:
        """Release connections. Idempotent."""

    async def create(self, record: Record) -> bool:
        """Store *record* unless its id exists. True when this call created it; of two racing calls one wins.

        Once it returns True, the record is durable, and :meth:`due` lists it from ``record.due`` on.
        """

    async def exists(self, record_id: str) -> bool:
        """Whether a record of that id is stored; cheaper than :meth:`read`."""

    async def read(self, record_id: str) -> Stored | None:
        """The record and its version, or None."""

    async def replace(self, stored: Stored, record: Record) -> Stored:
        """Put *record* (same id) in the place of *stored*, if nobody has replaced it since it was read.

        Returns it with its new version. Raises :class:`Conflict` when the version moved or the record is gone.
        """

    async def due(self, now: datetime, limit: int) -> list[str]:
        """Ids of at most *limit* records with ``due <= now``, earliest first.

        May list a record that is no longer due (its index entry outlived it); never misses one that is.
        """

    async def read_document(self, name: str) -> Document | None:
        """The document of that name, or None. Names: any text without control characters, 1 to 200 characters."""

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        """Write *value* (at most 32 KiB) if the document still has *version*; ``None`` means it must not exist.

        Raises :class:`Conflict` otherwise.
        """
