"""The rules, rows of their cases, and the database's answer to compare with."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from detectors import rule_tests, rulebook
from detectors.kql.engine import Engine, TableSchema, load_tables
from detectors.kql.rowwise import RowQuery, Unsure, compile_row_query
from detectors.kql.text import tokens_of
from detectors.kql.values import json_value
from detectors.rulebook.cases import STANDARD_RECORD, read_cases
from detectors.sources.activity_log import TABLE, to_row

# Other tests check the queries; here that would take longer than the tests.
BOOK = rulebook.load([rulebook.BUILT_IN], check_query=False)
RULES = [rule for rule in BOOK.rules if rule.detector.stream]
ACTIVITY = load_tables()[TABLE]
RESOURCE = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-ops/providers"

NUMBER = "Number"
"""A column that says which row came back from the database."""
EVENTS = TableSchema("Events", "", (("A", "string"), ("B", "string"), ("D", "dynamic"), (NUMBER, "long")))
"""A small table for queries of the tests' own."""
_NAMED = {token.group() for rule in RULES for token in tokens_of(rule.query)}
# The database takes its time for each column that a query carries along.
NARROW = TableSchema(TABLE, "", (*(column for column in ACTIVITY.columns if column[0] in _NAMED), (NUMBER, "long")))
"""AzureActivity with the columns that the rules name."""

Answer = dict[str, Any] | None
UNSURE = "unsure"


def event(a: Any = "", b: Any = "", d: Any = None) -> dict[str, Any]:
    return {"A": a, "B": b, "D": d}


def activity(**fields: Any) -> dict[str, Any]:
    """A row of an exported record."""
    return to_row({**STANDARD_RECORD, **fields})


@functools.cache
def case_rows() -> tuple[dict[str, Any], ...]:
    """Every row of AzureActivity in the cases of every built-in rule."""
    rows = []
    for rule in BOOK.rules:
        file = read_cases(rulebook.tests_of(BOOK.files[rule.id]))
        for case in file.cases:
            for table, listed in case.rows.items():
                if table == TABLE or (table is None and TABLE in rule.query):
                    rows += [rule_tests._whole(row, TABLE, case, file, only=table is None) for row in listed]
    return tuple(rows)


@functools.cache
def compiled(query: str, schema: TableSchema = ACTIVITY) -> RowQuery:
    found = compile_row_query(query, schema)
    assert found is not None, query
    return found


def ours(query: RowQuery, rows: Sequence[Mapping[str, Any]]) -> list[Answer | str]:
    """The answer for each row, :data:`UNSURE` where there is none."""
    answers: list[Answer | str] = []
    for row in rows:
        try:
            answers.append(query.run(row))
        except Unsure:
            answers.append(UNSURE)
    return answers


def database(engine: Engine, schema: TableSchema, query: str, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """For each row the columns that the query computes in the database, None where it drops the row."""
    plain = [name for name, _ in schema.columns]
    numbered = [{**{name: row.get(name) for name in plain}, NUMBER: number} for number, row in enumerate(rows)]
    engine.load(schema.name, numbered)
    result = engine.run(query)
    found: list[Answer] = [None] * len(rows)
    for values in result.rows:
        cells = {name: _told(kind, value) for (name, kind), value in zip(result.columns, values, strict=True)}
        found[cells[NUMBER]] = {name: value for name, value in cells.items() if name not in plain}
    return found


def _told(kind: str, value: Any) -> Any:
    """As the stream gives it to what comes after: JSON values, of which dynamic ones are parsed already."""
    return value if kind == "dynamic" else json_value(kind, value)


def differences(
    got: Sequence[Answer | str], wanted: Sequence[Answer], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, Any, Any]]:
    """The rows whose answers differ: in a value, its type, a name or the order. Where we are unsure nothing differs."""
    # repr() tells True from 1, which are equal.
    return [
        (row, mine, theirs)
        for row, mine, theirs in zip(rows, got, wanted, strict=True)
        if mine != UNSURE and repr(mine) != repr(theirs)
    ]
