"""The table's row: complete, within the service's limits, and the same every time."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import given

from detectors.delivery.destination import DeliveryError
from detectors.delivery.log_table import COLUMNS, MAX_COLUMN_BYTES, MAX_ROW_BYTES, LogTableDestination, build_row
from detectors.delivery.text import CUT, encode_json
from detectors.model import Alert, Fact
from tests.delivery.hostile import FLOOD, Hostile, hostile_alerts
from tests.delivery.receiver import Answer, Receiver, running, settle
from tests.factories import EVENT_TIME, build_alert, build_code, build_evidence, build_summary

RESERVED = {
    "id",
    "billedsize",
    "isbillable",
    "invalidtimegenerated",
    "tenantid",
    "title",
    "type",
    "uniqueid",
    "resourceid",
    "mg",
    "managementgroupname",
    "sourcesystem",
    "computer",
}
"""What Microsoft documents as reserved for custom tables, and the names that the platform fills itself."""


class Credential:
    """Always has a token, unless it is told to fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        if self.failure:
            raise self.failure
        return AccessToken("fake", int((datetime.now(UTC) + timedelta(hours=1)).timestamp()))

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""


def make_destination(receiver: Receiver, credential: Credential | None = None, **options: Any) -> LogTableDestination:
    return LogTableDestination(
        receiver.url,
        "dcr-0123456789abcdef",
        "Custom-AutomationDetections_CL",
        credential or Credential(),
        clock=lambda: EVENT_TIME,
        connection_verify=str(receiver.certificate),
        **options,
    )


@pytest.fixture
async def destination(receiver: Receiver) -> AsyncIterator[LogTableDestination]:
    opened = make_destination(receiver)
    yield opened
    await opened.close()
    await settle(receiver)


async def refused(destination: LogTableDestination) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await destination.send(build_alert(), possible_repeat=False)
    return caught.value


def test_every_column_has_a_name_that_custom_tables_accept() -> None:
    names = [column.name for column in COLUMNS]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{1,44}", name)
        assert name.lower() not in RESERVED
    assert COLUMNS[0].name == "TimeGenerated"
    assert {column.type for column in COLUMNS} <= {"string", "datetime", "int", "real", "boolean", "dynamic"}
    assert all(column.description.endswith(".") for column in COLUMNS)


@pytest.mark.parametrize("alert", [build_alert(), build_summary(3)], ids=["detection", "summary"])
def test_a_row_has_exactly_the_columns_and_their_types(alert: Alert) -> None:
    row = build_row(alert)
    assert list(row) == [column.name for column in COLUMNS]
    for column in COLUMNS:
        value = row[column.name]
        match column.type:
            case "string":
                assert isinstance(value, str)
            case "datetime":
                assert datetime.fromisoformat(value).tzinfo is not None
            case "real":
                assert isinstance(value, float)
            case "dynamic":
                assert isinstance(value, list | dict)


def test_a_row_says_what_the_alert_says() -> None:
    row = build_row(build_alert())
    expected = {
        "TimeGenerated": "2026-03-14T02:14:31+00:00",
        "AlertId": "5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6",
        "AlertKind": "detection",
        "AlertTitle": "Watcher created on aa-prod",
        "Severity": "High",
        "DelaySeconds": 420.0,
        "Caller": "mallory@contoso.example",
        "AutomationAccount": "aa-prod",
        "CorrelationId": "0F0E0D0C-0B0A-0908-0706-050403020100",
        "Facts": [{"label": "Claims", "value": "interactive sign-in"}],
        "Entities": [{"type": "Account", "fields": {"FullName": "mallory@contoso.example"}}],
        "TrimmedColumns": [],
    }
    assert {name: row[name] for name in expected} == expected


def test_the_correlation_id_falls_back_to_the_identity() -> None:
    assert build_row(build_alert(row={}))["CorrelationId"] == "0f0e0d0c-0b0a-0908-0706-050403020100"
    assert build_row(build_alert(row={}, identity={}))["CorrelationId"] == ""


def test_the_same_alert_is_the_same_row() -> None:
    assert build_row(build_alert()) == build_row(build_alert())


def test_a_long_text_is_cut_with_a_marker_instead_of_in_silence() -> None:
    row = build_row(build_alert(triage="é" * 60_000))
    assert row["Triage"].endswith(CUT)
    assert len(row["Triage"].encode()) <= MAX_COLUMN_BYTES
    assert row["TrimmedColumns"] == ["Triage"]


def test_a_huge_script_is_cut_and_the_rest_of_its_evidence_stays_readable() -> None:
    evidence = build_evidence(code=(build_code("x" * 500_000),))
    row = build_row(build_alert(evidence=(evidence,)))
    (shown,) = row["Evidence"]
    assert shown["facts"] == [{"label": "Runs every", "value": "60 s"}, {"label": "Runbook", "value": "nightly"}]
    assert shown["code"][0]["text"].endswith(CUT)
    assert shown["code"][0]["sha256"] == evidence.code[0].sha256
    assert row["TrimmedColumns"] == ["Evidence"]


