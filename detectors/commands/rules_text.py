"""What the commands on rules say to a person. Pure: a result comes in, text goes out."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from detectors.commands.plain import block, fields, indented, table
from detectors.commands.rules import RuleDetails, RuleLine, RuleList
from detectors.commands.rules_check import CaseReport, LintReport
from detectors.commands.rules_new import NewRule
from detectors.delivery.text import visible

_OPERATORS = {"gt": "more than", "lt": "fewer than", "eq": "exactly", "ne": "any number but"}
_COLUMNS = ("severity", "name", "id", "file", "tactics", "every", "over", "stream", "source")


def list_text(result: RuleList) -> str:
    """One line for each rule, then the problems."""
    lines = table(_COLUMNS, (_row(line) for line in result.rules))
    lines += ["", _count(len(result.rules), "rule")]
    return _text([*lines, *map(visible, result.problems)])


def details_text(details: RuleDetails) -> str:
    """The whole rule, for reading."""
    rule = details.rule
    entities = [
        (mapping.entity_type, ", ".join(f"{identifier}: {column}" for identifier, column in mapping.fields))
        for mapping in rule.entity_mappings
    ]
    tests = [details.tests_problem] if details.tests_problem else details.tests
    lines = block(f"[{rule.severity.upper()}] {rule.name}")
    lines += indented(fields((label, value) for label, value in _lead(details) if value))
    for title, part in (
        ("What it finds", block(rule.description.strip())),
        ("Query", block(rule.query.rstrip())),
        ("Operations named in the query", [visible(name) for name in details.operations]),
        ("Entities", fields(entities)),
        ("Details shown", fields(rule.custom_details)),
        ("Evidence collected", _bullets(rule.detector.enrich)),
        ("Tests beside it", _bullets(tests)),
        ("What to check", _prose(rule.detector.triage)),
        ("What to do when it is real", _prose(rule.detector.response)),
        ("When it is expected", _bullets(rule.detector.false_positives)),
        ("References", _bullets(rule.detector.references)),
    ):
        if part:
            lines += ["", title, *indented(part)]
    return _text(lines)


def lint_text(report: LintReport) -> str:
    """Every problem on a line of its own, then every note, then the numbers."""
    problems = _count(len(report.problems), "problem") if report.problems else "no problems"
    notes = f", {_count(len(report.notes), 'note')}" if report.notes else ""
    noted = [visible(f"note: {note}") for note in report.notes]
    return _text([*map(visible, report.problems), *noted, f"{_count(report.rules, 'rule')}, {problems}{notes}"])


def cases_text(report: CaseReport) -> str:
    """What failed and why, then the numbers."""
    lines = [visible(problem) for problem in report.problems]
    for failure in report.failures:
        lines += [visible(f"FAILED {failure.file}: {failure.case}")]
        lines += indented(visible(problem) for problem in failure.problems)
    return _text([*lines, f"{report.passed:,} passed, {len(report.failures):,} failed"])


def new_text(created: NewRule) -> str:
    """What was written and what to do next."""
    rule, folder = shlex.quote(created.rule), shlex.quote(str(Path(created.rule).parent))
    stem = Path(created.rule).stem
    rows = [
        ("rule", created.rule),
        ("cases", created.tests),
        ("check it", f"python -m detectors rules lint {rule}"),
        ("try it", f"python -m detectors rules test {stem} --path {folder}"),
    ]
    return _text(fields(rows))


def _lead(details: RuleDetails) -> Iterator[tuple[str, str]]:
    line, rule = details.line, details.rule
    yield "id", rule.id
    yield "file", f"{line.file}.yaml ({line.source})"
    yield "version", rule.version
    yield "kind", rule.kind
    yield "runs", f"every {line.frequency} over {line.period}" + (", and on the stream" if line.stream else "")
    yield "fires when", f"{_OPERATORS[rule.trigger_operator]} {_count(rule.trigger_threshold, 'row')} found"
    yield "risk score", "" if rule.detector.risk_score is None else str(rule.detector.risk_score)
    yield "tactics", ", ".join(rule.tactics)
    yield "techniques", ", ".join((*rule.techniques, *rule.tags))
    yield "alert title", rule.title_format or ""
    yield "one action is", ", ".join(rule.detector.identity)


def _row(line: RuleLine) -> tuple[str, ...]:
    tactics = ", ".join(line.tactics)
    stream = "yes" if line.stream else "no"
    return (line.severity, line.name, line.id, line.file, tactics, line.frequency, line.period, stream, line.source)


def _prose(text: str) -> list[str]:
    return block(text.strip()) if text.strip() else []


def _bullets(texts: Iterable[str]) -> list[str]:
    lines = []
    for text in texts:
        first, *rest = block(text.strip())
        lines += [f"- {first}", *indented(rest)]
    return lines


def _count(number: int, one: str) -> str:
    return f"{number:,} {one if number == 1 else one + 's'}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
