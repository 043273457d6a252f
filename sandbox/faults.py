"""What can go wrong at an endpoint, set by a test or over HTTP and gone when it is cleared or used up.

``times`` is how many requests a fault meets; None means every request until :meth:`Faults.clear`.
"""

import dataclasses
import threading
from typing import Any, Literal, get_args

from sandbox.wire import Response, error_response

Endpoint = Literal["token", "logs", "automation", "ingestion", "teams", "webhook", "pagerduty", "sentinel"]
ENDPOINTS: tuple[str, ...] = get_args(Endpoint)


@dataclasses.dataclass(frozen=True)
class Status:
    """An error status in the service's own error shape, with ``Retry-After`` in seconds when given."""

    status: int
    retry_after: int | None = None
    times: int | None = None


@dataclasses.dataclass(frozen=True)
class Html:
    """A proxy's error page instead of the service's JSON."""

    status: int = 502
    times: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Slow:
    """No answer until ``release`` is set, then the ordinary one. ``arrived`` is set when a request is waiting."""

    release: threading.Event = dataclasses.field(default_factory=threading.Event)
    arrived: threading.Event = dataclasses.field(default_factory=threading.Event)
    times: int | None = None


@dataclasses.dataclass(frozen=True)
class Partial:
    """Logs only: HTTP 200 with ``PartialError`` and tables cut to half; with ``tables=False`` without any table."""

    tables: bool = True
    times: int | None = None


@dataclasses.dataclass(frozen=True)
class NoContent:
    """HTTP 204: what Logs Query answers for a workspace without data."""

    times: int | None = None


@dataclasses.dataclass(frozen=True)
class EmptyOk:
    """HTTP 200 with an empty body: what Logs Query answers to a request that it took for no JSON."""

    times: int | None = None


@dataclasses.dataclass(frozen=True)
class Reset:
    """The connection closes without an answer."""

    times: int | None = None


Fault = Status | Html | Slow | Partial | NoContent | EmptyOk | Reset
KINDS: dict[str, type[Fault]] = {kind.__name__: kind for kind in get_args(Fault)}

_CODES = {
    400: "BadRequest",
    401: "AuthenticationFailed",
    403: "AuthorizationFailed",
    404: "NotFound",
    409: "Conflict",
    413: "ContentLengthLimitExceeded",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
_LOGS_CODES = {403: "InsufficientAccessError", 404: "PathNotFoundError", 429: "ThrottledError"}
_HTML = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"


def response_of(endpoint: str, fault: Status | Html | NoContent | EmptyOk) -> Response:
    """The answer that *fault* puts in the place of the endpoint's own."""
    match fault:
        case Status(status=status, retry_after=retry_after):
            codes = {**_CODES, **_LOGS_CODES} if endpoint == "logs" else _CODES
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            return error_response(status, codes.get(status, f"Http{status}"), "A fault set in the sandbox.", headers)
        case Html(status=status):
            return Response(status, _HTML, "text/html; charset=utf-8")
        case NoContent():
            return Response(204)
        case EmptyOk():
            return Response(200)


def parse_fault(kind: str, values: dict[str, Any]) -> Fault:
    """A fault from its name and fields, as the control plane receives them. Raises :class:`ValueError`."""
    if kind not in KINDS:
        raise ValueError(f"there is no fault {kind!r}; use one of {', '.join(KINDS)}")
    fields = {field.name for field in dataclasses.fields(KINDS[kind])} - {"release", "arrived"}
    if unknown := set(values) - fields:
        raise ValueError(f"{kind} has no field {sorted(unknown)[0]!r}; it has {', '.join(sorted(fields))}")
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from error


class Faults:
    """The fault of each endpoint, at most one at a time. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, tuple[Fault, int | None]] = {}
        self._waiting: list[Slow] = []

    def set(self, endpoint: Endpoint, fault: Fault) -> None:
        """Put *fault* in the place of the endpoint's present one. Raises :class:`ValueError` for a wrong endpoint."""
        if endpoint not in ENDPOINTS:
            raise ValueError(f"there is no endpoint {endpoint!r}; use one of {', '.join(ENDPOINTS)}")
        if isinstance(fault, Partial) and endpoint != "logs":
            raise ValueError(f"Partial is an answer of the logs endpoint; {endpoint} has none")
        self.clear(endpoint)
        with self._lock:
            self._active[endpoint] = (fault, fault.times)

    def clear(self, endpoint: Endpoint | None = None) -> None:
        """End the fault of *endpoint*, or of all, and let requests go on that a :class:`Slow` holds."""
        with self._lock:
            names = list(self._active) if endpoint is None else [endpoint]
            ended = [self._active.pop(name)[0] for name in names if name in self._active]
            slow = [fault for fault in ended if isinstance(fault, Slow)]
            if endpoint is None:
                slow += self._waiting
                self._waiting = []
        for fault in slow:
            fault.release.set()

    def take(self, endpoint: str) -> Fault | None:
        """The fault that the request now being answered meets; counts it."""
        with self._lock:
            if endpoint not in self._active:
                return None
            fault, left = self._active[endpoint]
            if isinstance(fault, Slow):
                self._waiting.append(fault)
            if left is not None:
                left -= 1
                self._active[endpoint] = (fault, left)
                if left <= 0:
                    del self._active[endpoint]
            return fault

    def active(self) -> dict[str, str]:
        """Endpoint to fault, as text, for the control plane."""
        with self._lock:
            return {endpoint: type(fault).__name__ for endpoint, (fault, _) in self._active.items()}
