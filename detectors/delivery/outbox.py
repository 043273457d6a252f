"""The outbox: takes each stored record from match to alert to sent, in steps that a crash can interrupt anywhere.

A record is claimed by moving its ``due`` into the future with a conditional write, so that of two deliverers one
works on it; a claim that its holder never released simply comes due again. Before a send, ``started_at`` is
recorded; after it, the outcome. If the process dies in between, the next attempt knows that the destination may
already have the alert.
"""

import asyncio
import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from detectors.delivery.destination import DeliveryError, Destination
from detectors.model import Alert, Delivery, DeliveryState, Match, Record
from detectors.state.store import Conflict, Store, Stored, StoreUnavailable

_log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
"""Longer than triage and one round of sends can take, both of which have time limits of their own."""
GIVE_UP_AFTER = timedelta(days=1)
_FIRST_RETRY = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(minutes=15)
_LONGEST_RETRY_AFTER = timedelta(hours=1)
_BATCH = 200
_AT_ONCE = 4


class DeadLetters(Protocol):
    """Told of an alert that a destination will never get."""

    async def report_dead_letter(self, record: Record, destination: str, others: Sequence[str]) -> None:
        """Raise the alert about it through the *others*."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What one delivery run did."""

    looked_at: int
    left: int
    """Records that were due but that the time budget left for the next run."""


def next_attempt(now: datetime, attempts: int, retry_after: float | None, jitter: float) -> datetime:
    """When to try again after *attempts* failures: 30 s doubling to 15 min, +-20 % by *jitter* (0 to 1).

    A destination's own ``Retry-After`` (seconds) is honoured up to an hour.
    """
    doublings: int = min(attempts - 1, 10)
    wait = min(_FIRST_RETRY * (1 << doublings), _LONGEST_RETRY) * (0.8 + 0.4 * jitter)
    if retry_after is not None:
        wait = max(wait, min(timedelta(seconds=retry_after), _LONGEST_RETRY_AFTER))
    return now + wait


