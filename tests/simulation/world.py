"""The services in memory, the processes that use them, and what must be true of both afterwards."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from detectors.delivery.attempts import DEAD_DUE
from detectors.delivery.destination import DeliveryError, RateLimit, Receipt
from detectors.delivery.followup import FollowUp
from detectors.delivery.outbox import Outbox
from detectors.model import Alert, AlertKind, DeliveryState, Evidence, Match, Source
from detectors.rule import Rule
from detectors.sources.hunt import Hunt, HuntLimits
from detectors.sources.logs import QueryError
from detectors.sources.windows import Watermark, Window
from detectors.state.store import Document, Store
from detectors.triage.alerting import Triage
from detectors.triage.intake import Intake, event_time, matches_of
from tests.clock import Clock
from tests.core.samples import RULE, row
from tests.memory_store import MemoryStore, Place
from tests.simulation.faults import Chaos, Crash, Fault, Life
from tests.simulation.faulty_store import FaultyStore

WORKSPACE = "w"
TEAMS_LIMIT = RateLimit(24, 300)


@dataclasses.dataclass(frozen=True)
class LoggedRow:
    """A row and when it can be queried."""

    content: dict[str, Any]
    ingested_at: datetime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """Rows over time, and how many processes look at them."""

    name: str
    rows: tuple[LoggedRow, ...]
    start: datetime
    busy: timedelta
    """How long faults may happen."""
    processes: int = 1
    skew: timedelta = timedelta(0)
    """How much further the clock of each further process is."""
    alert_limit: int = 100
    teams_limit: RateLimit = TEAMS_LIMIT
    digest_size: int = 40


@dataclasses.dataclass
class Ledger:
    """What one destination got: (alert id, said to be a possible repeat), and every id that was named."""

    sent: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    times: list[datetime] = dataclasses.field(default_factory=list)
    named: set[str] = dataclasses.field(default_factory=set)

    def add(self, alerts: Sequence[Alert], repeats: frozenset[str], now: datetime) -> None:
        self.times.append(now)
        for alert in alerts:
            self.sent.append((alert.id, alert.id in repeats))
            self.named |= {alert.id, *(item.match_id for item in alert.items)}


class CheckedStore(FaultyStore):
    """A watermark is checked at the moment it is written."""

    def __init__(self, world: "World", life: Life) -> None:
        super().__init__(MemoryStore(world.place), life)
        self._world = world

    async def _write(self, name: str, value: bytes, version: str | None) -> Document:
        document = await super()._write(name, value, version)
        if name.startswith("watermark/"):
            self._world.check_watermark(msgspec.json.decode(value, type=Watermark))
        return document


class FaultyDestination:
    """A destination that keeps what it got, whatever its sender was told."""

    def __init__(self, name: str, world: "World", life: Life) -> None:
        self.name = name
        self._world = world
        self._life = life

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        return await self._deliver([alert], frozenset([alert.id]) if possible_repeat else frozenset())

    async def close(self) -> None:
        """Nothing to release."""

    async def _deliver(self, alerts: Sequence[Alert], repeats: frozenset[str]) -> Receipt:
        if self._world.down(self.name):
            raise DeliveryError(f"{self.name} is down")

        async def arrive() -> Receipt:
            self._world.ledgers[self.name].add(alerts, repeats, self._world.clock())
            return Receipt()

        def error(fault: Fault, happened: bool) -> Exception:
            if fault is Fault.THROTTLE:
                return DeliveryError(f"{self.name} throttles", retry_after=90)
            return DeliveryError(f"{self.name}: {fault.value}", may_have_arrived=happened or fault is Fault.TIMEOUT)

        return await self._life.call(f"send to {self.name}", arrive, error)


class FaultyTeams(FaultyDestination):
    """The one that takes only so many messages, and digests."""

    @property
    def limit(self) -> RateLimit:
        return self._world.scenario.teams_limit

    @property
    def digest_size(self) -> int:
        return self._world.scenario.digest_size

    async def send_digest(self, alerts: Sequence[Alert], *, possible_repeats: frozenset[str]) -> Receipt:
        return await self._deliver(alerts, possible_repeats)


class Process:
    """One instance of the app, from its start to its crash."""

    def __init__(self, world: "World", skew: timedelta) -> None:
        self.life = Life(world.chaos)
        self._world = world
        self._clock: Callable[[], datetime] = lambda: world.clock() + skew
        store: Store = CheckedStore(world, self.life)
        intake = Intake(store=store, clock=self._clock, new_id=world.new_id)
        self.hunting = world.hunt_class(
            rules=[RULE],
            workspaces=[WORKSPACE],
            query=self._query,
            store=store,
            intake=intake,
            limits=HuntLimits(
                concurrency=5,
                overlap=timedelta(minutes=25),
                longest_window=timedelta(hours=6),
                initial_lookback=timedelta(hours=1),
                time_budget=timedelta(minutes=4),
                alert_limit=world.scenario.alert_limit,
                sweep_lookback=timedelta(days=1),
            ),
            clock=self._clock,
        )
        self.outbox = Outbox(
            store=store,
            triage=Triage(
                rules=[RULE],
                collect=self._collect,
                clock=self._clock,
                portal="https://portal.azure.com",
                workspace_resource_id=lambda _: "",
            ),
            destinations=[
                FaultyTeams("teams", world, self.life),
                FaultyDestination("log-table", world, self.life),
                FaultyDestination("webhook", world, self.life),
            ],
            dead_letters=intake,
            clock=self._clock,
            jitter=world.chaos.jitter,
        )

    async def _query(
        self, workspace: str, text: str, window: Window, time_left: Callable[[], float]
    ) -> list[dict[str, Any]]:
        async def answer() -> list[dict[str, Any]]:
            return self._world.visible(window)

        return await self.life.call("query", answer, lambda fault, _: QueryError(fault.value, permanent=False))

    async def _collect(self, match: Match, rule: Rule) -> tuple[Evidence, ...]:
        async def answer() -> tuple[Evidence, ...]:
            return (Evidence(name="runbook", title="Runbook"),)

        return await self.life.call("automation", answer, lambda fault, _: RuntimeError(fault.value))

    async def hunt(self) -> None:
        deadline = self._clock() + timedelta(minutes=5)
        async with FollowUp(self.outbox.process, deadline=deadline, clock=self._clock) as follow_up:
            await self.hunting.run(follow_up.add)

    async def sweep(self) -> None:
        await self.hunting.sweep()

    async def deliver(self) -> None:
        await self.outbox.deliver(budget=timedelta(seconds=50))


class World:
    """Everything that survives a crash, and the loop that drives the processes through time."""

    def __init__(self, scenario: Scenario, chaos: Chaos, hunt_class: type[Hunt] = Hunt) -> None:
        self.scenario = scenario
        self.chaos = chaos
        self.hunt_class = hunt_class
        self.clock = Clock(scenario.start)
        self.place = Place()
        self.ledgers = {name: Ledger() for name in ("teams", "log-table", "webhook")}
        self.violations: list[str] = []
        self.outage: tuple[str, datetime] | None = None
        self._ids = 0
        self._processes = [self._process(number) for number in range(scenario.processes)]

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:032x}"

    def down(self, destination: str) -> bool:
        return self.outage is not None and self.outage[0] == destination and self.clock() < self.outage[1]

    def visible(self, window: Window) -> list[dict[str, Any]]:
        return [
            logged.content
            for logged in self.scenario.rows
            if logged.ingested_at <= self.clock() and window.start <= _time(logged) <= window.end
        ]

    def expected(self, rows: Sequence[LoggedRow]) -> set[str]:
        found = matches_of(
            RULE, [each.content for each in rows], source=Source.HUNT, workspace=WORKSPACE, found_at=self.clock()
        )
        return {match.id for match in found}

    def check_watermark(self, watermark: Watermark) -> None:
        if watermark.failures:
            return
        # What came later than the overlap is the sweep's; that it is found in the end is checked at the end.
        since = watermark.end - timedelta(minutes=25)
        read = [r for r in self.scenario.rows if r.ingested_at <= self.clock() and since <= _time(r) <= watermark.end]
        if missing := self.expected(read) - set(self.place.records):
            self.violations.append(f"the watermark {watermark.end:%H:%M} passed {len(missing)} matches not stored")

    async def run_busy(self) -> int:
        """Through the busy time minute by minute; how many minutes that were."""
        minute = 0
        while self.clock() < self.scenario.start + self.scenario.busy:
            await self._tick(minute)
            minute += 1
            self.clock.advance(minutes=1)
        return minute

    async def run(self) -> None:
        """Through the busy time, then on without faults until everything must be done."""
        minute = await self.run_busy()
        self.chaos.active = False
        for _ in range(36):
            await self._tick(minute - minute % 5)
            minute += 5
            self.clock.advance(minutes=5)
        self._check()

    async def _tick(self, minute: int) -> None:
        jobs: list[tuple[int, str]] = []
        for number in range(len(self._processes)):
            jobs += [(number, "deliver")]
            jobs += [(number, "hunt")] if minute % 5 == 0 else []
            jobs += [(number, "sweep")] if minute % 60 == 55 else []
        results = await asyncio.gather(
            *(getattr(self._processes[number], name)() for number, name in jobs), return_exceptions=True
        )
        for (number, name), result in zip(jobs, results, strict=True):
            if result is not None and not isinstance(result, Crash):
                self.violations.append(f"{name} of process {number} left {result!r} unhandled")
        # What a dead process had under way dies at its next call.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)
        for number, process in enumerate(self._processes):
            if process.life.dead:
                self._processes[number] = self._process(number)

    def _process(self, number: int) -> Process:
        return Process(self, self.scenario.skew * number)

    def _check(self) -> None:
        records = [stored.record for stored in MemoryStore(self.place).records.values()]
        expected = self.expected(self.scenario.rows)
        stored = {record.id for record in records if record.match}
        if stored != expected:
            self.violations.append(
                f"{len(expected - stored)} actions not stored, {len(stored - expected)} not expected"
            )
        for name, ledger in self.ledgers.items():
            if lost := expected - ledger.named:
                self.violations.append(f"{len(lost)} actions never reached {name}")
        for name, ledger in self.ledgers.items():
            unmarked = Counter(identifier for identifier, repeat in ledger.sent if not repeat)
            if name == "teams" and (twice := [i for i, count in unmarked.items() if count > 1]):
                self.violations.append(f"{len(twice)} alerts came twice to {name} without saying so")
        for record in records:
            if record.due is not None and record.due != DEAD_DUE:
                self.violations.append(f"record {record.id} is still due at {record.due}")
            if any(delivery.state is DeliveryState.DEAD for delivery in record.deliveries.values()):
                self.violations.append(f"record {record.id} has a dead delivery")
        kinds = Counter(record.alert.kind for record in records if record.alert)
        alone = sum(1 for record in records if record.match and record.alert)
        if kinds[AlertKind.DETECTION] != alone:
            self.violations.append("an alert without a match")
        limit = self.scenario.teams_limit
        times = self.ledgers["teams"].times
        for position, moment in enumerate(times):
            since = moment - timedelta(seconds=limit.seconds)
            if sum(1 for other in times[: position + 1] if other > since) > limit.count:
                self.violations.append(f"more than {limit.count} messages to Teams in {limit.seconds:.0f} s")
                break


def _time(logged: LoggedRow) -> datetime:
    moment = event_time(logged.content)
    if moment is None:
        raise ValueError("a row of a scenario has a time")
    return moment


def logged_row(number: int, at: datetime, delay: timedelta, **changes: Any) -> LoggedRow:
    """The row of action *number* at *at*, in the log after *delay*."""
    content = row(number, TimeGenerated=at.isoformat().replace("+00:00", "Z"), **changes)
    return LoggedRow(content, at + delay)
