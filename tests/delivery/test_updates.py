"""Evidence that is added to an alert after it was sent reaches those that recognise the alert, and nobody else."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.identity.aio import ManagedIdentityCredential
from msgspec.structs import replace

from detectors.delivery.destination import Destination, UpdatingDestination
from detectors.delivery.http import Poster
from detectors.delivery.incident import incident_id
from detectors.delivery.log_table import LogTableDestination, build_row
from detectors.delivery.pagerduty import PagerDutyDestination, build_event
from detectors.delivery.sentinel import SentinelDestination
from detectors.delivery.teams import TeamsDestination
from detectors.delivery.webhook import WebhookDestination
from detectors.model import ALSO_REPORTED, Alert, Evidence, Fact
from sandbox import faults
from sandbox.server import Sandbox
from tests.factories import EVENT_TIME, build_alert

STORY = "a" * 32
URL = "https://contoso.example/hook"
CALLER = "[mallory](https://evil.example)"


def alert(number: int = 1, **changes: Any) -> Alert:
    return build_alert(**{"id": f"{number:032x}", "story": STORY, "title": f"Alert {number}"} | changes)


def updated(before: Alert, times: int = 1) -> Alert:
    """*before*, after another source reported the action *times*."""
    reports = [
        Evidence(
            name=ALSO_REPORTED,
            title="Also reported by the Activity Log",
            facts=(Fact("Caller", CALLER), Fact("Correlation id", f"correlation-{number}")),
            data={"matchId": f"m{number}"},
        )
        for number in range(times)
    ]
    return replace(
        before,
        evidence=(*before.evidence, *reports),
        updates=times,
        updated_at=before.created_at + timedelta(minutes=6 * times),
    )


def test_those_that_recognise_an_alert_are_known_and_a_card_or_a_signed_message_is_sent_once() -> None:
    credential: Any = None
    poster = Poster(clock=lambda: EVENT_TIME)
    destinations: list[Destination] = [
        TeamsDestination(URL, poster=poster),
        WebhookDestination(URL, "whsec_" + "a" * 32, clock=lambda: EVENT_TIME, poster=poster),
        PagerDutyDestination("a" * 32, poster=poster),
        LogTableDestination(URL, "dcr-1", "Custom-X", credential, clock=lambda: EVENT_TIME),
        SentinelDestination("/subscriptions/s", credential, clock=lambda: EVENT_TIME),
    ]
    taking = [each.name for each in destinations if isinstance(each, UpdatingDestination) and each.updates]
    assert taking == ["pagerduty", "log-table", "sentinel"]


def test_the_row_of_an_updated_alert_is_newer_and_of_the_same_alert() -> None:
    before, after = build_row(alert()), build_row(updated(alert(), 2))
    assert (before["Updates"], after["Updates"]) == (0, 2)
    assert before["TimeGenerated"] < after["TimeGenerated"]
    assert after["TimeGenerated"] == (alert().created_at + timedelta(minutes=12)).isoformat()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"TimeGenerated", "Updates", "Evidence"}


def test_the_event_of_an_updated_alert_belongs_to_the_same_incident() -> None:
    before, after = build_event(alert()), build_event(updated(alert()))
    assert before["dedup_key"] == after["dedup_key"]
    told = after["payload"]["custom_details"]["evidence"][-1]
    assert told == {
        "title": "Also reported by the Activity Log",
        "facts": [f"Caller: {CALLER}", "Correlation id: correlation-0"],
    }


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, clock=lambda: EVENT_TIME) as started:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, started.environment()[name])
        yield started


@pytest.fixture
async def sentinel(sandbox: Sandbox) -> AsyncIterator[SentinelDestination]:
    async with ManagedIdentityCredential() as credential:
        destination = SentinelDestination(
            sandbox.sentinel_workspace,
            credential,
            clock=lambda: EVENT_TIME,
            base_url=sandbox.url,
            scope="https://management.azure.com/.default",
            connection_verify=str(sandbox.ca_bundle),
        )
        yield destination
        await destination.close()


def messages(sandbox: Sandbox, number: int = 1) -> list[str]:
    return [each["properties"]["message"] for each in sandbox.sentinel.comments(incident_id(alert(), number))]


async def test_an_update_of_the_incidents_own_alert_is_one_comment(
    sandbox: Sandbox, sentinel: SentinelDestination
) -> None:
    first = await sentinel.send(alert(), possible_repeat=False)
    for repeat in (False, True):
        assert await sentinel.send(updated(alert()), possible_repeat=repeat) == first
    (message,) = messages(sandbox)
    assert "<b>New evidence: HIGH Alert 1</b>" in message
    assert "Correlation id: correlation&#45;0" in message or "Correlation id: correlation-0" in message
    assert "](https://" not in message, "no text from outside becomes a link"
    assert f'AlertId is "{alert().id}"'.replace('"', "&#34;") in message
    assert len(sandbox.sentinel.incidents) == 1


async def test_a_second_update_is_a_second_comment(sandbox: Sandbox, sentinel: SentinelDestination) -> None:
    await sentinel.send(alert(), possible_repeat=False)
    for times in (1, 2):
        await sentinel.send(updated(alert(), times), possible_repeat=False)
    _, second = messages(sandbox)
    assert second.count("Also reported by") == 2


async def test_an_update_of_an_alert_that_is_a_comment_follows_it(
    sandbox: Sandbox, sentinel: SentinelDestination
) -> None:
    await sentinel.send(alert(1), possible_repeat=False)
    await sentinel.send(alert(2), possible_repeat=False)
    await sentinel.send(updated(alert(2)), possible_repeat=False)
    told, added = messages(sandbox)
    assert "Also reported by" not in told
    assert "New evidence: HIGH Alert 2" in added


async def test_an_update_never_makes_a_further_incident_of_one_that_is_closed(
    sandbox: Sandbox, sentinel: SentinelDestination
) -> None:
    await sentinel.send(alert(1), possible_repeat=False)
    await sentinel.send(alert(2), possible_repeat=False)
    sandbox.sentinel.edit(incident_id(alert()), status="Closed")
    await sentinel.send(updated(alert(1)), possible_repeat=False)
    await sentinel.send(updated(alert(2)), possible_repeat=False)
    assert len(messages(sandbox)) == 3
    assert len(sandbox.sentinel.incidents) == 1


async def test_a_full_incident_is_left_and_the_log_says_where_the_evidence_is(
    sandbox: Sandbox, sentinel: SentinelDestination, caplog: pytest.LogCaptureFixture
) -> None:
    await sentinel.send(alert(), possible_repeat=False)
    for number in range(100):
        sandbox.sentinel.comment(incident_id(alert()), f"Note {number}")
    await sentinel.send(updated(alert()), possible_repeat=False)
    assert len(messages(sandbox)) == 100
    assert len(sandbox.sentinel.incidents) == 1
    assert f"what was added to alert {alert().id} is in the table" in caplog.text


async def test_an_alert_that_was_updated_before_it_was_first_sent_is_told_whole(
    sandbox: Sandbox, sentinel: SentinelDestination
) -> None:
    await sentinel.send(updated(alert(1)), possible_repeat=False)
    (incident,) = sandbox.sentinel.incidents
    assert f"Also reported by the Activity Log\nCaller: {CALLER}" in incident["properties"]["description"]
    assert messages(sandbox) == []
    await sentinel.send(updated(alert(2)), possible_repeat=False)
    (message,) = messages(sandbox)
    assert "<b>HIGH Alert 2</b>" in message
    assert "<b>Also reported by the Activity Log</b>" in message


async def test_an_update_that_meets_a_conflict_is_decided_anew(sandbox: Sandbox, sentinel: SentinelDestination) -> None:
    await sentinel.send(alert(), possible_repeat=False)
    answer, conflicts = sandbox.sentinel.answer, [409]

    def meddle(request: Any) -> Any:
        if request.method == "PUT" and conflicts:
            return faults.response_of("sentinel", faults.Status(conflicts.pop()))
        return answer(request)

    sandbox.sentinel.answer = meddle  # type: ignore[method-assign]  # stands between, for this test
    await sentinel.send(updated(alert()), possible_repeat=False)
    assert len(messages(sandbox)) == 1
