"""The outbox: takes each stored record from match to alert to sent, in steps that a crash can interrupt anywhere.

Triage is claimed by moving the record's ``due`` into the future, each delivery by its own ``claimed_until``, both
with conditional writes, so that of two deliverers one works on it; a claim that its holder never released simply
runs out. Before a send ``started_at`` is recorded, after it the outcome. If the process dies in between, the next
attempt knows that the destination may already have the alert.
"""

import asyncio
import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from detectors.delivery import attempts
from detectors.delivery.attempts import DEAD_DUE, GIVE_UP_AFTER, LEASE, revive
from detectors.delivery.channel import Channel
from detectors.delivery.destination import DeliveryError, Destination
from detectors.delivery.digests import Waiting, share
from detectors.model import Alert, Delivery, DeliveryState, Match, Record
from detectors.state.store import Conflict, Store, Stored, StoreUnavailable

__all__ = ["DEAD_DUE", "GIVE_UP_AFTER", "LEASE", "DeadLetters", "DeliveryReport", "Outbox", "revive"]

_log = logging.getLogger(__name__)

_BATCH = 200
_AT_ONCE = 4
_TRIAGE_ROUNDS = 3
"""How often an alert is made anew because its match was joined by another meanwhile."""
_UNTIL_DIGEST = timedelta(seconds=30)
"""How soon a delivery run looks at an alert that did not get a card of its own."""

Step = Callable[[Delivery], Delivery | None]
"""From a delivery as it is stored to what it becomes; None when there is nothing to change any more."""


class DeadLetters(Protocol):
    """Told of an alert that a destination will never get."""

    async def report_dead_letter(self, record: Record, destination: str, others: Sequence[str]) -> None:
        """Raise the alert about it through the *others*; the same one again changes nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What one delivery run did."""

    looked_at: int
    left: int
    """Records that were due but that the time budget left for the next run."""


