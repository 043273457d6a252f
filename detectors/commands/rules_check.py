"""``rules lint`` and ``rules test``: is a rule well formed, and does it find what the cases beside it say."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors import rule_tests, rulebook
from detectors.commands.failure import CommandError
from detectors.commands.rules import TESTS_SUFFIX, find_file, locate
from detectors.kql.engine import Engine
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook import RuleError
from detectors.triage.severity import assess


@dataclasses.dataclass(frozen=True, kw_only=True)
class LintReport:
    """How many rules can be used, and every problem of the others: file, key, cause and fix.

    ``notes`` are what is odd about rules that can be used: plain Sentinel rules, which are read tolerantly.
    """

    rules: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailedCase:
    """A case that did not come true; each of ``problems`` says what was expected and what came."""

    file: str
    case: str
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseReport:
    """How the cases went; ``problems`` are rules that do not load or have no cases, one line each."""

    rules: int
    passed: int
    failures: tuple[FailedCase, ...]
    problems: tuple[str, ...]


def lint_rules(paths: Sequence[Path]) -> LintReport:
    """Check the rules in *paths*, files or folders, and translate their queries.

    Files of cases among *paths* are passed over, because a shell's ``rules/*.yaml`` names them too. Raises
    :class:`CommandError` when a path does not exist or no rule is named.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise CommandError(f"{', '.join(missing)}: no such file or folder; name rule files, or folders of them")
    # Absolute, because messages name a file by its folder. Once each, or a rule would repeat its own id.
    chosen = dict.fromkeys(path.resolve() for path in paths if path.is_dir() or not path.name.endswith(TESTS_SUFFIX))
    if not chosen:
        raise CommandError("only files of cases were named, which rules test reads; name the rules themselves")
    # Folders first: a file named beside its folder is then read as the folder's, which its id may be made from.
    book = rulebook.load(sorted(chosen, key=lambda path: not path.is_dir()))
    return LintReport(rules=len(book.rules), problems=book.problems, notes=book.notes)


def run_cases(wanted: Sequence[str], folder: Path | None = None) -> CaseReport:
    """Run the cases beside the rules *wanted* (ids or files; empty: all) of *folder* (default: built-in) on DuckDB.

    Severity is assessed as triage does. A plain Sentinel rule needs no cases. Raises :class:`CommandError` when there
    is no such folder or rule.
    """
    path, _ = locate(folder)
    book = rulebook.load(dict.fromkeys(find_file(path, text) for text in wanted) if wanted else [path])
    passed = 0
    failures: list[FailedCase] = []
    problems = list(book.problems)
    with Engine() as engine:
        for rule in book.rules:
            tests = rulebook.tests_of(book.files[rule.id])
            if rule.plain and not tests.exists():
                continue
            try:
                results = _run(rule, tests, engine)
            except RuleError as error:
                problems += error.problems
                continue
            passed += sum(result.passed for result in results)
            failures += _failed(f"{tests.parent.name}/{tests.name}", results)
    return CaseReport(rules=len(book.rules), passed=passed, failures=tuple(failures), problems=tuple(problems))


def _run(rule: Rule, tests: Path, engine: Engine) -> list[rule_tests.CaseResult]:
    file = f"{tests.parent.name}/{tests.name}"
    if not tests.exists():
        raise RuleError([f"{file}: is missing; write cases there (rules new makes a file that shows how)"])
    try:
        return rule_tests.run_rule_tests(rule, tests, engine=engine, severity_of=_severity_of)
    except (AttributeError, TypeError) as error:
        # Evidence is taken as it was written, so a wrong kind of value shows only where it is used.
        cause = f"a case holds a value of the wrong kind ({error})"
        raise RuleError([f"{file}: cases: {cause}; data is a mapping, the title and text of code are text"]) from error


def _severity_of(rule: Rule, _: Mapping[str, Any], evidence: tuple[Evidence, ...]) -> Severity:
    return assess(rule, evidence)[0]


def _failed(file: str, results: Iterable[rule_tests.CaseResult]) -> list[FailedCase]:
    return [
        FailedCase(file=file, case=result.name, problems=result.problems) for result in results if not result.passed
    ]
