"""KQL on DuckDB: the table schemas, and an engine that translates a query once and runs it many times.

The same rule text runs in Log Analytics and here. ``duckdb-kql`` refuses what it cannot translate faithfully, and
so does this module: every refusal is a :class:`KqlError` that names the construct and the line.

DuckDB and the translator are imported on the first :class:`Engine`, not with this module: the Functions app
indexes its triggers without paying for them.
"""

import dataclasses
import itertools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from detectors.kql.text import (
    INGESTION_COLUMN,
    KqlError,
    Token,
    behind_let,
    first_line,
    line_at,
    refuse,
    replace_column_ifexists,
    replace_ingestion_time,
    tokens_of,
    where_is,
)
from detectors.kql.values import DUCKDB_TYPES, from_duckdb, kusto_type, quote_identifier, selected_column, to_duckdb

if TYPE_CHECKING:
    import duckdb

__all__ = ["TABLES", "Engine", "KqlError", "QueryResult", "TableSchema", "Translation", "load_tables"]

TABLES: Final = Path(__file__).parents[1] / "tables"

# Rows live in this DuckDB schema with the hidden column; `main` shows them without it. A query that calls
# ingestion_time() is translated against this schema, every other query never sees the column.
_INGESTED: Final = "ingested"


@dataclasses.dataclass(frozen=True)
class TableSchema:
    """A Log Analytics table: ``columns`` are (name, Kusto type), in order."""

    name: str
    description: str
    columns: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Translation:
    """A query ready to run: ``columns`` are its result's (name, Kusto type), ``tables`` the tables it reads."""

    query: str
    sql: str
    columns: tuple[tuple[str, str], ...]
    tables: frozenset[str]
    parameters: Mapping[str, Any]
    clock_parameter: str | None
    """Name of the parameter that carries ``now``, or None when the query does not ask for the time."""


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """Rows in the shapes that the Logs API gives: UTC-aware datetimes, dynamic values parsed, strings never null.

    ``columns`` are (name, Kusto type); each row has one value per column.
    """

    columns: tuple[tuple[str, str], ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as column name to value."""
        names = [name for name, _ in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class _Translations:
    """Translations of this process, the least recently used ones dropped: each costs 50 to 100 ms and is pure data.

    The key holds the tables, because the same text means something else, or nothing, over other ones. A refusal is
    not kept: it may be one of the moment, such as a stack that was nearly used up.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[_Shape, str], Translation] = OrderedDict()

    def get(self, shape: "_Shape", query: str) -> Translation | None:
        with self._lock:
            translation = self._kept.get((shape, query))
            if translation is not None:
                self._kept.move_to_end((shape, query))
            return translation

    def put(self, shape: "_Shape", query: str, translation: Translation) -> None:
        with self._lock:
            self._kept[shape, query] = translation
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)


