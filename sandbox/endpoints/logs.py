"""Logs Query: real KQL over the rows that have been ingested, in the service's own response shape.

Bodies: Microsoft's documentation of the API (response format, errors, timeouts) and the two examples that its
specification publishes.
"""

import json
import re
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from detectors.kql.engine import Engine, KqlError, QueryResult
from sandbox.endpoints.authorization import refuse_logs
from sandbox.faults import Fault, Partial
from sandbox.rows import Rows, StoredRow, iso, parse_timespan, tables
from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response, json_response

_NUMBERS = frozenset({"long", "int", "real", "bool", "decimal"})


class _Body(msgspec.Struct):
    query: str
    timespan: str | None = None
    workspaces: list[str] | None = None


class LogsEndpoint:
    """``POST /v1/workspaces/{id}/query`` and ``POST /v1/{resource id}/query``."""

    def __init__(self, rows: Rows, issuer: TokenIssuer, clock: Callable[[], datetime]) -> None:
        self._rows = rows
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._loaded: dict[str, list[StoredRow]] = {}
        self._tables = tables()
        self._stored_columns = {column for table in self._tables.values() for column in table.columns}
        self.url = ""
        self.empty_workspace_is_no_content = False
        """Whether a workspace without a single visible row answers 204, as the service documents."""

    def close(self) -> None:
        """Release the engine."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()

    def answer(self, request: Request, fault: Fault | None = None) -> Response:
        """Answer one query; *fault* can only be :class:`~sandbox.faults.Partial`, the others never come here."""
        if refusal := refuse_logs(request, self._issuer, self.url):
            return refusal
        segments = request.segments
        if request.method != "POST" or len(segments) < 4 or segments[-1] != "query":
            return _not_found()
        try:
            body = msgspec.json.decode(request.content(), type=_Body)
        except msgspec.ValidationError as error:
            return _bad_argument(str(error))
        except (msgspec.DecodeError, ValueError):
            return Response(200)  # documented: what is no JSON is answered with an empty 200
        now = self._clock()
        try:
            interval = parse_timespan(body.timespan, now)
        except ValueError as error:
            return _bad_argument(str(error))
        if segments[1].lower() == "workspaces" and len(segments) == 4:
            workspaces, scope = [segments[2], *(body.workspaces or [])], ""
            if not all(self._rows.known(workspace) for workspace in workspaces):
                return _not_found()
        else:
            workspaces, scope = list(self._rows.workspaces), "/" + "/".join(segments[1:-1])
        if self.empty_workspace_is_no_content and not any(self._rows.visible(workspaces, now).values()):
            return Response(204)
        try:
            result = self._run(body.query, self._rows.visible(workspaces, now, interval, scope), now)
        except KqlError as error:
            return _refused_query(str(error))
        table = self._table(result)
        if not isinstance(fault, Partial):
            return json_response(200, {"tables": [table]})
        half = {"tables": [{**table, "rows": table["rows"][: len(table["rows"]) // 2]}]}
        return json_response(200, (half if fault.tables else {}) | {"error": _PARTIAL_ERROR})

    def _run(self, query: str, rows: dict[str, list[StoredRow]], now: datetime) -> QueryResult:
        # One engine for all requests: opening a database costs more than most queries.
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self._tables)
            for table in self._tables:
                wanted = rows.get(table, [])
                if self._loaded.get(table, []) != wanted:
                    self._engine.load(table, (row.values for row in wanted))
                    self._loaded[table] = wanted
            return self._engine.run(query, now=now)

    def _table(self, result: QueryResult) -> dict[str, Any]:
        # The published query example shows a table's own numbers and booleans as text, the documentation shows a
        # computed count as a number: a client has to take both.
        as_text = [kind in _NUMBERS and (name, kind) in self._stored_columns for name, kind in result.columns]
        kinds = [kind for _, kind in result.columns]
        return {
            "name": "PrimaryResult",
            "columns": [{"name": name, "type": kind} for name, kind in result.columns],
            "rows": [[_cell(*cell) for cell in zip(kinds, row, as_text, strict=True)] for row in result.rows],
        }


def _cell(kind: str, value: Any, as_text: bool) -> Any:  # noqa: FBT001 - one cell of a zip
    if value is None:
        return None
    if isinstance(value, datetime):
        return iso(value)
    if kind == "dynamic":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if as_text:
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _not_found() -> Response:
    return error_response(404, "PathNotFoundError", "The requested path does not exist")


def _bad_argument(message: str, inner: dict[str, Any] | None = None) -> Response:
    error: dict[str, Any] = {"code": "BadArgumentError", "message": message}
    return json_response(400, {"error": error | ({"innererror": inner} if inner else {})})


def _refused_query(message: str) -> Response:
    """A refusal of the local engine in the service's shape and words (published reports of SEM0100 and SEM0260)."""
    if message.startswith("syntax error"):
        return _bad_argument(_INVALID, {"code": "SyntaxError", "message": message})
    inner = {"code": "SEM0000", "message": message}
    for pattern, code, words in _SEMANTIC:
        if found := pattern.match(message):
            inner = {"code": code, "message": words.format(found[1])}
            break
    return _bad_argument(
        _INVALID, {"code": "SemanticError", "message": "A semantic error occurred.", "innererror": inner}
    )


_INVALID = "The request had some invalid properties"
_SEMANTIC = (
    (
        re.compile(r"table '([^']+)'"),
        "SEM0100",
        "'where' operator: Failed to resolve table or column expression named '{}'",
    ),
    (re.compile(r"column '([^']+)'"), "SEM0100", "'where' operator: Failed to resolve scalar expression named '{}'"),
    # Kusto's own functions are in lower case. One that the local engine lacks the service may well have; any other
    # name is a function that somebody would have had to save in the workspace.
    (re.compile(r"function ([A-Z_]\w*)\(\)"), "SEM0260", "Unknown function: '{}'"),
)


_PARTIAL_ERROR = {
    "code": "PartialError",
    "message": "There were some errors when processing your query.",
    "details": [
        {
            "code": "EngineError",
            "message": "Something went wrong processing your query on the server.",
            "innererror": {
                "code": "-2133196797",
                "message": "The results of this query exceed the set limit of 500000 records.",
                "severity": 2,
                "severityName": "Warning",
            },
        }
    ],
}
