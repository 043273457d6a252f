"""The rules on resource logs: secrets stay behind, and a workspace whose table looks otherwise is no reason to fail."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from detectors import rule_tests, rulebook
from detectors.kql.engine import Engine, TableSchema, load_tables
from detectors.model import Source
from detectors.rule import Rule
from detectors.triage.alerting import build_alert
from detectors.triage.intake import matches_of
from detectors.triage.resource import automation_target
from detectors.triage.severity import assess

TABLE = "AzureDiagnostics"
RULES = [rule for rule in rulebook.load(check_query=False).rules if TABLE in rule.query]
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
ACCOUNT = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg-ops"
    "/providers/microsoft.automation/automationaccounts/aa-prod"
)
JOB = "0c6f1d3e-52a8-4b7c-9e10-7d2f5a4b8c01"
OUTPUTS = {
    "a JSON web token": "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL2V4YW1wbGUifQ.c2FtcGxl",
    "an access or refresh token": "access_token = no-worth-no-worth-no-worth",
    "a client secret": "client_secret: no-worth-no-worth-no-worth",
    "the context of a managed identity": "MSI@50342 of Contoso",
    "the context of a signed-in account": "Account 7f3c SubscriptionName Contoso TenantId 22222222",
    "a certificate and its thumbprint": "Thumbprint 0123456789ABCDEF0123456789ABCDEF01234567",
}


def changed(keep: str) -> dict[str, TableSchema]:
    """Our tables as another workspace has them: guid columns as *text*, or *none* of the columns with a suffix."""

    def column(name: str, kind: str) -> tuple[tuple[str, str], ...]:
        if keep == "none" and name.endswith(("_s", "_g")):
            return ()
        return ((name, "string" if kind == "guid" else kind),)

    tables = load_tables()
    columns = tuple(shown for name, kind in tables[TABLE].columns for shown in column(name, kind))
    return {**tables, TABLE: dataclasses.replace(tables[TABLE], columns=columns)}


def row(**fields: Any) -> dict[str, Any]:
    return {
        "TimeGenerated": NOW,
        "Category": "JobStreams",
        "OperationName": "Job",
        "ResourceProvider": "MICROSOFT.AUTOMATION",
        "_ResourceId": ACCOUNT,
        "JobId_g": JOB,
        "RunbookName_s": "Nightly",
        "Caller_s": "mallory@contoso.com",
        "StreamType_s": "Output",
        **fields,
    }


def results(rule: Rule, engine: Engine, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    engine.load("AzureActivity", [])
    engine.load(TABLE, rows)
    return engine.run(rule.query, now=NOW + timedelta(hours=2)).dicts()


def test_there_are_rules_on_jobs_outputs_and_audit_events() -> None:
    categories = {c for c in ("JobLogs", "JobStreams", "AuditEvent") for rule in RULES if f'"{c}"' in rule.query}
    assert categories == {"JobLogs", "JobStreams", "AuditEvent"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_no_column_of_a_result_and_no_part_of_an_alert_holds_what_a_job_wrote(rule: Rule) -> None:
    with Engine() as engine:
        names = {name for name, _ in engine.translate(rule.query).columns}
        assert not names & {"ResultDescription", "Message", "AdditionalFields"}
        seen = 0
        for text in OUTPUTS.values():
            found = results(rule, engine, [row(ResultDescription=text, Message=text, RunOn_s="on-premises")])
            plain = json.loads(json.dumps(found, default=str))
            matches = matches_of(rule, plain, source=Source.HUNT, workspace=None, found_at=NOW)
            alerts = [
                build_alert(rule, match, (), created_at=NOW, query="", query_url="", portal="https://portal.azure.com")
                for match in matches
            ]
            shown = repr([(match.row, match.identity) for match in matches]) + repr(alerts)
            seen += len(alerts)
            assert text not in shown
            assert not [word for word in text.split() if len(word) > 20 and word in shown]
        assert bool(seen) == ('"JobStreams"' in rule.query)


@pytest.mark.parametrize("secret", OUTPUTS)
def test_each_kind_of_output_is_found_by_one_rule_that_names_its_kind(secret: str) -> None:
    with Engine() as engine:
        found = [
            (rule.path, value)
            for rule in RULES
            for result in results(rule, engine, [row(ResultDescription=OUTPUTS[secret])])
            for value in (result.get("Secret"), result.get("Finding"))
            if value
        ]
    assert [value for _, value in found] == [secret]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_a_job_in_a_result_is_one_that_triage_can_look_up(rule: Rule) -> None:
    started = row(Category="JobLogs", ResultType="Started", RunOn_s="on-premises")
    outputs = [row(ResultDescription=text) for text in OUTPUTS.values()]
    with Engine() as engine:
        found = results(rule, engine, [started, *outputs])
        assert bool(found) == ("JobId" in rule.query)
        for result in found:
            target = automation_target(result["_ResourceId"])
            assert target is not None
            assert (target.account, target.kind, target.name) == ("aa-prod", "job", JOB)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_a_workspace_that_has_guids_as_text_gives_the_same_results(rule: Rule) -> None:
    def severity_of(rule: Rule, _: Mapping[str, Any], evidence: Any) -> Any:
        return assess(rule, evidence)[0]

    path = rulebook.tests_of(rulebook.BUILT_IN / rule.path.split("/")[-1])
    with Engine(changed("text")) as engine:
        outcomes = rule_tests.run_rule_tests(rule, path, engine=engine, severity_of=severity_of)
    assert [problem for outcome in outcomes for problem in outcome.problems] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_a_workspace_that_has_never_seen_a_column_of_automation_finds_nothing_and_fails_at_nothing(rule: Rule) -> None:
    with Engine(changed("none")) as engine:
        plain = {name: value for name, value in row().items() if not name.endswith(("_s", "_g"))}
        rows = [{**plain, "Category": category} for category in ("JobLogs", "JobStreams", "AuditEvent")]
        assert results(rule, engine, [{**r, "ResultType": "Started", "ResultDescription": "MSI@1"} for r in rows]) == []
        with Engine() as usual:
            names = [name for name, _ in usual.translate(rule.query).columns]
        assert [name for name, _ in engine.translate(rule.query).columns] == names
