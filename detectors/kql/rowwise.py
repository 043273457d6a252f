"""Queries that look at each row alone, run in Python on one row at a time.

DuckDB plans a query anew each time, which costs milliseconds however few rows there are. A query of ``where``,
``extend`` and ``project-away`` steps is compiled here once, to functions of a row, and costs microseconds.

The answers are those of :mod:`detectors.kql.engine`, to the last character, or there is none. A query with a construct
that is not listed here does not compile. A row with a value that the two may treat in different ways raises
:class:`Unsure`. The caller then asks the database.

Three facts carry most of the proof. A text column is never null in the database, so no text and no truth value here
is. Case is folded and patterns are matched on ASCII alone. And of the JSON in a dynamic value, fractions are never
printed: how one is written is the database's business.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from detectors.kql.engine import TableSchema
from detectors.kql.expressions import (
    Call,
    Column,
    Comparison,
    Expression,
    Extend,
    ListComparison,
    Literal,
    Member,
    NotUnderstood,
    ProjectAway,
    Step,
    Unsure,
    Where,
    read_steps,
)
from detectors.kql.rowwise_functions import (
    DEEPEST,
    FUNCTIONS,
    Evaluate,
    Kind,
    Made,
    Row,
    Typed,
    all_of,
    any_of,
    certain,
    certain_text,
    comparison,
    list_comparison,
    literal,
    of_kind,
    parse_json,
    reparsed,
)
from detectors.kql.text import KqlError, replace_column_ifexists

__all__ = ["RowQuery", "Unsure", "compile_row_query"]

_SCALARS = frozenset({str, bool, int, float, type(None)})


@dataclasses.dataclass(frozen=True)
class RowQuery:
    """A compiled query. It has no state and belongs to no thread."""

    columns: tuple[tuple[str, str], ...]
    """(name, Kusto type) of the columns that it computes, in order."""
    steps: tuple[Callable[[Row, Made], bool], ...] = dataclasses.field(repr=False)

    def run(self, row: Row) -> dict[str, Any] | None:
        """The columns that the query computes for *row*, in order, as JSON values; None when it drops the row.

        *row* is one that the engine could load, such as :func:`detectors.sources.activity_log.to_row` makes: text, and
        JSON values in the dynamic columns; a missing column is null. A dynamic value in the answer may be a part of the
        row itself. Raises :class:`Unsure` when the database might answer something else.
        """
        made: Made = {}
        for step in self.steps:
            if not step(row, made):
                return None
        return made


def compile_row_query(query: str, schema: TableSchema) -> RowQuery | None:
    """*query* over the table of *schema*, or None when it holds anything that is not known here for certain.

    Raises nothing, whatever the text.
    """
    names = frozenset(name for name, _ in schema.columns)
    try:
        known = replace_column_ifexists(query, lambda table: names if table == schema.name else frozenset())
        return _Compiler(schema).query(read_steps(known, schema.name))
    except (NotUnderstood, KqlError):
        return None


class _Compiler:
    """Compiles the steps of one query, and keeps which columns there are at each."""

    def __init__(self, schema: TableSchema) -> None:
        self._table = dict(schema.columns)
        self._made: dict[str, Kind] = {}
        # The database folds the case of names.
        self._spelled = {name.lower(): name for name in self._table}

    def query(self, steps: Iterable[Step]) -> RowQuery:
        compiled = tuple([self._step(step) for step in steps])
        return RowQuery(tuple((name, kind.value) for name, kind in self._made.items()), compiled)

    def _step(self, step: Step) -> Evaluate:
        if isinstance(step, Where):
            return of_kind(Kind.TRUTH, self._expression(step.condition)).evaluate
        if isinstance(step, Extend):
            return self._extend(step)
        return self._project_away(step)

    def _extend(self, step: Extend) -> Evaluate:
        columns = [(name, self._expression(expression)) for name, expression in step.columns]
        if len({name for name, _ in columns}) < len(columns):
            raise NotUnderstood("a column that is made twice in a step")
        for name, typed in columns:
            if name in self._table or self._spelled.setdefault(name.lower(), name) != name:
                raise NotUnderstood("a column of the name of another")
            self._made[name] = typed.kind
        stored = [(name, _stored(typed)) for name, typed in columns]
        return _make_one(*stored[0]) if len(stored) == 1 else _make_all(stored)

    def _project_away(self, step: ProjectAway) -> Evaluate:
        for name in step.names:
            if self._made.pop(name, None) is None:
                raise NotUnderstood("a column that is not there, or one of the table")

        def drop(_row: Row, made: Made) -> bool:
            for name in step.names:
                del made[name]
            return True

        return drop

    def _expression(self, expression: Expression) -> Typed:
        if isinstance(expression, Literal):
            return literal(expression)
        if isinstance(expression, Column):
            return self._column(expression.name)
        if isinstance(expression, Member):
            return _member(of_kind(Kind.DYNAMIC, self._expression(expression.of)), expression.name)
        if isinstance(expression, Call):
            return self._call(expression)
        if isinstance(expression, Comparison):
            left, right = self._expression(expression.left), self._expression(expression.right)
            return comparison(expression.operator, of_kind(Kind.TEXT, left), of_kind(Kind.TEXT, right))
        if isinstance(expression, ListComparison):
            value = of_kind(Kind.TEXT, self._expression(expression.left)).evaluate
            return list_comparison(expression.operator, value, expression.texts)
        parts = [of_kind(Kind.TRUTH, self._expression(part)).evaluate for part in expression.parts]
        return all_of(parts) if expression.operator == "and" else any_of(parts)

    def _column(self, name: str) -> Typed:
        if name in self._made:
            return Typed(self._made[name], lambda _row, made: made[name])
        kind = self._table.get(name)
        if kind == "string":
            return Typed(Kind.TEXT, _text_column(name))
        if kind == "dynamic":
            return Typed(Kind.DYNAMIC, _dynamic_column(name))
        raise NotUnderstood("a column of another type, or none at all")

    def _call(self, call: Call) -> Typed:
        function = FUNCTIONS.get(call.function)
        if function is None:
            raise NotUnderstood("another function")
        if function is parse_json and len(call.arguments) == 1:
            # parse_json(tostring(value)) is the value: the text between the two, whose fractions are the database's
            # business, is not needed.
            inner = call.arguments[0]
            if isinstance(inner, Call) and inner.function == "tostring" and len(inner.arguments) == 1:
                value = self._expression(inner.arguments[0])
                if value.kind is Kind.DYNAMIC:
                    return reparsed(value)
        return function([self._expression(argument) for argument in call.arguments])


def _stored(typed: Typed) -> Evaluate:
    evaluate = typed.evaluate
    if typed.kind is not Kind.DYNAMIC:
        return evaluate
    return lambda row, made: certain(evaluate(row, made))


def _make_one(name: str, evaluate: Evaluate) -> Evaluate:
    def make(row: Row, made: Made) -> bool:
        made[name] = evaluate(row, made)
        return True

    return make


def _make_all(columns: Sequence[tuple[str, Evaluate]]) -> Evaluate:
    def make(row: Row, made: Made) -> bool:
        # All see the row before the step, in which a column may have another value.
        made.update([(name, evaluate(row, made)) for name, evaluate in columns])
        return True

    return make


def _text_column(name: str) -> Evaluate:
    def evaluate(row: Row, _made: Made) -> str:
        value = row.get(name)
        if type(value) is str and value.isascii() and "\0" not in value:
            return value
        return "" if value is None else certain_text(value)

    return evaluate


def _dynamic_column(name: str) -> Evaluate:
    def evaluate(row: Row, _made: Made) -> Any:
        value = row.get(name)
        # Text is parsed on the way into the database.
        if type(value) is str:
            raise Unsure("a dynamic column that holds text")
        return value

    return evaluate


def _member(of: Typed, name: str) -> Typed:
    if of.levels == DEEPEST:
        raise NotUnderstood("a path of many levels")
    outer = of.evaluate

    def evaluate(row: Row, made: Made) -> Any:
        value = outer(row, made)
        if type(value) is dict:
            return value.get(name)
        if type(value) in _SCALARS or type(value) is list:
            return None
        raise Unsure("a value that is not JSON")

    return Typed(Kind.DYNAMIC, evaluate, levels=of.levels + 1)
