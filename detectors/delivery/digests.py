"""Who gets a card of its own and who goes into a digest, when more is due than a destination takes. Pure."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from detectors.model import Record, Severity


@dataclasses.dataclass(frozen=True)
class Waiting:
    """An alert that is due at a destination with a limit; small, because a flood may bring thousands."""

    record_id: str
    severity: Severity
    event_time: datetime

    @classmethod
    def of(cls, record: Record | None) -> "Waiting":
        """From a record with an alert."""
        if record is None or record.alert is None:
            raise ValueError("only a record with an alert can wait for a destination")
        return cls(record.id, record.alert.severity, record.alert.event_time)


@dataclasses.dataclass(frozen=True)
class Plan:
    """*singles* as cards of their own, each of *digests* as one message."""

    singles: tuple[Waiting, ...]
    digests: tuple[tuple[Waiting, ...], ...]


def share(waiting: Sequence[Waiting], *, free: int, limit: int, size: int) -> Plan:
    """Share the *free* of *limit* slots of a rate window among *waiting*; a digest names at most *size*.

    Half of the window is for cards of their own. When everything fits there, everything gets one. Otherwise the
    worst (High) get them as far as they go, and all the others go into digests, worst and oldest first.
    """
    ordered = sorted(waiting, key=lambda item: (-item.severity.rank, item.event_time, item.record_id))
    alone = max(free - (limit - limit // 2), 0)
    if len(ordered) > alone:
        alone = min(alone, sum(item.severity is Severity.HIGH for item in ordered))
    rest = ordered[alone:]
    return Plan(
        singles=tuple(ordered[:alone]),
        digests=tuple(tuple(rest[start : start + size]) for start in range(0, len(rest), size)),
    )
