"""``settings`` shows what the detector is told, and no secret."""

import json
from pathlib import Path

import pytest

from detectors.settings import describe
from tests.cli.conftest import SECRET, Shell


def test_every_setting_is_listed_and_secrets_are_only_said_to_be_set(shell: Shell) -> None:
    result = shell.run("settings", TEAMS_WEBHOOK_URL="https://example.com/workflows?sig=hush")
    assert result.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line}
    for setting in describe():
        assert setting.name in lines
    assert lines["WEBHOOK_SECRET"] == lines["TEAMS_WEBHOOK_URL"] == ["set"]
    assert lines["STATE_CONNECTION_STRING"] == ["not", "set", "default"]
    assert lines["HUNT_OVERLAP"] == ["25m", "default"]
    for text in (result.out, shell.run("settings", "--json", TEAMS_WEBHOOK_URL="https://example.com/?sig=hush").out):
        assert SECRET not in text
        assert "hush" not in text


def test_problems_are_listed_and_exit_with_1(shell: Shell) -> None:
    result = shell.run("settings", HUNT_OVERLAP="soon", WEBHOOK_SECRET="hunter2")
    assert result.code == 1
    assert "2 problems" in result.out
    assert "  - HUNT_OVERLAP: write a number and a unit" in result.out
    assert "hunter2" not in result.out


def test_a_destinations_file_that_does_not_load_is_a_problem_too(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    path.write_text("destinations: {}\n")
    result = shell.run("settings", DESTINATIONS_PATH=str(path))
    assert result.code == 1
    assert "destinations.yaml" in result.out
    status = shell.run("status", DESTINATIONS_PATH=str(path))
    assert status.code == 2
    assert "destinations.yaml" in status.err


def test_a_settings_file_of_the_functions_tools_goes_before_the_environment(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    values = {"HUNT_OVERLAP": "40m", "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    path.write_text("\ufeff" + json.dumps({"IsEncrypted": False, "Values": values}))
    result = shell.run("settings", "--json", "--settings", str(path), HUNT_OVERLAP="30m")
    shown = {each["name"]: each["value"] for each in result.data["settings"]}
    assert (shown["HUNT_OVERLAP"], shown["WEBHOOK_URL"]) == ("40m", shell.environment["WEBHOOK_URL"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("[]", 'has no "Values"'),
        ('{"Values": {"HUNT_CONCURRENCY": 5}}', 'has no "Values" with texts'),
        ('{"IsEncrypted": true, "Values": {}}', "func settings decrypt"),
    ],
)
def test_a_settings_file_that_cannot_be_used_exits_with_2(
    shell: Shell, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "local.settings.json"
    if content is not None:
        path.write_text(content)
    result = shell.run("status", "--settings", str(path))
    assert (result.code, result.out) == (2, "")
    assert words in result.err
