"""``rules`` lists, shows, checks, tests and begins rules, with no setting at all."""

import dataclasses
import io
import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from detectors import rulebook
from detectors.cli import main
from detectors.commands.rules import short_duration
from detectors.kql.engine import load_tables
from detectors.rulebook.values import parse_duration
from tests.cli.conftest import Result
from tests.kusto.compiler import check

SEED = "watcher-task-created-or-started"
SEED_ID = "5d9b2f60-83c7-4e1a-a2d5-c47f16e8b903"
BUILT_IN = sorted(path for path in rulebook.BUILT_IN.glob("*.yaml") if not path.name.endswith(".tests.yaml"))

CASE = """
cases:
  - name: x
    rows:
      - operationName: Microsoft.Automation/automationAccounts/webhooks/write
        resultType: Success
    evidence: [{}]
    expect: {{matches: 1}}
"""


def run(*argv: object) -> Result:
    out, err = io.StringIO(), io.StringIO()
    code = main(["rules", *map(str, argv)], {}, out, err=err)
    return Result(code, out.getvalue(), err.getvalue())


@dataclasses.dataclass(frozen=True)
class Written:
    """A rule that ``rules new`` has written, to be spoiled."""

    folder: Path
    name: str = "webhook-created"

    @property
    def rule(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def tests(self) -> Path:
        return self.folder / f"{self.name}.tests.yaml"

    def change(self, path: Path, **changes: Any) -> None:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
        path.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    made = Written(tmp_path / "mine")
    assert run("new", made.name, "-o", made.folder).code == 0
    return made


def test_the_list_names_every_built_in_rule_most_severe_first() -> None:
    result = run("list")
    assert (result.code, result.err) == (0, "")
    heading, *lines = result.out.splitlines()
    assert heading.split() == ["severity", "name", "id", "file", "tactics", "every", "over", "stream", "source"]
    assert lines[-1] == f"{len(BUILT_IN)} rules"
    ranks = [("High", "Medium", "Low", "Informational").index(line.split()[0]) for line in lines[:-2]]
    assert len(ranks) == len(BUILT_IN)
    assert ranks == sorted(ranks)
    (line,) = [line for line in lines if SEED_ID in line]
    for word in ("Medium", "Azure Automation watcher task created or started", SEED, "Persistence", "5m", "built-in"):
        assert word in line


def test_the_list_for_machines_holds_the_same() -> None:
    listed = run("list", "--json").data
    assert {rule["file"] for rule in listed["rules"]} == {path.stem for path in BUILT_IN}
    (rule,) = [rule for rule in listed["rules"] if rule["id"] == SEED_ID]
    assert (rule["frequency"], rule["period"], rule["stream"], rule["source"]) == ("5m", "25m", True, "built-in")
    assert listed["problems"] == []


def test_a_broken_rule_is_told_in_the_list_and_costs_no_other(written: Written) -> None:
    (written.folder / "broken.yaml").write_text("id: ]")
    result = run("list", "--path", written.folder)
    assert result.code == 1
    assert written.name in result.out
    assert "mine/broken.yaml: line 1" in result.out


@pytest.mark.parametrize("wanted", [SEED, SEED.upper(), f"{SEED}.yaml", SEED_ID, SEED_ID.upper()])
def test_a_rule_is_found_by_its_id_and_by_its_file(wanted: str) -> None:
    assert run("show", wanted, "--json").data["line"]["id"] == SEED_ID


def test_a_rule_is_shown_whole() -> None:
    result = run("show", SEED)
    rule = rulebook.load_rule(rulebook.BUILT_IN / f"{SEED}.yaml", check_query=False)
    assert result.code == 0
    parts = [rule.name, rule.description, *rule.query.splitlines(), *rule.detector.triage.splitlines()]
    parts += [*rule.detector.response.splitlines(), *rule.detector.false_positives, *rule.detector.enrich]
    parts += [
        "every 5m over 25m, and on the stream",
        "more than 0 rows",
        "AZT504",
        "FullName: Caller",
        "A watcher is started",
    ]
    for part in parts:
        assert part in result.out


def test_the_operations_of_a_rule_are_named_once_each_in_the_order_of_the_query() -> None:
    details = run("show", SEED, "--json").data
    prefix = "Microsoft.Automation/automationAccounts/watchers/"
    assert details["operations"] == [f"{prefix}write", f"{prefix}watcherActions/write", f"{prefix}start/action"]
    assert "A watcher is started" in details["tests"]


def test_a_rule_without_cases_says_so_when_it_is_shown(written: Written) -> None:
    written.tests.unlink()
    result = run("show", written.name, "--path", written.folder)
    assert result.code == 0
    assert f"{written.tests.name} is missing" in result.out


def test_a_rule_that_does_not_exist_is_not_guessed() -> None:
    result = run("show", "watcher-task-created")
    assert (result.code, result.out) == (2, "")
    assert f"did you mean {SEED}?" in result.err


def test_a_rule_whose_file_is_broken_is_not_found_by_its_id_and_the_message_says_why(written: Written) -> None:
    rule_id = yaml.safe_load(written.rule.read_text())["id"]
    written.change(written.rule, severity="Critical")
    result = run("show", rule_id, "--path", written.folder)
    assert result.code == 2
    assert "1 problem in that folder, which rules lint tells, keeps a rule from being found by its id" in result.err


def test_a_broken_rule_is_not_shown_but_its_problems_are(written: Written) -> None:
    written.change(written.rule, severity="Critical", version="one")
    result = run("show", written.name, "--path", written.folder)
    assert result.code == 2
    assert "mine/webhook-created.yaml: severity: 'Critical' is not a severity" in result.err
    assert "mine/webhook-created.yaml: version: 'one' is not a version" in result.err


def test_hostile_text_in_a_rule_does_not_reach_the_terminal(written: Written) -> None:
    # PyYAML escapes it in the file; what counts is that it is not obeyed when it is read again.
    written.change(written.rule, name="Quiet\x1b[2J\u202e", description="one\x1b]0;two")
    written.change(written.tests, cases=[{"name": "x\x1b[A", "rows": [], "expect": {"matches": 1}}])
    for command in (("list",), ("show", written.name), ("test",), ("list", "--json")):
        out = run(*command, "--path", written.folder).out
        assert out
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_the_built_in_rules_have_no_problems() -> None:
    result = run("lint", rulebook.BUILT_IN)
    assert (result.code, result.out) == (0, f"{len(BUILT_IN)} rules, no problems\n")


def test_lint_says_every_problem_on_a_line_of_its_own(written: Written) -> None:
    written.change(written.rule, severity="Critical", query="AzureActivity | evaluate bag_unpack(Nothing)\n")
    result = run("lint", written.folder)
    assert result.code == 1
    severity, query, total = result.out.splitlines()
    assert severity.startswith("mine/webhook-created.yaml: severity: 'Critical' is not a severity; ")
    assert query.startswith("mine/webhook-created.yaml: query: ")
    assert total == "0 rules, 2 problems"
    assert run("lint", written.folder, "--json").data == {"rules": 0, "problems": [severity, query], "notes": []}


def test_lint_takes_what_a_shell_makes_of_a_pattern_and_counts_each_rule_once(written: Written) -> None:
    result = run(
        "lint", written.rule, written.tests, written.folder, written.folder / ".." / "mine" / written.rule.name
    )
    assert (result.code, result.out) == (0, "1 rule, no problems\n")


def test_lint_names_a_file_by_its_folder_wherever_it_is_called(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.change(written.rule, severity="Critical")
    monkeypatch.chdir(written.folder)
    for path in (".", written.rule.name):
        assert run("lint", path).out.startswith("mine/webhook-created.yaml: severity: ")


def test_lint_of_a_folder_without_rules_is_a_problem(tmp_path: Path) -> None:
    result = run("lint", tmp_path)
    assert result.code == 1
    assert "holds no rule; rules are files named *.yaml" in result.out


def test_lint_exits_with_2_when_there_is_nothing_to_check(written: Written) -> None:
    result = run("lint", written.folder, written.folder / "other")
    assert (result.code, result.out) == (2, "")
    assert f"{written.folder / 'other'}: no such file or folder" in result.err
    only_cases = run("lint", written.tests)
    assert only_cases.code == 2
    assert "rules test reads" in only_cases.err


def test_every_case_beside_the_built_in_rules_passes() -> None:
    # A few of them, over every table: tests/rules runs them all.
    chosen = [SEED, "job-on-hybrid-worker", "automation-audit-event"]
    result = run("test", *chosen)
    assert (result.code, result.err) == (0, "")
    paths = [path for path in BUILT_IN if path.stem in chosen]
    names = [case for path in paths for case in yaml.safe_load(rulebook.tests_of(path).read_text())["cases"]]
    assert result.out == f"{len(names)} passed, 0 failed\n"


def test_only_the_rules_that_are_named_are_tested_and_each_once() -> None:
    data = run("test", SEED, SEED_ID, "--json").data
    cases = yaml.safe_load((rulebook.BUILT_IN / f"{SEED}.tests.yaml").read_text())["cases"]
    assert data == {"rules": 1, "passed": len(cases), "failures": [], "problems": []}


def test_a_case_that_fails_says_what_was_expected_and_what_came(written: Written) -> None:
    document = yaml.safe_load(written.tests.read_text())
    document["cases"][0]["expect"] |= {"severity": "Low", "title": "Something else"}
    document["cases"][1]["expect"]["matches"] = 3
    written.change(written.tests, **document)
    result = run("test", "--path", written.folder)
    assert result.code == 1
    title = "'Webhook created on aa-prod by mallory@contoso.com'"
    assert result.out.splitlines() == [
        "FAILED mine/webhook-created.tests.yaml: The operation succeeds",
        f"  expected the title 'Something else', got {title}",
        "  expected severity Low, got Medium",
        "FAILED mine/webhook-created.tests.yaml: A near miss, the same operation refused, is not reported",
        "  expected 3 matches, got 0",
        "0 passed, 2 failed",
    ]
    assert [failure["case"] for failure in run("test", "--path", written.folder, "--json").data["failures"]] == [
        "The operation succeeds",
        "A near miss, the same operation refused, is not reported",
    ]


def test_severity_in_a_case_is_what_triage_would_say(written: Written) -> None:
    document = yaml.safe_load(written.tests.read_text())
    case = document["cases"][0]
    case["evidence"] = [{"name": "webhooks", "data": {"webhooks": [{"runOn": "on-premises"}]}}]
    case["expect"]["severity"] = "High"
    written.change(written.tests, **document)
    assert run("test", "--path", written.folder).code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "mine/webhook-created.tests.yaml: is missing; write cases there"),
        ("cases: []", "mine/webhook-created.tests.yaml: cases: is missing or empty"),
        ("cases: [{name: x, rows: []}]", "mine/webhook-created.tests.yaml: case 1 (x): 'expect'"),
        (CASE.format("{name: job, code: [{title: a, text: 5}]}"), "mine/webhook-created.tests.yaml: case 1 (x): "),
        (CASE.format("{name: job, data: [5]}"), "case 1 (x): the data of evidence is not a mapping"),
    ],
)
def test_a_rule_without_cases_exits_with_2_and_the_others_are_tested(
    written: Written, content: str | None, words: str
) -> None:
    assert run("new", "second", "-o", written.folder).code == 0
    written.tests.unlink()
    if content is not None:
        written.tests.write_text(content)
    result = run("test", "--path", written.folder)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert result.err.endswith("2 passed, 0 failed\n")