@dataclasses.dataclass(frozen=True)
class _Held:
    """An alert whose delivery this process has claimed; *before* is the delivery before the claim."""

    stored: Stored
    alert: Alert
    before: Delivery


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
        route: Callable[[Alert], Sequence[str]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._triage = triage
        self._channels = {each.name: Channel(each, store, clock) for each in destinations}
        self._route = route or (lambda _: tuple(self._channels))
        self._dead_letters = dead_letters
        self._clock = clock
        self._jitter = jitter

    async def deliver(self, *, budget: timedelta) -> DeliveryReport:
        """Process what is due, earliest first; start nothing more once *budget* is spent.

        Destinations with a limit come last, when it is known how much there is for each.
        """
        deadline = self._clock() + budget
        seen: set[str] = set()
        waiting: dict[str, list[Waiting]] = {}
        left = 0
        try:
            while not left and (ids := await self._unseen(seen)):
                left = await self._process_all(ids, waiting, deadline)
                seen.update(ids)
        except StoreUnavailable as error:
            _log.error("what is due cannot be listed: %s; it stays due and the next delivery run goes on", error)
        for name, items in waiting.items():
            await self._flush(self._channels[name], items, deadline)
        return DeliveryReport(looked_at=len(seen) - left, left=left)

    async def _unseen(self, seen: set[str]) -> list[str]:
        # What was seen may still be listed, because it waits for a destination with a limit.
        due = await self._store.due(self._clock(), _BATCH + len(seen))
        return [record_id for record_id in due if record_id not in seen]

    async def _process_all(self, ids: Sequence[str], waiting: dict[str, list[Waiting]], deadline: datetime) -> int:
        """Process *ids* and note in *waiting* what is due at limited destinations; how many there was no time for."""
        queue = list(reversed(ids))

        async def work() -> None:
            while queue and self._clock() < deadline:
                record = await self.process(queue.pop(), limited=False)
                for name in self._due_at_limited(record):
                    waiting.setdefault(name, []).append(Waiting.of(record))

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return len(queue)

    async def process(self, record_id: str, *, limited: bool = True) -> Record | None:
        """Take one record as far as it goes now. Whatever fails is logged and stays due; nothing is raised.

        Without *limited*, destinations with a limit are left for :meth:`deliver` to send to. Returns the record as
        it is stored afterwards; None when there was nothing to do or it failed.
        """
        try:
            stored = await self._store.read(record_id)
            if stored is None or stored.record.due is None or stored.record.due > self._clock():
                return None
            if stored.record.alert is None:
                stored = await self._to_alert(stored)
            if stored.record.alert is not None:
                stored = await self._planned(stored, stored.record.alert)
                stored = await self._send(await self._renewed(stored), limited=limited)
        except Conflict:
            _log.info("alert %s: another deliverer took over", record_id)
        except StoreUnavailable as error:
            _log.error("alert %s: %s; it stays due and the next delivery run goes on", record_id, error)
        except Exception:  # noqa: BLE001 - one poisoned record must not stop the others
            _log.exception("alert %s failed unexpectedly; it stays due and is tried again in %s", record_id, LEASE)
        else:
            return stored.record
        return None

    def _due_at_limited(self, record: Record | None) -> list[str]:
        if record is None or record.alert is None:
            return []
        now = self._clock()
        limited = [name for name in record.deliveries if name in self._channels and self._channels[name].digesting]
        return [name for name in limited if attempts.is_due(record.deliveries[name], now)]

    async def _to_alert(self, stored: Stored) -> Stored:
        record = stored.record
        stored = await self._store.replace(stored, replace(record, due=self._clock() + LEASE))
        if record.summarised_by and await self._store.exists(record.summarised_by):
            return await self._store.replace(stored, replace(record, due=None))
        for attempt in range(1, _TRIAGE_ROUNDS + 1):
            claimed = stored.record
            if claimed.match is None:
                raise ValueError(f"record {record.id} has neither match nor alert; the store was changed by hand?")
            try:
                return await self._planned(stored, await self._triage(claimed.match))
            except Conflict:
                fresh = await self._store.read(record.id)
                # A match that was joined meanwhile is no other deliverer: the claim is still ours.
                joined = fresh is not None and fresh.record == replace(claimed, match=fresh.record.match)
                if fresh is None or not joined or attempt == _TRIAGE_ROUNDS:
                    raise
                stored = fresh
        raise AssertionError("the last round returns or raises")

    async def _planned(self, stored: Stored, alert: Alert) -> Stored:
        """Store a delivery for every destination that *alert* is routed to, unless the record has them already."""
        record = stored.record
        if record.alert is not None and record.deliveries:
            return stored
        now = self._clock()
        deliveries = record.deliveries or {name: attempts.new(now) for name in self._route(alert)}
        return await self._store.replace(
            stored, replace(record, alert=alert, deliveries=deliveries, due=attempts.next_due(deliveries))
        )

    async def _renewed(self, stored: Stored) -> Stored:
        """Set pending again what was sent before the alert was updated, where the destination takes that."""
        now = self._clock()
        outdated = [name for name, delivery in stored.record.deliveries.items() if delivery.outdated]
        if not outdated:
            return stored
        stored, _ = await self._apply(stored, {name: _renew(now, self._channels.get(name)) for name in outdated})
        return stored

    async def _send(self, stored: Stored, *, limited: bool) -> Stored:
        if stored.record.alert is None:
            return stored
        now = self._clock()
        steps: dict[str, Step] = {}
        for name, delivery in stored.record.deliveries.items():
            channel = self._channels.get(name)
            if attempts.is_due(delivery, now) and (limited or not (channel and channel.digesting)):
                until = await self._held_up(channel, now)
                if until:
                    again = until.isoformat(timespec="seconds")
                    _log.info("alert %s waits for %s until %s", stored.record.id, name, again)
                steps[name] = _claim(now) if until is None else _defer(now, until)
        before = dict(stored.record.deliveries)
        stored, changed = await self._apply(stored, steps)
        claimed = [name for name in steps if name in changed and stored.record.deliveries[name].claimed_until]
        # As it was stored with the claims: it may have been updated since it was read.
        alert = stored.record.alert
        if alert is None:
            return stored
        # Destinations are sent to side by side and each outcome is recorded as it comes, so a slow one holds up
        # neither the others nor the knowledge that they have the alert.
        recording = asyncio.Lock()

        async def one(name: str) -> None:
            nonlocal stored
            outcome = await self._attempt(name, alert, before[name])
            async with recording:
                stored, _ = await self._apply(stored, {name: _record(outcome)})

        results = await asyncio.gather(*(one(name) for name in claimed), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await self._report_dead(stored.record)
        return stored

    async def _held_up(self, channel: Channel | None, now: datetime) -> datetime | None:
        """None when a card may be sent now, else when to look again."""
        if channel is None:
            return None
        if paused := channel.wait():
            return paused
        full = await channel.take(single=True)
        return min(full, now + _UNTIL_DIGEST) if full else None

    async def _attempt(self, name: str, alert: Alert, before: Delivery) -> Delivery:
        channel = self._channels.get(name)
        try:
            if channel is None:
                raise _unknown(name)
            receipt = await channel.destination.send(alert, possible_repeat=before.started_at is not None)
        except DeliveryError as error:
            return self._failed(channel, before, error, f"alert {alert.id} did not reach {name}")
        channel.succeeded()
        _log.info("alert %s reached %s: %s", alert.id, name, alert.title)
        return attempts.sent(before, self._clock(), receipt.remote_id)

    def _failed(self, channel: Channel | None, before: Delivery, error: DeliveryError, what: str) -> Delivery:
        if channel:
            channel.failed(error)
        outcome = attempts.failed(before, self._clock(), error, self._jitter())
        if outcome.next_attempt is None:
            _log.error("%s and is dead after %d attempts: %s", what, outcome.attempts, error)
        else:
            again = outcome.next_attempt.isoformat(timespec="seconds")
            _log.warning("%s (attempt %d): %s; trying again at %s", what, outcome.attempts, error, again)
        return outcome

    async def _report_dead(self, record: Record) -> None:
        # Every dead one, not only those of this round: the process may have died between the two writes before.
        for name, delivery in record.deliveries.items():
            if delivery.state is DeliveryState.DEAD:
                others = [other for other in self._channels if other != name]
                await self._dead_letters.report_dead_letter(record, name, others)

    async def _flush(self, channel: Channel, waiting: Sequence[Waiting], deadline: datetime) -> None:
        """Send what is due at a destination with a limit: as cards of their own while they fit, else as digests."""
        destination = channel.digesting
        if destination is None:
            return
        try:
            plan = share(
                waiting, free=await channel.free(), limit=destination.limit.count, size=destination.digest_size
            )
            for item in plan.singles:
                if self._clock() < deadline:
                    await self.process(item.record_id)
            for group in plan.digests:
                if self._clock() < deadline:
                    await self._digest(channel, group)
        except StoreUnavailable as error:
            _log.error("%s: %s; what is due there stays due and the next delivery run goes on", channel.name, error)
        except Exception:  # noqa: BLE001 - one destination must not stop the others
            _log.exception("%s failed unexpectedly; what is due there is tried again in %s", channel.name, LEASE)

    async def _digest(self, channel: Channel, items: Sequence[Waiting]) -> None:
        until = channel.wait() or await channel.take(single=False)
        held = [each for item in items if (each := await self._hold(channel, item, until))]
        if not held:
            return
        alerts = [each.alert for each in held]
        what = f"a digest of {len(held)} alerts, {alerts[0].id} first, did not reach {channel.name}"
        error: DeliveryError | None = None
        remote_id: str | None = None
        try:
            remote_id = await self._send_digest(channel, held)
        except DeliveryError as caught:
            error = caught
            self._failed(channel, held[0].before, error, what)
        for each in held:
            now = self._clock()
            outcome = (
                attempts.failed(each.before, now, error, self._jitter())
                if error
                else attempts.sent(each.before, now, remote_id)
            )
            stored, _ = await self._apply(each.stored, {channel.name: _record(outcome)})
            await self._report_dead(stored.record)

    async def _hold(self, channel: Channel, item: Waiting, until: datetime | None) -> _Held | None:
        """Claim an alert for a digest, or defer it to *until*; None when it is not in this process's hands."""
        stored = await self._store.read(item.record_id)
        if stored is None or stored.record.alert is None:
            return None
        now = self._clock()
        before = stored.record.deliveries[channel.name]
        step = _claim(now) if until is None else _defer(now, until)
        stored, changed = await self._apply(stored, {channel.name: step})
        return _Held(stored, stored.record.alert, before) if changed and until is None and stored.record.alert else None

    async def _send_digest(self, channel: Channel, held: Sequence[_Held]) -> str | None:
        destination = channel.digesting
        if destination is None:
            raise _unknown(channel.name)
        repeats = frozenset(each.alert.id for each in held if each.before.started_at is not None)
        if len(held) == 1:
            receipt = await destination.send(held[0].alert, possible_repeat=bool(repeats))
        else:
            receipt = await destination.send_digest([each.alert for each in held], possible_repeats=repeats)
        channel.succeeded()
        _log.info("%d alerts reached %s in one message", len(held), channel.name)
        return receipt.remote_id

    async def _apply(self, stored: Stored, steps: Mapping[str, Step]) -> tuple[Stored, frozenset[str]]:
        """Take *steps* by a conditional write; after a lost race, decide each anew on what the other one wrote.

        Returns the record as stored and the names whose step was taken.
        """
        while True:
            record = stored.record
            changed = {
                name: after for name, step in steps.items() if (after := step(record.deliveries[name])) is not None
            }
            deliveries = record.deliveries | changed
            updated = replace(record, deliveries=deliveries, due=attempts.next_due(deliveries))
            if updated == record:
                return stored, frozenset()
            try:
                return await self._store.replace(stored, updated), frozenset(changed)
            except Conflict:
                fresh = await self._store.read(record.id)
                if fresh is None:
                    raise
                stored = fresh


def _claim(now: datetime) -> Step:
    return lambda delivery: attempts.claimed(delivery, now) if attempts.is_due(delivery, now) else None


def _defer(now: datetime, until: datetime) -> Step:
    return lambda delivery: attempts.deferred(delivery, until) if attempts.is_due(delivery, now) else None


def _renew(now: datetime, channel: Channel | None) -> Step:
    updates = channel is not None and channel.updates
    return lambda delivery: attempts.renewed(delivery, now, updates=updates)


def _record(outcome: Delivery) -> Step:
    # Our lease may have run out and somebody else may have sent it: what is sent stays sent. What was added to the
    # alert while it was under way has not been sent with it.
    return lambda delivery: (
        None if delivery.state is DeliveryState.SENT else replace(outcome, outdated=delivery.outdated)
    )


def _unknown(name: str) -> DeliveryError:
    return DeliveryError(f"no destination is called {name} any more; set it up again to have this alert sent there")
