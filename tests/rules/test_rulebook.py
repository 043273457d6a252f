"""A rule file that is wrong says so: every problem, one line each, with file, key, cause and fix."""

import itertools
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from detectors import rulebook
from detectors.kql.engine import Engine
from detectors.rulebook import RuleError, load, load_rule
from detectors.rulebook import book as loader
from detectors.strict_yaml import MAX_BYTES
from detectors.triage.enrichment import ENRICHMENTS

GUID = "0b6f2f6e-54a4-4a8e-9d8b-1f0f6a3d5c11"


def document(**changes: Any) -> dict[str, Any]:
    """A small valid rule, to be read strictly; a change to None removes the key."""
    rule: dict[str, Any] = {
        "id": GUID,
        "kind": "Scheduled",
        "name": "Something happened",
        "description": "Identifies something.",
        "severity": "Low",
        "queryFrequency": "5m",
        "queryPeriod": "25m",
        "triggerOperator": "gt",
        "triggerThreshold": 0,
        "tactics": ["Persistence"],
        "relevantTechniques": ["T1053.005"],
        "query": "AzureActivity\n| where Level =~ 'Error'\n| project TimeGenerated, Caller, _ResourceId\n",
        "entityMappings": [
            {"entityType": "Account", "fieldMappings": [{"identifier": "FullName", "columnName": "Caller"}]}
        ],
        "version": "1.0.0",
        "detector": {},
    }
    rule |= changes
    return {key: value for key, value in rule.items() if value is not None}


def write(folder: Path, text: str, name: str = "foo.yaml") -> Path:
    folder = folder / "rules"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder: Path, rule: dict[str, Any]) -> list[str]:
    path = write(folder, yaml.safe_dump(rule))
    with pytest.raises(RuleError) as caught:
        load_rule(path)
    return caught.value.problems


