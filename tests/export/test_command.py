"""``rules export`` writes what was asked for, touches nothing else, and says what is missing."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from detectors.cli import main
from tests.cli.conftest import Result
from tests.export import samples
from tests.export.readers import bicep_resource

STEM = "watcher-task-created-or-started"
RULE = samples.BUILT_IN[STEM]
TARGETS = ("sentinel", "azure-monitor", "bicep")


def run(*argv: object) -> Result:
    out, err = io.StringIO(), io.StringIO()
    code = main(["rules", "export", *map(str, argv)], {}, out, err=err)
    return Result(code, out.getvalue(), err.getvalue())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def query_in(path: Path) -> str:
    """The rule's query as the file *path* would deploy it."""
    text = path.read_bytes().decode()
    if path.suffix == ".bicep":
        query = bicep_resource(text, "rule")[1]["properties"]["query"]
    else:
        properties = json.loads(text)["resources"][0]["properties"]
        query = properties["query"] if "query" in properties else properties["criteria"]["allOf"][0]["query"]
    assert isinstance(query, str)
    return query


@pytest.mark.parametrize("target", TARGETS)
def test_all_built_in_rules_are_written_and_told(target: str, tmp_path: Path) -> None:
    result = run("--to", target, "-o", tmp_path, "--json")
    told = {rule["file"]: rule for rule in json.loads(result.out)["rules"]}
    assert told.keys() == samples.BUILT_IN.keys()
    for stem, rule in told.items():
        if rule["refused"]:
            assert target == "azure-monitor"
            assert "looks back at most P2D" in rule["refused"]
            assert rule["path"] is None
        else:
            assert query_in(Path(rule["path"])).encode() == samples.BUILT_IN[stem].query.encode()
    assert result.code == (1 if any(rule["refused"] for rule in told.values()) else 0)
    suffix = ".bicep" if target == "bicep" else ".json"
    expected = {f"{stem}{suffix}" for stem, rule in told.items() if not rule["refused"]} | {"NOT-CARRIED.md"}
    assert names(tmp_path) == expected | ({"main.bicep"} if target == "bicep" else set())


def test_what_is_missing_is_in_the_output_and_in_the_file(tmp_path: Path) -> None:
    result = run("--to", "sentinel", "-o", tmp_path, STEM)
    assert (result.code, result.err) == (0, "")
    path = tmp_path / f"{STEM}.json"
    (line,) = [line for line in result.out.splitlines() if line.startswith(str(path))]
    report = (tmp_path / "NOT-CARRIED.md").read_text(encoding="utf-8")
    for key in ("detector.stream", "detector.identity", "detector.enrich", "detector.triage", "severity", "tags"):
        assert key in line
        assert f"- `{key}`: " in report
    assert f"## {STEM} (sentinel)" in report
    for text in (*RULE.detector.false_positives, *RULE.detector.references, *RULE.detector.triage.splitlines()):
        assert text in report
    assert "1 rule exported to" in result.out
    assert f"--template-file {path} --parameters workspace=WORKSPACE" in result.out


def test_one_rule_by_its_id_and_a_second_run_is_the_same(tmp_path: Path) -> None:
    assert run("--to", "bicep", "-o", tmp_path / "new" / "folder", RULE.id.upper()).code == 0
    folder = tmp_path / "new" / "folder"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {f"{STEM}.bicep", "main.bicep", "NOT-CARRIED.md"}
    assert run("--to", "bicep", "-o", folder, STEM).code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_later_export_adds_to_the_folder(tmp_path: Path) -> None:
    first, second = sorted(samples.BUILT_IN)[:2]
    for stem in (second, first):
        assert run("--to", "bicep", "-o", tmp_path, stem).code == 0
    main_text = (tmp_path / "main.bicep").read_text(encoding="utf-8")
    report = (tmp_path / "NOT-CARRIED.md").read_text(encoding="utf-8")
    for stem in (first, second):
        assert f"'{stem}.bicep'" in main_text
        assert f"## {stem} (bicep)" in report
    assert report.count("\n## ") == 2


