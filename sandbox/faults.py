"""What can go wrong at an endpoint, set by a test or over HTTP and gone when it is cleared or used up.

``times`` is how many requests a fault meets; None means every request until :meth:`Faults.clear`. A fault set *within*
a path meets only the requests below it, such as those of one subscription.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable
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


@dataclasses.dataclass(frozen=True, eq=False)
class Throttle:
    """429 with ``Retry-After`` to whoever asks more often than *per_second*, after a first *burst*.

    A token bucket, which is how Azure Resource Manager counts: a token a request, and the bucket fills again with
    time. ``times`` is how many requests are refused at most. *clock* gives seconds.
    """

    burst: int
    per_second: float
    times: int | None = None
    clock: Callable[[], float] = time.monotonic
    _bucket: list[float] = dataclasses.field(default_factory=list, init=False)
    """Tokens left, and when they were counted; empty before the first request."""

    def __post_init__(self) -> None:
        if self.burst < 1 or self.per_second <= 0:
            raise ValueError("Throttle needs a burst of 1 or more and a per_second above 0")

    def refuses(self) -> bool:
        """Take a token, if there is one. The caller holds a lock."""
        now = self.clock()
        left, since = self._bucket or (float(self.burst), now)
        left = min(self.burst, left + (now - since) * self.per_second)
        self._bucket[:] = [left - 1 if left >= 1 else left, now]
        return left < 1

    @property
    def retry_after(self) -> int:
        """Whole seconds until there is a token again."""
        return max(1, math.ceil((1 - self._bucket[0]) / self.per_second))


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


Fault = Status | Throttle | Html | Slow | Partial | NoContent | EmptyOk | Reset
KINDS: dict[str, type[Fault]] = {kind.__name__: kind for kind in get_args(Fault)}
_NOT_SAID = {"release", "arrived", "clock", "_bucket"}
"""Fields that no other process can give."""

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


def response_of(endpoint: str, fault: Status | Throttle | Html | NoContent | EmptyOk) -> Response:
    """The answer that *fault* puts in the place of the endpoint's own."""
    match fault:
        case Status(status=status, retry_after=retry_after):
            return _error(endpoint, status, retry_after)
        case Throttle():
            return _error(endpoint, 429, fault.retry_after)
        case Html(status=status):
            return Response(status, _HTML, "text/html; charset=utf-8")
        case NoContent():
            return Response(204)
        case EmptyOk():
            return Response(200)


def _error(endpoint: str, status: int, retry_after: int | None) -> Response:
    codes = {**_CODES, **_LOGS_CODES} if endpoint == "logs" else _CODES
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return error_response(status, codes.get(status, f"Http{status}"), "A fault set in the sandbox.", headers)


def parse_fault(kind: str, values: dict[str, Any]) -> Fault:
    """A fault from its name and fields, as the control plane receives them. Raises :class:`ValueError`."""
    if kind not in KINDS:
        raise ValueError(f"there is no fault {kind!r}; use one of {', '.join(KINDS)}")
    fields = {field.name for field in dataclasses.fields(KINDS[kind])} - _NOT_SAID
    if unknown := set(values) - fields:
        raise ValueError(f"{kind} has no field {sorted(unknown)[0]!r}; it has {', '.join(sorted(fields))}")
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from error


class Faults:
    """The fault of each endpoint, at most one at a time and path. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[tuple[str, str], tuple[Fault, int | None]] = {}
        self._waiting: list[Slow] = []

    def set(self, endpoint: Endpoint, fault: Fault, *, within: str = "") -> None:
        """Put *fault* in the place of the endpoint's present one for the paths that begin with *within*, in any case.

        Of several faults that a request could meet it meets the one whose *within* is longest. Raises
        :class:`ValueError` for a wrong endpoint.
        """
        if endpoint not in ENDPOINTS:
            raise ValueError(f"there is no endpoint {endpoint!r}; use one of {', '.join(ENDPOINTS)}")
        if isinstance(fault, Partial) and endpoint != "logs":
            raise ValueError(f"Partial is an answer of the logs endpoint; {endpoint} has none")
        key = (endpoint, _folded(within))
        self._end([key])
        with self._lock:
            self._active[key] = (fault, fault.times)

    def clear(self, endpoint: Endpoint | None = None) -> None:
        """End the faults of *endpoint*, or of all, and let requests go on that a :class:`Slow` holds."""
        with self._lock:
            keys = [key for key in self._active if endpoint in {None, key[0]}]
            waiting = self._waiting if endpoint is None else []
            self._waiting = [] if endpoint is None else self._waiting
        self._end(keys)
        for fault in waiting:
            fault.release.set()

    def _end(self, keys: list[tuple[str, str]]) -> None:
        with self._lock:
            ended = [self._active.pop(key)[0] for key in keys if key in self._active]
        for fault in ended:
            if isinstance(fault, Slow):
                fault.release.set()

    def take(self, endpoint: str, path: str = "") -> Fault | None:
        """The fault that the request now being answered meets; counts it."""
        wanted = _folded(path)
        with self._lock:
            keys = [key for key in self._active if key[0] == endpoint and _is_below(wanted, key[1])]
            for key in sorted(keys, key=lambda each: -len(each[1])):
                fault, left = self._active[key]
                if isinstance(fault, Throttle) and not fault.refuses():
                    continue
                if isinstance(fault, Slow):
                    self._waiting.append(fault)
                if left is not None:
                    left -= 1
                    self._active[key] = (fault, left)
                    if left <= 0:
                        del self._active[key]
                return fault
        return None

    def active(self) -> dict[str, str]:
        """Endpoint, with the path where there is one, to fault; as text, for the control plane."""
        with self._lock:
            return {
                f"{endpoint} {within}".strip(): type(fault).__name__
                for (endpoint, within), (fault, _) in self._active.items()
            }


def _folded(path: str) -> str:
    return path.casefold().rstrip("/")


def _is_below(path: str, within: str) -> bool:
    # Whole segments: the faults of account aa-1 are none of aa-10's business.
    return not within or path == within or path.startswith(f"{within}/")
