"""Rules without ``detector:`` and tables without ``Caller``: who, from where and to what come from the mappings."""

import dataclasses
from typing import Any

import msgspec
import pytest

from detectors.model import Severity
from detectors.rule import DetectorOptions, EntityMapping, Rule
from detectors.triage import mapped
from detectors.triage.enrichment import ENRICHMENTS
from detectors.triage.intake import matches_of, summary_alert
from tests.core.samples import ACCOUNT, RULE, row
from tests.triage.test_alerting import alert_of, match_of


def plain(*mappings: EntityMapping, **changes: Any) -> Rule:
    """Somebody's rule."""
    return dataclasses.replace(RULE, entity_mappings=mappings, detector=DetectorOptions(), plain=True, **changes)


def account(**fields: str) -> EntityMapping:
    return EntityMapping("Account", tuple(fields.items()))


@pytest.mark.parametrize(
    ("mappings", "content", "expected"),
    [
        ((account(FullName="Who"),), {"Who": "dana@contoso.com"}, "dana@contoso.com"),
        ((account(Name="N", UPNSuffix="U"),), {"N": "dana", "U": "contoso.com"}, "dana@contoso.com"),
        ((account(Name="N", UPNSuffix="U"),), {"N": "dana", "U": None}, "dana"),
        ((account(Name="N"), account(AadUserId="Id")), {"N": "", "Id": "0a1b"}, "0a1b"),
        ((account(ObjectGuid="Id"),), {"Id": "0a1b"}, "0a1b"),
        ((account(FullName="Absent"),), {}, ""),
        ((account(FullName="Who"),), {"Caller": "x@contoso.com", "Who": "y@contoso.com"}, "x@contoso.com"),
        ((), {"Caller": "x@contoso.com"}, "x@contoso.com"),
    ],
)
def test_the_caller_is_the_column_or_the_mapped_account(
    mappings: tuple[EntityMapping, ...], content: dict[str, Any], expected: str
) -> None:
    assert mapped.caller(plain(*mappings), content) == expected


def test_address_and_resource_fall_back_to_what_is_mapped() -> None:
    rule = plain(EntityMapping("IP", (("Address", "From"),)), EntityMapping("AzureResource", (("ResourceId", "What"),)))
    content = {"From": "203.0.113.7", "What": "/subscriptions/a", "ResourceId": "/subscriptions/b"}
    assert mapped.address(rule, content) == "203.0.113.7"
    assert mapped.resource_id(rule, content) == "/subscriptions/a"
    assert mapped.resource_id(plain(), content) == "/subscriptions/b"
    assert mapped.resource_id(rule, content | {"_ResourceId": "/subscriptions/c"}) == "/subscriptions/c"


def test_an_alert_of_somebodys_rule_says_who_and_what() -> None:
    rule = plain(
        account(FullName="Who"),
        EntityMapping("AzureResource", (("ResourceId", "What"),)),
        title_format="{{ What }}",
        description_format="By {{Who}}",
        severity_column="Level",
        tactics_column="Tactics",
    )
    content = {"Who": "dana@contoso.com", "What": f"{ACCOUNT}/runbooks/rb"}
    content |= {"Level": "high", "Tactics": "Impact, Discovery"}
    alert = alert_of(msgspec.structs.replace(match_of(), row=content), rule=rule)
    assert (alert.caller, alert.account, alert.title) == ("dana@contoso.com", "aa", content["What"])
    assert (alert.severity, alert.tactics) == (Severity.HIGH, ("Impact", "Discovery"))
    assert alert.description == "By dana@contoso.com"
    (match,) = matches_of(rule, [content], source=alert.source, workspace="w", found_at=alert.found_at)
    (item,) = summary_alert(rule, "s", [match], alert.found_at).items
    assert (item.caller, item.resource) == ("dana@contoso.com", content["What"])


def test_a_column_that_holds_no_severity_or_tactic_changes_nothing() -> None:
    rule = plain(severity_column="Level", tactics_column="Tactics", tactics=("Impact",))
    assert mapped.severity(rule, {"Level": "catastrophic"}) is RULE.severity
    assert mapped.severity(rule, {}) is RULE.severity
    assert mapped.tactics(rule, {"Tactics": "<b>x</b>"}) == ("Impact",)
    assert mapped.tactics(rule, {"Tactics": ["Persistence", "Persistence", None]}) == ("Persistence",)


def test_evidence_follows_the_kind_of_resource_for_plain_rules_only() -> None:
    for kind in ("runbook", "job", "watcher", "webhook", "schedule", "jobSchedule", "account", "variable"):
        chosen = mapped.enrichments(plain(), kind)
        assert chosen
        assert set(chosen) <= set(ENRICHMENTS)
        assert mapped.enrichments(RULE, kind) == ()
    assert mapped.enrichments(plain(), "job")[:3] == ("job", "executed_content", "job_output")
    assert mapped.enrichments(plain(), "runbook")[0] == "runbook"


def test_a_row_of_the_activity_log_is_not_read_otherwise() -> None:
    alert = alert_of(match_of())
    assert (alert.caller, alert.caller_ip, alert.resource_id) == (
        row()["Caller"], row()["CallerIpAddress"], row()["_ResourceId"],
    )  # fmt: skip
