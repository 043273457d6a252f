import base64
import gzip
import json
import os
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import HttpResponseError
from azure.monitor.ingestion.aio import LogsIngestionClient
from standardwebhooks.webhooks import Webhook

from sandbox.endpoints.webhook import WebhookEndpoint
from sandbox.server import RULE_ID, STREAM, Sandbox
from sandbox.wire import Request
from tests.sandbox.support import NOW, Answer, Clock, send, token_for

CARD = {
    "type": "message",
    "attachments": [
        {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": {"type": "AdaptiveCard", "version": "1.5", "body": []},
        }
    ],
}


def post_card(sandbox: Sandbox, card: Any, **headers: str) -> Answer:
    parts = urlsplit(sandbox.environment()["TEAMS_WEBHOOK_URL"])
    body = json.dumps(card).encode()
    return send(
        sandbox,
        "POST",
        f"{parts.path}?{parts.query}",
        body=body,
        headers={"Content-Type": "application/json", **headers},
    )


async def test_uploaded_rows_are_in_the_ledger_decoded(sandbox: Sandbox, ingestion: LogsIngestionClient) -> None:
    await ingestion.upload(RULE_ID, STREAM, [{"TimeGenerated": NOW.isoformat(), "Title": "ä"}])
    [received] = sandbox.ledger.at("ingestion")
    assert received.body == [{"TimeGenerated": NOW.isoformat(), "Title": "ä"}]
    assert received.headers["content-encoding"] == "gzip"
    assert (received.status, received.time, received.accepted) == (204, NOW, True)


@pytest.mark.parametrize(("rule", "stream", "status"), [("dcr-other", STREAM, 404), (RULE_ID, "Custom-Other_CL", 400)])
async def test_an_unknown_rule_or_stream_is_refused(
    ingestion: LogsIngestionClient, rule: str, stream: str, status: int
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await ingestion.upload(rule, stream, [{"a": 1}])
    assert caught.value.status_code == status


async def test_a_record_above_one_megabyte_is_too_large(sandbox: Sandbox, ingestion: LogsIngestionClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await ingestion.upload(RULE_ID, STREAM, [{"Text": "x" * 1_048_577}])
    assert caught.value.status_code == 413
    assert sandbox.ledger.at("ingestion")[0].accepted is False


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"a": 1}', mtime=0), gzip.compress(b"[", mtime=0)])
def test_a_body_that_is_no_array_is_refused(sandbox: Sandbox, body: bytes) -> None:
    answer = send(
        sandbox,
        "POST",
        f"/dataCollectionRules/{RULE_ID}/streams/{STREAM}?api-version=2023-01-01",
        body=body,
        headers={
            "Authorization": f"Bearer {token_for(sandbox, 'https://monitor.azure.com')}",
            "Content-Encoding": "gzip",
        },
    )
    assert (answer.status, answer.json()["error"]["code"]) == (400, "InvalidPayload")


def test_teams_accepts_a_card_with_an_empty_202(sandbox: Sandbox) -> None:
    answer = post_card(sandbox, CARD)
    assert (answer.status, answer.body) == (202, b"")
    [received] = sandbox.ledger.at("teams")
    assert (received.body, received.failed_action) == (CARD, None)


def test_teams_refuses_a_request_with_an_authorization_header(sandbox: Sandbox) -> None:
    assert post_card(sandbox, CARD, Authorization="Bearer x").status == 401
    assert sandbox.ledger.at("teams")[0].accepted is False


def test_teams_refuses_a_request_without_the_signature_of_its_url(sandbox: Sandbox) -> None:
    path = urlsplit(sandbox.environment()["TEAMS_WEBHOOK_URL"]).path
    assert send(sandbox, "POST", f"{path}?sig=guess", body=b"{}").status == 401


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({**CARD, "summary": "x" * 28 * 1024}, "Request Entity too large"),
        ({"text": "hello"}, "no message with an Adaptive Card"),
    ],
)
def test_teams_says_202_to_what_its_flow_then_fails_to_post(sandbox: Sandbox, card: Any, reason: str) -> None:
    assert post_card(sandbox, card).status == 202
    [received] = sandbox.ledger.at("teams")
    assert received.accepted is True
    assert reason in (received.failed_action or "")


def signed(sandbox: Sandbox, body: str, secret: str | None = None) -> dict[str, str]:
    signature = Webhook(secret or sandbox.environment()["WEBHOOK_SECRET"]).sign("msg_1", NOW, body)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature,
    }


def test_a_webhook_signed_by_the_official_library_is_taken(sandbox: Sandbox) -> None:
    headers = signed(sandbox, '{"a":1}')
    headers["webhook-signature"] = f"v1,b2xk {headers['webhook-signature']}"
    answer = send(sandbox, "POST", "/webhook", body=b'{"a":1}', headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert sandbox.ledger.at("webhook")[0].body == {"a": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"webhook-signature": "v1,b3RoZXI="}, "No v1 signature"),
        ({"webhook-id": "msg_2"}, "No v1 signature"),
        ({"webhook-id": ""}, "is missing"),
        ({"webhook-timestamp": "soon"}, "not Unix seconds"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) - 301)}, "301 s away"),
    ],
)
def test_a_webhook_with_a_wrong_signature_is_refused(sandbox: Sandbox, change: dict[str, str], said: str) -> None:
    answer = send(sandbox, "POST", "/webhook", body=b"{}", headers=signed(sandbox, "{}") | change)
    assert answer.status == 400
    assert said in answer.json()["error"]["message"]


def test_a_webhook_signed_with_another_secret_is_refused(sandbox: Sandbox) -> None:
    other = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    assert send(sandbox, "POST", "/webhook", body=b"{}", headers=signed(sandbox, "{}", other)).status == 400


def test_the_signature_check_agrees_with_the_published_example() -> None:
    # The worked example of the Standard Webhooks text.
    secret, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330
    body = b'{"test": 2432232314}'
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    clock = Clock(NOW.fromtimestamp(timestamp, NOW.tzinfo))
    assert WebhookEndpoint(secret, clock).answer(Request("POST", "/webhook", {}, headers, body)).status == 204


def test_the_ledger_keeps_the_order_over_all_receivers(sandbox: Sandbox) -> None:
    post_card(sandbox, CARD)
    send(sandbox, "POST", "/webhook", body=b"{}", headers=signed(sandbox, "{}"))
    post_card(sandbox, CARD)
    assert [(entry.number, entry.endpoint) for entry in sandbox.ledger.entries] == [
        (1, "teams"),
        (2, "webhook"),
        (3, "teams"),
    ]
    assert sandbox.ledger.counts == {"teams": 2, "webhook": 1}
