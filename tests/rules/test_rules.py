"""The built-in rules do what they say, on DuckDB, whatever the casing and the status of a record."""

import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import rule_tests, rulebook
from detectors.kql import Engine
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rule_tests import CaseResult
from detectors.sources import activity_log
from detectors.triage.severity import assess

BOOK = rulebook.load()
BY_NAME = {Path(rule.path).stem: rule for rule in BOOK.rules}
AUTOMATION = "Microsoft.Automation/automationAccounts/"
OPERATIONS = {
    "runbook-created-or-modified": (
        AUTOMATION + "runbooks/write",
        AUTOMATION + "runbooks/draft/write",
        AUTOMATION + "runbooks/publish/action",
    ),
    "serverless-script-execution": (
        AUTOMATION + "jobs/write",
        "Microsoft.Web/sites/hostruntime/host/action",
    ),
    "watcher-task-created-or-started": (
        AUTOMATION + "watchers/write",
        AUTOMATION + "watchers/watcherActions/write",
        AUTOMATION + "watchers/start/action",
    ),
    "watcher-task-stopped-or-deleted": (
        AUTOMATION + "watchers/stop/action",
        AUTOMATION + "watchers/delete",
        AUTOMATION + "watchers/watcherActions/delete",
    ),
}
# All values of ActivityStatusValue in the ASIM parser for Azure administrative activity, and a few that others use.
OTHER_STATUSES = (
    "Accept",
    "Accepted",
    "Active",
    "Failed",
    "Failure",
    "In Progress",
    "Resolved",
    "Start",
    "Started",
    "Updated",
    "Cancel",
    "Created",
    "OK",
    "",
    "Unsuccessful",
    "Success ful",
    "Succeeded.Created",
)
HIT = [(name, operation) for name, operations in OPERATIONS.items() for operation in operations]
TACTICS_OF = {
    "T1053": {"Execution", "Persistence", "PrivilegeEscalation"},
    "T1059": {"Execution"},
    "T1070": {"DefenseEvasion"},
    "T1546": {"Persistence", "PrivilegeEscalation"},
    "T1648": {"Execution"},
    "T1651": {"Execution"},
}

ENGINE = Engine()


def severity_of(rule: Rule, _: Mapping[str, Any], evidence: tuple[Evidence, ...]) -> Severity:
    return assess(rule, evidence)[0]


def record(operation: str, status: str) -> dict[str, Any]:
    return {
        "time": "2026-03-14T02:07:31.1234567Z",
        "resourceId": "/subscriptions/1/resourceGroups/g/providers/Microsoft.Automation/automationAccounts/a/x/y",
        "operationName": operation,
        "resultType": status,
    }


def matches(rule: Rule, records: list[dict[str, Any]]) -> int:
    ENGINE.load(activity_log.TABLE, [activity_log.to_row(item) for item in records])
    return len(ENGINE.run(rule.query).rows)


def all_cases() -> Iterator[tuple[str, CaseResult]]:
    for name, rule in BY_NAME.items():
        path = rulebook.tests_of(rulebook.BUILT_IN / f"{name}.yaml")
        for result in rule_tests.run_rule_tests(rule, path, engine=ENGINE, severity_of=severity_of):
            yield f"{name}: {result.name}", result


CASES = dict(all_cases())


def test_every_built_in_rule_loads_and_no_file_is_left_out() -> None:
    assert BOOK.problems == ()
    files = {path.name for path in rulebook.BUILT_IN.glob("*.yaml") if not path.name.endswith(".tests.yaml")}
    assert {f"{name}.yaml" for name in BY_NAME} == files
    assert files >= {f"{name}.yaml" for name in OPERATIONS}


@pytest.mark.parametrize("name", CASES)
def test_every_case_beside_a_rule_comes_true(name: str) -> None:
    assert CASES[name].problems == ()


def test_every_rule_has_a_case_that_matches_and_one_that_does_not() -> None:
    for name in BY_NAME:
        expected = [case.matches for case in rule_tests._read_cases(rulebook.BUILT_IN / f"{name}.tests.yaml")]
        assert 0 in expected, name
        assert any(expected), name


@pytest.mark.parametrize(("name", "operation"), HIT)
@pytest.mark.parametrize("status", ["Success", "Succeeded", "SUCCESS", "succeeded"])
def test_each_operation_of_a_rule_is_found_when_it_succeeded(name: str, operation: str, status: str) -> None:
    assert matches(BY_NAME[name], [record(operation, status)]) == 1


