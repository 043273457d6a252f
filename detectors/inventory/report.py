"""What a run of the inventory says of itself, and where that is kept."""

from datetime import datetime
from typing import Final

import msgspec

from detectors.state.newest import keep_newest, read_newest
from detectors.state.store import Store

LAST: Final = "inventory/last"
"""Name of the document that keeps the report of the newest run."""

MOST_ERRORS: Final = 20
ERROR_CHARACTERS: Final = 300
MOST_THROTTLED: Final = 100


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
    """The report of the newest run, or None.

    Raises :class:`detectors.state.store.StoreUnavailable`, also when a newer version wrote it.
    """
    return await read_newest(store, LAST, InventoryReport, "report")


async def remember(store: Store, report: InventoryReport) -> None:
    """Keep *report* as the newest, unless a run that began later has written its own.

    Raises :class:`detectors.state.store.StoreUnavailable`, and :class:`detectors.state.store.Conflict` when others
    write it again and again.
    """
    await keep_newest(store, LAST, report)
