"""One Logs query, with every known trap of ``azure-monitor-query`` 2.0.0 turned into rows or one clear error.

Observed with the SDK: a partial result is an ordinary return value; a 204, an empty 200 and an HTML 502 all leak
``json.JSONDecodeError``; a 429 without ``Retry-After``, a 502 and a read time-out are not retried; 401 and 404 lose
their exception type; a null guid arrives as ``'None'``, dynamic columns as JSON text, and numbers and booleans may
be text.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from detectors.kql.values import json_value
from detectors.sources.windows import Window

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse
    from azure.monitor.query import LogsTable
    from azure.monitor.query.aio import LogsQueryClient

_log = logging.getLogger(__name__)

_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_ATTEMPTS = 3
_FIRST_WAIT = 5.0
_LONGEST_WAIT = 60.0
_READ_MARGIN = 30

# Observed in published reports of SEM0100 and SEM0260, which differ in what they call the thing.
_MISSING = re.compile(
    r"(?:Failed to resolve (?P<what>(?:table|column|scalar|function|entity)[a-z ]*?)(?: named)?|Unknown function):? "
    r"'(?P<name>[^']{1,200})'"
)
_DEEPEST = 8

_ADVICE = {
    400: "the workspace refused the query: check the rule's KQL and that its tables exist there",
    401: "check the detector's identity (AZURE_CLIENT_ID) and AZURE_CLOUD",
    403: "give the detector's identity the role Log Analytics Reader on the workspace; a new assignment can take an "
    "hour to work",
    404: "check WORKSPACE_IDS: no workspace answers to this id",
    413: "the result is too large: narrow the rule's query",
    429: "the service throttles this identity: lower HUNT_CONCURRENCY, or give the detector an identity of its own",
    504: "the query ran out of time: raise HUNT_QUERY_TIMEOUT or narrow the rule's query",
}


class QueryError(Exception):
    """A query gave no complete result. The message names the workspace's answer and the next step.

    ``permanent`` means that the same query fails again until somebody changes something.
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class MissingNameError(QueryError):
    """The workspace has no such table, column or function. ``missing`` says which: ``the table AzureDiagnostics``."""

    def __init__(self, message: str, *, kind: str, name: str) -> None:
        super().__init__(message, permanent=True)
        self.kind = kind
        """``table``, ``column`` or ``function``."""
        self.name = name

    @property
    def missing(self) -> str:
        """Kind and name."""
        return f"the {self.kind} {self.name}"


class _Transient(Exception):
    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


async def query(
    client: "LogsQueryClient",
    workspace: str,
    text: str,
    window: Window,
    *,
    server_timeout: int,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    time_left: Callable[[], float] = lambda: float("inf"),
) -> list[dict[str, Any]]:
    """Rows of *text* over *window*, as dicts of JSON values.

    datetime is ISO 8601 text in UTC, dynamic is parsed, numbers and booleans have their own type, null is ``None``.
    *server_timeout* is in seconds. Throttles and failures that pass are tried up to three times, waiting as long as
    the service asks, but never past *time_left* (seconds). Raises :class:`QueryError`; a partial result is one.
    """
    wait = _FIRST_WAIT
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await _query_once(client, workspace, text, window, server_timeout)
        except _Transient as error:
            pause = min(error.retry_after if error.retry_after is not None else wait, _LONGEST_WAIT)
            if error.retry_after is not None and error.retry_after > _LONGEST_WAIT:
                raise QueryError(
                    f"{error}; it asks to wait {error.retry_after:.0f} s, so the next run tries again", permanent=False
                ) from error
            if attempt == _ATTEMPTS or pause >= time_left():
                raise QueryError(
                    f"{error}; tried {attempt} times, the next run tries again", permanent=False
                ) from error
            _log.warning("workspace %s: %s; trying again in %.0f s", workspace, error, pause)
            await sleep(pause)
            wait *= 3
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _query_once(
    client: "LogsQueryClient", workspace: str, text: str, window: Window, server_timeout: int
) -> list[dict[str, Any]]:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from azure.monitor.query import LogsQueryPartialResult

    status: list[int] = []

    def remember(response: "PipelineResponse[Any, Any]") -> None:
        status.append(response.http_response.status_code)

    try:
        result = await client.query_workspace(
            workspace,
            text,
            timespan=(window.start, window.end),
            server_timeout=server_timeout,
            read_timeout=server_timeout + _READ_MARGIN,
            # The client's own policy retries a POST only in some of the cases, and would wait out any Retry-After.
            retry_total=0,
            raw_response_hook=remember,
        )
    except json.JSONDecodeError as error:
        answer = status[-1] if status else 0
        if answer == 204:
            return []
        raise _Transient(
            f"the query service answered {answer} without JSON (a proxy or gateway in between?)"
        ) from error
    except HttpResponseError as error:
        if not status or isinstance(error, ClientAuthenticationError):
            # The query service has not answered, so the error is the token endpoint's, which was asked three times.
            raise QueryError(
                f"no token for the query service: {_first_line(error)}; {_ADVICE[401]}; the next run tries again",
                permanent=False,
            ) from error
        raise _of_status(error) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise _Transient(f"the query service did not answer: {_first_line(error)}") from error
    if isinstance(result, LogsQueryPartialResult):
        detail = result.partial_error
        raise QueryError(
            f"the result was cut off ({_first_line(detail) if detail else 'no reason given'}), so the window does not "
            "count as read; if this stays, narrow the rule's query",
            permanent=False,
        )
    return [row for table in result.tables[:1] for row in _rows(table)]


def _of_status(error: Any) -> Exception:
    # 401 and 404 arrive as plain HttpResponseError whose model is a class, so only the status can be trusted.
    status = error.status_code or 0
    advice = _ADVICE.get(status)
    texts = _texts(error)
    # The outermost message of a refused query is always the same; the cause is the innermost.
    cause = texts[-1] if status == 400 and texts else _first_line(error)
    message = f"the query service answered {status}: {cause}" + (f"; {advice}" if advice else "")
    if status in _RETRYABLE:
        return _Transient(message, _retry_after(error))
    missing = next((found for text in texts if (found := _MISSING.search(text))), None) if status == 400 else None
    if missing is not None:
        return MissingNameError(message, kind=_kind(missing["what"]), name=missing["name"])
    return QueryError(message, permanent=True)


def _kind(what: str | None) -> str:
    """The service says what it could not resolve: ``table or column expression``, ``scalar expression``, ..."""
    if what is None:
        return "function"
    return next((kind for kind in ("table", "function") if kind in what), "column")


def _texts(error: Any) -> list[str]:
    """The messages of the answer's error, outermost first; each at most 300 characters, without line breaks."""
    try:
        node = json.loads(error.response.text())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return []
    node = node.get("error") if isinstance(node, dict) else None
    texts: list[str] = []
    while isinstance(node, dict) and len(texts) < _DEEPEST:
        if isinstance(message := node.get("message"), str) and message.strip():
            texts.append(" ".join(message.split())[:300])
        node = node.get("innererror")
    return texts


def _retry_after(error: Any) -> float | None:
    value = error.response.headers.get("Retry-After") if error.response is not None else None
    return float(value) if value is not None and value.isdecimal() else None


def _first_line(error: object) -> str:
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _rows(table: "LogsTable") -> list[dict[str, Any]]:
    names = list(table.columns)
    kinds = [str(kind).lower() for kind in table.columns_types]
    return [
        {name: json_value(kind, row[index]) for index, (name, kind) in enumerate(zip(names, kinds, strict=True))}
        for row in table.rows
    ]
