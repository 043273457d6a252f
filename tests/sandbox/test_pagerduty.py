"""The sandbox's PagerDuty takes what the Events API takes, and refuses the rest with its reasons."""

import json
from typing import Any

import pytest

from sandbox.endpoints.pagerduty import LIMIT
from sandbox.faults import Reset, Status
from sandbox.server import Sandbox
from tests.sandbox.support import NOW, Answer, send


def event(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    return {
        "routing_key": sandbox.pagerduty_routing_key,
        "event_action": "trigger",
        "dedup_key": "story-1",
        "payload": {"summary": "Watcher created", "source": "aa-prod", "severity": "critical"},
    } | changes


def enqueue(sandbox: Sandbox, value: Any, path: str = "/v2/enqueue") -> Answer:
    return send(sandbox, "POST", path, body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def test_a_trigger_is_accepted_with_its_key_and_is_in_the_ledger(sandbox: Sandbox) -> None:
    answer = enqueue(sandbox, event(sandbox))
    assert answer.status == 202
    assert answer.json() == {"status": "success", "message": "Event processed", "dedup_key": "story-1"}
    [received] = sandbox.ledger.at("pagerduty")
    assert (received.body["dedup_key"], received.time, received.accepted) == ("story-1", NOW, True)
    assert sandbox.pagerduty_url == f"{sandbox.url}/v2/enqueue"


def test_events_with_one_key_are_one_incident_until_it_is_resolved(sandbox: Sandbox) -> None:
    for action in ("trigger", "trigger", "acknowledge", "trigger"):
        assert enqueue(sandbox, event(sandbox, event_action=action)).status == 202
    assert sandbox.pagerduty.incidents == {"story-1": "acknowledged"}
    enqueue(sandbox, event(sandbox, event_action="resolve"))
    assert sandbox.pagerduty.incidents == {"story-1": "resolved"}
    enqueue(sandbox, event(sandbox))
    assert sandbox.pagerduty.incidents == {"story-1": "triggered"}


def test_resolving_an_unknown_key_is_accepted_and_does_nothing(sandbox: Sandbox) -> None:
    assert enqueue(sandbox, event(sandbox, event_action="resolve", dedup_key="other")).status == 202
    assert sandbox.pagerduty.incidents == {}


def test_a_trigger_without_a_key_gets_one(sandbox: Sandbox) -> None:
    without = {name: value for name, value in event(sandbox).items() if name != "dedup_key"}
    assert enqueue(sandbox, without).json()["dedup_key"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"routing_key": "short"}, "Length of 'routing_key' is incorrect (should be 32 characters)"),
        ({"routing_key": "0" * 32}, "'routing_key' is not known"),
        ({"event_action": "open"}, "'event_action' must be trigger, acknowledge or resolve"),
        ({"event_action": "resolve", "dedup_key": None}, "'dedup_key' is missing or blank"),
        ({"dedup_key": "k" * 256}, "Length of 'dedup_key' must be 1 to 255 characters"),
        ({"payload": None}, "'payload' is missing or blank"),
        ({"payload": {"summary": "", "source": "s", "severity": "info"}}, "'payload.summary' is missing or blank"),
        (
            {"payload": {"summary": "s" * 1025, "source": "s", "severity": "info"}},
            "Length of 'payload.summary' must be at most 1024 characters",
        ),
        (
            {"payload": {"summary": "s", "source": "s", "severity": "High"}},
            "'payload.severity' must be one of critical, error, warning, info",
        ),
        (
            {"payload": {"summary": "s", "source": "s", "severity": "info", "custom_details": []}},
            "'payload.custom_details' must be an object",
        ),
    ],
)
def test_a_wrong_event_is_refused_with_the_reason(sandbox: Sandbox, changes: dict[str, Any], said: str) -> None:
    answer = enqueue(sandbox, event(sandbox, **changes))
    assert answer.status == 400
    assert answer.json() == {"status": "invalid event", "message": "Event object is invalid", "errors": [said]}
    assert sandbox.pagerduty.incidents == {}


def test_what_is_no_object_or_too_large_or_elsewhere_is_refused(sandbox: Sandbox) -> None:
    assert enqueue(sandbox, []).status == 400
    assert enqueue(sandbox, event(sandbox, padding="x" * LIMIT)).status == 413
    assert enqueue(sandbox, event(sandbox), "/v2/change/enqueue").status == 404
    assert sandbox.pagerduty.incidents == {}


def test_it_can_fail_like_every_receiver(sandbox: Sandbox) -> None:
    sandbox.faults.set("pagerduty", Status(429, retry_after=7, times=1))
    assert enqueue(sandbox, event(sandbox)).headers["retry-after"] == "7"
    sandbox.faults.set("pagerduty", Reset(times=1))
    with pytest.raises(OSError):  # noqa: PT011 - whichever way the platform says that nobody answered
        enqueue(sandbox, event(sandbox))
    assert enqueue(sandbox, event(sandbox)).status == 202
    assert [received.status for received in sandbox.ledger.at("pagerduty")] == [429, None, 202]