_Shape = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""What of the tables a translation depends on: their names and columns."""

# 500 queries of the longest size that Sentinel takes are some 20 MB.
_TRANSLATIONS: Final = _Translations(limit=500)

# Parsed statements that an engine keeps: the rules of a stream.
_STATEMENTS: Final = 200


def load_tables(directory: Path = TABLES) -> dict[str, TableSchema]:
    """The table schemas of *directory*, by table name. Raises :class:`KqlError` naming the file that is wrong."""
    import yaml

    # The one in C takes 4 ms for our tables, the other 35, and every start of the app pays for it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tables: dict[str, TableSchema] = {}
    for path in sorted(directory.glob("*.yaml")):
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
            columns = tuple((str(column["name"]), str(column["type"])) for column in document["columns"])
            schema = TableSchema(str(document["name"]), str(document["description"]), columns)
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise KqlError(
                f"tables/{path.name}: {error!r}; a table is name, description, columns[name, type]"
            ) from error
        unknown = sorted({kind for _, kind in columns} - DUCKDB_TYPES.keys())
        if unknown:
            raise KqlError(f"tables/{path.name}: unknown type {unknown[0]!r}; one of {', '.join(DUCKDB_TYPES)}")
        tables[schema.name] = schema
    return tables


class Engine:
    """An in-memory DuckDB that answers KQL over the given tables. Raises :class:`KqlError` and nothing else.

    Hardened: no file, network or extension access, bounded memory, configuration locked. One engine belongs to
    one thread; there is nothing to await between :meth:`load` and :meth:`run`, so coroutines of one loop can
    share it.
    """

    def __init__(
        self,
        tables: Mapping[str, TableSchema] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        import duckdb

        self._tables = dict(load_tables() if tables is None else tables)
        self._clock = clock
        self._shape: _Shape = tuple(sorted((table.name, table.columns) for table in self._tables.values()))
        self._failure = duckdb.Error
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect(
            ":memory:", config={"enable_external_access": "false", "threads": "1", "memory_limit": "512MB"}
        )
        self._statements: dict[str, duckdb.Statement] = {}
        self._connection.execute("SET TimeZone='UTC'")
        self._connection.execute("SET lock_configuration=true")
        self._connection.execute(f"CREATE SCHEMA {_INGESTED}")
        for table in self._tables.values():
            columns = ", ".join(f"{quote_identifier(name)} {DUCKDB_TYPES[kind]}" for name, kind in table.columns)
            name = quote_identifier(table.name)
            self._connection.execute(f"CREATE TABLE {_INGESTED}.{name} ({columns}, {INGESTION_COLUMN} TIMESTAMP)")
            self._connection.execute(
                f"CREATE VIEW {name} AS SELECT * EXCLUDE ({INGESTION_COLUMN}) FROM {_INGESTED}.{name}"  # noqa: S608 - names of our own schema files, quoted
            )

    def close(self) -> None:
        """Release the database. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def schema(self, table: str) -> TableSchema:
        """The schema of *table*. Raises :class:`KqlError` for an unknown one."""
        schema = self._tables.get(table)
        if schema is None:
            raise KqlError(f"table {table!r} is not known; it is one of {', '.join(sorted(self._tables))}")
        return schema

    def now(self) -> datetime:
        """The time of the engine's clock, from which ``ago()`` counts in a run without a time of its own."""
        return self._clock()

    def load(self, table: str, rows: Iterable[Mapping[str, Any]], *, ingested_at: datetime | None = None) -> None:
        """Replace the rows of *table*. Datetimes: aware, or ISO text. Dynamic values: JSON values or JSON text.

        A missing column is null, or the empty string where the type is string, as in Kusto. ``ingestion_time()``
        answers *ingested_at*; when that is None, the ``now`` of the run, as for a record that has just arrived.
        Raises :class:`KqlError` for an unknown table or column and for a value that does not fit its column; the
        rows loaded before are then still there.
        """
        schema = self.schema(table)
        names = {name for name, _ in schema.columns}
        columns: list[list[Any]] = [[] for _ in schema.columns]
        for count, row in enumerate(rows, start=1):
            if not names.issuperset(row):
                unknown = sorted(str(name) for name in row if name not in names)
                raise KqlError(f"row {count} of {table} has the column {unknown[0]!r}, which the table does not have")
            for (name, kind), values in zip(schema.columns, columns, strict=True):
                try:
                    values.append(to_duckdb(kind, row.get(name)))
                except (ValueError, TypeError, OverflowError, RecursionError) as error:
                    raise KqlError(f"row {count} of {table}: {name} is not a {kind}: {error}") from error
        ingested = None if ingested_at is None else ingested_at.astimezone(UTC).replace(tzinfo=None)
        cells = ", ".join(
            f"unnest(CAST(? AS {DUCKDB_TYPES[kind]}[])) AS {quote_identifier(name)}" for name, kind in schema.columns
        )
        # A new table each time: DuckDB frees the rows of DELETE only at a checkpoint, which never comes in memory.
        definition = f"CREATE OR REPLACE TABLE {_INGESTED}.{quote_identifier(table)} AS SELECT "
        try:
            self._connection.execute(
                f"{definition} {cells}, CAST(? AS TIMESTAMP) AS {INGESTION_COLUMN}", [*columns, ingested]
            )
        except self._failure as error:
            raise KqlError(f"{table}: DuckDB did not take the rows: {first_line(error)}") from error

    def translate(self, query: str) -> Translation:
        """Translate *query*, once per text and tables in this process.

        Raises :class:`KqlError` for anything that cannot run here.
        """
        translation = _TRANSLATIONS.get(self._shape, query)
        if translation is None:
            translation = self._translate(query)
            _TRANSLATIONS.put(self._shape, query, translation)
        return translation

    def run(self, query: str, *, now: datetime | None = None) -> QueryResult:
        """Run *query* over the loaded rows; ``now()`` and ``ago()`` count from *now* (default: the clock)."""
        translation = self.translate(query)
        parameters = dict(translation.parameters)
        if translation.clock_parameter is not None:
            moment = self._clock() if now is None else now
            parameters[translation.clock_parameter] = moment.astimezone(UTC).replace(tzinfo=None)
        try:
            fetched = self._connection.execute(self._statement(translation.sql), parameters or None).fetchall()
        except self._failure as error:
            raise KqlError(f"the query failed: {first_line(error)}") from error
        kinds = [kind for _, kind in translation.columns]
        try:
            rows = [tuple(from_duckdb(kind, value) for kind, value in zip(kinds, row, strict=True)) for row in fetched]
        except (ValueError, RecursionError) as error:
            # DuckDB takes JSON that no other reader does, such as [1,].
            raise KqlError(f"a value of the result cannot be read: {first_line(error)}") from error
        return QueryResult(translation.columns, rows)

    def _statement(self, sql: str) -> "duckdb.Statement":
        """*sql*, parsed: a third to a half of what a query costs. DuckDB plans it anew at each run, prepared or not."""
        statement = self._statements.get(sql)
        if statement is None:
            (statement,) = self._connection.extract_statements(sql)
            if len(self._statements) >= _STATEMENTS:
                self._statements.pop(next(iter(self._statements)))
            self._statements[sql] = statement
        return statement

    def _translate(self, query: str) -> Translation:
        import duckdb_kql
        from duckdb_kql.control import is_control_command
        from duckdb_kql.translate import CLOCK_SLOT

        if not query.isprintable() and query.encode("utf-8", "ignore").decode("utf-8") != query:
            raise KqlError("the query holds characters that UTF-8 cannot encode")
        if is_control_command(query):
            raise KqlError(f"control command {query.split(maxsplit=1)[0]!r} in line 1: a rule is a query")
        known = replace_column_ifexists(query, self._columns_of)
        tokens = tokens_of(known)
        for match, after in itertools.pairwise(tokens):
            if match.group() == "database" and after.group() == "(":
                raise KqlError(f"database(){where_is('database', tokens)}: a rule reads its own workspace only")
        text, ingestion = replace_ingestion_time(known, tokens)
        prefix = f"{_INGESTED}." if ingestion else ""
        hidden = [INGESTION_COLUMN] if ingestion else []
        schema = {prefix + t.name: [name for name, _ in t.columns] + hidden for t in self._tables.values()}
        pinned = datetime(2000, 1, 1, tzinfo=UTC)
        try:
            translated = duckdb_kql.to_sql(
                text, schema, allow_write=False, query_now=pinned, database=_INGESTED if ingestion else None
            )
        except duckdb_kql.KqlError as error:
            refuse(error, known, tokens, lambda name: self._unknown_table(name, tokens))
        except Exception as error:  # whatever else the translator itself fails with is a refusal too
            raise KqlError(f"the local engine cannot read the query: {type(error).__name__}") from error
        if translated.unbound:
            raise KqlError(f"query parameter {translated.unbound[0]!r} has no value; a rule takes no parameters")
        parameters = dict(translated.parameters)
        clock = CLOCK_SLOT if parameters.get(CLOCK_SLOT) == pinned.replace(tzinfo=None) else None
        try:
            # Not DESCRIBE: that takes no parameters, and now() is one.
            described = self._connection.execute(
                f"SELECT * FROM ({translated}) LIMIT 0",  # noqa: S608 - the translator's own SQL, see below
                parameters or None,
            ).description
            tables = frozenset(self._connection.get_table_names(translated.replace(f"${CLOCK_SLOT}", "NULL")))
        except self._failure as error:
            raise KqlError(self._binder_message(error, tokens)) from error
        # DuckDB has tables of its own.
        for table in sorted(tables - self._tables.keys()):
            raise KqlError(self._unknown_table(table, tokens))
        self._refuse_other_case(tables, tokens)
        shown = [(str(name), str(kind)) for name, kind, *_ in described if name not in hidden]
        selected = ", ".join(selected_column(*column) for column in shown)
        # The translator's own SQL: what the query holds in values it has rendered as literals.
        sql = f"SELECT {selected} FROM ({translated}) AS result"  # noqa: S608 - see above
        columns = tuple((name, kusto_type(kind)) for name, kind in shown)
        return Translation(query, sql, columns, tables, parameters, clock)

    def _columns_of(self, table: str) -> frozenset[str]:
        schema = self._tables.get(table)
        return frozenset(name for name, _ in schema.columns) if schema else frozenset()

    def _binder_message(self, error: Exception, tokens: Sequence[Token]) -> str:
        message = first_line(error)
        column = re.search(r'[Cc]olumn "?([A-Za-z0-9_]+)"? not found', message)
        if column is not None:
            if column[1] == INGESTION_COLUMN and not where_is(INGESTION_COLUMN, tokens):
                return "ingestion_time() is called where the table's rows are gone; call it before summarize or project"
            return f"column {column[1]!r}{where_is(column[1], tokens)} does not exist at that step"
        table = re.search(r"Table with name (\S+) does not exist", message)
        if table is not None:
            return self._unknown_table(table[1], tokens)
        return f"DuckDB does not accept the query: {message}"

    def _unknown_table(self, name: str, tokens: Sequence[Token]) -> str:
        name = behind_let(name, tokens, self._tables.keys())
        known = ", ".join(sorted(self._tables))
        return f"table {name!r}{where_is(name, tokens)} is not known; it is one of {known}"

    def _refuse_other_case(self, tables: Iterable[str], tokens: Sequence[Token]) -> None:
        """DuckDB folds the case of names and Kusto does not: such a query would run here and fail there."""
        exact = {name for table in tables for name, _ in self._tables[table].columns} | self._tables.keys()
        folded = {name.casefold(): name for name in exact}
        followers = [match.group() for match in tokens[1:]] + [""]
        defined = {match.group() for match, after in zip(tokens, followers, strict=True) if after == "="}
        before = ""
        for match, after in zip(tokens, followers, strict=True):
            name = match.group()
            if (
                match.lastgroup == "name"
                and name not in exact
                and name not in defined
                and name.casefold() in folded
                and before not in (".", "|")
                and after not in ("(", "=")
            ):
                line = line_at(match.string, match.start())
                raise KqlError(
                    f"name {name!r} in line {line}: KQL is case-sensitive, write {folded[name.casefold()]!r}"
                )
            before = name
