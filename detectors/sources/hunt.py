"""The hunt: rule KQL against Log Analytics, window by window, with a watermark per rule and workspace."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from detectors.model import Source
from detectors.rule import Rule
from detectors.sources.logs import MissingNameError, QueryError
from detectors.sources.rows import reportable, require_columns, triggering
from detectors.sources.schedule import MOST_STEPS, RETRY_AFTER, fingerprint, is_swept, is_waiting, turn
from detectors.sources.windows import Watermark, Window, sweep
from detectors.state.store import Conflict, Store, StoreUnavailable

_log = logging.getLogger(__name__)

FAILURES_BEFORE_ALERT = 3


class Query(Protocol):
    """Runs KQL over a window of one workspace; see :func:`detectors.sources.logs.query` for what it returns."""

    async def __call__(
        self, workspace: str, text: str, window: Window, time_left: Callable[[], float]
    ) -> list[dict[str, Any]]:
        """Rows as dicts of JSON values. Raises :class:`QueryError`."""


class Intake(Protocol):
    """Where rows that a rule returned go: :class:`detectors.triage.intake.Intake`."""

    async def store(
        self, rule: Rule, rows: Sequence[dict[str, Any]], *, source: Source, workspace: str | None, allowance: int
    ) -> tuple[str, ...]:
        """Store the actions that are new, durably; returns the new alerts' ids, at most *allowance* and a summary."""

    async def report_failing_rule(
        self, rule: Rule, workspace: str, *, since: datetime, read_until: datetime, error: str
    ) -> None:
        """Raise the alert that says that *rule* no longer runs on *workspace*; once for each failing stretch."""

    async def report_missing(self, workspace: str, missing: str, rules: Sequence[Rule]) -> None:
        """Raise the alert that says that *rules* wait for what *workspace* lacks; once for each such thing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuntLimits:
    """Time and counts of a run. Durations as in the settings of the same names."""

    concurrency: int
    overlap: timedelta
    longest_window: timedelta
    initial_lookback: timedelta
    time_budget: timedelta
    alert_limit: int
    sweep_lookback: timedelta


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What one rule did on one workspace in one run."""

    rule_id: str
    workspace: str
    rows: int = 0
    new: tuple[str, ...] = ()
    windows: int = 0
    remaining: int = 0
    """Windows of an outage that the time budget left for the next run."""
    error: str | None = None
    due: bool = True
    """Whether it was the rule's turn: not before its frequency is over, nor while it is suppressed or waits."""
    waiting_for: str | None = None
    """What the workspace lacks, such as ``the table AzureDiagnostics``; that is no failure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuntReport:
    """A run, one outcome for each rule and workspace."""

    started_at: datetime
    outcomes: tuple[RuleOutcome, ...]

    @property
    def new_alerts(self) -> tuple[str, ...]:
        """Ids of the alerts that this run was the first to store."""
        return tuple(i for outcome in self.outcomes for i in outcome.new)

    @property
    def errors(self) -> tuple[RuleOutcome, ...]:
        """The outcomes that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.error)


