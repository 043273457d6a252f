"""Rule files to rules: read, check everything, and report every problem at once in one line each.

:mod:`detectors.rule_format` knows the keys and their limits; here the files are found, the query is translated and
the columns that a rule names are compared with those that its query returns.
"""

import contextlib
import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from detectors import rule_format, strict_yaml
from detectors.kql import Engine, KqlError
from detectors.rule import Rule

BUILT_IN: Final = Path(__file__).parent / "rules"

ENRICHMENTS: Final = (
    "runbook",
    "published_content",
    "draft_content",
    "job",
    "executed_content",
    "job_output",
    "watchers",
    "webhooks",
    "schedules",
)

STREAM_TABLE: Final = "AzureActivity"


class RuleError(Exception):
    """A rule file that cannot be used. ``problems`` has one line per problem: file, key, cause and fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Rulebook:
    """The rules that can be used, in order of their files, and every problem of those that cannot."""

    rules: tuple[Rule, ...]
    problems: tuple[str, ...] = ()

    def get(self, rule_id: str) -> Rule | None:
        """The rule of that id (case ignored), or None."""
        return next((rule for rule in self.rules if rule.id == rule_id.lower()), None)


def load(paths: Iterable[Path] = (BUILT_IN,), *, check_query: bool = True) -> Rulebook:
    """Every rule of *paths* (files, or directories of ``*.yaml``). A broken file costs its own rule, no other.

    Without *check_query* nothing is translated, and DuckDB is not imported: for the running app, whose rules the
    tests and ``python -m detectors`` have checked.
    """
    problems: list[str] = []
    rules: dict[str, Rule] = {}
    with Engine() if check_query else contextlib.nullcontext() as engine:
        for path in _rule_files(paths, problems):
            try:
                rule = _read_rule(path, engine)
            except RuleError as error:
                problems += error.problems
                continue
            first = rules.setdefault(rule.id, rule)
            if first is not rule:
                problems.append(f"{rule.path}: id: {rule.id} is already the id of {first.path}; give it a new GUID")
    return Rulebook(tuple(rules.values()), tuple(problems))


def load_rule(path: Path, *, check_query: bool = True) -> Rule:
    """The rule in *path*. Raises :class:`RuleError` with all of its problems."""
    with Engine() if check_query else contextlib.nullcontext() as engine:
        return _read_rule(path, engine)


def tests_of(path: Path) -> Path:
    """Where the tests of the rule file *path* are: ``name.tests.yaml`` beside ``name.yaml``."""
    return path.with_suffix(".tests.yaml")


def _rule_files(paths: Iterable[Path], problems: list[str]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.glob("*.yaml") if not file.name.endswith(".tests.yaml"))
            if not found:
                problems.append(f"{path.name}: holds no rule; rules are files named *.yaml")
            yield from found
        else:
            yield path


def _read_rule(path: Path, engine: Engine | None) -> Rule:
    file = f"{path.parent.name}/{path.name}"
    try:
        document = strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        raise RuleError([f"{file}: {problem}"]) from problem
    rule, problems = rule_format.read_rule(document, file, ENRICHMENTS)
    if engine is not None and rule.query:
        problems += [f"{file}: {problem}" for problem in _query_problems(rule, engine)]
    if problems:
        raise RuleError(problems)
    return rule


def _query_problems(rule: Rule, engine: Engine) -> Iterator[str]:
    try:
        translation = engine.translate(rule.query)
    except KqlError as error:
        yield f"query: {error}; rewrite it, a rule runs in Log Analytics and here"
        return
    names = [name for name, _ in translation.columns]
    for key, column in _named_columns(rule):
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1, cutoff=0.7)
            meant = f" (did you mean {close[0]}?)" if close else ""
            shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            yield f"{key}: column {column!r} is not in the query's result{meant}; it has {shown}"
    if rule.detector.stream and translation.tables != {STREAM_TABLE}:
        read = ", ".join(sorted(translation.tables)) or "no table"
        yield f"detector.stream: the stream carries {STREAM_TABLE} and the query reads {read}; set it to false"


def _named_columns(rule: Rule) -> Iterator[tuple[str, str]]:
    """Every (key, column) that must be in the query's result; empty names are already problems of their own."""
    for mapping in rule.entity_mappings:
        for _, column in mapping.fields:
            if column:
                yield f"entityMappings.{mapping.entity_type}", column
    for _, column in rule.custom_details:
        yield "customDetails", column
    for column in rule_format.PLACEHOLDER.findall(rule.title_format or ""):
        yield "alertDetailsOverride.alertDisplayNameFormat", column
    for column in rule.detector.identity:
        yield "detector.identity", column
    for column in rule.detector.summary:
        yield "detector.summary", column
