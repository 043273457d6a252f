"""The built-in rules do what they say, on DuckDB, whatever the casing and the status of a record."""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import rule_tests, rulebook
from detectors.kql.engine import Engine
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook import cases as rule_cases
from detectors.rulebook.attack import misfits
from detectors.rulebook.operations import operations_of
from detectors.sources import activity_log
from detectors.triage.severity import assess

BOOK = rulebook.load()
BY_NAME = {Path(rule.path).stem: rule for rule in BOOK.rules}
AUTOMATION = "Microsoft.Automation/automationAccounts/"
CATCH_ALL = "automation-operation-unnamed"
# The three seeds and the watchers, written out here, because everything else stands on them.
SEEDS = {
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
ENGINE = Engine()
OPERATIONS = {
    name: operations_of(rule.query) for name, rule in BY_NAME.items() if rule.detector.stream and name != CATCH_ALL
}
HIT = [(name, operation) for name, operations in OPERATIONS.items() for operation in operations]


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


def test_every_built_in_rule_loads_and_no_file_is_left_out() -> None:
    assert BOOK.problems == ()
    files = {path.name for path in rulebook.BUILT_IN.glob("*.yaml") if not path.name.endswith(".tests.yaml")}
    assert {f"{name}.yaml" for name in BY_NAME} == files


@pytest.mark.parametrize("name", SEEDS)
def test_the_seed_rules_name_the_operations_of_the_seeds(name: str) -> None:
    assert set(OPERATIONS[name]) == set(SEEDS[name])


@pytest.mark.parametrize("name", BY_NAME)
def test_every_case_beside_a_rule_comes_true(name: str) -> None:
    path = rulebook.tests_of(rulebook.BUILT_IN / f"{name}.yaml")
    results = rule_tests.run_rule_tests(BY_NAME[name], path, engine=ENGINE, severity_of=severity_of)
    assert {result.name: result.problems for result in results if not result.passed} == {}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_rule_has_a_case_that_matches_and_one_that_does_not(name: str) -> None:
    cases = rule_cases.read_cases(rulebook.BUILT_IN / f"{name}.tests.yaml").cases
    expected = [case.expect.matches for case in cases]
    assert 0 in expected
    assert any(expected)


def written_operations(name: str) -> set[tuple[str, str]]:
    """(operation, status) of every row of a rule's cases, as they are written."""
    file = rule_cases.read_cases(rulebook.BUILT_IN / f"{name}.tests.yaml")
    rows = [
        activity_log.to_row(dict(row) if case.alone or set(row) & set(rule_cases.OTHER_SHAPES) else whole)
        for case in file.cases
        for listed in case.rows.values()
        for row in listed
        for whole in [{**rule_cases.STANDARD_RECORD, **file.record, **row}]
    ]
    return {(str(row["OperationNameValue"]), str(row["ActivityStatusValue"])) for row in rows}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_cases_of_a_rule_hold_upper_and_mixed_case_a_failure_and_a_start(name: str) -> None:
    written = written_operations(name)
    own = {operation.casefold() for operation in OPERATIONS[name]}
    rows = {(operation, status.casefold()) for operation, status in written if operation.casefold() in own}
    hits = {operation for operation, status in rows if status in {"success", "succeeded"}}
    assert {operation.casefold() for operation in hits} == own, "each operation is found at least once"
    assert any(operation == operation.upper() for operation in hits), "a hit in upper case"
    assert any(operation not in (operation.upper(), operation.lower()) for operation in hits), "a hit in mixed case"
    assert {"failure", "failed"} & {status for _, status in rows}, "a failed operation"
    assert {"start", "started"} & {status for _, status in rows}, "a Start row"
    assert any(operation.casefold() not in own for operation, _ in written), "a near miss"


def names_found(rule: Rule, group: str) -> list[tuple[str, str]]:
    """(account, resource) of every match of the rule's cases, with their resource group called *group*."""
    file = rule_cases.read_cases(rulebook.tests_of(rulebook.BUILT_IN / Path(rule.path).name))
    rows = [row for case in file.cases if not case.alone for row in case.rows[None]]
    both = json.dumps([rows, file.record]).replace("rg-ops", group).replace("RG-OPS", group.upper())
    rows, record = json.loads(both)
    # All rows in one run: these rules look at each row by itself.
    together = dataclasses.replace(file.cases[0], alone=False, rows={None: tuple(rows)})
    found = rule_tests.matches_of(rule, together, dataclasses.replace(file, record=record), ENGINE)
    return [(row.get("AccountName", ""), row["ResourceName"]) for row in found]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_resource_group_that_is_called_like_a_resource_type_changes_no_name(name: str) -> None:
    rule = BY_NAME[name]
    names = names_found(rule, "rg-ops")
    types = {part for operation in OPERATIONS[name] for part in operation.split("/")[1:-1]}
    for group in sorted(types):
        assert names_found(rule, group) == names, group


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_of_a_rule_is_found_when_it_succeeded(name: str) -> None:
    statuses = ["Success", "Succeeded", "SUCCESS", "succeeded"]
    records = [record(operation, status) for operation in OPERATIONS[name] for status in statuses]
    assert matches(BY_NAME[name], records) == len(records)


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


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_status_but_success_is_ever_found(name: str) -> None:
    statuses = [cased for status in OTHER_STATUSES for cased in (status, status.upper())]
    records = [record(operation, status) for operation in OPERATIONS[name] for status in statuses]
    assert matches(BY_NAME[name], records) == 0


@settings(max_examples=60, deadline=None)
@given(
    hit=st.sampled_from(HIT),
    status=st.text(max_size=24).filter(lambda text: text.lower() not in {"success", "succeeded"}),
)
def test_no_invented_status_is_ever_found(hit: tuple[str, str], status: str) -> None:
    name, operation = hit
    assert matches(BY_NAME[name], [record(operation, status)]) == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_longer_or_shorter_operation_name_is_found(name: str) -> None:
    others = [
        other
        for operation in OPERATIONS[name]
        for other in (operation + "s", operation + "/x", "X" + operation, operation[:-1], operation.replace("/", "."))
    ]
    assert matches(BY_NAME[name], [record(other, "Success") for other in [*others, ""]]) == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_of_one_rule_is_found_by_another(name: str) -> None:
    others = [operation for other, operation in HIT if other != name]
    assert matches(BY_NAME[name], [record(operation, "Success") for operation in others]) == 0


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
    assert list(misfits(rule.techniques, rule.tactics)) == []


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
