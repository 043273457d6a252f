"""PagerDuty: one story is one incident, a repeat is no second page, and no event is too large or disguised."""

import json
import unicodedata
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from detectors.delivery.destination import DeliveryError
from detectors.delivery.http import Poster
from detectors.delivery.pagerduty import (
    DEDUP_KEY_LIMIT,
    MAX_BYTES,
    SUMMARY_LIMIT,
    PagerDutyDestination,
    build_event,
    build_resolve,
    dedup_key,
)
from detectors.delivery.text import encode_json
from detectors.model import Fact, FocusLine, Severity
from sandbox.faults import Html, Reset, Status
from sandbox.server import Sandbox
from tests.delivery.hostile import FLOOD, MARK, Hostile, hostile_alerts
from tests.delivery.receiver import Answer, Receiver
from tests.factories import EVENT_TIME, build_alert, build_code, build_evidence, build_health, build_summary

KEY = "0123456789abcdef0123456789ABCDEF"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, clock=lambda: EVENT_TIME) as started:
        yield started


@pytest.fixture
async def pagerduty(sandbox: Sandbox) -> AsyncIterator[PagerDutyDestination]:
    poster = Poster(clock=lambda: EVENT_TIME, connection_verify=str(sandbox.ca_bundle))
    destination = PagerDutyDestination(sandbox.pagerduty_routing_key, poster=poster, url=sandbox.pagerduty_url)
    yield destination
    await destination.close()


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)


def test_the_event_leads_with_what_happened_and_why_it_is_serious() -> None:
    event = build_event(build_alert(story="s" * 32))
    assert event["event_action"] == "trigger"
    assert event["dedup_key"] == "s" * 32
    assert event["payload"] | {"custom_details": None} == {
        "summary": "Watcher created on aa-prod - The script downloads and runs code from the internet.",
        "source": "aa-prod",
        "severity": "critical",
        "timestamp": "2026-03-14T02:07:31+00:00",
        "component": "watchers/nightly",
        "group": "rg-ops",
        "class": "Watcher task created",
        "custom_details": None,
    }
    details = event["payload"]["custom_details"]
    assert details["caller"] == "mallory@contoso.example"
    assert details["facts"] == ["Claims: interactive sign-in"]
    assert details["evidence"][0] == {
        "title": "Watcher configuration",
        "facts": ["Runs every: 60 s", "Runbook: nightly"],
    }
    assert "trimmed" not in details
    assert event["client_url"] == event["links"][0]["href"] == build_alert().portal_url
    assert "routing_key" not in event


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [
        (Severity.HIGH, "critical"),
        (Severity.MEDIUM, "error"),
        (Severity.LOW, "warning"),
        (Severity.INFORMATIONAL, "info"),
    ],
)
def test_every_severity_has_its_counterpart(severity: Severity, theirs: str) -> None:
    assert build_event(build_alert(severity=severity))["payload"]["severity"] == theirs


def test_alerts_of_one_story_share_a_key_and_an_alert_without_one_has_its_own() -> None:
    first, second = build_alert(id="a", story="story"), build_alert(id="b", story="story")
    assert dedup_key(first) == dedup_key(second) == "story"
    assert dedup_key(build_health(id="c")) == "c"


def test_a_key_that_is_too_long_is_shortened_the_same_way_every_time() -> None:
    key = build_event(build_alert(story="k" * 300))["dedup_key"]
    assert len(key) <= DEDUP_KEY_LIMIT
    assert build_resolve("k" * 300) == {"event_action": "resolve", "dedup_key": key}
    assert key != build_resolve("k" * 301)["dedup_key"]


def test_the_telling_lines_of_a_script_are_in_the_details_and_missing_evidence_says_why() -> None:
    code = build_code("\n".join(f"line {number}" for number in range(1, 901)), focus=(FocusLine(500, "Runs it."),))
    evidence = (build_evidence(facts=(), code=(code,)), build_evidence(facts=(), missing="The draft is gone."))
    shown = build_event(build_alert(evidence=evidence))["payload"]["custom_details"]["evidence"]
    assert shown[0]["scripts"][0]["read_first"] == ["500: Runs it."]
    assert shown[0]["scripts"][0]["lines"] == [f"{number}: line {number}" for number in range(498, 503)]
    assert shown[0]["scripts"][0]["sha256"] == code.sha256
    assert shown[1] == {"title": "Watcher configuration", "missing": "The draft is gone."}


def test_a_summary_names_every_match() -> None:
    items = build_event(build_summary(100))["payload"]["custom_details"]["items"]
    assert len(items) == 100
    assert items[99].endswith("/runbooks/maintenance-task-0099")


def test_what_does_not_fit_is_named() -> None:
    many = tuple(build_evidence(facts=tuple(Fact("Fact", "v" * 900) for _ in range(200))) for _ in range(3))
    event = build_event(build_alert(evidence=many))
    assert event["payload"]["custom_details"]["trimmed"] == ["evidence"]
    assert len(encode_json(event)) < MAX_BYTES


