"""The mutation check is itself checked: it makes each kind of mutant, and a case that is missing shows."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mutation.__main__ import ENOUGH, passed, rule_files, share
from tests.mutation.check import Report, check_rule
from tests.mutation.document import mutants, texts_not_mutated
from tests.mutation.query import query_mutants

OPERATION = "Microsoft.Automation/automationAccounts/jobs/"
QUERY = f"""\
// "none of this", and not a | where either
AzureActivity
| where OperationNameValue in~ (
    "{OPERATION}write", // "a comment"
    "{OPERATION}stop/action")
| where ActivityStatusValue in~ ("Success", "Succeeded") and not(Caller has "or, and | where")
| extend Change = case(
    OperationNameValue =~ "{OPERATION}write", "started",
    Caller == "robot", "kept",
    "stopped")
| extend Who = iff(isempty(Caller), "nobody", Caller)
"""
RULE: dict[str, Any] = {
    "id": "11111111-2222-3333-4444-555555555555",
    "kind": "Scheduled",
    "name": "Something happened",
    "description": "Identifies something.",
    "severity": "Medium",
    "queryFrequency": "5m",
    "queryPeriod": "25m",
    "triggerOperator": "gt",
    "triggerThreshold": 0,
    "tactics": ["Execution", "Persistence"],
    "relevantTechniques": ["T1648", "T1053"],
    "tags": [{"ATRM": "AZT302"}],
    "query": QUERY,
    "entityMappings": [
        {
            "entityType": "Account",
            "fieldMappings": [
                {"identifier": "FullName", "columnName": "Who"},
                {"identifier": "Name", "columnName": "Caller"},
            ],
        },
        {"entityType": "IP", "fieldMappings": [{"identifier": "Address", "columnName": "CallerIpAddress"}]},
    ],
    "customDetails": {"Change": "Change"},
    "alertDetailsOverride": {"alertDisplayNameFormat": "Job {{Change}} by {{Who}}"},
    "detector": {"references": ["https://contoso.com/"], "false_positives": ["One.", "Two."], "triage": "1. Ask."},
    "version": "1.0.0",
}
RESOURCE = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Automation/automationAccounts/a/jobs/1"
ROW = {"resourceId": RESOURCE, "operationName": f"{OPERATION}write".upper(), "resultType": "Success"}


def case(name: str, rows: list[dict[str, Any]], **expect: Any) -> dict[str, Any]:
    return {"name": name, "rows": [{**ROW, **row} for row in rows], "expect": expect}


def caller(name: str) -> dict[str, Any]:
    return {"identity": {"claims": {"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": name}}}


STRONG = [
    case(
        "The alert says everything",
        [{}],
        matches=1,
        severity="Medium",
        title="Job started by mallory@contoso.com",
        tactics=["Execution", "Persistence"],
        techniques=["T1648", "T1053"],
        tags=["AZT302"],
        details={"Change": "started"},
        entities={
            "Account": {"FullName": "mallory@contoso.com", "Name": "mallory@contoso.com"},
            "IP": {"Address": "203.0.113.7"},
        },
    ),
    case("A job is stopped", [{"operationName": f"{OPERATION}stop/action"}], matches=1, details={"Change": "stopped"}),
    case("A status in any case", [{"resultType": "SUCCEEDED"}], matches=1),
    case("Another operation", [{"operationName": f"{OPERATION}read"}], matches=0),
    case("A failure", [{"resultType": "Failed"}], matches=0),
    case("A caller that is left out", [caller("or, and | where")], matches=0),
    case("A caller without a name", [caller("")], matches=1, title="Job started by nobody"),
    case(
        "The robot",
        [{**caller("robot"), "operationName": f"{OPERATION}stop/action"}],
        matches=1,
        details={"Change": "kept"},
    ),
]


def write(folder: Path, cases: list[dict[str, Any]], rule: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(rule or RULE, sort_keys=False))
    path.with_suffix(".tests.yaml").write_text(yaml.safe_dump({"cases": cases}, sort_keys=False))
    return path


def made(kind: str) -> list[str]:
    return [mutant.what.partition(" [")[0] for mutant in mutants(RULE) if mutant.kind == kind]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "literal",
            [
                f'"{OPERATION}write" left out',
                f'"{OPERATION}stop/action" left out',
                '"Success" left out',
                '"Succeeded" left out',
            ],
        ),
        ("where", ["left out", "left out"]),
        (
            "operand",
            [
                'ActivityStatusValue in~ ("Success", "Succeeded") left out',
                'not(Caller has "or, and | where") left out',
            ],
        ),
        ("case", ["in~ made exact", "in~ made exact", "=~ made exact"]),
        ("branch", ['"started" left out', '"kept" left out', '"nobody" left out']),
        ("tag", ["AZT302 left out"]),
        ("tactic", ["Execution left out", "Persistence left out"]),
        ("technique", ["T1648 left out", "T1053 left out"]),
        ("entity", ["Account left out", "IP left out"]),
        ("entity field", ["Account.FullName left out", "Account.Name left out"]),
        ("custom detail", ["Change left out"]),
        ("title format", ["the title left out"]),
        ("severity", ["Medium became Low", "Medium became High"]),
    ],
)
def test_each_kind_of_mutant_is_made(kind: str, expected: list[str]) -> None:
    assert made(kind) == expected


def test_every_condition_is_turned_round_once() -> None:
    conditions = made("negation")
    assert len(conditions) == len(set(conditions)) == 7
    assert 'not(OperationNameValue =~ "Microsoft.Automation/automationAcc...)' in conditions
    assert "not(isempty(Caller))" in conditions


def test_texts_and_comments_are_never_touched() -> None:
    queries = [mutant.document["query"] for mutant in mutants(RULE)]
    assert all(query.startswith('// "none of this", and not a | where either\n') for query in queries)
    assert all(query.count("or, and | where") in (0, 1) for query in queries)
    assert {query for query in queries if '"or, and | where"' not in query} == {
        QUERY.replace('and not(Caller has "or, and | where")', ""),
        QUERY.replace(
            '| where ActivityStatusValue in~ ("Success", "Succeeded") and not(Caller has "or, and | where")', ""
        ),
    }


def test_the_rule_itself_is_left_as_it_was_and_no_mutant_equals_it_or_another() -> None:
    before = copy.deepcopy(RULE)
    documents = [yaml.safe_dump(mutant.document) for mutant in mutants(RULE)]
    assert before == RULE
    assert yaml.safe_dump(RULE) not in documents
    assert len(set(documents)) == len(documents)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a or b and c", {"b and c", "a or  c", "a or b"}),
        ("a and (b or c)", {"(b or c)", "a", "a and ( c)", "a and (b )"}),
        ("f(a, b) and c", {"c", "f(a, b)"}),
    ],
)
def test_an_operand_leaves_with_the_word_that_binds_it(condition: str, expected: set[str]) -> None:
    query = f"T | where {condition}"
    left = {mutant.query for mutant in query_mutants(query) if mutant.kind == "operand"}
    assert {text.removeprefix("T | where").strip() for text in left} == expected


@pytest.mark.parametrize(
    "query",
    [
        'T | where A in~ ("one")',
        'T | where A =~ "203.0.113.7"',
        'T | where A in~ ("1", "2")',
        'T | where A == "one"',
        "let A = dynamic([1, 2]); T | where B in (A)",
    ],
)
def test_what_would_be_the_same_query_or_none_is_not_made(query: str) -> None:
    kinds = [(mutant.kind, mutant.what) for mutant in query_mutants(query)]
    assert not [what for kind, what in kinds if kind == "literal" and what.startswith('"one"')]
    letters = 'in~ ("one")' in query
    assert any(kind == "case" for kind, _ in kinds) is letters


@pytest.mark.parametrize("opening", ["has_any (", "has_all (", "in ("])
def test_lists_of_every_operator_lose_an_entry(opening: str) -> None:
    left = [mutant.query for mutant in query_mutants(f'T | where A {opening}"x", "y")') if mutant.kind == "literal"]
    assert left == [f'T | where A {opening} "y")', f'T | where A {opening}"x")']


def test_a_dynamic_list_loses_an_entry() -> None:
    query = 'let names = dynamic(["x", "y"]);\nT | where A in (names)'
    assert [mutant.query.split(";")[0] for mutant in query_mutants(query) if mutant.kind == "literal"] == [
        'let names = dynamic([ "y"])',
        'let names = dynamic(["x"])',
    ]


@pytest.mark.parametrize("query", ["T | where (A", "T | where A)", 'T | where A in ("x"]'])
def test_a_query_whose_brackets_do_not_match_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="bracket"):
        query_mutants(query)


def test_strong_cases_catch_every_mutant(tmp_path: Path) -> None:
    report = check_rule(write(tmp_path / "rules", STRONG))
    assert report.problem is None
    assert report.survivors == ()
    assert report.mutants == report.caught == len(mutants(RULE)) > 30


@pytest.mark.parametrize(
    ("missing", "survivor"),
    [
        ("A status in any case", 'query line 6: case: in~ made exact [\'| where ActivityStatusValue in~ ("Success"'),
        ("A failure", 'query line 6: operand: ActivityStatusValue in~ ("Success", "Succeeded") left out ['),
        ("A caller that is left out", 'query line 6: operand: not(Caller has "or, and | where") left out ['),
        ("The robot", 'query line 9: branch: "kept" left out ['),
        ("A caller without a name", 'query line 11: branch: "nobody" left out ['),
    ],
)
def test_a_mutant_that_only_one_case_notices_survives_without_it(tmp_path: Path, missing: str, survivor: str) -> None:
    report = check_rule(write(tmp_path / "rules", [one for one in STRONG if one["name"] != missing]))
    assert report.problem is None
    assert [label for label in report.survivors if label.startswith(survivor)]


def test_what_the_cases_do_not_say_survives_by_name(tmp_path: Path) -> None:
    weak = copy.deepcopy(STRONG)
    for key in ("tags", "techniques", "severity", "entities"):
        del weak[0]["expect"][key]
    report = check_rule(write(tmp_path / "rules", weak))
    assert set(report.survivors) == {
        "tags: tag: AZT302 left out",
        "relevantTechniques: technique: T1648 left out",
        "relevantTechniques: technique: T1053 left out",
        "severity: severity: Medium became Low",
        "severity: severity: Medium became High",
        "entityMappings: entity: Account left out",
        "entityMappings: entity: IP left out",
        "entityMappings.fieldMappings: entity field: Account.FullName left out",
        "entityMappings.fieldMappings: entity field: Account.Name left out",
    }


def test_a_rule_that_cannot_be_judged_says_why_and_fails_the_check(tmp_path: Path) -> None:
    wrong = [case("The wrong number", [{}], matches=7)]
    report = check_rule(write(tmp_path / "rules", wrong))
    assert report.problem == "the rule itself is not as its cases say: The wrong number: expected 7 matches, got 1"
    assert not passed([report])
    broken = check_rule(write(tmp_path / "broken", STRONG, {**RULE, "severity": "Critical"}))
    assert "severity" in (broken.problem or "")
    path = write(tmp_path / "alone", STRONG)
    path.with_suffix(".tests.yaml").unlink()
    assert "small.tests.yaml is missing" in (check_rule(path).problem or "")


def report_of(mutants: int, survivors: int, problem: str | None = None) -> Report:
    return Report(rule="r", mutants=mutants, survivors=("s",) * survivors, not_mutated=0, problem=problem, seconds=0.0)


def test_ninety_five_percent_of_all_mutants_is_enough_and_less_is_not() -> None:
    assert ENOUGH == 95.0
    assert passed([report_of(50, 5), report_of(50, 0)])
    assert not passed([report_of(50, 5), report_of(50, 1)])
    assert not passed([report_of(100, 0), report_of(0, 0, "does not load")])
    assert share([]) == 0.0
    assert not passed([])


def test_rules_are_chosen_by_file_name_and_an_unknown_one_is_named() -> None:
    name = "runbook-created-or-modified"
    assert [path.stem for path in rule_files([name, f"{name}.yaml"])] == [name]
    assert len(rule_files([])) >= 4
    with pytest.raises(SystemExit, match="'no-such-rule' is no built-in rule"):
        rule_files(["no-such-rule"])


def test_the_number_of_texts_that_are_not_mutated_is_told() -> None:
    # Name and description, one reference, two false positives and the triage text.
    assert texts_not_mutated(RULE) == 6