class Outbox:
    """Processes records until nothing is due."""

    def __init__(
        self,
        *,
        store: Store,
        triage: Callable[[Match], Awaitable[Alert]],
        destinations: Sequence[Destination],
        dead_letters: DeadLetters,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._triage = triage
        self._destinations = {destination.name: destination for destination in destinations}
        self._dead_letters = dead_letters
        self._clock = clock
        self._jitter = jitter

    async def deliver(self, *, budget: timedelta) -> DeliveryReport:
        """Process what is due, earliest first; start nothing more once *budget* is spent."""
        deadline = self._clock() + budget
        waiting = await self._store.due(self._clock(), _BATCH)
        total = len(waiting)
        queue = list(reversed(waiting))

        async def work() -> None:
            while queue and self._clock() < deadline:
                await self.process(queue.pop())

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return DeliveryReport(looked_at=total - len(queue), left=len(queue))

    async def process(self, record_id: str) -> None:
        """Take one record as far as it goes now. Whatever fails is logged and stays due; nothing is raised."""
        try:
            stored = await self._claim(record_id)
            if stored is None:
                return
            if stored.record.alert is None:
                stored = await self._to_alert(stored)
            if stored.record.alert is not None:
                await self._send_all(stored, stored.record.alert)
        except Conflict:
            _log.info("alert %s: another deliverer took over", record_id)
        except StoreUnavailable as error:
            _log.error("alert %s: %s; it stays due and the next delivery run goes on", record_id, error)
        except Exception:  # noqa: BLE001 - one poisoned record must not stop the others
            _log.exception("alert %s failed unexpectedly; it stays due and is tried again in %s", record_id, LEASE)

    async def _claim(self, record_id: str) -> Stored | None:
        stored = await self._store.read(record_id)
        now = self._clock()
        if stored is None or stored.record.due is None or stored.record.due > now:
            return None
        return await self._store.replace(stored, replace(stored.record, due=now + LEASE))

    async def _to_alert(self, stored: Stored) -> Stored:
        record = stored.record
        if record.summarised_by and await self._store.exists(record.summarised_by):
            return await self._store.replace(stored, replace(record, due=None))
        if record.match is None:
            raise ValueError(f"record {record.id} holds neither a match nor an alert; the store was changed by hand?")
        alert = await self._triage(record.match)
        return await self._store.replace(stored, replace(record, alert=alert, due=self._clock() + LEASE))

    async def _send_all(self, stored: Stored, alert: Alert) -> None:
        record = stored.record
        now = self._clock()
        planned = record.deliveries or {name: Delivery() for name in self._destinations}
        due = {
            name: delivery
            for name, delivery in planned.items()
            if delivery.state is DeliveryState.PENDING and (delivery.next_attempt or now) <= now
        }
        started = {
            name: replace(delivery, attempts=delivery.attempts + 1, started_at=now) for name, delivery in due.items()
        }
        stored = await self._store.replace(
            stored, replace(record, deliveries=planned | started, due=now + LEASE if started else _next_due(planned))
        )
        # Destinations are sent to side by side and each outcome is recorded as it comes, so a slow one holds up
        # neither the others nor the knowledge that they have the alert.
        recording = asyncio.Lock()
        current = stored

        async def one(name: str) -> None:
            nonlocal current
            outcome = await self._attempt(name, alert, record.created_at, due[name])
            async with recording:
                current = await self._record(current, name, outcome)

        results = await asyncio.gather(*(one(name) for name in due), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        # Every dead one, not only those of this round: the process may have died between the two writes before, and
        # reporting the same one again changes nothing.
        for name, delivery in current.record.deliveries.items():
            if delivery.state is DeliveryState.DEAD:
                others = [other for other in self._destinations if other != name]
                await self._dead_letters.report_dead_letter(current.record, name, others)
        await self._store.replace(current, replace(current.record, due=_next_due(current.record.deliveries)))

    async def _attempt(self, name: str, alert: Alert, created_at: datetime, before: Delivery) -> Delivery:
        attempts = before.attempts + 1
        try:
            receipt = await self._destination(name).send(alert, possible_repeat=before.started_at is not None)
        except DeliveryError as error:
            now = self._clock()
            # What may have arrived keeps its mark, so that a repeat says that it may be one.
            started_at = (before.started_at or now) if error.may_have_arrived else before.started_at
            failed = replace(before, attempts=attempts, started_at=started_at, error=str(error))
            if error.permanent or now - created_at >= GIVE_UP_AFTER:
                _log.error("alert %s is dead at %s after %d attempts: %s", alert.id, name, attempts, error)
                return replace(failed, state=DeliveryState.DEAD, next_attempt=None)
            again = next_attempt(now, attempts, error.retry_after, self._jitter())
            _log.warning(
                "alert %s did not reach %s (attempt %d): %s; trying again at %s",
                alert.id, name, attempts, error, again.isoformat(timespec="seconds"),
            )  # fmt: skip
            return replace(failed, next_attempt=again)
        _log.info("alert %s reached %s: %s", alert.id, name, alert.title)
        return replace(
            before,
            state=DeliveryState.SENT,
            attempts=attempts,
            next_attempt=None,
            started_at=None,
            sent_at=self._clock(),
            remote_id=receipt.remote_id,
            error=None,
        )

    def _destination(self, name: str) -> Destination:
        if name in self._destinations:
            return self._destinations[name]
        raise DeliveryError(f"no destination is called {name} any more; set it up again to have this alert sent there")

    async def _record(self, stored: Stored, name: str, outcome: Delivery) -> Stored:
        """Record one outcome. After a lost race (our lease ran out) it is merged into what the other one wrote."""
        while True:
            record = replace(stored.record, deliveries=stored.record.deliveries | {name: outcome})
            try:
                return await self._store.replace(stored, record)
            except Conflict:
                fresh = await self._store.read(stored.record.id)
                if fresh is None or fresh.record.deliveries.get(name, outcome).state is DeliveryState.SENT:
                    raise
                stored = fresh


def _next_due(deliveries: dict[str, Delivery]) -> datetime | None:
    pending = [
        delivery.next_attempt
        for delivery in deliveries.values()
        if delivery.state is DeliveryState.PENDING and delivery.next_attempt
    ]
    return min(pending, default=None)
