"""What a run of the inventory says of itself, and where that is kept."""

from datetime import datetime
from typing import Final

import msgspec

from detectors.state.store import Conflict, Store, StoreUnavailable

LAST: Final = "inventory/last"
"""Name of the document that keeps the report of the newest run."""

MOST_ERRORS: Final = 20
ERROR_CHARACTERS: Final = 300
MOST_THROTTLED: Final = 100

_WRITES: Final = 3


class Stalest(msgspec.Struct, frozen=True, kw_only=True):
    """The account that was not read for the longest time; ``since`` is its last visit, or when it was first listed."""

    name: str
    account_id: str
    since: datetime
    age_seconds: float


class InventoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run. ``accounts`` are those that are known: listed by this run or, where that failed, by one before.

    One that turned out to be gone is none of them any more, though it was visited, and changed.
    """

    started_at: datetime
    finished_at: datetime
    subscriptions: int = 0
    accounts: int = 0
    visited: int = 0
    """Read, with everything stored that follows."""
    changed: int = 0
    failed: int = 0
    left: int = 0
    """Not visited in this run, for want of time, because Azure throttles, or because their list was not to be had."""
    changes: int = 0
    """Rows, without those of a base line."""
    new_alerts: int = 0
    throttled: tuple[str, ...] = ()
    """Ids of the subscriptions that answered 429, at most 100."""
    stalest: Stalest | None = None
    errors: tuple[str, ...] = ()
    """At most 20, each at most 300 characters."""
    more_errors: int = 0
    """How many were left out."""


async def read_last(store: Store) -> InventoryReport | None:
    """The report of the newest run, or None. Raises :class:`StoreUnavailable`, also when a newer version wrote it."""
    document = await store.read_document(LAST)
    if document is None:
        return None
    try:
        return msgspec.json.decode(document.value, type=InventoryReport)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            f"The document {LAST!r} is no report of this version of the detector ({error}). The next run of the "
            "inventory writes it anew."
        ) from error


async def remember(store: Store, report: InventoryReport) -> None:
    """Keep *report* as the newest, unless a run that began later has written its own.

    Raises :class:`StoreUnavailable`, and :class:`Conflict` when others write it again and again.
    """
    value = msgspec.json.encode(report)
    for attempt in range(1, _WRITES + 1):
        document = await store.read_document(LAST)
        if document and _started_at(document.value, report.started_at) > report.started_at:
            return
        try:
            await store.write_document(LAST, value, document.version if document else None)
        except Conflict:
            if attempt == _WRITES:
                raise
        else:
            return


def _started_at(value: bytes, otherwise: datetime) -> datetime:
    try:
        return msgspec.json.decode(value, type=InventoryReport).started_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return otherwise
