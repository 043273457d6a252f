"""The runner of rule tests fails where it should: a test that cannot fail protects nothing."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from detectors import rule_tests, rulebook
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook import RuleError

RULE = next(rule for rule in rulebook.load(check_query=False).rules if "watcher-task-created" in rule.path)
HIT = {
    "time": "2026-03-14T02:07:31Z",
    "operationName": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE",
    "resultType": "Success",
    "resourceId": "/subscriptions/1/resourceGroups/g/providers/Microsoft.Automation/automationAccounts/a/watchers/w",
    "identity": "mallory",
}


def write(folder: Path, content: object) -> Path:
    path = folder / "foo.tests.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # YAML too, without anchors
    return path


def run(folder: Path, case: dict[str, Any], severity_of: rule_tests.SeverityOf | None = None) -> tuple[str, ...]:
    path = write(folder, {"cases": [{"name": "a case", "rows": [HIT], **case}]})
    (result,) = rule_tests.run_rule_tests(RULE, path, severity_of=severity_of)
    assert result.name == "a case"
    assert result.passed is not bool(result.problems)
    return result.problems


def test_a_case_that_comes_true_passes(tmp_path: Path) -> None:
    expect = {"matches": 1, "severity": "Medium", "title": "Watcher task w created or modified by mallory"}
    assert run(tmp_path, {"expect": expect}) == ()


def test_a_wrong_number_of_matches_fails_and_says_both_numbers(tmp_path: Path) -> None:
    assert run(tmp_path, {"expect": {"matches": 2}}) == ("expected 2 matches, got 1",)
    assert run(tmp_path, {"rows": [], "expect": {"matches": 1}}) == ("expected 1 matches, got 0",)


def test_a_wrong_title_fails_and_says_both_titles(tmp_path: Path) -> None:
    (problem,) = run(tmp_path, {"expect": {"matches": 1, "title": "Other"}})
    assert problem == "expected the title 'Other', got 'Watcher task w created or modified by mallory'"


def test_severity_is_that_of_the_rule_or_of_the_function_with_the_mocked_evidence(tmp_path: Path) -> None:
    seen: list[tuple[str, Any, tuple[Evidence, ...]]] = []

    def severity_of(rule: Rule, row: Mapping[str, Any], evidence: tuple[Evidence, ...]) -> Severity:
        seen.append((rule.id, row["WatcherName"], evidence))
        return Severity.HIGH

    evidence = [
        {"name": "watchers", "data": {"a": 1}, "code": [{"title": "run", "text": "é"}]},
        {"name": "job", "missing": "gone"},
    ]
    case = {"evidence": evidence, "expect": {"matches": 1, "severity": "High"}}
    assert run(tmp_path, case) == ("expected severity High, got Medium",)
    assert run(tmp_path, case, severity_of) == ()
    ((rule_id, watcher, (watchers, job)),) = seen
    assert (rule_id, watcher) == (RULE.id, "w")
    assert watchers.data == {"a": 1}
    assert (watchers.code[0].text, watchers.code[0].size) == ("é", 2)
    assert job.missing == "gone"


def whole(folder: Path, document: dict[str, Any], rule: Rule = RULE) -> list[tuple[str, ...]]:
    return [result.problems for result in rule_tests.run_rule_tests(rule, write(folder, document))]


def test_rows_are_laid_over_the_record_of_the_file_and_that_over_the_standard_one(tmp_path: Path) -> None:
    subject = {"operationName": HIT["operationName"], "resourceId": HIT["resourceId"]}
    rows = [{}, {"resultType": "Failure"}, {"time": "2026-03-14T03:00:00Z"}]
    expect = {"matches": 2, "title": "Watcher task w created or modified by mallory@contoso.com"}
    assert whole(tmp_path, {"record": subject, "cases": [{"name": "x", "rows": rows, "expect": expect}]}) == [()]


@pytest.mark.parametrize("row", [{"eventTimestamp": "2026-03-14T02:07:31Z"}, {"TimeGenerated": "2026-03-14T02:07:31Z"}])
def test_a_row_of_another_shape_stands_alone(tmp_path: Path, row: dict[str, str]) -> None:
    case = {"name": "x", "rows": [row], "expect": {"matches": 0}}
    assert whole(tmp_path, {"record": HIT, "cases": [case]}) == [()]


def test_the_rows_of_a_case_stand_alone_when_it_says_so(tmp_path: Path) -> None:
    missing = {name: value for name, value in HIT.items() if name != "resultType"}
    case = {"name": "x", "rows": [missing], "expect": {"matches": 1}}
    assert whole(tmp_path, {"cases": [case, {**case, "alone": True}]}) == [(), ("expected 1 matches, got 0",)]


JOINED = (
    "AzureDiagnostics | extend Caller = tostring(column_ifexists('Caller_s', '')) "
    "| join kind=inner (AzureActivity | project CorrelationId) on CorrelationId"
)


def test_a_rule_over_several_tables_gets_the_rows_of_each(tmp_path: Path) -> None:
    rule = dataclasses.replace(RULE, query=JOINED, title_format="{{Category}} by {{Caller}}")
    bases = {"record": {"correlationId": "a"}, "records": {"AzureDiagnostics": {"CorrelationId": "a"}}}
    tables = {"AzureActivity": [{}], "AzureDiagnostics": [{"Category": "JobLogs"}, {"CorrelationId": "b"}]}
    expect = {"matches": 1, "title": "JobLogs by "}
    case = {"name": "x", "tables": tables, "expect": expect}
    assert whole(tmp_path, {**bases, "cases": [case]}, rule) == [
        ("expected the title 'JobLogs by ', got 'JobLogs by (unknown)'",)
    ]
    ((problem,),) = whole(tmp_path, {**bases, "cases": [{"name": "x", "rows": [], "expect": {"matches": 0}}]}, rule)
    assert "the rule reads AzureActivity, AzureDiagnostics: give the case's rows under 'tables'" in problem
    ((problem,),) = whole(tmp_path, {"cases": [case]})
    assert "rows of AzureDiagnostics, a table that the rule does not read" in problem


ENTITIES = {"Account": {"FullName": "mallory"}, "AzureResource": {"ResourceId": HIT["resourceId"].lower()}}


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ({"titles": ["Other"]}, "expected the title 'Other', got 'Watcher task w created or modified by mallory'"),
        ({"tactics": ["Impact"]}, "expected the tactics Impact, got "),
        ({"techniques": []}, "expected the techniques , got T1053"),
        ({"tags": ["AZT504", "AZT505"]}, "expected the tags AZT504, AZT505, got AZT504"),
        ({"entities": {"Account": {"FullName": "eve"}}}, "expected the Account {'FullName': 'eve'}, got {'FullName"),
        ({"entities": {"Host": {"HostName": "x"}}}, "expected the Host {'HostName': 'x'}, got None"),
        ({"details": {"Watcher": "v"}}, "expected the custom detail Watcher 'v', got 'w'"),
        ({"details": {"Colour": "v"}}, "expected the custom detail Colour 'v', got None"),
        ({"columns": {"WatcherName": "v"}}, "expected WatcherName 'v', got 'w'"),
        ({"columns": {"Watcher": "v"}}, "expected Watcher 'v', got 'no such column'"),
    ],
)
def test_each_expectation_can_fail(tmp_path: Path, expect: dict[str, Any], problem: str) -> None:
    (found,) = run(tmp_path, {"expect": {"matches": 1, **expect}})
    assert found.startswith(problem)


def test_each_expectation_can_come_true(tmp_path: Path) -> None:
    expect = {
        "matches": 1,
        "titles": ["Watcher task w created or modified by mallory"],
        "tactics": list(reversed(RULE.tactics)),
        "techniques": list(RULE.techniques),
        "tags": list(RULE.tags),
        "entities": ENTITIES,
        "details": {"Watcher": "w"},
        "columns": {"WatcherName": "w", "Properties_d": {"location": "global", "entity": HIT["resourceId"]}},
    }
    assert run(tmp_path, {"expect": expect}) == ()


@pytest.mark.parametrize(
    ("content", "essential"),
    [
        ([], "cases: is missing or empty"),
        ({"cases": []}, "cases: is missing or empty"),
        ({"case": [], "cases": [1]}, "cases: is missing or empty"),
        ({"record": [], "records": 5, "cases": [{"name": "a", "rows": [], "expect": {"matches": 0}}]}, "records: is"),
        ({"record": "x", "cases": [{"name": "a", "rows": [], "expect": {"matches": 0}}]}, "record: is text"),
        ({"records": {"T": 1}, "cases": [{"name": "a", "rows": [], "expect": {"matches": 0}}]}, "records: is"),
        ({"cases": [{"name": "a"}]}, "case 1 (a): 'expect'"),
        ({"cases": [{"name": "a", "expect": {"matches": 1}}]}, "case 1 (a): 'rows'"),
        ({"cases": [{"name": "a", "rows": [], "expect": {}}]}, "case 1 (a): 'matches'"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": True}}]}, "expect.matches is not a whole number"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "titel": "x"}}]}, "'expect.titel' is not a key"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "severity": "Critical"}}]}, "'Critical'"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 2, "titles": ["x"]}}]}, "1 entries for 2 matches"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 0, "title": "x"}}]}, "none is expected"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "tags": "x"}}]}, "expect.tags is not a list"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "details": {}}}]}, "expect.details is not"),
        ({"cases": [{"name": "a", "rows": [], "alone": 1, "expect": {"matches": 1}}]}, "alone is neither"),
        ({"cases": [{"name": "a", "tables": [], "expect": {"matches": 1}}]}, "case 1 (a): "),
        (
            {"cases": [{"name": "a", "rows": [], "evidence": [{"name": "x", "data": 1}], "expect": {"matches": 0}}]},
            "data of evidence",
        ),
        ({"cases": ["x"]}, "case 1 (None)"),
    ],
)
def test_a_test_file_that_tests_nothing_is_refused(tmp_path: Path, content: object, essential: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule_tests.run_rule_tests(RULE, write(tmp_path, content))
    assert any(line.startswith(f"{tmp_path.name}/foo.tests.yaml: ") for line in caught.value.problems)
    assert any(essential in line for line in caught.value.problems), caught.value.problems
