"""Many queries over rows of one table, each row for some of them: what a batch of events or a visit needs.

A query that looks at each row alone is answered without the database (:mod:`detectors.kql.rowwise`); where that is not
certain of a row, and for every other query, the engine answers. The answers are the same. Of another query, such as one
that counts, the leading steps that look at one row alone decide which rows the engine is shown.
"""

import dataclasses
import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from detectors.kql.engine import Engine, TableSchema
from detectors.kql.narrow import Narrow, row_by_row
from detectors.kql.preselection import leading_steps
from detectors.kql.rowwise import RowQuery, Unsure, compile_row_query
from detectors.kql.text import KqlError, tokens_of
from detectors.kql.values import as_stored, json_value


@dataclasses.dataclass(frozen=True)
class Answers:
    """``rows`` has for each query the rows it returns, as JSON values, those of queries that look at each row alone in
    the order given; ``failed`` says by a row's position why some query could not be run on it."""

    rows: tuple[list[dict[str, Any]], ...]
    failed: Mapping[int, str]


class TableQueries:
    """*queries* over *table*, which each of them reads alone. For one thread, as its engine is."""

    def __init__(self, engine: Engine, table: str, queries: Sequence[str]) -> None:
        self._engine = engine
        self._table = table
        self._queries = tuple(queries)
        schema = engine.schema(table)
        self._columns = schema.columns
        self._row_queries = [compile_row_query(query, schema) for query in self._queries]
        self._filters = [
            None if query is not None else _filter(text, table, schema)
            for query, text in zip(self._row_queries, self._queries, strict=True)
        ]
        self._narrow = Narrow(engine, table, self._queries)

    def run(
        self,
        rows: Sequence[Mapping[str, Any]],
        wanted: Sequence[Sequence[int]] | None = None,
        now: datetime | None = None,
    ) -> Answers:
        """Run the queries at the positions ``wanted[n]`` over row *n*, every query over every row without *wanted*.

        ``now()`` in a query is *now*. Raises nothing: one odd row costs no other its answer.
        """
        every = range(len(self._queries))
        answers: tuple[_Found, ...] = tuple([] for _ in self._queries)
        left: dict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            for query in self._evaluate(number, row, every if wanted is None else wanted[number], answers):
                left[query].append(number)
        asked = _Asked(rows, now, left, answers, {})
        narrow = [query for query in left if self._queries[query] in self._narrow]
        self._ask(narrow, sorted({number for query in narrow for number in left[query]}), asked)
        for query in left.keys() - set(narrow):
            self._ask([query], left[query], asked)
        for found in answers:
            found.sort(key=operator.itemgetter(0))
        return Answers(tuple([row for _, row in found] for found in answers), asked.failed)

    def _evaluate(
        self, number: int, row: Mapping[str, Any], queries: Sequence[int], answers: "tuple[_Found, ...]"
    ) -> Iterator[int]:
        """Add what the queries that look at one row alone say of *row*; the others, which the engine must answer."""
        whole: dict[str, Any] = {}
        for position in queries:
            query = self._row_queries[position]
            try:
                if query is None:
                    first = self._filters[position]
                    if first is None or first.run(row) is not None:
                        yield position
                    continue
                made = query.run(row)
                if made is None:
                    continue
                whole = whole or self._as_stored(row)
            except (Unsure, ValueError, TypeError, OverflowError, RecursionError):
                yield position
                continue
            answers[position].append((number, {**whole, **made}))

    def _as_stored(self, row: Mapping[str, Any]) -> dict[str, Any]:
        whole = {}
        for name, kind in self._columns:
            value = row.get(name)
            # Most columns by far hold plain text, which as_stored() gives back as it is.
            plain = kind == "string" and type(value) is str and value.isascii() and "\0" not in value
            whole[name] = value if plain else as_stored(kind, value)
        return whole

    def _ask(self, queries: Sequence[int], numbers: Sequence[int], asked: "_Asked") -> None:
        """Ask the engine; where that fails, about each row and query alone."""
        if not queries or not numbers:
            return
        try:
            found = self._answers(queries, numbers, asked)
        except KqlError as error:
            if len(numbers) > 1:
                middle = len(numbers) // 2
                self._ask(queries, numbers[:middle], asked)
                self._ask(queries, numbers[middle:], asked)
            elif len(queries) > 1:
                for query in queries:
                    self._ask([query], numbers, asked)
            else:
                asked.failed.setdefault(numbers[0], str(error))
            return
        for query, answer in zip(queries, found, strict=True):
            asked.answers[query].extend(answer)

    def _answers(self, positions: Sequence[int], numbers: Sequence[int], asked: "_Asked") -> list["_Found"]:
        queries = [self._queries[position] for position in positions]
        rows = [asked.rows[number] for number in numbers]
        if queries[0] in self._narrow:
            # Together they read rows that not all of them were left with.
            left = [set(asked.left[position]) for position in positions]
            return [
                [
                    (numbers[index], {name: _as_json(*cell) for name, cell in row.items()})
                    for index, row in answer
                    if numbers[index] in wanted
                ]
                for wanted, answer in zip(left, self._narrow.run(queries, rows, asked.now), strict=True)
            ]
        self._engine.load(self._table, rows)
        results = [self._engine.run(query, now=asked.now) for query in queries]
        return [
            [
                (0, {name: _as_json(kind, value) for (name, kind), value in zip(result.columns, row, strict=True)})
                for row in result.rows
            ]
            for result in results
        ]


_Found = list[tuple[int, dict[str, Any]]]
"""Rows that a query returned, each with the position of the row it was made from, 0 where there is no one such row."""


def _filter(query: str, table: str, schema: TableSchema) -> RowQuery | None:
    """The longest run of leading steps that can be answered here and that drop no row which matters to the rest."""
    steps = leading_steps(query, table)
    text = query if steps is None and row_by_row(query, schema) else steps
    if text is None:
        return None
    ends = [token.start() for token in tokens_of(text) if token.group() == "|"][1:]
    for end in (len(text), *reversed(ends)):
        found = compile_row_query(text[:end], schema)
        if found is not None:
            return found
    return None


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What the engine is asked in one run: ``left`` has for each query the positions of its rows."""

    rows: Sequence[Mapping[str, Any]]
    now: datetime | None
    left: Mapping[int, Sequence[int]]
    answers: "tuple[_Found, ...]"
    failed: dict[int, str]


def _as_json(kind: str, value: Any) -> Any:
    """A value as the hunt gives it. A dynamic value is parsed already: text in it is text."""
    return value if kind == "dynamic" else json_value(kind, value)
