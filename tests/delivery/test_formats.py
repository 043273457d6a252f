"""Every format of the webhook is what its specification says, small, and signed like the others."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from py_ocsf_models.events.findings.detection_finding import DetectionFinding  # type: ignore[import-untyped]  # has no types
from standardwebhooks import Webhook

from detectors.delivery.formats import FORMATS
from detectors.delivery.formats.azure_common_alert import build_alert as build_common_alert
from detectors.delivery.formats.cloudevents import build_event
from detectors.delivery.formats.native import MAX_BYTES, build_payload
from detectors.delivery.formats.ocsf import build_finding
from detectors.delivery.http import Poster
from detectors.delivery.text import encode_json
from detectors.delivery.webhook import WebhookDestination
from detectors.model import Alert, Severity
from tests.delivery.hostile import FLOOD, Hostile, hostile_alerts
from tests.delivery.receiver import Receiver
from tests.factories import (
    ACCOUNT_ID,
    SUBSCRIPTION,
    build_alert,
    build_code,
    build_evidence,
    build_health,
    build_summary,
)

SECRET = "whsec_" + "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
NOT_IN_THE_MODELS = {".is_alert", ".evidences.actor", ".evidences.src_endpoint"}
"""Attributes of OCSF 1.5.0 that py-ocsf-models does not know (its own source lists the last two as to be done)."""


def now() -> datetime:
    """The verifier reads the wall clock and accepts five minutes either way."""
    return datetime.now(UTC)


def check_ocsf(finding: dict[str, Any]) -> None:
    """*finding* is valid, and the models know every attribute in it: they drop in silence what they do not."""
    known = DetectionFinding.model_validate(finding).model_dump(mode="json", exclude_unset=True)
    assert set(_lost(finding, known)) <= NOT_IN_THE_MODELS


def check_attributes(event: dict[str, Any]) -> None:
    """Attributes of a CloudEvent are text that is not empty and holds no control characters."""
    for name, value in event.items():
        if name != "data":
            assert value, name
            assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value), name


def _lost(given: Any, known: Any, path: str = "") -> list[str]:
    if isinstance(given, dict):
        lost = [f"{path}.{name}" for name in given if name not in known]
        return lost + [
            each for name in given if name in known for each in _lost(given[name], known[name], f"{path}.{name}")
        ]
    if isinstance(given, list):
        return [each for one, other in zip(given, known, strict=True) for each in _lost(one, other, path)]
    assert given == known, path
    return []


@settings(FLOOD, max_examples=10)  # each is trimmed four times; the native format has a test of its own
@given(hostile_alerts())
def test_every_hostile_alert_stays_small_and_valid_in_every_format(hostile: Hostile) -> None:
    bodies = {name: each.build(hostile.alert) for name, each in FORMATS.items()}
    for name, body in bodies.items():
        encoded = encode_json(body)
        assert len(encoded) < MAX_BYTES, name
        assert json.loads(encoded) == body, name
        assert hostile.alert.id in encoded.decode(), name
    check_ocsf(bodies["ocsf"])
    check_attributes(bodies["cloudevents"])


@pytest.mark.parametrize("character", ['"', "\\", "\u202e", "\ud800", "\U0001f642", "x"])
def test_the_worst_texts_in_every_field_still_fit(character: str) -> None:
    names = [field for field, value in msgspec.structs.asdict(build_alert()).items() if type(value) is str]
    worst = build_alert(**{name: character * 9_000 for name in names if name != "id"})
    worst = msgspec.structs.replace(worst, tags=(character * 999,) * 99, techniques=(character * 999,) * 99)
    for name, each in FORMATS.items():
        assert len(encode_json(each.build(worst))) < MAX_BYTES, name
    check_ocsf(build_finding(worst))


@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_is_signed_and_announced_by_its_content_type(
    receiver: Receiver, poster: Poster, name: str
) -> None:
    destination = WebhookDestination(receiver.url, SECRET, clock=now, poster=poster, body_format=name)
    await destination.send(build_alert(), possible_repeat=False)
    (request,) = receiver.received
    assert Webhook(SECRET).verify(request.body, request.headers) == FORMATS[name].build(build_alert())
    expected = "application/cloudevents+json" if name == "cloudevents" else "application/json"
    assert request.headers["content-type"] == expected
    assert request.headers["webhook-id"] == build_alert().id


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="must be one of native, cloudevents, ocsf, azure-common-alert"):
        WebhookDestination("https://e.example", SECRET, clock=now, poster=Poster(clock=now), body_format="xml")


@pytest.mark.parametrize("alert", [build_alert(), build_summary(300), build_health()], ids=["one", "summary", "health"])
def test_a_cloudevent_carries_the_native_alert_under_the_alerts_id(alert: Alert) -> None:
    event = build_event(alert)
    required = {"specversion", "id", "source", "type"}
    optional = {"subject", "time", "severity", "datacontenttype", "data"}
    assert required <= set(event) <= required | optional
    assert (event["specversion"], event["id"]) == ("1.0", alert.id)
    assert event["type"] == "azure_automation.alert"
    assert event.get("subject", "") == alert.resource_id
    assert datetime.fromisoformat(event["time"]) == alert.created_at
    assert event["data"]["severity"] == event["severity"] == alert.severity


def test_a_cloudevent_of_an_ordinary_alert_loses_nothing() -> None:
    assert build_event(build_alert())["data"] == build_payload(build_alert())["data"]


def test_the_common_alert_has_its_essentials_and_says_that_it_is_not_azure_monitor() -> None:
    body = build_common_alert(build_alert(story="s" * 32))
    assert set(body) == {"schemaId", "data"}
    assert body["schemaId"] == "azureMonitorCommonAlertSchema"
    assert set(body["data"]) == {"essentials", "alertContext", "customProperties"}
    assert body["data"]["essentials"] == {
        "alertId": build_alert().id,
        "alertRule": "Watcher task created",
        "severity": "Sev0",
        "signalType": "Log",
        "monitorCondition": "Fired",
        "monitoringService": "Azure Automation detector",
        "alertTargetIDs": [f"{ACCOUNT_ID}/watchers/nightly"],
        "configurationItems": ["nightly"],
        "originAlertId": build_alert().id,
        "firedDateTime": "2026-03-14T02:14:31+00:00",
        "description": f"Watcher created on aa-prod\n{build_alert().description}",
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
    }
    assert body["data"]["alertContext"]["caller"] == "mallory@contoso.example"
    assert body["data"]["customProperties"] == {"story": "s" * 32}


@pytest.mark.parametrize(
    ("severity", "common", "ocsf"),
    [
        (Severity.HIGH, "Sev0", 4),
        (Severity.MEDIUM, "Sev1", 3),
        (Severity.LOW, "Sev2", 2),
        (Severity.INFORMATIONAL, "Sev3", 1),
    ],
)
def test_every_severity_has_its_counterpart(severity: Severity, common: str, ocsf: int) -> None:
    alert = build_alert(severity=severity)
    assert build_common_alert(alert)["data"]["essentials"]["severity"] == common
    finding = build_finding(alert)
    assert (finding["severity_id"], finding["severity"]) == (ocsf, severity.value)


def test_a_common_alert_about_the_detector_has_no_target() -> None:
    essentials = build_common_alert(build_health())["data"]["essentials"]
    assert (essentials["alertTargetIDs"], essentials["configurationItems"]) == ([], [])


def test_an_ocsf_finding_says_who_did_what_from_where_to_which_resource() -> None:
    alert = build_alert(story="s" * 32, techniques=("T1053", "T1059.001"))
    finding = build_finding(alert)
    check_ocsf(finding)
    assert (finding["class_uid"], finding["category_uid"], finding["activity_id"], finding["type_uid"]) == (
        2004,
        2,
        1,
        200401,
    )
    assert finding["time"] == int(alert.created_at.timestamp()) * 1000
    assert finding["metadata"]["version"] == "1.5.0"
    assert set(finding["metadata"]["product"]) == {"name", "vendor_name"}
    assert finding["metadata"]["correlation_uid"] == "s" * 32
    info = finding["finding_info"]
    assert (info["uid"], info["title"], info["types"]) == (alert.id, alert.title, ["detection", "AZT504"])
    assert info["attacks"] == [
        {"technique": {"uid": "T1053", "name": "T1053"}},
        {
            "technique": {"uid": "T1059", "name": "T1059"},
            "sub_technique": {"uid": "T1059.001", "name": "T1059.001"},
        },
        {"tactic": {"name": "Persistence"}},
    ]
    activity, watcher = finding["evidences"]
    assert activity["actor"]["user"]["name"] == "mallory@contoso.example"
    assert activity["src_endpoint"] == {"ip": "203.0.113.7"}
    assert activity["api"] == {"operation": "Microsoft.Automation/automationAccounts/watchers/write"}
    assert activity["data"] == alert.row
    assert watcher["name"] == "watcher"
    assert watcher["data"]["data"] == {"executionFrequencyInSeconds": 60, "scriptName": "nightly"}
    assert finding["resources"] == [
        {
            "uid": f"{ACCOUNT_ID}/watchers/nightly",
            "name": "nightly",
            "type": "Microsoft.Automation/automationAccounts/watchers",
            "group": {"name": "rg-ops"},
            "namespace": "aa-prod",
        }
    ]
    assert finding["cloud"]["account"]["uid"] == SUBSCRIPTION
    assert finding["remediation"]["desc"] == alert.response
    assert finding["unmapped"]["triage"] == alert.triage
    assert "trimmed" not in finding["unmapped"]


@pytest.mark.parametrize("alert", [build_summary(300), build_health()], ids=["summary", "health"])
def test_summaries_and_health_alerts_are_findings_too(alert: Alert) -> None:
    check_ocsf(build_finding(alert))
    assert build_finding(alert)["finding_info"]["types"][0] == alert.kind


def test_an_address_that_is_none_is_not_given_as_one() -> None:
    finding = build_finding(build_alert(caller_ip="not an address"))
    assert "src_endpoint" not in finding["evidences"][0]
    assert finding["unmapped"]["caller_ip"] == "not an address"


def test_a_large_alert_says_what_every_format_cut() -> None:
    alert = build_alert(evidence=(build_evidence(code=(build_code("x" * 50_000),)),))
    assert build_event(alert)["data"]["trimmed"]
    assert build_finding(alert)["unmapped"]["trimmed"]
    assert build_common_alert(alert)["data"]["alertContext"]["trimmed"]
