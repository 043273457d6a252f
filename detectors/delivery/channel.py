"""What all alerts to one destination share: how many it takes, and whether it is down.

The rate window is a document in the store, because a hunt and a delivery run, in one process or in two, send to the
same destination at once. The breaker is this process's own: it only saves attempts that would fail anyway.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from detectors.delivery.destination import (
    DeliveryError,
    Destination,
    DigestingDestination,
    RateLimit,
    UpdatingDestination,
)
from detectors.state.store import Conflict, Store

_FAILURES_BEFORE_OPEN = 3
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(minutes=15)


class Slots(msgspec.Struct, frozen=True):
    """When the destination was sent to within its rate window, oldest first."""

    taken: tuple[datetime, ...] = ()


class Channel:
    """Admission to one destination."""

    def __init__(self, destination: Destination, store: Store, clock: Callable[[], datetime]) -> None:
        self.destination = destination
        self._store = store
        self._clock = clock
        self._failures = 0
        self._closed_until: datetime | None = None

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.destination.name

    @property
    def updates(self) -> bool:
        """Whether the destination takes what was added to an alert that it has."""
        return isinstance(self.destination, UpdatingDestination) and self.destination.updates

    @property
    def digesting(self) -> DigestingDestination | None:
        """The destination, where it has a limit and takes digests."""
        return self.destination if isinstance(self.destination, DigestingDestination) else None

    def wait(self) -> datetime | None:
        """None when the destination may be tried; else until when it is left alone, because it is down.

        Once the pause is over one caller may try; the others wait for what it learns.
        """
        now = self._clock()
        if self._failures < _FAILURES_BEFORE_OPEN or self._closed_until is None:
            return None
        if now < self._closed_until:
            return self._closed_until
        self._closed_until = now + _FIRST_PAUSE
        return None

    def succeeded(self) -> None:
        """The destination took something: it is up."""
        self._failures = 0
        self._closed_until = None

    def failed(self, error: DeliveryError) -> None:
        """The destination did not take something. A refusal of this one message says nothing about the next."""
        if error.permanent:
            return
        self._failures += 1
        doublings: int = min(max(self._failures - _FAILURES_BEFORE_OPEN, 0), 10)
        pause = min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
        if error.retry_after is not None:
            pause = max(pause, min(timedelta(seconds=error.retry_after), _LONGEST_PAUSE))
        self._closed_until = self._clock() + pause

    async def free(self) -> int:
        """How many messages the rate window still takes; only for a destination with a limit."""
        _, slots, limit = await self._read()
        return limit.count - len(slots.taken)

    async def take(self, *, single: bool) -> datetime | None:
        """Take one slot of the rate window: None when taken, else when to ask again.

        Cards of single alerts get half of the window; the other half is kept for digests, so that a flood never
        leaves less than twelve messages to name what came.
        """
        if self.digesting is None:
            return None
        while True:
            version, slots, limit = await self._read()
            allowed = limit.count // 2 if single else limit.count
            if len(slots.taken) >= allowed:
                # The slot whose end makes room again.
                return slots.taken[len(slots.taken) - allowed] + timedelta(seconds=limit.seconds)
            taken = Slots(taken=(*slots.taken, self._clock()))
            try:
                await self._store.write_document(self._document, msgspec.json.encode(taken), version)
            except Conflict:
                continue
            return None

    @property
    def _document(self) -> str:
        return f"slots/{self.name}"

    async def _read(self) -> tuple[str | None, Slots, RateLimit]:
        limited = self.digesting
        if limited is None:
            raise TypeError(f"{self.name} has no limit")
        document = await self._store.read_document(self._document)
        slots = msgspec.json.decode(document.value, type=Slots) if document else Slots()
        since = self._clock() - timedelta(seconds=limited.limit.seconds)
        recent = Slots(taken=tuple(sorted(moment for moment in slots.taken if moment > since)))
        return document.version if document else None, recent, limited.limit
