"""Queries that look at each row alone, run over the few columns they mention.

Planning a query costs more here than running it, and the cost grows with the columns that each of its steps carries
along. Queries of ``where``, ``extend`` and ``project-away`` steps leave every other column as it came in, so those
need not pass through the database at all: the row that comes out is the row that went in plus what was computed.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from detectors.kql.engine import Engine, KqlError, TableSchema
from detectors.kql.text import tokens_of
from detectors.kql.values import from_duckdb, to_duckdb

_ROW: Final = "_Row"
_LOOKS_AT_MORE: Final = frozenset(
    {
        _ROW,
        ";",
        "*",
        "let",
        "column_ifexists",
        "columnifexists",
        "ingestion_time",
        "pack_all",
        "prev",
        "next",
        "row_number",
        "row_cumsum",
        "row_rank_dense",
        "row_rank_min",
        "row_window_session",
        "toscalar",
        "rand",
        "new_guid",
    }
)
"""With one of these the answer depends on columns that are not named, or on other rows."""


def row_by_row(query: str, schema: TableSchema) -> bool:
    """Whether *query* reads *schema*'s table alone and only filters its rows and adds columns to them."""
    tokens = tokens_of(query)
    words = [token.group() for token in tokens]
    columns = {name for name, _ in schema.columns}
    if words[:2] != [schema.name, "|"] or words.count(schema.name) > 1 or not _LOOKS_AT_MORE.isdisjoint(words):
        return False
    if any(words[index] in columns and words[index + 1] == "=" for index in range(len(words) - 1)):
        return False
    depth = 0
    for index, word in enumerate(words):
        depth += (word in ("(", "[", "{")) - (word in (")", "]", "}"))
        if word != "|":
            continue
        step = words[index + 1 : index + 4]
        if depth or not step:
            return False
        if step == ["project", "-", "away"]:
            end = words.index("|", index + 1) if "|" in words[index + 1 :] else len(words)
            if columns.intersection(words[index + 4 : end]):
                return False
        elif step[0] not in ("where", "extend"):
            return False
    return True


class Narrow:
    """Runs those of *queries* that are :func:`row_by_row`; ``query in narrow`` says which. For one thread.

    The answers are those of *engine* for the same rows. Raises :class:`KqlError` as the engine does.
    """

    def __init__(self, engine: Engine, table: str, queries: Collection[str]) -> None:
        self._wide = engine
        self._schema = engine.schema(table)
        chosen = [query for query in dict.fromkeys(queries) if row_by_row(query, self._schema)]
        named = {token.group() for query in chosen for token in tokens_of(query)}
        # DuckDB wants one column at least, which the row's number is.
        columns = (*((name, kind) for name, kind in self._schema.columns if name in named), (_ROW, "long"))
        self._columns = [name for name, _ in columns[:-1]]
        self._engine = Engine({table: TableSchema(table, self._schema.description, columns)})
        whole = {name for name, _ in self._schema.columns}
        self._runs: dict[str, tuple[int, ...]] = {}
        """Query to the places of the columns that it computes."""
        for query in chosen:
            try:
                made = [name for name, _ in self._engine.translate(query).columns]
                expected = {name for name, _ in engine.translate(query).columns}
            except KqlError:
                continue
            if expected == whole.union(made) - {_ROW}:
                self._runs[query] = tuple(i for i, name in enumerate(made) if name not in whole and name != _ROW)

    def __contains__(self, query: object) -> bool:
        return query in self._runs

    def run(
        self, queries: Sequence[str], rows: Sequence[Mapping[str, Any]], now: datetime | None = None
    ) -> list[list[tuple[int, dict[str, tuple[str, Any]]]]]:
        """For each query the rows it returns: the row's position in *rows*, and column to (Kusto type, value)."""
        self._engine.load(
            self._schema.name,
            ({_ROW: index, **{name: row.get(name) for name in self._columns}} for index, row in enumerate(rows)),
        )
        moment = self._wide.now() if now is None else now
        plain: dict[int, dict[str, tuple[str, Any]]] = {}
        answers = []
        for query in queries:
            result = self._engine.run(query, now=moment)
            number = next(index for index, (name, _) in enumerate(result.columns) if name == _ROW)
            answer = []
            for values in result.rows:
                position = int(values[number])
                if position not in plain:
                    plain[position] = self._as_stored(position, rows[position])
                made = {result.columns[i][0]: (result.columns[i][1], values[i]) for i in self._runs[query]}
                answer.append((position, {**plain[position], **made}))
            answers.append(answer)
        return answers

    def _as_stored(self, position: int, row: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
        """*row* as it comes back from the database."""
        try:
            return {
                name: (kind, from_duckdb(kind, to_duckdb(kind, row.get(name)))) for name, kind in self._schema.columns
            }
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise KqlError(f"row {position + 1} of {self._schema.name} does not fit its columns: {error}") from error
