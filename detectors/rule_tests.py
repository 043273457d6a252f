"""Runs the tests that lie beside a rule: ``name.tests.yaml`` for ``name.yaml``.

The file is a mapping::

    record: {...}            # optional: fields that every record below starts from
    cases:
      - name: what happens, as a sentence
        rows: [{...}, ...]   # Activity Log records (export or REST shape), or rows of the rule's table
        evidence:            # optional: what triage would have found
          - {name: job, data: {runOn: "on-premises"}, code: [{title: ..., text: ...}]}
        expect: {matches: 1, severity: Medium, title: "..."}   # severity and title are optional

A row that carries its own time (``time``, ``eventTimestamp`` or ``TimeGenerated``) stands alone; any other is laid
over ``record``. ``severity`` and ``title`` are expected of every match of the case.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from detectors import strict_yaml
from detectors.kql import Engine, KqlError
from detectors.kql_values import parse_datetime
from detectors.model import Code, Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook import RuleError
from detectors.sources import activity_log
from detectors.triage.alerting import fill

SeverityOf = Callable[[Rule, Mapping[str, Any], tuple[Evidence, ...]], Severity]
"""Severity of a match with its evidence; the rows it is given are those of the query's result."""

_OWN_TIME: Final = ("time", "eventTimestamp", "TimeGenerated")
_CASE_KEYS: Final = {"name", "rows", "evidence", "expect"}
_EXPECT_KEYS: Final = {"matches", "severity", "title"}


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """How one case went: ``problems`` says what was expected and what came instead; empty when it passed."""

    name: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything that the case expects came true."""
        return not self.problems


@dataclasses.dataclass(frozen=True)
class _Case:
    name: str
    rows: tuple[dict[str, Any], ...]
    evidence: tuple[Evidence, ...]
    matches: int
    severity: str | None
    title: str | None


def run_rule_tests(
    rule: Rule, path: Path, *, engine: Engine | None = None, severity_of: SeverityOf | None = None
) -> list[CaseResult]:
    """Run every case of the test file *path* against *rule*, on *engine* or one of its own.

    Without *severity_of* a match has the severity of its rule, so a case whose evidence changes it fails.
    Raises :class:`detectors.rulebook.RuleError` when the file cannot be read, with one line per problem.
    """
    cases = _read_cases(path)
    if engine is not None:
        return [_run(rule, case, engine, severity_of) for case in cases]
    with Engine() as own:
        return [_run(rule, case, own, severity_of) for case in cases]


def _run(rule: Rule, case: _Case, engine: Engine, severity_of: SeverityOf | None) -> CaseResult:
    try:
        translation = engine.translate(rule.query)
        latest: datetime | None = None
        for table in translation.tables:
            rows = [activity_log.to_row(row) for row in case.rows] if table == activity_log.TABLE else case.rows
            engine.load(table, rows)
            times = [time for row in rows if (time := parse_datetime(row.get("TimeGenerated")))]
            latest = max([*times, latest] if latest else times, default=latest)
        # As a run just after the last row would see it, so that ago() in a query does not depend on today.
        now = latest + timedelta(minutes=1) if latest else None
        matched = engine.run(rule.query, now=now).dicts()
    except KqlError as error:
        return CaseResult(case.name, (str(error),))
    problems = []
    if len(matched) != case.matches:
        problems.append(f"expected {case.matches} matches, got {len(matched)}")
    for row in matched:
        severity = severity_of(rule, row, case.evidence) if severity_of else rule.severity
        if case.severity is not None and severity != case.severity:
            problems.append(f"expected severity {case.severity}, got {severity}")
        title = fill(rule.title_format, row) if rule.title_format else rule.name
        if case.title is not None and title != case.title:
            problems.append(f"expected the title {case.title!r}, got {title!r}")
    return CaseResult(case.name, tuple(problems))


def _read_cases(path: Path) -> list[_Case]:
    file = f"{path.parent.name}/{path.name}"
    try:
        document = strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        raise RuleError([f"{file}: {problem}"]) from problem
    cases = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(cases, list) or not cases or not set(document) <= {"record", "cases"}:
        raise RuleError([f"{file}: cases: is missing or empty; a test file is 'record' (optional) and 'cases'"])
    record = document.get("record") or {}
    problems: list[str] = []
    result = []
    for number, case in enumerate(cases, start=1):
        name = case.get("name") if isinstance(case, dict) else None
        label = f"{file}: case {number} ({name})"
        try:
            result.append(_case(case, record))
        except (TypeError, ValueError, KeyError) as error:
            problems.append(f"{label}: {error}; it needs name, rows and expect.matches, and may have evidence")
    if problems:
        raise RuleError(problems)
    return result


def _case(case: Mapping[str, Any], record: Mapping[str, Any]) -> _Case:
    expect = case["expect"]
    unknown = sorted((set(case) - _CASE_KEYS) | (set(expect) - _EXPECT_KEYS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a key")
    if not isinstance(expect["matches"], int) or isinstance(expect["matches"], bool):
        raise ValueError("expect.matches is not a whole number")  # noqa: TRY004 - the caller turns it into a line
    severity = expect.get("severity")
    return _Case(
        name=str(case["name"]),
        rows=tuple(dict(row) if any(key in row for key in _OWN_TIME) else {**record, **row} for row in case["rows"]),
        evidence=tuple(_evidence(item) for item in case.get("evidence") or ()),
        matches=expect["matches"],
        severity=None if severity is None else Severity(severity),
        title=expect.get("title"),
    )


def _evidence(item: Mapping[str, Any]) -> Evidence:
    return Evidence(
        name=item["name"],
        title=item.get("title", item["name"]),
        missing=item.get("missing"),
        code=_codes(item.get("code") or ()),
        data=item.get("data") or {},
    )


def _codes(items: Sequence[Mapping[str, Any]]) -> tuple[Code, ...]:
    return tuple(
        Code(
            title=item["title"],
            text=item["text"],
            language=item.get("language", "PowerShell"),
            sha256=hashlib.sha256(item["text"].encode()).hexdigest(),
            size=len(item["text"].encode()),
        )
        for item in items
    )
