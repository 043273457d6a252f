"""The runner of rule tests fails where it should: a test that cannot fail protects nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
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


def test_rows_are_laid_over_the_common_record_unless_they_have_a_time_of_their_own(tmp_path: Path) -> None:
    rows = [{}, {"resultType": "Failure"}, {"time": "2026-03-14T02:07:31Z", "resultType": "Success"}]
    path = write(tmp_path, {"record": HIT, "cases": [{"name": "x", "rows": rows, "expect": {"matches": 1}}]})
    (result,) = rule_tests.run_rule_tests(RULE, path)
    assert result.problems == ()


@pytest.mark.parametrize(
    ("content", "essential"),
    [
        ([], "cases: is missing or empty"),
        ({"cases": []}, "cases: is missing or empty"),
        ({"case": [], "cases": [1]}, "cases: is missing or empty"),
        ({"cases": [{"name": "a"}]}, "case 1 (a): 'expect'"),
        ({"cases": [{"name": "a", "expect": {"matches": 1}}]}, "case 1 (a): 'rows'"),
        ({"cases": [{"name": "a", "rows": [], "expect": {}}]}, "case 1 (a): 'matches'"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": True}}]}, "expect.matches is not a whole number"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "titel": "x"}}]}, "'titel' is not a key"),
        ({"cases": [{"name": "a", "rows": [], "expect": {"matches": 1, "severity": "Critical"}}]}, "'Critical'"),
        ({"cases": ["x"]}, "case 1 (None)"),
    ],
)
def test_a_test_file_that_tests_nothing_is_refused(tmp_path: Path, content: object, essential: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule_tests.run_rule_tests(RULE, write(tmp_path, content))
    assert any(line.startswith(f"{tmp_path.name}/foo.tests.yaml: ") for line in caught.value.problems)
    assert any(essential in line for line in caught.value.problems), caught.value.problems