def test_a_row_of_full_columns_stays_below_the_limit_of_a_call() -> None:
    # The client spells an emoji in twelve bytes: columns that are fine by themselves are too much together.
    flood = "🙂" * 16_000
    names = ("title", "description", "caller", "operation", "outcome", "resource_id", "triage", "response", "account")
    row = build_row(build_alert(**dict.fromkeys(names, flood), facts=(Fact(flood, flood),), row={"a": flood}))
    assert len(json.dumps([row])) <= MAX_ROW_BYTES + 2
    assert row["Severity"] == "High"
    assert "AlertTitle" in row["TrimmedColumns"]


@FLOOD
@given(hostile_alerts())
def test_every_hostile_alert_is_a_row_within_the_limits(hostile: Hostile) -> None:
    alert = hostile.alert
    row = build_row(alert)
    assert list(row) == [column.name for column in COLUMNS]
    assert len(json.dumps(row, allow_nan=False)) <= MAX_ROW_BYTES
    for value in row.values():
        text = value.encode() if isinstance(value, str) else encode_json(value)
        assert len(text) <= MAX_COLUMN_BYTES


async def test_one_alert_is_one_row_on_the_rules_stream(receiver: Receiver, destination: LogTableDestination) -> None:
    receiver.answers.append(Answer(204))
    receipt = await destination.send(build_alert(), possible_repeat=True)
    (request,) = receiver.received
    path, _, query = request.path.partition("?")
    assert path == "/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-AutomationDetections_CL"
    assert query == "api-version=2023-01-01"
    assert request.headers["authorization"] == "Bearer fake"
    assert json.loads(gzip.decompress(request.body)) == [build_row(build_alert())]
    assert receipt.remote_id == build_alert().id


async def test_a_missing_role_is_named_and_the_alert_waits(
    receiver: Receiver, destination: LogTableDestination
) -> None:
    receiver.answers.append(Answer(403, body=b'{"error":{"code":"OperationFailed"}}'))
    error = await refused(destination)
    assert not error.permanent
    assert f"log-table: {receiver.url} answered 403 (Forbidden)." in str(error)
    assert "Monitoring Metrics Publisher" in str(error)


@pytest.mark.parametrize(
    ("status", "permanent", "arrived"),
    [(400, True, False), (413, True, False), (401, False, False), (404, False, False), (500, False, True)],
)
async def test_other_refusals_are_sorted_as_everywhere(
    receiver: Receiver, destination: LogTableDestination, status: int, *, permanent: bool, arrived: bool
) -> None:
    receiver.answers.append(Answer(status, {"Content-Type": "application/json"}, b"{}"))
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (permanent, arrived)
    assert len(receiver.received) == 1, "the outbox retries, the client does not"


async def test_a_throttle_is_honoured_by_the_outbox_and_not_slept_through(
    receiver: Receiver, destination: LogTableDestination
) -> None:
    receiver.answers.append(Answer(429, {"Retry-After": "3600"}))
    error = await refused(destination)
    assert (error.permanent, error.retry_after) == (False, 3600.0)
    assert len(receiver.received) == 1


async def test_a_redirect_never_takes_the_token_elsewhere(receiver: Receiver, destination: LogTableDestination) -> None:
    receiver.answers.append(Answer(307, {"Location": f"{receiver.url}/elsewhere"}))
    error = await refused(destination)
    assert error.permanent
    assert "redirect refused" in str(error)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/html; charset=nonsense"])
async def test_a_page_of_html_from_a_gateway_is_tried_again(
    receiver: Receiver, destination: LogTableDestination, content_type: str
) -> None:
    receiver.answers.append(Answer(502, {"Content-Type": content_type}, b"<html>\xff\xfe Bad Gateway</html>"))
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (False, True)
    assert "Bad Gateway" in str(error)


async def test_an_answer_that_the_client_cannot_read_at_all_is_tried_again(
    receiver: Receiver, destination: LogTableDestination
) -> None:
    receiver.answers.append(Answer(502, {"Content-Type": "a/b"}, b"\xff\xfe"))
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (False, True)
    assert "an answer that is not JSON" in str(error)


async def test_a_credential_without_a_token_is_tried_again() -> None:
    with running() as stopped:
        url = stopped.url.replace("http://", "https://")
    destination = LogTableDestination(
        url, "dcr-1", "Custom-X", Credential(ClientAuthenticationError("no identity\x1b")), clock=lambda: EVENT_TIME
    )
    error = await refused(destination)
    await destination.close()
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert r"no identity\x1b" in str(error)
    assert "Check the managed identity" in str(error)


async def test_a_refused_connection_is_tried_again() -> None:
    with running() as stopped:
        url = stopped.url.replace("http://", "https://")
    destination = LogTableDestination(url, "dcr-1", "Custom-X", Credential(), clock=lambda: EVENT_TIME)
    error = await refused(destination)
    await destination.close()
    await destination.close()
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert f"log-table: no answer from {url}" in str(error)


async def test_a_silent_endpoint_times_out_and_may_have_the_row(receiver: Receiver) -> None:
    receiver.answers.append(Answer(hold=True))
    destination = make_destination(receiver, read_timeout=0.05)
    error = await refused(destination)
    await destination.close()
    await settle(receiver)
    assert (error.permanent, error.may_have_arrived) == (False, True)


def test_an_endpoint_without_https_is_refused_when_the_destination_is_made() -> None:
    with pytest.raises(ValueError, match="the endpoint of log-table must begin with https://"):
        LogTableDestination("http://contoso.example", "dcr-1", "Custom-X", Credential(), clock=lambda: EVENT_TIME)