def mapping(entity_type: str, identifier: str, column: str) -> list[dict[str, Any]]:
    return [{"entityType": entity_type, "fieldMappings": [{"identifier": identifier, "columnName": column}]}]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"id": None}, "id", "is missing; add it"),
    ({"id": "1234"}, "id", "'1234' is not a GUID; make one with"),
    ({"id": "{" + GUID + "}"}, "id", "has 38 characters"),
    ({"id": 5}, "id", "is a number, not text; put it in quotes"),
    ({"kind": None}, "kind", "is missing"),
    ({"kind": "Fusion"}, "kind", "'Fusion' does not run here; it is Scheduled or NRT"),
    ({"name": None}, "name", "is missing"),
    ({"name": "  "}, "name", "is empty"),
    ({"name": "x" * 257}, "name", "has 257 characters; at most 256"),
    ({"name": False}, "name", "is a boolean, not text; put it in quotes"),
    ({"description": None}, "description", "is missing"),
    ({"severity": None}, "severity", "is missing"),
    (
        {"severity": "Critical"},
        "severity",
        "'Critical' is not a severity; it is one of Informational, Low, Medium, High",
    ),
    ({"severity": "low"}, "severity", "'low' is not a severity"),
    ({"queryFrequency": None}, "queryFrequency", "is missing"),
    ({"queryFrequency": "PT5M"}, "queryFrequency", "'PT5M' is not a duration; write 5m, 1h, 1d or hh:mm:ss"),
    ({"queryFrequency": "4m"}, "queryFrequency", "4m is outside Sentinel's limits; it is 5m to 14d"),
    ({"queryFrequency": "15d", "queryPeriod": "14d"}, "queryFrequency", "15d is outside"),
    ({"queryFrequency": 3600}, "queryFrequency", "is a number, not text; put it in quotes"),
    ({"queryPeriod": None}, "queryPeriod", "is missing"),
    ({"queryPeriod": "15d"}, "queryPeriod", "15d is outside"),
    ({"queryFrequency": "1h", "queryPeriod": "30m"}, "queryPeriod", "is shorter than queryFrequency"),
    ({"queryFrequency": "30m", "queryPeriod": "2d"}, "queryFrequency", "is below 1h, which Sentinel refuses"),
    ({"triggerOperator": None}, "triggerOperator", "is missing"),
    ({"triggerOperator": "above"}, "triggerOperator", "'above' is not an operator; it is gt, lt, eq or ne"),
    ({"triggerThreshold": None}, "triggerThreshold", "is missing"),
    ({"triggerThreshold": 10_001}, "triggerThreshold", "is 10001; it is a whole number from 0 to 10000"),
    ({"triggerThreshold": True}, "triggerThreshold", "is True; it is a whole number"),
    ({"tactics": None}, "tactics", "is missing"),
    ({"tactics": "Persistence"}, "tactics", "is text; it is a list of texts"),
    ({"tactics": ["persistence"]}, "tactics", "'persistence' is not a tactic (did you mean Persistence?)"),
    ({"relevantTechniques": ["1053"]}, "relevantTechniques", "'1053' is not a technique; write T1053 or T1053.005"),
    ({"relevantTechniques": ["T1053.5"]}, "relevantTechniques", "'T1053.5' is not a technique"),
    ({"relevantTechniques": [1053]}, "relevantTechniques", "holds 1053, which is a number; put it in quotes"),
    ({"relevantTechniques": ["T1053"] * 11}, "relevantTechniques", "names 11 techniques; Sentinel takes at most 10"),
    ({"tags": [{"ATRM": 504}]}, "tags", "ATRM: is a number, not text; put it in quotes"),
    ({"tags": ["AZT504"]}, "tags", "is not a list of mappings"),
    ({"query": None}, "query", "is missing"),
    ({"query": "AzureActivity | take 1" + " " * 10_000}, "query", "at most 10000 are allowed"),
    ({"query": "AzureActivity\n| where ("}, "query", "syntax error in line 2"),
    ({"query": "AzureActivity\n| evaluate bag_unpack(Properties_d)"}, "query", "'evaluate' in line 2 is not supported"),
    ({"query": "AzureActivity\n| where Foo == 1"}, "query", "column 'Foo' in line 2 does not exist at that step"),
    ({"query": "Nothing | take 1"}, "query", "table 'Nothing' in line 1 is not known"),
    ({"entityMappings": None}, "entityMappings", "is missing; map at least one entity"),
    (
        {"entityMappings": [mapping("Account", "FullName", "Caller")[0] for _ in range(11)]},
        "entityMappings",
        "has 11 entries",
    ),
    ({"entityMappings": {"entityType": "Account"}}, "entityMappings", "is not a list of mappings"),
    (
        {"entityMappings": mapping("account", "FullName", "Caller")},
        "entityMappings.entityType",
        "'account' is not an entity type (did you mean Account?)",
    ),
    (
        {"entityMappings": mapping("IP", "Adress", "Caller")},
        "entityMappings.IP.identifier",
        "'Adress' does not identify it; one of Address, AddressScope does",
    ),
    (
        {"entityMappings": [{"entityType": "IP", "fieldMappings": []}]},
        "entityMappings.IP.fieldMappings",
        "has 0 entries; it takes 1 to 3",
    ),
    (
        {"entityMappings": mapping("Account", "FullName", "Calller")},
        "entityMappings.Account",
        "'Calller' is not in the query's result (did you mean Caller?); it has TimeGenerated, Caller, _ResourceId",
    ),
    ({"customDetails": ["Caller"]}, "customDetails", "is a list; it is a mapping of keys"),
    ({"customDetails": {f"k{n}": "Caller" for n in range(21)}}, "customDetails", "has 21 entries"),
    ({"customDetails": {"a b": "Caller"}}, "customDetails", "'a b' is not a name of 1 to 20 letters, digits and _"),
    ({"customDetails": {"k" * 21: "Caller"}}, "customDetails", "is not a name of 1 to 20"),
    ({"customDetails": {"Who": "tostring(Caller)"}}, "customDetails", "Who: 'tostring(Caller)' is not the name of a"),
    ({"customDetails": {"Who": "Level"}}, "customDetails", "column 'Level' is not in the query's result"),
    (
        {"alertDetailsOverride": {"alertDisplayNameFormat": "{{ Caller }}"}},
        "alertDetailsOverride.alertDisplayNameFormat",
        "'{{ Caller }}' is not a column in braces; write {{Caller}}, no spaces",
    ),
    (
        {"alertDetailsOverride": {"alertDisplayNameFormat": "{{Level}}"}},
        "alertDetailsOverride.alertDisplayNameFormat",
        "column 'Level' is not in the query's result",
    ),
    (
        {"alertDetailsOverride": {"alertDisplayNameFormat": "{{A}}{{B}}{{C}}{{D}}"}},
        "alertDetailsOverride.alertDisplayNameFormat",
        "names 4 columns; Sentinel takes at most 3",
    ),
    (
        {"alertDetailsOverride": {"alertDisplayNameFormat": "x" * 257}},
        "alertDetailsOverride.alertDisplayNameFormat",
        "at most 256 are allowed",
    ),
    ({"version": None}, "version", "is missing"),
    ({"version": 1.0}, "version", "is a number, not text; put it in quotes"),
    ({"version": "1.0"}, "version", "'1.0' is not a version; write three numbers such as 1.0.0"),
    ({"detector": []}, "detector", "is a list; it is a mapping of keys"),
    (
        {"detector": {"enrichment": []}},
        "detector.enrichment",
        "is not a key (did you mean enrich?); the keys are stream",
    ),
    ({"detector": {"stream": "yes"}}, "detector.stream", "is text; it is true or false"),
    ({"detector": {"risk_score": 101}}, "detector.risk_score", "is 101; it is a whole number from 0 to 100"),
    (
        {"detector": {"enrich": ["runbok"]}},
        "detector.enrich",
        "'runbok' is not an enrichment (did you mean runbook?); it is one of runbook, published_content",
    ),
    ({"detector": {"references": ["http://x"]}}, "detector.references", "'http://x' is not an https:// address"),
    (
        {"detector": {"summary": ["X"]}},
        "detector.summary",
        "column 'X' is not in the query's result; it has TimeGenerated, Caller, _ResourceId",
    ),
    ({"detector": {"identity": ["caller"]}}, "detector.identity", "column 'caller' is not in the query's result"),
    ({"detector": {"triage": ["look"]}}, "detector.triage", "is a list, not text"),
    (
        {"detector": {"stream": True}, "query": "print Caller = 'x'"},
        "detector.stream",
        "the stream carries AzureActivity and the query reads no table; set it to false",
    ),
]