def test_a_change_of_the_rule_overwrites_its_export(tmp_path: Path) -> None:
    rules, out = tmp_path / "rules", tmp_path / "out"
    for query in ("AzureActivity\n| take 1\n", "AzureActivity\n| take 2\n"):
        samples.write(rules, samples.PLAIN | {"query": query})
        assert run("--to", "azure-monitor", "-o", out, "--path", rules).code == 0
        assert query_in(out / "plain.json") == query


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_of_others_is_left_alone(target: str, tmp_path: Path) -> None:
    samples.write(tmp_path / "rules", samples.PLAIN)
    samples.write(tmp_path / "rules", samples.PLAIN | {"id": samples.FULL["alertRuleTemplateName"]}, "other")
    place = tmp_path / ("plain.bicep" if target == "bicep" else "plain.json")
    place.write_text("{}", encoding="utf-8")
    result = run("--to", target, "-o", tmp_path, "--path", tmp_path / "rules")
    assert result.code == 1
    assert f"NOT EXPORTED plain: {place} exists and is not an export of this rule to {target}" in result.out
    assert place.read_text(encoding="utf-8") == "{}"
    assert place.with_stem("other").exists()


def test_an_export_of_another_rule_or_target_is_left_alone(tmp_path: Path) -> None:
    rules, out = tmp_path / "rules", tmp_path / "out"
    samples.write(rules, samples.PLAIN)
    assert run("--to", "sentinel", "-o", out, "--path", rules).code == 0
    before = (out / "plain.json").read_bytes()
    assert run("--to", "azure-monitor", "-o", out, "--path", rules).code == 1
    samples.write(rules, samples.PLAIN | {"id": samples.FULL["alertRuleTemplateName"]})
    assert run("--to", "sentinel", "-o", out, "--path", rules).code == 1
    assert (out / "plain.json").read_bytes() == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    samples.write(tmp_path / "rules", samples.PLAIN)
    assert run("--to", "sentinel", "-o", tmp_path / "real", "--path", tmp_path / "rules").code == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plain.json").symlink_to(tmp_path / "real" / "plain.json")
    assert run("--to", "sentinel", "-o", tmp_path / "out", "--path", tmp_path / "rules").code == 1


@pytest.mark.parametrize("name", ["main.bicep", "NOT-CARRIED.md"])
def test_the_common_files_of_others_stop_it_before_anything_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine\n", encoding="utf-8")
    result = run("--to", "bicep", "-o", tmp_path, STEM)
    assert result.code == 2
    assert f"{tmp_path / name} exists, was not written by this command" in result.err
    assert names(tmp_path) == {name}
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine\n"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = run("--to", "sentinel", "-o", tmp_path / "file" / "folder", STEM)
    assert result.code == 2
    assert "Not a directory; name a folder that can be written to" in result.err


def test_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (("-o", tmp_path), ("--to", "sentinel"), ("--to", "terraform", "-o", tmp_path)):
        with pytest.raises(SystemExit) as stopped:
            run(*argv)
        assert stopped.value.code == 2
    assert "azure-monitor" in capsys.readouterr().err
    assert run("--to", "sentinel", "-o", tmp_path, "no-such-rule").code == 2
    assert run("--to", "sentinel", "-o", tmp_path, "--path", tmp_path / "none").code == 2
    assert not names(tmp_path)


