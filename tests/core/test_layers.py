"""The data goes one way, and so do the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "model": set[str](),
    "rule": {"model"},
    "settings": set[str](),
    "strict_yaml": set[str](),
    "kql": set[str](),
    "automation": set[str](),
    "rulebook": {"model", "rule", "strict_yaml", "kql"},
    "rule_tests": {"model", "rule", "rulebook", "sources", "triage", "kql"},
    "export": {"model", "rule", "rulebook"},
    "state": {"model"},
    "sources": {"model", "rule", "state", "kql"},
    "inventory": {"model", "rule", "state", "kql", "automation"},
    "triage": {"model", "rule", "state", "automation"},
    "delivery": {"model", "state", "strict_yaml"},
    "condition": {"model", "rule", "sources", "state", "delivery"},
    "heartbeat": {"model", "rule", "sources", "state", "delivery", "condition"},
}
"""Package or module of ``detectors`` to what it may import there beside itself. What is not listed is wiring."""


def imported(path: Path) -> set[str]:
    """Second parts of every ``detectors.X`` that the file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module] if node.module != "detectors" else [f"detectors.{a.name}" for a in node.names])
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("detectors.")}


def files(name: str) -> list[Path]:
    package = ROOT / "detectors" / name
    return sorted(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_layer_knows_nothing_above_it(name: str) -> None:
    for path in files(name):
        beyond = imported(path) - MAY_IMPORT[name] - {name}
        assert not beyond, f"{path.relative_to(ROOT)} imports detectors.{', detectors.'.join(sorted(beyond))}"


def test_the_detector_never_imports_the_sandbox_or_the_tests() -> None:
    for path in (ROOT / "detectors").rglob("*.py"):
        text = path.read_text()
        for foreign in ("sandbox", "tests"):
            assert f"import {foreign}" not in text, path
            assert f"from {foreign}" not in text, path