WRONG += [
    ({"suppressionEnabled": "yes", "suppressionDuration": "5h"}, "suppressionEnabled", "is text; it is true or false"),
    ({"suppressionEnabled": True}, "suppressionDuration", "is missing; add it"),
    ({"suppressionEnabled": True, "suppressionDuration": "2d"}, "suppressionDuration", "at most 24h"),
]


def test_suppression_is_read(tmp_path: Path) -> None:
    for text in ("5h", "PT5H", "05:00:00"):
        path = write(tmp_path, yaml.safe_dump(document(suppressionEnabled=True, suppressionDuration=text)))
        assert load_rule(path, check_query=False).suppression == timedelta(hours=5)
    path = write(tmp_path, yaml.safe_dump(document(suppressionEnabled=False, suppressionDuration="5h")))
    assert not load_rule(path, check_query=False).suppression


def test_the_rule_that_the_cases_below_break_is_valid(tmp_path: Path) -> None:
    rule = load_rule(write(tmp_path, yaml.safe_dump(document())))
    assert rule.path == "rules/foo.yaml"
    assert rule.columns == ("Caller",)


@pytest.mark.parametrize(("changes", "key", "essential"), WRONG, ids=[f"{k}: {e[:40]}" for _, k, e in WRONG])
def test_a_wrong_value_is_named_with_file_key_cause_and_fix(
    tmp_path: Path, changes: dict[str, Any], key: str, essential: str
) -> None:
    problems = problems_of(tmp_path, document(**changes))
    assert any(line.startswith(f"rules/foo.yaml: {key}: ") and essential in line for line in problems), problems
    assert all("\n" not in line for line in problems)


