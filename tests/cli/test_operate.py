"""What docs/operate.md says is what the code does."""

import argparse
import ast
import re
import shlex
from pathlib import Path

from detectors.cli import build_parser
from detectors.heartbeat import Heartbeat
from detectors.settings import describe

ROOT = Path(__file__).parents[2]
OPERATE = (ROOT / "docs" / "operate.md").read_text()
PLACEHOLDERS = {"ID", "NAME", "FILE"}


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command with its sub-command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [found for name, each in action.choices.items() for found in commands(each, (*words, name))]
    return [words]


def titles() -> set[str]:
    """Titles of the health alerts in the code, ``…`` for what differs from alert to alert."""
    tree = ast.parse((ROOT / "detectors" / "triage" / "health.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "title" and not isinstance(node.value, ast.Name):
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts))
    return found


def test_every_command_that_the_page_names_exists() -> None:
    named = re.findall(r"`python -m detectors ([^`]+)`", OPERATE)
    assert len(named) > 9
    for text in named:
        if text != "COMMAND":
            build_parser().parse_args(shlex.split(text))


def test_every_command_is_on_the_page_and_so_is_every_option() -> None:
    for words in commands(build_parser()):
        assert f"`python -m detectors {' '.join(words)}" in OPERATE
    for option in ("--json", "--settings", "--verbose", "--full", "--destination NAME", "--all"):
        assert option in OPERATE


def test_the_commands_that_problems_and_messages_name_exist() -> None:
    for path in (ROOT / "detectors").rglob("*.py"):
        for text in re.findall(r"run: python -m detectors ([a-z]+(?: (?:list|send))?)", path.read_text()):
            build_parser().parse_args(text.split())


def test_every_health_alert_has_a_section_and_every_section_an_alert() -> None:
    assert titles()
    section = OPERATE.split("## Health alerts")[1]
    assert set(re.findall(r"^### (.+)$", section, re.MULTILINE)) == titles()


def test_every_field_of_the_heartbeat_is_explained() -> None:
    table = OPERATE.split("## The heartbeat")[1].split("## Health alerts")[0]
    explained = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert explained == set(Heartbeat.__struct_fields__)


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", OPERATE))
    assert named
    assert named <= {setting.name for setting in describe()}
