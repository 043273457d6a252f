"""From match to alert."""

import dataclasses
from typing import Any

from detectors.model import Alert, Entity, Evidence, Fact, Match, Source
from detectors.rule import Rule
from detectors.triage import links
from detectors.triage.alerting import Triage, build_alert, display_resource_id, facts_of, fill
from detectors.triage.identity import identity_of, match_id
from tests.clock import Clock
from tests.core.samples import ACCOUNT, RULE, row

WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/log"


def match_of(**changes: Any) -> Match:
    clock = Clock()
    content = row(**changes)
    identity = identity_of(RULE, content)
    return Match(
        id=match_id(RULE.id, identity),
        rule_id=RULE.id,
        identity=identity,
        source=Source.HUNT,
        row=content,
        event_time=clock(),
        found_at=clock(),
        workspace="w",
    )


def alert_of(match: Match, *evidence: Evidence, rule: Rule = RULE) -> Alert:
    return build_alert(
        rule, match, evidence, created_at=Clock()(), query="q", query_url="", portal="https://portal.azure.com"
    )


def test_an_alert_says_who_did_what_where_and_when() -> None:
    alert = alert_of(match_of())
    assert alert.title == "Runbook changed by dana@example.com"
    assert (alert.caller, alert.caller_ip, alert.account, alert.resource_group) == (
        "dana@example.com",
        "192.0.2.7",
        "aa",
        "rg",
    )
    assert alert.entities == (Entity("Account", {"FullName": "dana@example.com"}),)
    assert alert.portal_url.startswith("https://portal.azure.com/#")


def test_a_fact_that_leads_the_alert_anyway_is_not_told_twice() -> None:
    rule = dataclasses.replace(
        RULE,
        custom_details=(("Change", "Change"), ("Runbook", "Runbook"), ("Who", "Caller"), ("Again", "Change2")),
    )
    told = row(Change="published", Runbook="RB1", Change2="Published")
    assert facts_of(rule, told, told["_ResourceId"]) == (Fact("Change", "published"),)


def test_the_resource_keeps_the_case_in_which_the_log_tells_it() -> None:
    told = f"{ACCOUNT}/runbooks/RB1"
    assert display_resource_id(RULE, row(Properties_d={"entity": told})) == told


def test_a_property_that_names_another_resource_is_not_believed() -> None:
    assert display_resource_id(RULE, row(Properties_d={"entity": "/subscriptions/other"})) == row()["_ResourceId"]


def test_a_title_is_text_and_bounded_whatever_the_columns_hold() -> None:
    assert fill("by {{Caller}} on {{Absent}}", {"Caller": "{{Absent}}"}) == "by {{Absent}} on (unknown)"
    assert len(fill("{{Caller}}", {"Caller": "x" * 9_000})) == 256


def test_the_query_of_the_button_shows_the_whole_action() -> None:
    query = links.responder_query(RULE, match_of())
    assert '"00000000-0000-0000-0000-000000000001"' in query


def test_a_forged_correlation_id_never_gets_into_a_query() -> None:
    forged = match_of(CorrelationId='x" | union SecretTable //')
    assert links.responder_query(RULE, forged) == RULE.query


def test_without_the_workspaces_resource_id_there_is_no_query_button() -> None:
    assert links.query_url("", "AzureActivity", portal="https://portal.azure.com") == ""
    url = links.query_url(WORKSPACE, "AzureActivity | take 1", portal="https://portal.azure.com")
    assert url.startswith("https://portal.azure.com/#blade/")
    assert " " not in url


class Broken:
    async def __call__(self, match: Match, rule: Rule) -> tuple[Evidence, ...]:
        raise RuntimeError("enrichment is broken")


async def test_an_alert_goes_out_even_if_collecting_breaks() -> None:
    triage = Triage(
        rules=[RULE], collect=Broken(), clock=Clock(), portal="https://p", workspace_resource_id=lambda _: WORKSPACE
    )
    alert = await triage(match_of())
    assert "RuntimeError" in (alert.evidence[0].missing or "")
    assert alert.query_url


async def test_a_match_of_a_rule_that_was_removed_still_becomes_an_alert() -> None:
    async def nothing(match: Match, rule: Rule) -> tuple[Evidence, ...]:
        return ()

    triage = Triage(rules=[], collect=nothing, clock=Clock(), portal="https://p", workspace_resource_id=lambda _: "")
    alert = await triage(match_of())
    assert "no longer in the rulebook" in alert.rule_name
    assert alert.row["Caller"] == "dana@example.com"