TEXTS = [
    ("id: a\nname: b\nid: c\n", "line 3: the key 'id' appears twice; keep one"),
    ("detector:\n  stream: true\n  stream: false\n", "line 3: the key 'stream' appears twice"),
    ("name: !!python/object/apply:os.system [echo]\n", "line 1: the tag"),
    ("name: !include other.yaml\n", "line 1: the tag '!include' is not allowed"),
    ("a: &x [1]\nb: *x\n", "line 2: the alias *x is not allowed; write the value out"),
    ("no: 1\n", "line 1: the key 'no' is not read as text; put it in quotes"),
    ("name: [\n", "line 2: "),
    ("name: a\n---\nname: b\n", "line 2: but found another document"),
    ("name: 2024-99-01\n", "if it is meant as text, put it in quotes"),
    ("name: '\x01'\n", "control characters are not allowed"),
    ("- a\n", "is a list; a rule is a mapping of keys"),
    ("", "is nothing; a rule is a mapping of keys"),
    ("[" * 100, "nested too deeply"),
    ("# " + "x" * MAX_BYTES, "is larger than 256 KiB"),
]


@pytest.mark.parametrize(("text", "essential"), TEXTS, ids=[essential[:40] for _, essential in TEXTS])
def test_a_file_that_is_not_plain_yaml_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, essential: str
) -> None:
    monkeypatch.setattr(loader, "BUILT_IN", tmp_path)
    with pytest.raises(RuleError) as caught:
        load_rule(write(tmp_path, text))
    (problem,) = caught.value.problems
    assert problem.startswith("rules/foo.yaml: ")
    assert essential in problem


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "BUILT_IN", tmp_path)
    path = write(tmp_path, "")
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RuleError, match="byte 9 is not UTF-8"):
        load_rule(path)


def test_a_missing_file_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    assert load([tmp_path / "none.yaml"]).problems == (
        f"{tmp_path.name}/none.yaml: cannot be read: No such file or directory",
    )


def test_yaml_1_1_reads_an_unquoted_time_as_a_number_and_the_loader_says_so(tmp_path: Path) -> None:
    text = yaml.safe_dump(document(queryPeriod=None)) + "queryPeriod: 1:00:00\n"
    with pytest.raises(RuleError, match="queryPeriod: is a number, not text; put it in quotes"):
        load_rule(write(tmp_path, text))


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        document(
            id="x", severity="Critical", version="1", detector={"summary": ["Nope"], "enrich": ["nope"], "foo": 1}
        ),
    )
    keys = [line.split(": ")[1] for line in problems]
    assert keys == ["id", "severity", "version", "detector.foo", "detector.enrich", "detector.summary"]


def test_keys_of_sentinel_that_mean_nothing_here_are_accepted(tmp_path: Path) -> None:
    extra = {"status": "Available", "requiredDataConnectors": [], "suppressionEnabled": False, "metadata": {"a": 1}}
    assert load_rule(write(tmp_path, yaml.safe_dump(document(**extra)))).id == GUID