def test_an_address_that_is_not_plainly_a_url_is_no_link() -> None:
    event = build_event(build_alert(portal_url="javascript:alert(1)", query_url="https://a.example/ x", references=()))
    assert "client_url" not in event
    assert "links" not in event


@FLOOD
@given(hostile_alerts())
def test_every_hostile_alert_is_an_event_the_service_takes(hostile: Hostile) -> None:
    event = build_event(hostile.alert)
    body = encode_json({"routing_key": KEY, **event})
    assert len(body) <= MAX_BYTES
    assert json.loads(body) == {"routing_key": KEY, **event}
    payload = event["payload"]
    assert 0 < len(payload["summary"]) <= SUMMARY_LIMIT
    assert payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert not [
        character
        for text in texts(payload)
        for character in text
        if character != "\n" and unicodedata.category(character) in {"Cc", "Cf", "Cs"}
    ]
    assert not [link for link in event.get("links", []) if MARK in link["href"]]


async def test_a_story_is_one_incident_however_many_alerts_and_repeats_it_has(
    sandbox: Sandbox, pagerduty: PagerDutyDestination
) -> None:
    alerts = [build_alert(id=f"alert-{number}", story="story") for number in range(3)]
    receipts = [await pagerduty.send(alert, possible_repeat=False) for alert in (*alerts, alerts[0])]
    assert [receipt.remote_id for receipt in receipts] == ["story"] * 4
    await pagerduty.send(build_health(id="health"), possible_repeat=True)
    assert sandbox.pagerduty.incidents == {"story": "triggered", "health": "triggered"}


async def test_a_resolved_story_closes_its_incident(sandbox: Sandbox, pagerduty: PagerDutyDestination) -> None:
    alert = build_alert(story="story")
    await pagerduty.send(alert, possible_repeat=False)
    receipt = await pagerduty.resolve(dedup_key(alert))
    assert receipt.remote_id == "story"
    assert sandbox.pagerduty.incidents == {"story": "resolved"}


async def test_a_refused_event_is_given_up_with_the_reason_of_the_service(sandbox: Sandbox) -> None:
    poster = Poster(clock=lambda: EVENT_TIME, connection_verify=str(sandbox.ca_bundle))
    destination = PagerDutyDestination(KEY, poster=poster, url=sandbox.pagerduty_url, name="oncall")
    with pytest.raises(DeliveryError, match=r"^oncall: .* answered 400") as caught:
        await destination.send(build_alert(), possible_repeat=False)
    await destination.close()
    assert caught.value.permanent
    assert "'routing_key' is not known" in str(caught.value)
    assert "copy the integration key again" in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(429, retry_after=120, times=1), "answered 429"),
        (Status(503, times=1), "answered 503"),
        (Html(502, times=1), "answered 502"),
        (Reset(times=1), "no answer"),
    ],
)
async def test_a_busy_or_broken_service_is_tried_again(
    sandbox: Sandbox, pagerduty: PagerDutyDestination, fault: Status | Html | Reset, said: str
) -> None:
    sandbox.faults.set("pagerduty", fault)
    with pytest.raises(DeliveryError, match=said) as caught:
        await pagerduty.send(build_alert(), possible_repeat=False)
    assert not caught.value.permanent
    assert caught.value.retry_after == (120 if isinstance(fault, Status) and fault.status == 429 else None)
    await pagerduty.send(build_alert(), possible_repeat=True)
    assert list(sandbox.pagerduty.incidents.values()) == ["triggered"]


async def test_a_success_that_is_not_accepted_does_not_count(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(200, body=b"<html>welcome</html>"))
    destination = PagerDutyDestination(KEY, poster=poster, url=receiver.url)
    with pytest.raises(DeliveryError, match="answered 200, not 202") as caught:
        await destination.send(build_alert(), possible_repeat=False)
    assert (caught.value.permanent, caught.value.may_have_arrived) == (False, True)


async def test_the_routing_key_is_never_shown_even_if_the_service_repeats_it(
    receiver: Receiver, poster: Poster
) -> None:
    receiver.answers.append(Answer(400, body=json.dumps({"errors": [f"routing_key {KEY} is not ours"]}).encode()))
    destination = PagerDutyDestination(KEY, poster=poster, url=receiver.url)
    with pytest.raises(DeliveryError, match=r"\[hidden\] is not ours") as caught:
        await destination.send(build_alert(), possible_repeat=False)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__context__ if not caught.value.__suppress_context__ else None)


@pytest.mark.parametrize("key", ["", "short", KEY + "0", KEY[:-1] + "-", KEY[:-1] + "\n"])
def test_an_unusable_routing_key_is_refused_at_once_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="32 letters and digits") as caught:
        PagerDutyDestination(key, poster=Poster(clock=lambda: EVENT_TIME))
    assert len(key) < 6 or key not in str(caught.value)


def test_an_event_of_a_long_ago_action_keeps_the_time_of_the_action() -> None:
    alert = build_alert(event_time=EVENT_TIME - timedelta(days=3))
    assert build_event(alert)["payload"]["timestamp"] == "2026-03-11T02:07:31+00:00"
