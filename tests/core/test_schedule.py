"""When a rule runs, over which windows, and what it waits for."""

import dataclasses
import logging
from datetime import timedelta
from typing import Any

import pytest

from detectors.condition import problems_of, read_progress, waits_of
from detectors.heartbeat import build_heartbeat
from detectors.kql.traits import aggregates, longest_span
from detectors.model import AlertKind, Record, Severity
from detectors.rule import DetectorOptions, Rule
from detectors.sources.logs import MissingNameError
from detectors.sources.windows import Window
from tests.core.samples import RULE, row
from tests.core.test_hunt import Setup

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NO_IDENTITY = DetectorOptions()


def plain(query: str = "AzureActivity", frequency: timedelta = HOUR, **changes: Any) -> Rule:
    """Somebody's rule."""
    changes = {"query_period": frequency, "detector": NO_IDENTITY, "plain": True, **changes}
    return dataclasses.replace(RULE, query=query, query_frequency=frequency, **changes)


def counting(frequency: timedelta = HOUR, **changes: Any) -> Rule:
    return plain("AzureActivity | summarize count() by Caller", frequency, **changes)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("T | summarize count() by A", True),
        ("T\n|make-series N = count() on A step 1h", True),
        ("T | where A in (U | distinct B)", True),
        ("T | take 5", True),
        ("T | evaluate autocluster()", True),
        ("T | extend count = 1, summarize = 2", False),
        ("T // | summarize count()\n| where A == '| summarize'", False),
        ('T | where A == "x\\" | count" | project A', False),
        ("T | where A == ```| top 5 by B```", False),
        ("let top = 5; T | where A > top", False),
        ("T | mv-apply X = Y on (summarize max(X))", False),
    ],
)
def test_whether_a_query_counts_is_decided_on_its_operators(query: str, expected: bool) -> None:
    assert aggregates(query) is expected


def test_the_longest_timespan_is_a_literal_of_the_query() -> None:
    assert longest_span("T | where A > ago(36h) and B < 1.5d and C == '9d' // 30d") == timedelta(days=1.5)
    assert longest_span("T | where A > 5") is None


async def test_an_hourly_rule_runs_hourly_and_a_timer_a_second_early_is_early_enough() -> None:
    setup = Setup(counting())
    await setup.hunt.run()
    for minutes, runs in ((5, 1), (50, 1), (3, 1), (1.99, 2)):
        setup.clock.advance(minutes=minutes)
        report = await setup.hunt.run()
        assert len(setup.workspace.asked) == runs
        assert report.outcomes[0].due is (runs == 2)


async def test_a_counting_rule_reads_exactly_its_period_and_takes_no_part_in_the_sweep() -> None:
    setup = Setup(counting(query_period=DAY))
    for _ in range(2):
        await setup.hunt.run()
        assert setup.workspace.asked[-1][1] == Window(setup.clock() - DAY, setup.clock())
        setup.clock.advance(hours=1)
    await setup.hunt.sweep()
    assert len(setup.workspace.asked) == 2


async def test_a_rule_of_rows_reads_with_overlap_and_is_swept() -> None:
    setup = Setup(plain())
    await setup.hunt.run()
    setup.clock.advance(hours=1)
    await setup.hunt.run()
    assert setup.workspace.asked[-1][1] == Window(setup.clock() - 85 * MINUTE, setup.clock())
    await setup.hunt.sweep()
    assert setup.workspace.asked[-1][1] == Window(setup.clock() - DAY, setup.clock())


async def test_a_daily_rule_re_reads_a_day_at_its_own_runs_and_not_in_the_sweep() -> None:
    setup = Setup(plain(frequency=DAY))
    await setup.hunt.run()
    setup.clock.advance(days=1)
    await setup.hunt.run()
    assert setup.workspace.asked[-1][1] == Window(setup.clock() - 2 * DAY, setup.clock())
    await setup.hunt.sweep()
    assert len(setup.workspace.asked) == 2