def test_a_rule_that_does_not_load_exits_with_2(written: Written) -> None:
    written.change(written.rule, query="AzureActivity | wher Caller == ''\n")
    for wanted in ((), (written.name,)):
        result = run("test", *wanted, "--path", written.folder)
        assert result.code == 2
        assert "mine/webhook-created.yaml: query: " in result.err
        assert result.err.endswith("0 passed, 0 failed\n")


def test_a_rule_or_folder_that_does_not_exist_exits_with_2(tmp_path: Path) -> None:
    unknown = run("test", "no-such-rule")
    assert (unknown.code, unknown.out) == (2, "")
    assert "no rule has the id or file name 'no-such-rule'" in unknown.err
    for command in (("test",), ("list",), ("show", SEED)):
        result = run(*command, "--path", tmp_path / "nowhere")
        assert result.code == 2
        assert "is not a folder" in result.err


@pytest.mark.parametrize("name", ["webhook-created", "x", "no", "123", "1e3", "null", "a" * 80])
def test_a_new_rule_has_no_problems_and_its_hit_and_near_miss_pass(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deeper" / "mine"
    created = run("new", name, "-o", folder, "--json")
    assert created.code == 0
    assert created.data["rule"] == str(folder / f"{name}.yaml")
    assert run("lint", folder).out == "1 rule, no problems\n"
    assert run("test", name, "--path", folder).out == "2 passed, 0 failed\n"
    cases = yaml.safe_load((folder / f"{name}.tests.yaml").read_text())["cases"]
    assert [case["expect"]["matches"] for case in cases] == [1, 0]


def test_a_new_rule_says_what_to_do_next_and_has_a_guid_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "my rules"
    result = run("new", "one", "-o", folder)
    assert run("new", "two", "-o", folder).code == 0
    assert f"python -m detectors rules test one --path '{folder}'" in result.out
    ids = [rule["id"] for rule in run("list", "--path", folder, "--json").data["rules"]]
    assert len({uuid.UUID(each) for each in ids}) == 2
    assert all(uuid.UUID(each).version == 4 for each in ids)


def test_the_query_of_a_new_rule_is_what_microsofts_compiler_accepts(written: Written) -> None:
    rule = rulebook.load_rule(written.rule)
    checked = check({"new": rule.query}, load_tables())["new"]
    assert checked.errors == ()
    assert set(rule.columns) <= {name for name, _ in checked.columns}


def test_a_new_rule_explains_every_evidence_that_can_be_collected(written: Written) -> None:
    for name in rulebook.ENRICHMENTS:
        assert name in written.rule.read_text()


@pytest.mark.parametrize("kept", ["webhook-created.yaml", "webhook-created.tests.yaml"])
def test_nothing_is_overwritten_and_a_refusal_leaves_nothing_behind(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).write_text("mine\n")
    result = run("new", "webhook-created", "-o", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"{tmp_path / kept} exists and is not overwritten" in result.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(kept, "mine\n")]


@pytest.mark.parametrize(
    ("name", "such_as"),
    [
        ("../escape", "escape"),
        ("Webhook Created", "webhook-created"),
        ("a.tests", "a-tests"),
        ("x\n", "x"),
        ("", "webhook-created"),
        ("a" * 81, "a" * 80),
    ],
)
def test_a_name_that_is_no_file_name_is_refused_with_one_that_is(tmp_path: Path, name: str, such_as: str) -> None:
    result = run("new", name, "-o", tmp_path / "mine")
    assert result.code == 2
    assert result.err.endswith(f"such as {such_as}\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("new", "one", "-o", tmp_path / "file")
    assert result.code == 2
    assert f"{tmp_path / 'file'}: " in result.err


def test_what_cannot_be_done_is_json_too(tmp_path: Path) -> None:
    result = run("lint", tmp_path / "nowhere", "--json")
    assert (result.code, result.err) == (2, "")
    assert "no such file or folder" in json.loads(result.out)["error"]


def test_durations_are_written_as_a_rule_file_writes_them() -> None:
    for number, unit in itertools.product((1, 5, 25, 90), "mhd"):
        duration = parse_duration(f"{number}{unit}")
        assert duration
        assert parse_duration(short_duration(duration)) == duration
    seconds = parse_duration("00:05:30")
    assert seconds
    assert parse_duration(short_duration(seconds)) == seconds


COMMUNITY = Path(__file__).parents[1] / "rules" / "community"


def test_lint_of_plain_sentinel_rules_has_notes_and_no_problem() -> None:
    result = run("lint", COMMUNITY)
    assert result.code == 0
    *notes, total = result.out.splitlines()
    assert all(note.startswith("note: community/") for note in notes)
    assert total == f"8 rules, no problems, {len(notes)} notes"
    data = run("lint", COMMUNITY, "--json").data
    assert (data["rules"], data["problems"], len(data["notes"])) == (8, [], len(notes))


def test_problems_come_before_notes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("query: AzureActivity\n")
    (tmp_path / "b.yaml").write_text("kind: NRT\n")
    result = run("lint", tmp_path)
    assert result.code == 1
    assert result.out.splitlines()[0] == f"{tmp_path.name}/b.yaml: query: is missing; add it, nothing can run without"


def test_plain_rules_are_listed_and_shown_from_every_folder_below() -> None:
    listed = run("list", "--path", COMMUNITY, "--json").data
    assert len(listed["rules"]) == 8
    by_file = {line["file"]: line for line in listed["rules"]}
    hunting = by_file["hunting-query"]
    assert (hunting["frequency"], hunting["period"], hunting["severity"]) == ("1d", "7d", "Informational")
    for wanted in ("hunting-query", "nested/hunting-query", hunting["id"]):
        shown = run("show", wanted, "--path", COMMUNITY, "--json").data
        assert shown["line"]["id"] == hunting["id"]
    assert "Addresses on a public list" in run("show", hunting["id"], "--path", COMMUNITY).out


def test_plain_rules_need_no_cases() -> None:
    result = run("test", "--path", COMMUNITY)
    assert (result.code, result.out) == (0, "0 passed, 0 failed\n")