@settings(max_examples=60, deadline=None)
@given(
    hit=st.sampled_from(HIT),
    status=st.sampled_from(["success", "succeeded"]),
    flips=st.lists(st.booleans(), min_size=1, max_size=40),
)
def test_any_casing_of_operation_and_status_is_still_found(
    hit: tuple[str, str], status: str, flips: list[bool]
) -> None:
    def cased(text: str) -> str:
        pairs = zip(text, itertools.cycle(flips), strict=False)
        return "".join(letter.upper() if flip else letter.lower() for letter, flip in pairs)

    name, operation = hit
    assert matches(BY_NAME[name], [record(cased(operation), cased(status))]) == 1


@pytest.mark.parametrize(("name", "operation"), HIT)
def test_no_status_but_success_is_ever_found(name: str, operation: str) -> None:
    records = [record(operation, cased) for status in OTHER_STATUSES for cased in (status, status.upper())]
    assert matches(BY_NAME[name], records) == 0


@settings(max_examples=60, deadline=None)
@given(
    hit=st.sampled_from(HIT),
    status=st.text(max_size=24).filter(lambda text: text.lower() not in {"success", "succeeded"}),
)
def test_no_invented_status_is_ever_found(hit: tuple[str, str], status: str) -> None:
    name, operation = hit
    assert matches(BY_NAME[name], [record(operation, status)]) == 0


@pytest.mark.parametrize(("name", "operation"), HIT)
def test_no_longer_or_shorter_operation_name_is_found(name: str, operation: str) -> None:
    others = [operation + "s", operation + "/x", "X" + operation, operation[:-1], operation.replace("/", "."), ""]
    assert matches(BY_NAME[name], [record(other, "Success") for other in others]) == 0


def test_no_operation_of_one_rule_is_found_by_another() -> None:
    for name, rule in BY_NAME.items():
        if name in OPERATIONS:
            others = [operation for other, operation in HIT if other != name]
            assert matches(rule, [record(operation, "Success") for operation in others]) == 0, name


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_activity_log_rules_run_on_the_stream_every_five_minutes_over_the_seeds_look_back(name: str) -> None:
    rule = BY_NAME[name]
    assert rule.detector.stream
    assert rule.query_frequency == timedelta(minutes=5)
    assert rule.query_period == timedelta(minutes=25)
    # The caller bounds the time; a filter in the text would cut off what an outage left behind.
    assert "TimeGenerated" not in rule.query
    assert "ago(" not in rule.query


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_activity_log_rules_keep_every_column_and_share_one_identity(name: str) -> None:
    rule = BY_NAME[name]
    columns = [column for column, _ in ENGINE.translate(rule.query).columns]
    assert set(activity_log.to_row({})) <= set(columns)
    assert rule.detector.identity == ("CorrelationId", "OperationNameValue", "_ResourceId", "ActivityStatusValue")
    assert {mapping.entity_type: dict(mapping.fields) for mapping in rule.entity_mappings} == {
        "Account": {"FullName": "Caller"},
        "IP": {"Address": "CallerIpAddress"},
        "AzureResource": {"ResourceId": "_ResourceId"},
    }


@pytest.mark.parametrize("rule", BOOK.rules, ids=lambda rule: rule.path)
def test_every_rule_meets_the_strictest_published_limits(rule: Rule) -> None:
    assert rule.description.startswith("Identifies ")
    assert len(rule.description) <= 255
    assert len(rule.name) <= 100
    assert not rule.name.endswith(".")
    assert 1 <= len(rule.tactics) <= 5
    for technique in rule.techniques:
        assert TACTICS_OF[technique.partition(".")[0]] & set(rule.tactics), technique


@pytest.mark.parametrize("rule", BOOK.rules, ids=lambda rule: rule.path)
def test_every_rule_tells_the_responder_what_to_check_and_what_to_do(rule: Rule) -> None:
    assert rule.techniques
    assert rule.detector.references
    assert rule.detector.false_positives
    for text in (rule.detector.triage, rule.detector.response):
        assert text.startswith("1. ")


def test_the_seed_rules_keep_their_severities_and_tags() -> None:
    runbook = BY_NAME["runbook-created-or-modified"]
    assert (runbook.severity, runbook.detector.risk_score) == (Severity.LOW, 21)
    execution = BY_NAME["serverless-script-execution"]
    assert execution.severity is Severity.INFORMATIONAL
    assert set(execution.tags) >= {"AZT404", "AZT404.3", "AZT302", "AZT302.1", "AZT302.2", "AZT302.3", "AZT302.4"}
    assert execution.techniques == ("T1059", "T1651")
    assert execution.detector.summary == ("_ResourceId", "CallerIpAddress", "CorrelationId")
    watcher = BY_NAME["watcher-task-created-or-started"]
    assert (watcher.severity, watcher.tags) == (Severity.MEDIUM, ("AZT504",))
    assert BY_NAME["watcher-task-stopped-or-deleted"].severity is Severity.LOW
