"""Two azure-core policies for a client that only reads, and reads only from Azure Resource Manager.

Imported only when a client is built: azure-core costs a tenth of a second.
"""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncRetryPolicy, SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from detectors.automation.failures import Refused

_DEFAULT_PORTS = {"https": 443, "http": 80}


class SameHostReads(SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Refuse a request to another host than the client's, and every request that is not a read.

    The SDK follows ``nextLink`` and redirects wherever they point and sends the bearer token along; and on a 409 it
    registers the resource provider with a POST. Stands after the retry policy and before authentication, so that
    pages, redirects and the SDK's own requests pass it before they get a token. Raises
    :class:`~detectors.automation.failures.Refused`.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._allowed = _origin(urlsplit(base_url))

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        """Raise Refused, or let the request pass."""
        http_request = request.http_request
        origin = _origin(urlsplit(http_request.url))
        if origin != self._allowed:
            host = str(origin[1])[:200]
            raise Refused(
                f"Azure's answer points to another host ({host}) than {self._allowed[1]}: not followed, because the "
                "request would carry the detector's token. Find out who changed that answer (a proxy?)."
            )
        if http_request.method not in {"GET", "HEAD"}:
            raise Refused(f"The client wanted to send a {http_request.method}: refused, enrichment only reads.")


class BoundedRetry(AsyncRetryPolicy[HttpRequest, AsyncHttpResponse]):
    """Honour ``Retry-After`` up to *longest* seconds; beyond, give the 429 or 503 back at once.

    Waiting longer than the evidence may take would turn "throttled" into "not answered".
    """

    def __init__(self, *, longest: float, **options: Any) -> None:
        super().__init__(**options)
        self._longest = longest

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        """What ``Retry-After`` says in seconds; None when it says nothing, or nothing that can be read."""
        try:
            return super().get_retry_after(response)
        except ValueError:
            return None

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Whether to try again."""
        wait = self.get_retry_after(response)
        if wait is not None and wait > self._longest:
            return False
        return bool(super().is_retry(settings, response))


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    try:
        port = url.port
    except ValueError:
        port = -1
    return url.scheme.casefold(), (url.hostname or "").casefold(), port or _DEFAULT_PORTS.get(url.scheme.casefold())
