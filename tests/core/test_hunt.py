"""The hunt: windows, watermarks and failures."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from detectors.model import AlertKind
from detectors.rule import Rule
from detectors.sources.hunt import FAILURES_BEFORE_ALERT, Hunt, HuntLimits
from detectors.sources.logs import QueryError
from detectors.sources.windows import Watermark, Window
from detectors.state.store import StoreUnavailable
from detectors.triage.intake import Intake
from tests.clock import Clock
from tests.core.samples import RULE, row
from tests.memory_store import MemoryStore

LIMITS = HuntLimits(
    concurrency=5,
    overlap=timedelta(minutes=25),
    longest_window=timedelta(hours=6),
    initial_lookback=timedelta(hours=1),
    time_budget=timedelta(minutes=4),
    alert_limit=100,
    sweep_lookback=timedelta(days=1),
)


class Workspace:
    """Answers queries as a test says and remembers them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Window]] = []
        self.error: Exception | None = None
        self.running = self.most = 0
        self.hook: Callable[[], None] = lambda: None

    async def __call__(
        self, workspace: str, text: str, window: Window, time_left: Callable[[], float]
    ) -> list[dict[str, Any]]:
        self.asked.append((workspace, window))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        self.hook()
        if self.error:
            raise self.error
        return list(self.rows)


class Setup:
    def __init__(self, *rules: Rule, workspaces: tuple[str, ...] = ("w1",)) -> None:
        self.clock = Clock()
        self.memory = MemoryStore()
        self.workspace = Workspace()
        self.rules = rules or (RULE,)
        self.workspaces = workspaces
        self.hunt = self.new_hunt()

    def new_hunt(self) -> Hunt:
        return Hunt(
            rules=self.rules,
            workspaces=self.workspaces,
            query=self.workspace,
            store=self.memory,
            intake=Intake(store=self.memory, clock=self.clock),
            limits=LIMITS,
            clock=self.clock,
        )

    def watermark(self, workspace: str = "w1") -> Watermark:
        document = self.memory.documents[f"watermark/{self.rules[0].id}/{workspace}"]
        return msgspec.json.decode(document.value, type=Watermark)


async def test_a_window_that_was_read_and_stored_moves_the_watermark_to_its_end() -> None:
    setup = Setup()
    setup.workspace.rows = [row(1)]
    report = await setup.hunt.run()
    assert len(report.new_alerts) == 1
    assert setup.watermark().end == setup.clock()


async def test_the_same_hunt_twice_alerts_once() -> None:
    setup = Setup()
    setup.workspace.rows = [row(1), row(2)]
    await setup.hunt.run()
    assert (await setup.hunt.run()).new_alerts == ()


async def test_two_hunts_at_once_alert_once() -> None:
    setup = Setup()
    setup.workspace.rows = [row(number) for number in range(10)]
    one, other = await asyncio.gather(setup.hunt.run(), setup.new_hunt().run())
    assert len(one.new_alerts) + len(other.new_alerts) == 10


async def test_a_failed_query_leaves_the_watermark_and_the_next_run_reads_the_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Setup()
    await setup.hunt.run()
    before = setup.watermark().end
    setup.workspace.error = QueryError("the result was cut off", permanent=False)
    setup.clock.advance(minutes=5)
    with caplog.at_level(logging.ERROR):
        report = await setup.hunt.run()
    assert report.errors[0].error == "the result was cut off"
    assert setup.watermark().end == before
    assert "the window stays unread and the next run tries again" in caplog.text
    setup.workspace.error = None
    setup.clock.advance(minutes=5)
    await setup.hunt.run()
    assert setup.workspace.asked[-1][1] == Window(before - timedelta(minutes=25), setup.clock())
    assert setup.watermark() == Watermark(end=setup.clock())