def test_a_broken_rule_is_told_and_costs_no_other(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    samples.write(rules, samples.PLAIN)
    (rules / "broken.yaml").write_text("kind: Scheduled\n", encoding="utf-8")
    result = run("--to", "sentinel", "-o", tmp_path / "out", "--path", rules)
    assert result.code == 1
    assert "rules/broken.yaml: query: " in result.out
    assert names(tmp_path / "out") == {"plain.json", "NOT-CARRIED.md"}


def test_names_that_a_bicep_folder_cannot_hold(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    samples.write(rules, samples.PLAIN, "main")
    result = run("--to", "bicep", "-o", tmp_path / "out", "--path", rules)
    assert result.code == 1
    assert "NOT EXPORTED main: main.bicep is the file that deploys all rules; rename main.yaml" in result.out
    assert names(tmp_path / "out") == {"NOT-CARRIED.md"}
    assert run("--to", "sentinel", "-o", tmp_path / "out2", "--path", rules).code == 0


@pytest.mark.skipif(os.name == "nt", reason="such names exist on other systems only")
def test_two_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    samples.write(rules, samples.PLAIN, "Plain")
    samples.write(rules, samples.PLAIN | {"id": samples.FULL["alertRuleTemplateName"]}, "plain")
    result = run("--to", "sentinel", "-o", tmp_path / "out", "--path", rules)
    assert result.code == 1
    assert "another rule's file is named plain too" in result.out
    assert len(names(tmp_path / "out")) == 2


HOSTILE: dict[str, Any] = samples.PLAIN | {
    "name": "x\n## plain (sentinel)\n\x1b[31mred",
    "query": "AzureActivity\n| extend a = '''\n\r\n\t${b} \\ \x07'\n| where x == \"]\"\n'",
    "description": "[resourceGroup().id]",
    "detector": {"triage": "## other (sentinel)\n\nLook.\n"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_hostile_rule_stays_text(target: str, tmp_path: Path) -> None:
    samples.write(tmp_path / "rules", HOSTILE)
    out = tmp_path / "out"
    for _ in range(2):
        result = run("--to", target, "-o", out, "--path", tmp_path / "rules")
        assert result.code == 0
        assert "\x1b" not in result.out
    file = out / ("plain.bicep" if target == "bicep" else "plain.json")
    assert query_in(file) == HOSTILE["query"]
    assert (out / "NOT-CARRIED.md").read_text(encoding="utf-8").count("\n## ") == 1


HUNTING = "name: Everything  # a hunting query: no id, no kind, no schedule\nquery: |\n  AzureActivity\n  | take 5\n"
DETECTION: dict[str, Any] = {
    "schemaVersion": "1.0.0",
    "kind": "CustomDetection",
    "properties": {
        "id": samples.PLAIN_ID,
        "displayName": "Detection",
        "queryCondition": {"queryText": "AzureActivity\n| take 7\n"},
        "schedule": {"frequency": "PT1H"},
        "detectionAction": {"alertTemplate": {"title": "Detection", "severity": "medium"}},
    },
}


@pytest.mark.parametrize("target", TARGETS)
def test_rules_of_others_in_any_format_and_any_folder(target: str, tmp_path: Path) -> None:
    rules, out = tmp_path / "rules", tmp_path / "out"
    samples.write(rules / "deep" / "er", DETECTION, "detection")
    (rules / "hunting.yaml").write_text(HUNTING, encoding="utf-8")
    text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in samples.FULL.items())
    (rules / "full.yml").write_text(text, encoding="utf-8")
    result = run("--to", target, "-o", out, "--path", rules, "--json")
    told = json.loads(result.out)
    assert (result.code, told["problems"]) == (0, [])
    # Sentinel's default stands in for the schedule that a hunting query has not, and is told.
    assert any("hunting.yaml: kind: is missing, as in a hunting query; it runs every" in note for note in told["notes"])
    suffix = ".bicep" if target == "bicep" else ".json"
    assert query_in(out / f"hunting{suffix}") == "AzureActivity\n| take 5\n"
    assert query_in(out / f"detection{suffix}") == "AzureActivity\n| take 7\n"
    assert query_in(out / f"full{suffix}") == samples.FULL["query"]
    if target == "sentinel":
        properties = json.loads((out / "full.json").read_text(encoding="utf-8"))["resources"][0]["properties"]
        assert (properties["suppressionEnabled"], properties["suppressionDuration"]) == (True, "PT6H")
        assert properties["incidentConfiguration"] == samples.FULL["incidentConfiguration"]


def test_one_rule_of_others_has_the_id_that_it_has_among_all(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    samples.write(rules, samples.PLAIN)
    (rules / "hunting.yaml").write_text(HUNTING, encoding="utf-8")
    everything = json.loads(run("--to", "sentinel", "-o", tmp_path / "a", "--path", rules, "--json").out)
    alone = json.loads(run("--to", "sentinel", "-o", tmp_path / "b", "--path", rules, "--json", "hunting").out)
    (expected,) = [rule["id"] for rule in everything["rules"] if rule["file"] == "hunting"]
    assert [rule["id"] for rule in alone["rules"]] == [expected]
    assert all("hunting.yaml" in note for note in alone["notes"])


def test_a_broken_rule_that_was_asked_for_is_told(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    samples.write(rules, samples.PLAIN)
    (rules / "broken.yaml").write_text("kind: Scheduled\n", encoding="utf-8")
    result = run("--to", "sentinel", "-o", tmp_path / "out", "--path", rules, "broken")
    assert result.code == 1
    assert "broken.yaml: query: " in result.out
    assert "0 rules exported" in result.out
    assert run("--to", "sentinel", "-o", tmp_path / "out", "--path", rules, "plain").code == 0