def test_an_nrt_rule_has_no_frequency_and_runs_every_five_minutes_over_twenty_five(tmp_path: Path) -> None:
    changes = dict.fromkeys(("queryFrequency", "queryPeriod", "triggerOperator", "triggerThreshold"))
    rule = load_rule(write(tmp_path, yaml.safe_dump(document(kind="nrt", **changes))))
    assert (rule.kind, rule.query_frequency, rule.query_period) == ("NRT", timedelta(minutes=5), timedelta(minutes=25))
    assert (rule.trigger_operator, rule.trigger_threshold) == ("gt", 0)
    problems = problems_of(tmp_path, document(kind="NRT"))
    assert problems[0] == "rules/foo.yaml: queryFrequency: has no meaning in an NRT rule; remove it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("14d", timedelta(days=14)),
        ("00:05:00", timedelta(minutes=5)),
        ("1.02:30:00", timedelta(days=1, hours=2, minutes=30)),
        ("24:00:00", None),
        ("00:60:00", None),
        ("5 m", None),
        ("-5m", None),
        ("PT5M", None),
        ("\u0665m", None),
        ("", None),
    ],
)
def test_durations_are_sentinels_short_form_or_a_time_span(text: str, expected: timedelta | None) -> None:
    from detectors.rulebook.values import parse_duration

    assert parse_duration(text) == expected


def test_the_query_text_is_that_of_the_file(tmp_path: Path) -> None:
    query = 'AzureActivity\n// a "comment"\n| project TimeGenerated, Caller, _ResourceId\n'
    assert load_rule(write(tmp_path, yaml.safe_dump(document(query=query)))).query == query


def test_two_rules_of_one_id_keep_the_first_and_name_both_files(tmp_path: Path) -> None:
    write(tmp_path, yaml.safe_dump(document()), "a.yaml")
    write(tmp_path, yaml.safe_dump(document(id=GUID.upper(), name="Second")), "b.yaml")
    book = load([tmp_path / "rules"], check_query=False)
    assert [rule.name for rule in book.rules] == ["Something happened"]
    assert book.problems == (f"rules/b.yaml: id: {GUID} is already the id of rules/a.yaml; give it a new GUID",)
    assert book.get(GUID.upper()) is book.rules[0]


def test_a_broken_file_costs_its_own_rule_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, yaml.safe_dump(document()), "a.yaml")
    write(tmp_path, "id: ]", "b.yaml")
    write(tmp_path, "not a rule at all", "a.tests.yaml")
    book = load([tmp_path / "rules"])
    assert [rule.path for rule in book.rules] == ["rules/a.yaml"]
    assert len(book.problems) == 1
    assert book.problems[0].startswith("rules/b.yaml: line 1")


def test_an_empty_folder_is_a_problem(tmp_path: Path) -> None:
    (problem,) = load([tmp_path]).problems
    assert "holds no rule; rules are files named *.yaml" in problem


def test_without_the_query_check_neither_engine_nor_translator_is_imported() -> None:
    script = (
        "import sys; from detectors import rulebook; book = rulebook.load(check_query=False);"
        "assert len(book.rules) >= 4 and not book.problems, book;"
        "print(sorted({'duckdb', 'duckdb_kql', 'antlr4'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_the_query_check_adds_problems_and_never_hides_one(tmp_path: Path) -> None:
    for number, (changes, _, _) in enumerate(itertools.islice(WRONG, 0, None, 6)):
        write(tmp_path, yaml.safe_dump(document(**{"id": f"{GUID[:-2]}{number:02d}"} | changes)), f"{number}.yaml")
    paths = [tmp_path / "rules"]
    assert set(load(paths, check_query=False).problems) <= set(load(paths).problems)


def test_every_enrichment_that_a_rule_may_name_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(document(detector={"enrich": list(rulebook.ENRICHMENTS)})))
    assert load_rule(path).detector.enrich == rulebook.ENRICHMENTS


def test_the_names_a_rule_may_enrich_with_are_the_registered_enrichments() -> None:
    assert set(rulebook.ENRICHMENTS) == set(ENRICHMENTS)


def test_one_engine_serves_all_rules_of_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Engine] = []

    def make() -> Engine:
        made.append(Engine())
        return made[-1]

    monkeypatch.setattr(loader, "Engine", make)
    assert not load().problems
    assert len(made) == 1
