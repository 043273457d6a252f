"""Rule files to rules: read, check everything, and report every problem at once in one line each.

Two readings of one format. The built-in rules and every rule with the key ``detector:`` are read strictly
(:mod:`detectors.rulebook.strict`): what is wrong is a problem and keeps the rule out. Every other rule is somebody's
Sentinel rule and read tolerantly (:mod:`detectors.rulebook.plain`): what is odd is a note. Here the files are found,
the query is translated and the columns that a rule names are compared with those that its query returns.
"""

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from detectors import strict_yaml
from detectors.kql.engine import Engine, KqlError, load_tables
from detectors.kql.text import tokens_of
from detectors.rule import Rule
from detectors.rulebook import loose_yaml, plain, strict
from detectors.rulebook.attack import misfits
from detectors.rulebook.values import PLACEHOLDER

BUILT_IN: Final = Path(__file__).parents[1] / "rules"

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
TESTS_SUFFIX: Final = ".tests.yaml"
_SUFFIXES: Final = frozenset({".yaml", ".yml"})
# Refusals that are KQL's own and no gap of the local engine, so Log Analytics probably shares them.
_NO_KQL: Final = re.compile(r"syntax error |.*(?:: KQL is case-sensitive|does not exist at that step)")


class RuleError(Exception):
    """A rule file that cannot be used. ``problems`` has one line per problem: file, key, cause and fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Rulebook:
    """The rules that can be used, in order of their files, and every problem of those that cannot.

    ``notes`` are what is odd and keeps no rule out, one line each. ``files`` is rule id to file.
    """

    rules: tuple[Rule, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: Mapping[str, Path] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def get(self, rule_id: str) -> Rule | None:
        """The rule of that id (case ignored), or None."""
        return next((rule for rule in self.rules if rule.id == rule_id.lower()), None)


@dataclasses.dataclass(frozen=True)
class _Read:
    """One file's outcome: ``rule`` is None when the file holds none that can be used."""

    path: Path
    key: str
    rule: Rule | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load(paths: Iterable[Path] = (BUILT_IN,), *, check_query: bool = True) -> Rulebook:
    """Every rule of *paths*: files, or folders, searched through all folders in them for ``*.yaml`` and ``*.yml``.

    A broken file costs its own rule, no other. Without *check_query* nothing is translated, and DuckDB is not
    imported: for the running app, whose rules the tests and ``python -m detectors`` have checked.
    """
    problems: list[str] = []
    with Engine() if check_query else contextlib.nullcontext() as engine:
        read = [_read(path, root, engine) for path, root in _rule_files(paths, problems)]
    problems += [problem for each in read for problem in each.problems]
    notes = [note for each in read for note in each.notes]
    rules = _distinct(read, problems, notes)
    return Rulebook(
        tuple(rule for rule, _ in rules),
        tuple(problems),
        tuple(notes),
        MappingProxyType({rule.id: path for rule, path in rules}),
    )


def load_rule(path: Path, *, check_query: bool = True) -> Rule:
    """The rule in *path*. Raises :class:`RuleError` with all of its problems; notes are not told."""
    with Engine() if check_query else contextlib.nullcontext() as engine:
        read = _read(path, path.parent, engine)
    if read.rule is None or read.problems:
        raise RuleError([*read.problems] or [*read.notes])
    return read.rule


def rule_files(folder: Path) -> tuple[Path, ...]:
    """The files of *folder*, and of the folders in it, that may hold a rule, in order."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    return tuple(sorted(path for path in found if not _holds_tests(path)))


def _holds_tests(path: Path) -> bool:
    return path.name.lower().endswith((TESTS_SUFFIX, ".tests.yml"))


def tests_of(path: Path) -> Path:
    """Where the tests of the rule file *path* are: ``name.tests.yaml`` beside ``name.yaml``."""
    return path.with_suffix(".tests.yaml")


def _rule_files(paths: Iterable[Path], problems: list[str]) -> Iterator[tuple[Path, Path]]:
    """(file, folder that was named) for each; a file named twice is read once."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found = [(file, path) for file in rule_files(path)]
            if not found:
                problems.append(f"{path.name}: holds no rule; rules are files named *.yaml")
        else:
            found = [(path, path.parent)]
        for file, root in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, root