class Hunt:
    """Runs every rule on every workspace. Safe to run twice at once: identity removes what both find."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        workspaces: Sequence[str],
        query: Query,
        store: Store,
        intake: Intake,
        limits: HuntLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._rules = rules
        self._workspaces = workspaces
        self._query = query
        self._store = store
        self._intake = intake
        self._limits = limits
        self._clock = clock

    async def run(self, on_new: Callable[[Sequence[str]], Awaitable[None]] | None = None) -> HuntReport:
        """Hunt with every rule whose turn it is, from its watermark to now.

        *on_new* is told of alerts as soon as they are stored.
        """
        return await self._run(self._hunt_one, on_new)

    async def sweep(self, on_new: Callable[[Sequence[str]], Awaitable[None]] | None = None) -> HuntReport:
        """Read the last day again, for rows that arrived later than any overlap. Moves no watermark.

        Rules that count, are suppressed at times or run less than hourly take no part, nor do those that wait.
        """
        return await self._run(self._sweep_one, on_new)

    async def _run(
        self,
        one: Callable[[Rule, str, "_Run"], Awaitable[RuleOutcome]],
        on_new: Callable[[Sequence[str]], Awaitable[None]] | None,
    ) -> HuntReport:
        run = _Run(
            started_at=self._clock(),
            deadline=self._clock() + self._limits.time_budget,
            slots=asyncio.Semaphore(self._limits.concurrency),
            on_new=on_new,
        )

        async def guarded(rule: Rule, workspace: str) -> RuleOutcome:
            async with run.slots:
                try:
                    return await one(rule, workspace, run)
                except StoreUnavailable as error:
                    # The watermark has not moved, so the next run reads the same window again.
                    _log.error("rule %s on workspace %s: %s; the next run tries again", rule.name, workspace, error)
                    return RuleOutcome(rule_id=rule.id, workspace=workspace, error=str(error))
                except Exception as error:  # noqa: BLE001 - one broken rule must not stop the others
                    _log.exception(
                        "rule %s on workspace %s failed unexpectedly; the next run tries again", rule.name, workspace
                    )
                    return RuleOutcome(rule_id=rule.id, workspace=workspace, error=f"{type(error).__name__}: {error}")

        outcomes = await asyncio.gather(
            *(guarded(rule, workspace) for workspace in self._workspaces for rule in self._rules)
        )
        await self._report_waits(run)
        return HuntReport(started_at=run.started_at, outcomes=tuple(outcomes))

    async def _hunt_one(self, rule: Rule, workspace: str, run: "_Run") -> RuleOutcome:
        name = f"watermark/{rule.id}/{workspace}"
        watermark = await self._watermark(name)
        its = turn(
            rule,
            watermark,
            now=run.started_at,
            overlap=self._limits.overlap,
            longest=self._limits.longest_window,
            initial=self._limits.initial_lookback,
            sweep_lookback=self._limits.sweep_lookback,
        )
        windows = its.windows
        if not windows:
            missing = watermark.waiting_for if watermark and its.waiting else None
            if missing:
                run.waits.append(_Wait(rule, workspace, missing))
            return RuleOutcome(rule_id=rule.id, workspace=workspace, due=False, waiting_for=missing)
        if its.passed_over:
            _log.warning(
                "rule %s on workspace %s: of an outage, %d steps of its queryFrequency are made up for and the %d "
                "before %s are passed over; its query counts, so it is not run over one long window",
                rule.name, workspace, MOST_STEPS, its.passed_over, windows[0].end.isoformat(),
            )  # fmt: skip
        outcome = RuleOutcome(rule_id=rule.id, workspace=workspace)
        for position, window in enumerate(windows):
            if position and self._clock() >= run.deadline:
                outcome = dataclasses.replace(outcome, remaining=len(windows) - position)
                _log.warning(
                    "rule %s on workspace %s: %d of %d windows are left after an outage; the next run goes on at %s",
                    rule.name, workspace, outcome.remaining, len(windows), windows[position - 1].end.isoformat(),
                )  # fmt: skip
                break
            try:
                outcome = await self._read(rule, workspace, window, run, outcome)
            except MissingNameError as error:
                new = await self._wait(rule, name, run.started_at, error)
                run.waits.append(_Wait(rule, workspace, error.missing, tried=True, new=new))
                return dataclasses.replace(outcome, waiting_for=error.missing)
            except QueryError as error:
                await self._failed(rule, workspace, name, run.started_at, error)
                return dataclasses.replace(outcome, error=str(error))
            await self._advance(name, _after(rule, watermark, window, outcome, run.started_at))
        return outcome

    async def _sweep_one(self, rule: Rule, workspace: str, run: "_Run") -> RuleOutcome:
        window = sweep(now=run.started_at, period=rule.query_period, lookback=self._limits.sweep_lookback)
        outcome = RuleOutcome(rule_id=rule.id, workspace=workspace)
        if not is_swept(rule):
            return dataclasses.replace(outcome, due=False)
        watermark = await self._watermark(f"watermark/{rule.id}/{workspace}")
        if watermark is not None and is_waiting(watermark, rule, run.started_at):
            return dataclasses.replace(outcome, due=False, waiting_for=watermark.waiting_for)
        try:
            return await self._read(rule, workspace, window, run, outcome)
        except MissingNameError as error:
            # The hunt reports it; the sweep has no watermark to note it in.
            return dataclasses.replace(outcome, waiting_for=error.missing)
        except QueryError as error:
            _log.error("sweep of rule %s on workspace %s: %s; the next sweep tries again", rule.name, workspace, error)
            return dataclasses.replace(outcome, error=str(error))

    async def _read(self, rule: Rule, workspace: str, window: Window, run: "_Run", outcome: RuleOutcome) -> RuleOutcome:
        rows = await self._query(workspace, rule.query, window, run.time_left(self._clock))
        require_columns(rule, rows)
        found = len(rows)
        rows = triggering(rule, reportable(rows, window), window)
        allowance = max(self._limits.alert_limit - len(outcome.new), 0)
        new = await self._intake.store(rule, rows, source=Source.HUNT, workspace=workspace, allowance=allowance)
        if new and run.on_new:
            await run.on_new(new)
        return dataclasses.replace(
            outcome, rows=outcome.rows + found, new=(*outcome.new, *new), windows=outcome.windows + 1
        )

    async def _watermark(self, name: str) -> Watermark | None:
        document = await self._store.read_document(name)
        return msgspec.json.decode(document.value, type=Watermark) if document else None

    async def _wait(self, rule: Rule, name: str, now: datetime, error: MissingNameError) -> bool:
        """Note that *rule* waits for what is missing; whether that is new."""

        def waiting(current: Watermark | None) -> Watermark:
            since = current.waiting_since if current and current.waiting_for == error.missing else now
            return Watermark(
                end=current.end if current else now - self._limits.initial_lookback,
                waiting_for=error.missing,
                waiting_since=since,
                retry_at=now + RETRY_AFTER,
                waiting_query=fingerprint(rule.query),
            )

        before, _ = await self._change(name, waiting)
        return before is None or before.waiting_for != error.missing

    async def _report_waits(self, run: "_Run") -> None:
        """Say once for each thing that a workspace lacks which rules wait for it."""
        groups: dict[tuple[str, str], list[_Wait]] = {}
        for wait in run.waits:
            groups.setdefault((wait.workspace, wait.missing), []).append(wait)
        for (workspace, missing), waits in groups.items():
            if not any(wait.tried for wait in waits):
                continue
            rules = sorted((wait.rule for wait in waits), key=lambda rule: rule.name)
            if any(wait.new for wait in waits):
                number = "1 rule waits" if len(rules) == 1 else f"{len(rules)} rules wait"
                _log.warning(
                    "workspace %s: %s for %s, which it lacks: %s; tried again daily",
                    workspace, number, missing, ", ".join(rule.name for rule in rules),
                )  # fmt: skip
            try:
                await self._intake.report_missing(workspace, missing, rules)
            except StoreUnavailable as error:
                _log.error("the alert that rules wait for %s was not stored: %s; it is tried again", missing, error)

    async def _advance(self, name: str, watermark: Watermark) -> None:
        """Move the watermark to *watermark.end*, never back: another run may be ahead of this one."""

        def advanced(current: Watermark | None) -> Watermark | None:
            if current and watermark.end <= current.end <= self._clock() and not current.failures:
                if current.waiting_for is None and watermark.quiet_until in (None, current.quiet_until):
                    return None
                return msgspec.structs.replace(watermark, end=current.end)
            return watermark

        await self._change(name, advanced)

    async def _failed(self, rule: Rule, workspace: str, name: str, now: datetime, error: QueryError) -> None:
        _log.error(
            "rule %s on workspace %s: %s; the window stays unread and the next run tries again",
            rule.name,
            workspace,
            error,
        )

        def failing(current: Watermark | None) -> Watermark:
            before = current or Watermark(end=now - self._limits.initial_lookback)
            return msgspec.structs.replace(
                before,
                failures=before.failures + 1,
                failing_since=before.failing_since or now,
                error=str(error),
                waiting_for=None,
            )

        _, failed = await self._change(name, failing)
        if failed and failed.failures >= FAILURES_BEFORE_ALERT:
            await self._intake.report_failing_rule(
                rule, workspace, since=failed.failing_since or now, read_until=failed.end, error=str(error)
            )

    async def _change(
        self, name: str, change: Callable[[Watermark | None], Watermark | None]
    ) -> tuple[Watermark | None, Watermark | None]:
        """Write what *change* makes of the watermark, anew when another run was faster; None leaves it as it is.

        Returns the watermark before, and what was written.
        """
        while True:
            document = await self._store.read_document(name)
            current = msgspec.json.decode(document.value, type=Watermark) if document else None
            changed = change(current)
            if changed is None:
                return current, None
            try:
                await self._store.write_document(
                    name, msgspec.json.encode(changed), document.version if document else None
                )
            except Conflict:
                continue
            return current, changed


@dataclasses.dataclass(frozen=True)
class _Wait:
    rule: Rule
    workspace: str
    missing: str
    tried: bool = False
    new: bool = False


@dataclasses.dataclass(frozen=True)
class _Run:
    started_at: datetime
    deadline: datetime
    slots: asyncio.Semaphore
    on_new: Callable[[Sequence[str]], Awaitable[None]] | None
    waits: "list[_Wait]" = dataclasses.field(default_factory=list)

    def time_left(self, clock: Callable[[], datetime]) -> Callable[[], float]:
        def left() -> float:
            return (self.deadline - clock()).total_seconds()

        return left


def _after(
    rule: Rule, before: Watermark | None, window: Window, outcome: RuleOutcome, started_at: datetime
) -> Watermark:
    """The watermark once *window* is read: a rule with suppression is quiet from a run that made a new alert."""
    if not rule.suppression:
        return Watermark(end=window.end)
    if outcome.new:
        return Watermark(end=window.end, quiet_since=started_at, quiet_until=started_at + rule.suppression)
    quiet = (before.quiet_since, before.quiet_until) if before else (None, None)
    return Watermark(end=window.end, quiet_since=quiet[0], quiet_until=quiet[1])
