"""One alert on one line of a list, and where it has arrived."""

import dataclasses
from collections.abc import Iterable
from datetime import datetime

from detectors.commands.find import title_of
from detectors.condition import read_records
from detectors.model import Record
from detectors.state.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrival:
    """The state of one alert at one destination: ``pending``, ``sent`` or ``dead``, and the last error."""

    destination: str
    state: str
    attempts: int
    sent_at: datetime | None = None
    next_attempt: datetime | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlertLine:
    """What names an alert. ``severity`` is empty before triage."""

    id: str
    title: str
    severity: str
    created_at: datetime
    arrivals: tuple[Arrival, ...]


def arrivals_of(record: Record) -> tuple[Arrival, ...]:
    """Where *record* has arrived, by destination."""
    return tuple(
        Arrival(
            destination=name,
            state=delivery.state.value,
            attempts=delivery.attempts,
            sent_at=delivery.sent_at,
            next_attempt=delivery.next_attempt,
            error=delivery.error,
        )
        for name, delivery in sorted(record.deliveries.items())
    )


def line_of(record: Record) -> AlertLine:
    """*record* as one line."""
    return AlertLine(
        id=record.id,
        title=title_of(record),
        severity=record.alert.severity.value if record.alert else "",
        created_at=record.created_at,
        arrivals=arrivals_of(record),
    )


async def read_lines(store: Store, ids: Iterable[str]) -> tuple[AlertLine, ...]:
    """The lines of *ids*, as they are stored now."""
    records, _ = await read_records(store, ids)
    return tuple(line_of(stored.record) for stored in records)
