"""The signed webhook: any Standard Webhooks library verifies it, and it is never too large."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from standardwebhooks import Webhook, WebhookVerificationError

from detectors.delivery.destination import DeliveryError
from detectors.delivery.formats.native import MAX_BYTES, build_payload
from detectors.delivery.http import Poster
from detectors.delivery.text import encode_json
from detectors.delivery.webhook import WebhookDestination, sign
from detectors.model import Fact, FocusLine
from tests.delivery.hostile import FLOOD, Hostile, hostile_alerts
from tests.delivery.receiver import Answer, Receiver
from tests.factories import EVENT_TIME, build_alert, build_code, build_evidence, build_summary

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()


def now() -> datetime:
    """The verifier reads the wall clock and accepts five minutes either way."""
    return datetime.now(UTC)


def test_the_payload_is_the_whole_alert_in_its_envelope() -> None:
    payload = build_payload(build_alert())
    assert set(payload) == {"type", "timestamp", "data"}
    assert payload["type"] == "azure_automation.alert"
    assert payload["timestamp"] == "2026-03-14T02:14:31+00:00"
    assert payload["data"]["trimmed"] == []
    assert payload["data"]["severity"] == "High"
    assert payload["data"]["caller"] == "mallory@contoso.example"
    assert payload["data"]["evidence"][0]["data"] == {"executionFrequencyInSeconds": 60, "scriptName": "nightly"}


def test_a_large_script_shrinks_to_the_lines_around_its_findings_and_keeps_its_hash() -> None:
    code = build_code("\n".join(f"line {number}" for number in range(1, 9001)), focus=(FocusLine(5000, "Runs it."),))
    data = build_payload(build_alert(evidence=(build_evidence(code=(code,)),)))["data"]
    (shown,) = data["evidence"][0]["code"]
    assert shown["text"].split("\n")[2] == "5000: line 5000"
    assert (shown["sha256"], shown["size"]) == (code.sha256, code.size)
    assert data["trimmed"] == ["evidence.code.text: 40 lines"]
    assert data["evidence"][0]["facts"] == [
        {"label": "Runs every", "value": "60 s"},
        {"label": "Runbook", "value": "nightly"},
    ]


def test_facts_outlive_scripts_rows_and_machine_data() -> None:
    facts = tuple(Fact(f"Fact {number}", "v" * 90) for number in range(100))
    script = build_code("\n".join("x" * 100 for _ in range(200)))
    bulky = build_evidence(facts=facts, code=(script,), data={"blob": "d" * 5000})
    data = build_payload(build_alert(facts=facts[:10], evidence=(bulky,), row={"Raw": "r" * 9000}))["data"]
    assert len(data["evidence"][0]["facts"]) == 100
    assert len(data["facts"]) == 10
    assert data["trimmed"][:3] == ["evidence.code.text: 40 lines", "evidence.code.text: 10 lines", "evidence.data"]


def test_a_summary_keeps_as_many_of_its_items_as_fit() -> None:
    payload = build_payload(build_summary(300))
    assert "items: the first ones" in payload["data"]["trimmed"]
    assert payload["data"]["items"][0]["resource"].endswith("/maintenance-task-0000")
    assert len(payload["data"]["items"]) > 40
    assert len(encode_json(payload)) > MAX_BYTES * 0.9


@FLOOD
@given(hostile_alerts())
def test_every_hostile_alert_is_small_valid_json_with_its_id_and_severity(hostile: Hostile) -> None:
    alert = hostile.alert
    body = encode_json(build_payload(alert))
    assert len(body) < MAX_BYTES
    data = json.loads(body)["data"]
    assert (data["id"], data["severity"]) == (alert.id, alert.severity)
    headers = {"webhook-id": alert.id, "webhook-timestamp": str(int(now().timestamp()))}
    headers["webhook-signature"] = sign(NEW, alert.id, int(headers["webhook-timestamp"]), body)
    assert Webhook(NEW).verify(body, headers) == json.loads(body)


def test_several_secrets_give_several_signatures_so_that_receivers_can_change_over() -> None:
    signature = sign(f"{NEW} {OLD}", "id", 1_700_000_000, b"body")
    assert signature == f"{sign(NEW, 'id', 1_700_000_000, b'body')} {sign(OLD, 'id', 1_700_000_000, b'body')}"
    when = datetime.fromtimestamp(1_700_000_000, UTC)
    assert signature.split(" ") == [Webhook(NEW).sign("id", when, "body"), Webhook(OLD).sign("id", when, "body")]


async def test_a_receiver_verifies_what_is_sent_with_either_secret(receiver: Receiver, poster: Poster) -> None:
    destination = WebhookDestination(f"{receiver.url}/hook", f"{NEW} {OLD}", clock=now, poster=poster)
    alert = build_alert(title="Überraschung 🙂")
    receipt = await destination.send(alert, possible_repeat=False)
    (request,) = receiver.received
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(request.body, request.headers)["data"]["title"] == "Überraschung 🙂"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"x" * 24).decode()).verify(request.body, request.headers)
    assert request.headers["content-type"] == "application/json"
    assert receipt.remote_id == alert.id


async def test_the_id_stays_the_same_across_retries_and_the_timestamp_is_fresh(
    receiver: Receiver, poster: Poster
) -> None:
    times = iter((EVENT_TIME, EVENT_TIME.replace(hour=23)))
    destination = WebhookDestination(receiver.url, NEW, clock=lambda: next(times), poster=poster)
    receiver.answers.append(Answer(503))
    with pytest.raises(DeliveryError):
        await destination.send(build_alert(), possible_repeat=False)
    await destination.send(build_alert(), possible_repeat=True)
    await destination.close()
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == build_alert().id
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert first.body == second.body


@pytest.mark.parametrize(("status", "permanent"), [(410, True), (307, True), (400, True), (503, False), (404, False)])
async def test_a_closed_endpoint_is_given_up_and_a_busy_one_is_not(
    receiver: Receiver, poster: Poster, status: int, *, permanent: bool
) -> None:
    receiver.answers.append(Answer(status, {"Location": "https://elsewhere.example/"}))
    destination = WebhookDestination(receiver.url, NEW, clock=now, poster=poster)
    with pytest.raises(DeliveryError, match=f"^webhook: {receiver.url} answered {status}") as caught:
        await destination.send(build_alert(), possible_repeat=False)
    assert caught.value.permanent is permanent
    assert NEW not in str(caught.value)


async def test_an_id_that_is_no_header_is_refused_before_sending(receiver: Receiver, poster: Poster) -> None:
    destination = WebhookDestination(receiver.url, NEW, clock=now, poster=poster)
    with pytest.raises(DeliveryError, match="must be printable ASCII") as caught:
        await destination.send(build_alert(id="a\r\nX-Injected: 1"), possible_repeat=False)
    assert caught.value.permanent
    assert receiver.received == []


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("", "needs a secret"),
        ("   ", "needs a secret"),
        (OLD.removeprefix("whsec_"), "must begin with whsec_"),
        ("whsec_not base64", "must be base64"),
        ("whsec_%%%%", "must be base64"),
        ("whsec_" + base64.b64encode(b"s" * 23).decode(), "24 to 64 bytes, this one holds 23"),
        ("whsec_" + base64.b64encode(b"s" * 65).decode(), "24 to 64 bytes, this one holds 65"),
        (f"{NEW} {OLD[:-3]}", "must be base64"),
    ],
)
def test_an_unusable_secret_is_refused_at_once_without_being_shown(secret: str, complaint: str) -> None:
    poster = Poster(clock=now)
    with pytest.raises(ValueError, match=complaint) as caught:
        WebhookDestination("https://contoso.example/hook", secret, clock=now, poster=poster)
    assert "make one with: echo whsec_$(openssl rand -base64 32)" in str(caught.value)
    assert not secret.strip() or secret.removeprefix("whsec_") not in str(caught.value)


def test_plain_http_is_for_this_machine_only() -> None:
    poster = Poster(clock=now)
    WebhookDestination("http://localhost:8080/hook", NEW, clock=now, poster=poster)
    with pytest.raises(ValueError, match="must begin with https://"):
        WebhookDestination("http://contoso.example/hook", NEW, clock=now, poster=poster)
