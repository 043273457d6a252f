"""The promises of README, with real clients: what is found, how it is told, and that it is told once."""

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from detectors.app import Detector
from detectors.model import Alert, DeliveryState, Severity
from sandbox import faults
from sandbox.faults import Endpoint, Fault
from sandbox.report.outcome import compare
from sandbox.scenario import load_scenario
from sandbox.server import Sandbox
from tests.clock import Clock
from tests.end_to_end.conftest import Start

ATTACK = "setup-then-execute"
RECEIVERS = ("teams", "ingestion", "webhook")


async def alerts_of(detector: Detector, ids: Sequence[str]) -> list[Alert]:
    stored = [await detector.store.read(identifier) for identifier in ids]
    return [entry.record.alert for entry in stored if entry and entry.record.alert]


def received(sandbox: Sandbox, endpoint: str) -> Counter[str]:
    """How often one receiver accepted each alert, by the first twelve characters of its id."""
    ids: Counter[str] = Counter()
    for entry in sandbox.ledger.at(endpoint):
        if not entry.accepted:
            continue
        if endpoint == "ingestion":
            ids.update(row["AlertId"][:12] for row in entry.body if row["AlertKind"] != "heartbeat")
        elif endpoint == "webhook":
            ids[entry.body["data"]["id"][:12]] += 1
        else:
            ids.update(re.findall(r"Alert ([0-9a-f]{12}) ", json.dumps(entry.body)))
    return ids


def once(ids: Sequence[str]) -> Counter[str]:
    return Counter(identifier[:12] for identifier in ids)


async def settle(detector: Detector, clock: Clock) -> None:
    """Let deliveries and retries run until an hour has passed."""
    for _ in range(12):
        clock.advance(minutes=5)
        await detector.deliver()


@pytest.mark.parametrize("name", [ATTACK, "quiet-day", "function-app-host"])
async def test_a_scenario_gives_the_alerts_that_its_file_says_at_every_destination(
    name: str, start: Start, tmp_path: Path, clock: Clock
) -> None:
    scenario = load_scenario(name)
    with Sandbox.start(tmp_path, scenario, clock) as sandbox:
        sandbox.play_all()
        async with start(sandbox) as detector:
            report = await detector.hunt()
            assert report.errors == ()
            alerts = await alerts_of(detector, report.new_alerts)
            names = {rule.id: Path(rule.path).stem for rule in detector.rules}
            lines = compare(scenario.expect, alerts, names)
            assert [str(line) for line in lines if not line.met] == []
            for endpoint in RECEIVERS:
                assert received(sandbox, endpoint) == once(report.new_alerts), endpoint
            assert not [entry for entry in sandbox.ledger.entries if entry.failed_action]


async def test_every_hunt_writes_a_heartbeat(start: Start, tmp_path: Path, clock: Clock) -> None:
    with Sandbox.start(tmp_path, "quiet-day", clock) as sandbox:
        async with start(sandbox) as detector:
            await detector.hunt()
            clock.advance(minutes=5)
            await detector.hunt()
            rows = [row for entry in sandbox.ledger.at("ingestion") for row in entry.body]
            assert [row["AlertKind"] for row in rows] == ["heartbeat", "heartbeat"]
            assert rows[0]["AlertId"] != rows[1]["AlertId"]
            assert rows[1]["Row"]["rules_failed"] == 0
            assert rows[1]["Row"]["lag_seconds"] < 60


async def test_every_alert_of_the_attack_shows_the_script_and_the_watcher(
    start: Start, tmp_path: Path, clock: Clock
) -> None:
    with Sandbox.start(tmp_path, ATTACK, clock) as sandbox:
        sandbox.play_all()
        async with start(sandbox) as detector:
            report = await detector.hunt()
            collected = {rule.id for rule in detector.rules if "watchers" in rule.detector.enrich}
            alerts = [a for a in await alerts_of(detector, report.new_alerts) if a.rule_id in collected]
            assert len(alerts) >= 8
            for alert in alerts:
                scripts = [code for evidence in alert.evidence for code in evidence.code if code.focus]
                assert scripts, alert.title
                assert any("169.254.169.254" in code.text for code in scripts), alert.title
                (watchers,) = [evidence for evidence in alert.evidence if evidence.name == "watchers"]
                told = " ".join(fact.value for fact in watchers.facts)
                assert watchers.missing is None
                assert "hwg-batch-prod" in told, alert.title
                assert "60" in told, alert.title
                assert alert.severity is Severity.HIGH
                assert any("hwg-batch-prod" in reason for reason in alert.severity_reasons)


async def test_each_step_played_and_hunted_alone_gives_the_same_alerts(
    start: Start, tmp_path: Path, clock: Clock
) -> None:
    scenario = load_scenario(ATTACK)
    with Sandbox.start(tmp_path, scenario, clock) as sandbox:
        async with start(sandbox, ATTACK) as detector:
            new: list[str] = []
            for number in range(len(scenario.steps)):
                sandbox.play_step(number)
                new += (await detector.hunt()).new_alerts
            assert len(new) == sum(expectation.count for expectation in scenario.expect)
            assert received(sandbox, "webhook") == once(new)


async def test_the_same_hunt_twice_alerts_once(start: Start, tmp_path: Path, clock: Clock) -> None:
    with Sandbox.start(tmp_path, ATTACK, clock) as sandbox:
        sandbox.play_all()
        async with start(sandbox, ATTACK) as detector:
            first = await detector.hunt()
            clock.advance(minutes=5)
            assert (await detector.hunt()).new_alerts == ()
            assert (await detector.sweep()).new_alerts == ()
            for endpoint in RECEIVERS:
                assert received(sandbox, endpoint) == once(first.new_alerts)


