"""``dead``: what a destination refused for good, or did not take for a day; and sending it again."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from detectors.app import Detector
from detectors.commands.failure import CommandError
from detectors.commands.find import LISTED, find, title_of
from detectors.commands.lines import AlertLine, Arrival, arrivals_of, read_lines
from detectors.condition import read_records
from detectors.delivery.attempts import next_due
from detectors.delivery.outbox import DEAD_DUE, revive
from detectors.model import DeliveryState, Record
from detectors.state.store import Conflict, Store, Stored

_WRITES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadDelivery:
    """One alert that will not reach one destination by itself."""

    id: str
    title: str
    severity: str
    created_at: datetime
    arrival: Arrival


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadList:
    """All dead deliveries; with ``capped`` there may be more behind the first records that wait."""

    deliveries: tuple[DeadDelivery, ...]
    capped: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revived:
    """What ``dead send`` did: ``alerts`` as they are after one delivery run, ``left`` with the reason for each."""

    revived: tuple[tuple[str, str], ...]
    """(alert id, destination) of each delivery that was set pending."""
    left: tuple[str, ...]
    """What was not revived, and why: one sentence each."""
    alerts: tuple[AlertLine, ...]
    capped: bool

    @property
    def arrived(self) -> int:
        """How many of the revived deliveries have arrived."""
        states = {(line.id, each.destination): each.state for line in self.alerts for each in line.arrivals}
        return sum(states.get(pair) == "sent" for pair in self.revived)


async def list_dead(detector: Detector, *, destination: str | None = None) -> DeadList:
    """Every dead delivery, oldest alert first. Raises :class:`detectors.state.store.StoreUnavailable`."""
    records, capped = await _waiting(detector.store)
    found = [
        DeadDelivery(
            id=stored.record.id,
            title=title_of(stored.record),
            severity=stored.record.alert.severity.value if stored.record.alert else "",
            created_at=stored.record.created_at,
            arrival=arrival,
        )
        for stored in records
        for arrival in arrivals_of(stored.record)
        if arrival.state == DeliveryState.DEAD.value and destination in {None, arrival.destination}
    ]
    return DeadList(deliveries=tuple(sorted(found, key=lambda each: each.created_at)), capped=capped)


async def send_dead(
    detector: Detector, ids: Sequence[str], *, destination: str | None = None, every: bool = False, now: datetime
) -> Revived:
    """Set dead deliveries pending again and deliver once.

    Of the alerts *ids*, or of all alerts with *every* or with a *destination* alone; only those at *destination* when
    one is given. Raises :class:`CommandError` when nothing was named or an id is wrong, in which case nothing was
    changed, and :class:`detectors.state.store.StoreUnavailable`.
    """
    if not ids and not every and destination is None:
        raise CommandError("name the alerts to send again, or --destination NAME, or --all for every dead one")
    if ids and every:
        raise CommandError("--all and ids at once: write one of them")
    capped = False
    if ids:
        chosen = [await find(detector.store, text) for text in ids]
    else:
        chosen, capped = await _waiting(detector.store)
    configured = {each.name for each in detector.destinations}
    revived: list[tuple[str, str]] = []
    left: list[str] = []
    for stored in {each.record.id: each for each in chosen}.values():
        names = _dead_at(stored.record, destination)
        if ids and not names:
            left.append(f"{stored.record.id}: nothing is dead{f' at {destination}' if destination else ''}")
        unknown = [name for name in names if name not in configured]
        left += [f"{stored.record.id}: no destination {name} is configured; set it up first" for name in unknown]
        try:
            done = await _revive(detector.store, stored, [name for name in names if name in configured], now)
        except Conflict:
            left.append(f"{stored.record.id}: somebody else keeps writing it; run the command again")
            continue
        revived += [(stored.record.id, name) for name in done]
    if revived:
        await detector.deliver()
    return Revived(
        revived=tuple(revived),
        left=tuple(left),
        alerts=await read_lines(detector.store, dict.fromkeys(record_id for record_id, _ in revived)),
        capped=capped,
    )


async def _waiting(store: Store) -> tuple[list[Stored], bool]:
    ids = await store.due(DEAD_DUE, LISTED)
    records, _ = await read_records(store, ids)
    return records, len(ids) >= LISTED


def _dead_at(record: Record, destination: str | None) -> list[str]:
    return [
        name
        for name, delivery in sorted(record.deliveries.items())
        if delivery.state is DeliveryState.DEAD and destination in {None, name}
    ]


async def _revive(store: Store, stored: Stored, names: Sequence[str], now: datetime) -> Sequence[str]:
    """Set *names* pending, as far as they are still dead. Raises :class:`Conflict` after several lost races."""
    attempt = 1
    while dead := [name for name in names if name in _dead_at(stored.record, None)]:
        deliveries = stored.record.deliveries
        changed = deliveries | {name: revive(deliveries[name], now) for name in dead}
        try:
            await store.replace(stored, replace(stored.record, deliveries=changed, due=next_due(changed)))
        except Conflict:
            fresh = await store.read(stored.record.id)
            if fresh is None or attempt == _WRITES:
                raise
            stored = fresh
            attempt += 1
        else:
            return dead
    return ()
