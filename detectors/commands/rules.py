"""``rules list`` and ``rules show``: the rules by name, and one of them whole. Rules are files: no settings needed."""

import dataclasses
import difflib
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from detectors import rulebook, strict_yaml
from detectors.commands.failure import CommandError
from detectors.rule import Rule
from detectors.rulebook import RuleError
from detectors.rulebook.operations import operations_of

BUILT_IN: Final = "built-in"
TESTS_SUFFIX: Final = rulebook.TESTS_SUFFIX


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleLine:
    """What names a rule. ``file`` is the stem of its file; ``frequency`` and ``period`` are such as ``5m`` or ``1d``.

    ``source`` is ``built-in``, or the folder that was given.
    """

    severity: str
    name: str
    id: str
    file: str
    tactics: tuple[str, ...]
    frequency: str
    period: str
    stream: bool
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleList:
    """The rules that can be used, most severe first, and one line for each problem of those that cannot."""

    rules: tuple[RuleLine, ...]
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleDetails:
    """One rule. ``operations`` are the Azure operations that its query names, in order of first mention."""

    line: RuleLine
    rule: Rule
    operations: tuple[str, ...]
    tests: tuple[str, ...]
    """Names of the cases beside it."""
    tests_problem: str | None
    """Why there are none to name."""


def list_rules(folder: Path | None = None) -> RuleList:
    """The rules in *folder*, by default the built-in ones. Raises :class:`CommandError` when it is no folder.

    Queries are not translated here: that is what ``rules lint`` does.
    """
    path, source = locate(folder)
    book = rulebook.load([path], check_query=False)
    ranked = sorted(book.rules, key=lambda rule: (-rule.severity.rank, rule.path))
    return RuleList(rules=tuple(_line(rule, source) for rule in ranked), problems=book.problems)


def show_rule(wanted: str, folder: Path | None = None) -> RuleDetails:
    """The rule in *folder* (default: built-in) whose id or file is *wanted*.

    Raises :class:`CommandError` when there is none, or when its file is wrong.
    """
    path, source = locate(folder)
    file = find_file(path, wanted)
    book = rulebook.load([path], check_query=False)
    # Of the whole folder: a plain rule's id may depend on its path in it, and on the other rules.
    rule = next((rule for rule in book.rules if book.files[rule.id] == file), None)
    if rule is None:
        try:
            rule = rulebook.load_rule(file, check_query=False)
        except RuleError as error:
            raise CommandError(str(error)) from error
    names, problem = _case_names(rulebook.tests_of(file))
    return RuleDetails(
        line=_line(rule, source),
        rule=rule,
        operations=operations_of(rule.query),
        tests=names,
        tests_problem=problem,
    )


def locate(folder: Path | None) -> tuple[Path, str]:
    """The folder to read rules from, and what to call it. Raises :class:`CommandError` when it is no folder."""
    if folder is None:
        return rulebook.BUILT_IN, BUILT_IN
    if not folder.is_dir():
        raise CommandError(f"{folder} is not a folder; name one that holds rules, files named *.yaml")
    # Messages name a file by its folder, which "." has no name for.
    return folder.resolve(), str(folder)


def find_file(folder: Path, wanted: str) -> Path:
    """The file in *folder* whose stem, or whose rule's id, is *wanted*; case is ignored.

    Raises :class:`CommandError` when there is none.
    """
    key = wanted.strip().casefold().removesuffix(".yaml").removesuffix(".yml")
    files: dict[str, Path] = {}
    for path in rulebook.rule_files(folder):
        files.setdefault(path.stem.casefold(), path)
        # The path in the folder, for two files of one name in different folders.
        files.setdefault(path.relative_to(folder).with_suffix("").as_posix().casefold(), path)
    if key in files:
        return files[key]
    book = rulebook.load([folder], check_query=False)
    if rule := book.get(key):
        return book.files[rule.id]
    close = difflib.get_close_matches(key, files, n=1)
    meant = f" (did you mean {files[close[0]].stem}?)" if close else ""
    count = len(book.problems)
    told = "1 problem in that folder, which rules lint tells, keeps" if count == 1 else ""
    told = told or f"{count} problems in that folder, which rules lint tells, keep"
    broken = f"; {told} a rule from being found by its id" if count else ""
    raise CommandError(f"no rule has the id or file name {wanted!r}{meant}; rules list shows what there is{broken}")


def short_duration(delta: timedelta) -> str:
    """*delta* as a rule file writes it: ``5m``, ``1h``, ``14d``; with seconds, a time span."""
    seconds = int(delta.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return str(delta)


def _line(rule: Rule, source: str) -> RuleLine:
    return RuleLine(
        severity=rule.severity.value,
        name=rule.name,
        id=rule.id,
        file=Path(rule.path).stem,
        tactics=rule.tactics,
        frequency=short_duration(rule.query_frequency),
        period=short_duration(rule.query_period),
        stream=rule.detector.stream,
        source=source,
    )


def _case_names(path: Path) -> tuple[tuple[str, ...], str | None]:
    """The names alone: whether the cases are well formed is for ``rules test`` to say."""
    if not path.exists():
        return (), f"{path.name} is missing"
    try:
        document: Any = strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        return (), f"{path.name}: {problem}"
    cases = document.get("cases") if isinstance(document, dict) else None
    listed = cases if isinstance(cases, list) else []
    named = [case["name"] for case in listed if isinstance(case, dict) and "name" in case]
    return tuple(map(str, named)), None if named else f"{path.name} names no case"
