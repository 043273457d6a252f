"""The real compiler accepts the templates: here where there is one, and in CI on every push."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.compiler import diagnostics
from tests.infra.template import ROOT

# BaseLoader: to the others the key `on` is a truth value.
WORKFLOW: dict[str, Any] = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506
WARNING = (
    "main.bicep(12,7) : Warning no-unused-params: Parameter 'x' is declared but never used. [https://aka.ms/bicep]"
)
ERROR = "main.bicep(3,1) : Error BCP007: This declaration type is not recognized."


def commands(job: dict[str, Any]) -> list[str]:
    assert not {"if", "continue-on-error"} & job.keys()
    assert all(not {"if", "continue-on-error", "working-directory"} & step.keys() for step in job["steps"])
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_templates_compile_without_a_warning() -> None:
    bicep = shutil.which("bicep")
    if bicep:
        assert diagnostics([bicep]) == []
    else:
        # No compiler on this machine; then the one in CI is what proves it.
        assert commands(WORKFLOW["jobs"]["bicep"]) == [
            "az bicep install",
            "az bicep version",
            "python3 -m tests.infra.compiler az bicep",
        ]


def test_every_push_and_every_pull_request_is_tested() -> None:
    assert WORKFLOW["on"] == {"push": "", "pull_request": ""}
    assert commands(WORKFLOW["jobs"]["test"]) == ["make test PYTHON=python"]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"] == {"python": ["3.11", "3.12", "3.13"]}


def test_the_workflow_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in WORKFLOW["jobs"].values())


def tool(folder: Path, name: str, build: str, lint: str) -> list[str]:
    """A command that does what is said, and writes down how it was called."""
    path = folder / name
    path.write_text(
        f'#!/bin/sh\necho "$@" >> "{folder}/calls"\ncase "$*" in *build*) {build};; *lint*) {lint};; esac\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return [str(path), "bicep"] if name == "az" else [str(path)]


BUILT = """echo '{"resources": []}'"""


@pytest.mark.parametrize(
    ("build", "lint", "reported"),
    [
        (BUILT, "true", []),
        (f'{BUILT}; echo "{WARNING}" >&2', "true", [WARNING]),
        (f'{BUILT}; echo "WARNING: {WARNING}" >&2', "true", [f"WARNING: {WARNING}"]),
        (f'echo "{ERROR}" >&2; exit 1', f'echo "{ERROR}" >&2; exit 1', [ERROR]),
        (BUILT, f'echo "{WARNING}"', [WARNING]),
        (BUILT, f'echo "{WARNING}" >&2', [WARNING]),
        ("echo broken >&2; exit 3", "true", ["build ended with 3: broken"]),
        (BUILT, "exit 2", ["lint ended with 2: "]),
        ("true", "true", ["build wrote no template"]),
        (f'{BUILT}; echo "WARNING: A new Bicep release is available" >&2', "true", []),
    ],
)
def test_a_warning_is_an_error(tmp_path: Path, build: str, lint: str, reported: list[str]) -> None:
    assert diagnostics(tool(tmp_path, "bicep", build, lint)) == reported


@pytest.mark.parametrize(("name", "first"), [("az", "bicep build --file "), ("bicep", "build /")])
def test_both_command_lines_are_known(tmp_path: Path, name: str, first: str) -> None:
    assert diagnostics(tool(tmp_path, name, BUILT, "true")) == []
    build, lint = (tmp_path / "calls").read_text().splitlines()
    assert build.startswith(first)
    assert build.endswith("main.bicep --stdout")
    assert lint.startswith(first.replace("build", "lint"))


def test_a_tool_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-tool"):
        diagnostics([str(tmp_path / "no-such-tool")])
