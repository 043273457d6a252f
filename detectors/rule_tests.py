"""Runs the cases that lie beside a rule (:mod:`detectors.rulebook.cases`) on the local engine."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from detectors.kql.engine import Engine, KqlError
from detectors.kql.values import parse_datetime
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook.cases import (
    OTHER_SHAPES,
    STANDARD_RECORD,
    STANDARD_ROW,
    Case,
    CaseFile,
    Expectation,
    read_cases,
)
from detectors.sources import activity_log
from detectors.triage.alerting import entities_of, fill, text

SeverityOf = Callable[[Rule, Mapping[str, Any], tuple[Evidence, ...]], Severity]
"""Severity of a match with its evidence; the rows it is given are those of the query's result."""


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """How one case went: ``problems`` says what was expected and what came instead; empty when it passed."""

    name: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything that the case expects came true."""
        return not self.problems


def run_rule_tests(
    rule: Rule, path: Path, *, engine: Engine | None = None, severity_of: SeverityOf | None = None
) -> list[CaseResult]:
    """Run every case of the test file *path* against *rule*, on *engine* or one of its own.

    Without *severity_of* a match has the severity of its rule, so a case whose evidence changes it fails.
    Raises :class:`detectors.rulebook.RuleError` when the file cannot be read, with one line per problem.
    """
    file = read_cases(path)
    if engine is not None:
        return [_run(rule, case, file, engine, severity_of) for case in file.cases]
    with Engine() as own:
        return [_run(rule, case, file, own, severity_of) for case in file.cases]


def matches_of(rule: Rule, case: Case, file: CaseFile, engine: Engine) -> list[dict[str, Any]]:
    """The rows that *rule* returns for *case* of *file*. Raises :class:`detectors.kql.text.KqlError`.

    The run is one minute after the latest row, so that ``ago()`` in a query does not depend on today.
    """
    tables = engine.translate(rule.query).tables
    rows_of = _rows_by_table(case, tables)
    latest: datetime | None = None
    for table in sorted(tables):
        rows = [_whole(row, table, case, file, only=len(tables) == 1) for row in rows_of.pop(table, ())]
        engine.load(table, rows)
        times = [time for row in rows if (time := parse_datetime(row.get("TimeGenerated")))]
        latest = max([*times, latest] if latest else times, default=latest)
    if rows_of:
        raise KqlError(f"the case has rows of {next(iter(rows_of))}, a table that the rule does not read")
    return engine.run(rule.query, now=latest + timedelta(minutes=1) if latest else None).dicts()


def _rows_by_table(case: Case, tables: frozenset[str]) -> dict[str, Sequence[Mapping[str, Any]]]:
    if None not in case.rows:
        return {str(table): rows for table, rows in case.rows.items()}
    if len(tables) != 1:
        raise KqlError(f"the rule reads {', '.join(sorted(tables)) or 'no table'}: give the case's rows under 'tables'")
    return dict.fromkeys(tables, case.rows[None])


def _whole(row: Mapping[str, Any], table: str, case: Case, file: CaseFile, *, only: bool) -> dict[str, Any]:
    base = file.record if only or table == activity_log.TABLE else {}
    base = {**base, **file.records.get(table, {})}
    if table != activity_log.TABLE:
        return dict(row) if case.alone else {**STANDARD_ROW, **base, **row}
    if case.alone or any(key in row for key in OTHER_SHAPES):
        return activity_log.to_row(dict(row))
    return activity_log.to_row({**STANDARD_RECORD, **base, **row})


def _run(rule: Rule, case: Case, file: CaseFile, engine: Engine, severity_of: SeverityOf | None) -> CaseResult:
    try:
        matched = matches_of(rule, case, file, engine)
    except KqlError as error:
        return CaseResult(case.name, (str(error),))
    problems = [*_count_problems(case.expect, matched), *_title_problems(rule, case.expect, matched)]
    problems += _rule_problems(rule, case.expect)
    for row in matched:
        severity = severity_of(rule, row, case.evidence) if severity_of else rule.severity
        if case.expect.severity is not None and severity != case.expect.severity:
            problems.append(f"expected severity {case.expect.severity}, got {severity}")
        problems += _row_problems(rule, case.expect, row)
    return CaseResult(case.name, tuple(problems))


def _count_problems(expect: Expectation, matched: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(matched) != expect.matches:
        yield f"expected {expect.matches} matches, got {len(matched)}"


def _title_problems(rule: Rule, expect: Expectation, matched: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if expect.titles is None:
        return
    got = [fill(rule.title_format, row) if rule.title_format else rule.name for row in matched]
    wanted = sorted((Counter(expect.titles) - Counter(got)).elements())
    others = sorted((Counter(got) - Counter(expect.titles)).elements())
    for title, other in zip(wanted, others, strict=False):
        yield f"expected the title {title!r}, got {other!r}"


def _rule_problems(rule: Rule, expect: Expectation) -> Iterator[str]:
    for name in ("tactics", "techniques", "tags"):
        wanted, got = getattr(expect, name), getattr(rule, name)
        if wanted is not None and set(wanted) != set(got):
            yield f"expected the {name} {', '.join(sorted(wanted))}, got {', '.join(sorted(got)) or 'none'}"


def _row_problems(rule: Rule, expect: Expectation, row: Mapping[str, Any]) -> Iterator[str]:
    entities = {entity.type: entity.fields for entity in entities_of(rule, row)}
    for kind, fields in (expect.entities or {}).items():
        if entities.get(kind) != dict(fields):
            yield f"expected the {kind} {dict(fields)!r}, got {entities.get(kind)!r}"
    details = {name: text(row.get(column)) for name, column in rule.custom_details}
    for name, value in (expect.details or {}).items():
        if details.get(name) != value:
            yield f"expected the custom detail {name} {value!r}, got {details.get(name)!r}"
    for column, value in (expect.columns or {}).items():
        if column not in row or row[column] != value:
            yield f"expected {column} {value!r}, got {row.get(column, 'no such column')!r}"