async def test_an_outage_of_a_counting_rule_is_made_up_for_in_steps() -> None:
    setup = Setup(counting())
    await setup.hunt.run()
    begin = setup.clock()
    setup.clock.advance(hours=3)
    await setup.hunt.run()
    windows = [window for _, window in setup.workspace.asked[1:]]
    assert windows == [Window(begin + number * HOUR, begin + (number + 1) * HOUR) for number in range(3)]


async def test_a_long_outage_is_bounded_and_said(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(counting())
    await setup.hunt.run()
    setup.clock.advance(days=10)
    with caplog.at_level(logging.WARNING):
        await setup.hunt.run()
    assert len(setup.workspace.asked) == 1 + 24
    assert setup.workspace.asked[-1][1] == Window(setup.clock() - HOUR, setup.clock())
    assert "24 steps of its queryFrequency are made up for and the 216 before" in caplog.text
    assert setup.watermark().end == setup.clock()


async def test_seconds_between_two_runs_are_lost_to_no_window() -> None:
    setup = Setup(counting())
    await setup.hunt.run()
    before = setup.clock()
    setup.clock.advance(seconds=3620)
    await setup.hunt.run()
    assert setup.workspace.asked[-1][1] == Window(before, setup.clock())


@pytest.mark.parametrize(
    ("operator", "threshold", "rows", "alerts"),
    [
        *(("gt", 2, 2, 0), ("gt", 2, 3, 3)),
        *(("lt", 2, 2, 0), ("lt", 2, 1, 1), ("lt", 1, 0, 1)),
        *(("eq", 2, 2, 2), ("eq", 2, 3, 0)),
        *(("ne", 2, 2, 0), ("ne", 2, 1, 1)),
    ],
)
async def test_the_trigger_decides_for_each_window(operator: str, threshold: int, rows: int, alerts: int) -> None:
    setup = Setup(plain(trigger_operator=operator, trigger_threshold=threshold))
    setup.workspace.rows = [row(number) for number in range(rows)]
    report = await setup.hunt.run()
    assert len(report.new_alerts) == alerts
    assert setup.watermark().end == setup.clock()


async def test_silence_is_reported_at_each_run_with_its_window() -> None:
    setup = Setup(plain(trigger_operator="lt", trigger_threshold=1))
    for number in (1, 2):
        await setup.hunt.run()
        assert len(setup.memory.records) == number
        setup.clock.advance(hours=1)
    rows = [record.match.row for record in stored(setup) if record.match]
    assert {content["RowsFound"] for content in rows} == {0}


async def test_a_suppressed_rule_is_quiet_and_what_happened_meanwhile_is_not_reported() -> None:
    setup = Setup(plain(frequency=5 * MINUTE, suppression=2 * HOUR))
    begin = setup.clock()
    setup.workspace.rows = [row(1)]
    assert len((await setup.hunt.run()).new_alerts) == 1
    setup.clock.advance(minutes=115)
    assert not (await setup.hunt.run()).outcomes[0].due
    assert (await setup.hunt.sweep()).new_alerts == ()
    setup.clock.advance(minutes=5)

    def at(number: int, minutes: int) -> dict[str, Any]:
        return row(number, TimeGenerated=(begin + minutes * MINUTE).isoformat())

    setup.workspace.rows = [at(2, 110), at(3, 121)]
    setup.clock.advance(minutes=5)
    assert len((await setup.hunt.run()).new_alerts) == 1
    assert len(setup.memory.records) == 2


async def test_the_detector_is_well_while_a_daily_or_a_suppressed_rule_rests() -> None:
    for rule in (plain(frequency=DAY), plain(frequency=5 * MINUTE, suppression=DAY)):
        setup = Setup(rule)
        setup.workspace.rows = [row(1)]
        await setup.hunt.run()
        setup.clock.advance(hours=23)
        report = await setup.hunt.run()
        progress = await read_progress(setup.memory, [rule], ["w1"])
        assert problems_of(progress, None, setup.clock()) == ()
        beat = build_heartbeat(report, watermarks=progress, backlog=None, finished_at=setup.clock())
        assert (beat.healthy, beat.lag_seconds, beat.rules_run) == (True, 0.0, 0)
        setup.clock.advance(hours=2)
        assert len(problems_of(progress, None, setup.clock())) == 1


def stored(setup: Setup) -> list[Record]:
    return [each.record for each in setup.memory.records.values()]


def lacking(setup: Setup, kind: str = "table", name: str = "AzureDiagnostics") -> None:
    setup.workspace.error = MissingNameError(f"no {name}", kind=kind, name=name)


def numbered(count: int) -> tuple[Rule, ...]:
    return tuple(dataclasses.replace(RULE, id=f"{RULE.id[:-1]}{n}", name=f"Rule {n}") for n in range(count))


async def test_rules_that_wait_are_reported_once_together_and_fail_nothing(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(*numbered(5))
    lacking(setup)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            report = await setup.hunt.run()
            assert report.errors == ()
            setup.clock.advance(minutes=5)
    assert len(setup.workspace.asked) == 5
    (record,) = stored(setup)
    assert record.alert
    assert (record.alert.kind, record.alert.severity) == (AlertKind.HEALTH, Severity.LOW)
    assert record.alert.title == "5 rules wait for the table AzureDiagnostics"
    facts = {fact.label: fact.value for fact in record.alert.facts}
    assert facts["Rules"] == "Rule 0; Rule 1; Rule 2; Rule 3; Rule 4"
    assert "diagnostic setting" in record.alert.response
    assert [each.getMessage() for each in caplog.records] == [
        (
            "workspace w1: 5 rules wait for the table AzureDiagnostics, which it lacks: "
            "Rule 0, Rule 1, Rule 2, Rule 3, Rule 4; tried again daily"
        )
    ]
    progress = await read_progress(setup.memory, setup.rules, ["w1"])
    assert problems_of(progress, None, setup.clock()) == ()
    assert waits_of(progress)[0].startswith("5 rules wait for the table AzureDiagnostics, which workspace w1 lacks")
    beat = build_heartbeat(report, watermarks=progress, backlog=None, finished_at=setup.clock())
    assert (beat.healthy, beat.rules_waiting, beat.rules_run) == (True, 5, 0)


async def test_a_waiting_rule_is_tried_again_daily_and_then_reads_on_from_its_watermark() -> None:
    setup = Setup()
    await setup.hunt.run()
    before = setup.watermark().end
    lacking(setup)
    setup.clock.advance(minutes=5)
    await setup.hunt.run()
    setup.clock.advance(hours=23)
    await setup.hunt.run()
    await setup.hunt.sweep()
    assert len(setup.workspace.asked) == 2
    setup.clock.advance(hours=1)
    await setup.hunt.run()
    assert len(setup.workspace.asked) == 3
    assert len(setup.memory.records) == 1
    setup.clock.advance(days=1)
    setup.workspace.error = None
    await setup.hunt.run()
    assert setup.workspace.asked[3][1].start == before - 25 * MINUTE
    assert (setup.watermark().end, setup.watermark().waiting_for) == (setup.clock(), None)


async def test_a_changed_query_is_tried_at_once() -> None:
    setup = Setup()
    lacking(setup)
    await setup.hunt.run()
    setup.workspace.error = None
    setup.rules = (dataclasses.replace(RULE, query="AzureActivity | where true"),)
    await setup.new_hunt().run()
    assert len(setup.workspace.asked) == 2
    assert setup.watermark().waiting_for is None


async def test_each_missing_thing_and_each_workspace_is_reported_by_itself() -> None:
    setup = Setup(workspaces=("w1", "w2"))
    lacking(setup)
    await setup.hunt.run()
    setup.clock.advance(days=1)
    lacking(setup, "function", "_Im_X")
    await setup.hunt.run()
    alerts = [record.alert for record in stored(setup) if record.alert]
    assert sorted(alert.title for alert in alerts) == [
        *["1 rule waits for the function _Im_X"] * 2,
        *["1 rule waits for the table AzureDiagnostics"] * 2,
    ]


async def test_a_plain_rule_whose_columns_are_absent_runs() -> None:
    setup = Setup(plain(custom_details=(("Broken", "NoSuchColumn"),)))
    setup.workspace.rows = [row(1)]
    assert len((await setup.hunt.run()).new_alerts) == 1