def _read(path: Path, root: Path, engine: Engine | None) -> _Read:
    key = path.relative_to(root).as_posix()
    # Messages and alerts name a file by its folder: a whole path would tell where the app lies.
    file = f"{root.name}/{key}"
    if path.is_relative_to(BUILT_IN):
        return _read_strictly(path, key, file, engine)
    try:
        document, notes = loose_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        return _Read(path, key, None, (f"{file}: {_strict_problem(path) or problem}",))
    if isinstance(document, dict) and "detector" in document:
        return _read_strictly(path, key, file, engine)
    noted = [f"{file}: {note}" for note in notes]
    try:
        rule, more = plain.read_plain_rule(document, file, key)
    except plain.NoRule as reason:
        line = f"{file}: {reason}"
        return _Read(path, key, None, (line,)) if reason.broken else _Read(path, key, None, (), (*noted, line))
    noted += more
    if engine is not None:
        noted += [f"{file}: {note}" for note in _plain_query_notes(rule, engine)]
    return _Read(path, key, rule, (), tuple(noted))


def _strict_problem(path: Path) -> str:
    """What the strict reader says of a file that even the tolerant one refuses: it is the clearer of the two."""
    try:
        strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        return str(problem)
    return ""


def _read_strictly(path: Path, key: str, file: str, engine: Engine | None) -> _Read:
    try:
        document: Any = strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        return _Read(path, key, None, (f"{file}: {problem}",))
    rule, problems = strict.read_rule(document, file, ENRICHMENTS)
    problems += [f"{file}: relevantTechniques: {problem}" for problem in misfits(rule.techniques, rule.tactics)]
    if engine is not None and rule.query:
        problems += [f"{file}: {problem}" for problem in _query_problems(rule, engine)]
    return _Read(path, key, None if problems else rule, tuple(problems))


def _distinct(read: Iterable[_Read], problems: list[str], notes: list[str]) -> list[tuple[Rule, Path]]:
    """The rules with an id of their own each, in order of their files.

    A strict rule keeps its id. A plain rule with a taken id is a copy when its query is the same, and otherwise gets
    an id made from both, because repositories do repeat ids.
    """
    order = list(read)
    taken: dict[str, Rule] = {}
    placed: dict[int, Rule] = {}
    for of_ours in (True, False):
        for position, each in enumerate(order):
            rule = each.rule
            if rule is None or rule.plain is of_ours:
                continue
            first = taken.get(rule.id)
            if first is not None and of_ours:
                problems.append(f"{rule.path}: id: {rule.id} is already the id of {first.path}; give it a new GUID")
                continue
            if first is not None and _lines(first.query) == _lines(rule.query):
                notes.append(f"{rule.path}: id: a copy of {first.path}, with its id and query; it is not loaded twice")
                continue
            if first is not None:
                made = plain.derived_id(rule.id, rule.query)
                if made in taken:
                    notes.append(f"{rule.path}: id: a copy of {taken[made].path}; it is not loaded twice")
                    continue
                notes.append(f"{rule.path}: id: {rule.id} is already the id of {first.path}; {made} is made from both")
                rule = dataclasses.replace(rule, id=made)
            taken[rule.id] = rule
            placed[position] = rule
    return [(placed[position], order[position].path) for position in sorted(placed)]


def _lines(query: str) -> list[str]:
    """*query* without the spaces that end its lines: Sentinel's converter to custom detections drops them."""
    return [line.rstrip() for line in query.strip().splitlines()]


def _plain_query_notes(rule: Rule, engine: Engine) -> Iterator[str]:
    try:
        translation = engine.translate(rule.query)
    except KqlError as error:
        told = " and may fail there too" if _NO_KQL.match(str(error)) else "; the local engine does not run it"
        yield f"query: goes to Log Analytics as it is{told}: {error}"
        yield from _columns_from_nowhere(rule)
        return
    names = {name for name, _ in translation.columns}
    for key, column in _named_columns(rule):
        if column not in names:
            yield f"{key}: column {column!r} is not in the query's result; it is empty in alerts"


def _columns_from_nowhere(rule: Rule) -> Iterator[str]:
    """Of a query whose columns are unknown here: what the rule names, and neither query nor known table does."""
    tables = {name for table in load_tables().values() for name, _ in table.columns}
    named = {token.group().strip("'\"") for token in tokens_of(rule.query)}
    for key, column in _named_columns(rule):
        # KQL makes names such as count_, set_Caller and Caller1 itself.
        if column not in named | tables and "_" not in column and not column[-1:].isdigit():
            close = difflib.get_close_matches(column, sorted(named), n=1, cutoff=0.8)
            guess = f" (did you mean {close[0]}?)" if close else ""
            yield f"{key}: column {column!r} is not in the query's text{guess}; it may be empty in alerts"


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
    for column in PLACEHOLDER.findall(rule.title_format or ""):
        yield "alertDetailsOverride.alertDisplayNameFormat", column.strip() if rule.plain else column
    for column in rule.detector.identity:
        yield "detector.identity", column
    for column in rule.detector.summary:
        yield "detector.summary", column
