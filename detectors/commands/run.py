"""``hunt``, ``sweep`` and ``deliver``: one run, and what came of it."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import datetime

from detectors.app import Detector
from detectors.commands.lines import AlertLine, read_lines
from detectors.sources.hunt import HuntReport, RuleOutcome

SHOWN = 200
"""Alerts that are read again to say where they arrived."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleRun:
    """One rule on one workspace."""

    rule_name: str
    outcome: RuleOutcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuntResult:
    """A hunt or a sweep; ``alerts`` are the new ones, at most :data:`SHOWN` of ``new_alerts``."""

    started_at: datetime
    runs: tuple[RuleRun, ...]
    new_alerts: int
    alerts: tuple[AlertLine, ...]

    @property
    def failed(self) -> bool:
        """Whether a rule could not be run."""
        return any(run.outcome.error for run in self.runs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliverResult:
    """A delivery run; ``alerts`` are those that were due before it, as they are after it, at most :data:`SHOWN`."""

    looked_at: int
    left: int
    alerts: tuple[AlertLine, ...]

    @property
    def failed(self) -> bool:
        """Whether something that was due has not arrived."""
        return bool(self.left) or any(arrival.state != "sent" for line in self.alerts for arrival in line.arrivals)


async def hunt(detector: Detector) -> HuntResult:
    """Hunt once, with triage and sending. Raises :class:`detectors.state.store.StoreUnavailable`."""
    return await _hunt(detector, detector.hunt)


async def sweep(detector: Detector) -> HuntResult:
    """Sweep once, with triage and sending. Raises :class:`detectors.state.store.StoreUnavailable`."""
    return await _hunt(detector, detector.sweep)


async def deliver(detector: Detector, now: datetime) -> DeliverResult:
    """Deliver once. Raises :class:`detectors.state.store.StoreUnavailable`."""
    due = await detector.store.due(now, SHOWN)
    report = await detector.deliver()
    return DeliverResult(looked_at=report.looked_at, left=report.left, alerts=await read_lines(detector.store, due))


async def _hunt(detector: Detector, run: Callable[[], Awaitable[HuntReport]]) -> HuntResult:
    report = await run()
    names = {rule.id: rule.name for rule in detector.rules}
    return HuntResult(
        started_at=report.started_at,
        runs=tuple(
            RuleRun(rule_name=names.get(outcome.rule_id, outcome.rule_id), outcome=outcome)
            for outcome in report.outcomes
        ),
        new_alerts=len(report.new_alerts),
        alerts=await read_lines(detector.store, report.new_alerts[:SHOWN]),
    )