async def test_two_hunts_at_once_alert_once(start: Start, tmp_path: Path, clock: Clock) -> None:
    with Sandbox.start(tmp_path, ATTACK, clock) as sandbox:
        sandbox.play_all()
        async with start(sandbox, ATTACK) as one, start(sandbox, ATTACK) as other:
            reports = await asyncio.gather(one.hunt(), other.hunt(), one.deliver(), other.deliver())
            await settle(one, clock)
            new = [*reports[0].new_alerts, *reports[1].new_alerts]
            assert len(new) == len(set(new)) == sum(e.count for e in load_scenario(ATTACK).expect)
            for endpoint in RECEIVERS:
                assert received(sandbox, endpoint) == once(new), endpoint


FAULTS: list[tuple[Endpoint, Fault, str]] = [
    ("logs", faults.Status(429), "the window stays unread and the next run tries again"),
    ("logs", faults.Status(500), "the window stays unread and the next run tries again"),
    ("logs", faults.Html(502), "the window stays unread and the next run tries again"),
    ("logs", faults.Partial(), "the window stays unread and the next run tries again"),
    ("logs", faults.Reset(), "the window stays unread and the next run tries again"),
    ("automation", faults.Status(429, retry_after=1), ""),
    ("automation", faults.Status(500), ""),
    ("automation", faults.Html(502), ""),
    ("automation", faults.Reset(), ""),
    ("teams", faults.Status(429, retry_after=60), "did not reach teams"),
    ("teams", faults.Status(500), "did not reach teams"),
    ("teams", faults.Html(502), "did not reach teams"),
    ("teams", faults.Reset(), "did not reach teams"),
    ("ingestion", faults.Status(429, retry_after=60), "did not reach log-table"),
    ("ingestion", faults.Status(500), "did not reach log-table"),
    ("ingestion", faults.Html(502), "did not reach log-table"),
    ("ingestion", faults.Reset(), "did not reach log-table"),
    ("webhook", faults.Status(429, retry_after=60), "did not reach webhook"),
    ("webhook", faults.Status(500), "did not reach webhook"),
    ("webhook", faults.Html(502), "did not reach webhook"),
    ("webhook", faults.Reset(), "did not reach webhook"),
    ("token", faults.Status(500), "tries again"),
    ("token", faults.Html(502), "tries again"),
]


@pytest.mark.parametrize(
    ("endpoint", "fault", "words"),
    FAULTS,
    ids=[f"{e}-{type(f).__name__}-{getattr(f, 'status', '')}" for e, f, _ in FAULTS],
)
async def test_with_any_fault_no_alert_is_lost_and_the_log_says_what_happens_next(
    endpoint: Endpoint,
    fault: Fault,
    words: str,
    start: Start,
    tmp_path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = sum(expectation.count for expectation in load_scenario(ATTACK).expect)
    with Sandbox.start(tmp_path, ATTACK, clock) as sandbox:
        sandbox.play_all()
        sandbox.faults.set(endpoint, fault)
        async with start(sandbox, ATTACK, ENRICHMENT_TIMEOUT="2s") as detector:
            with caplog.at_level(logging.WARNING):
                during = await detector.hunt()
            assert words in caplog.text
            sandbox.faults.clear()
            clock.advance(minutes=5)
            after = await detector.hunt()
            await settle(detector, clock)
            new = [*during.new_alerts, *after.new_alerts]
            alerts = await alerts_of(detector, new)
            assert len(alerts) == expected
            for name in RECEIVERS:
                # A reset or a 5xx leaves open whether the message arrived, so only then may it be there again.
                assert set(received(sandbox, name)) == set(once(new)), name
            if endpoint == "automation":
                missing = [evidence.missing for alert in alerts for evidence in alert.evidence if evidence.missing]
                assert missing, "what could not be collected is stated"
            for identifier in new:
                stored = await detector.store.read(identifier)
                assert stored is not None
                assert {delivery.state for delivery in stored.record.deliveries.values()} == {DeliveryState.SENT}


async def test_an_automation_api_that_never_answers_delays_no_alert_past_its_deadline(
    start: Start, tmp_path: Path, clock: Clock
) -> None:
    with (
        Sandbox.start(tmp_path, "function-app-host", clock) as sandbox,
        Sandbox.start(tmp_path / "2", ATTACK, clock) as slow,
    ):
        assert sandbox.url != slow.url
        slow.play_step(0)
        slow.faults.set("automation", faults.Slow())
        async with start(slow, ATTACK, ENRICHMENT_TIMEOUT="1s", TRIAGE_DEADLINE="1s") as detector:
            report = await detector.hunt()
            slow.faults.clear()
            (alert,) = await alerts_of(detector, report.new_alerts)
            assert all("1 s" in (evidence.missing or "") for evidence in alert.evidence)
            assert received(slow, "teams") == once(report.new_alerts)


async def test_several_workspaces_are_hunted_by_one_app(start: Start, tmp_path: Path, clock: Clock) -> None:
    with Sandbox.start(tmp_path, ATTACK, clock) as sandbox:
        second = "77777777-7777-4777-8777-777777777777"
        sandbox.add_rows(second, [{"TimeGenerated": clock(), "Caller": "somebody"}])
        async with start(sandbox) as detector:
            report = await detector.hunt()
            assert {outcome.workspace for outcome in report.outcomes} == {sandbox.workspace, second}