async def test_a_store_that_fails_leaves_the_watermark(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup()
    await setup.hunt.run()
    before = setup.watermark().end
    setup.clock.advance(minutes=5)
    setup.workspace.rows = [row(1)]

    async def down(record: Any) -> bool:
        raise StoreUnavailable(f"no answer while storing {record.id}")

    setup.memory.create = down  # type: ignore[method-assign]  # the one seam a test needs
    with caplog.at_level(logging.ERROR):
        report = await setup.hunt.run()
    assert "no answer while storing" in (report.errors[0].error or "")
    assert setup.watermark().end == before


async def test_a_rule_that_keeps_failing_raises_one_alert_of_its_own_for_each_failing_stretch() -> None:
    setup = Setup()

    async def fail(times: int) -> None:
        setup.workspace.error = QueryError("no such table", permanent=True)
        for _ in range(times):
            setup.clock.advance(minutes=5)
            await setup.hunt.run()
        setup.workspace.error = None

    await fail(FAILURES_BEFORE_ALERT - 1)
    assert not setup.memory.records
    await fail(5)
    assert len(setup.memory.records) == 1
    (stored,) = setup.memory.records.values()
    assert stored.record.alert is not None
    assert stored.record.alert.kind is AlertKind.HEALTH
    assert "no such table" in [fact.value for fact in stored.record.alert.facts]
    await setup.hunt.run()
    await fail(FAILURES_BEFORE_ALERT)
    assert len(setup.memory.records) == 2


async def test_a_failing_rule_stops_none_of_the_others() -> None:
    other = dataclasses.replace(RULE, id="5a1c0c5e-0000-4000-8000-000000000002", entity_mappings=(), custom_details=())
    other = dataclasses.replace(other, detector=dataclasses.replace(RULE.detector, summary=("Absent",)))
    setup = Setup(other, RULE)
    setup.workspace.rows = [row(1)]
    report = await setup.hunt.run()
    assert "no column Absent" in (report.outcomes[0].error or "")
    assert len(report.outcomes[1].new) == 1


async def test_an_unexpected_defect_in_one_rule_is_logged_and_stops_none_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Setup(workspaces=("w1", "w2"))

    def break_second() -> None:
        if len(setup.workspace.asked) == 2 and not caplog.records:
            raise ZeroDivisionError

    setup.workspace.hook = break_second
    report = await setup.hunt.run()
    assert [bool(outcome.error) for outcome in report.outcomes].count(True) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_after_an_outage_each_finished_window_is_kept_even_if_a_later_one_fails() -> None:
    setup = Setup()
    await setup.hunt.run()
    start = setup.clock()
    setup.clock.advance(hours=14)

    def fail_second() -> None:
        setup.workspace.error = QueryError("504", permanent=False) if len(setup.workspace.asked) == 3 else None

    setup.workspace.hook = fail_second
    await setup.hunt.run()
    assert setup.watermark().end == start + timedelta(hours=6)


async def test_catching_up_stops_at_the_time_budget_and_says_where_it_goes_on() -> None:
    setup = Setup()
    await setup.hunt.run()
    setup.clock.advance(days=3)
    setup.workspace.hook = lambda: setup.clock.advance(minutes=3)
    report = await setup.hunt.run()
    assert report.outcomes[0].windows == 2
    assert report.outcomes[0].remaining == 10
    assert report.errors == ()


async def test_at_most_five_queries_run_at_once() -> None:
    rules = [dataclasses.replace(RULE, id=f"5a1c0c5e-0000-4000-8000-0000000000{n:02d}") for n in range(12)]
    setup = Setup(*rules, workspaces=("w1", "w2"))
    await setup.hunt.run()
    assert len(setup.workspace.asked) == 24
    assert setup.workspace.most == 5


async def test_several_workspaces_are_hunted_each_with_its_own_watermark() -> None:
    setup = Setup(workspaces=("w1", "w2"))
    setup.workspace.rows = [row(1)]
    report = await setup.hunt.run()
    assert {workspace for workspace, _ in setup.workspace.asked} == {"w1", "w2"}
    assert len(report.new_alerts) == 1
    assert setup.watermark("w1") == setup.watermark("w2")


async def test_the_sweep_reads_the_last_day_and_moves_no_watermark() -> None:
    setup = Setup()
    await setup.hunt.run()
    before = dict(setup.memory.documents)
    setup.workspace.rows = [row(1)]
    report = await setup.hunt.sweep()
    assert len(report.new_alerts) == 1
    assert setup.workspace.asked[-1][1].start == setup.clock() - timedelta(days=1)
    assert {n: d for n, d in setup.memory.documents.items() if n.startswith("watermark/")} == before


async def test_beyond_the_limit_of_a_run_the_rest_is_one_summary() -> None:
    setup = Setup()
    setup.workspace.rows = [row(number) for number in range(130)]
    report = await setup.hunt.run()
    assert len(report.new_alerts) == 101


async def test_a_slower_hunt_never_moves_the_watermark_back() -> None:
    setup = Setup()
    setup.workspace.hook = lambda: None
    slow = setup.hunt.run()
    await slow
    setup.clock.advance(minutes=5)
    ahead = Watermark(end=setup.clock())
    document = await setup.memory.read_document(f"watermark/{RULE.id}/w1")
    assert document is not None
    setup.clock.advance(minutes=-3)

    def other_run_finishes() -> None:
        setup.memory.documents[f"watermark/{RULE.id}/w1"] = dataclasses.replace(
            document, value=msgspec.json.encode(ahead), version="99"
        )
        setup.clock.advance(minutes=3)

    setup.workspace.hook = other_run_finishes
    await setup.hunt.run()
    assert setup.watermark().end == ahead.end
