"""The one way out: a POST that is bounded in time and size, follows nothing, and fails in words.

azure-core's pipeline gives proxy and TLS settings that operators know from every other Azure client. Three of
its policies are left out on purpose:

* Redirects: a 307 would post the alert again, to any host the receiver names.
* Retries: the outbox retries, with a stored state that survives a crash; a second loop in here would multiply
  attempts and hold up the other alerts.
* Logging: the URL of a webhook is its credential, so only scheme and host are ever logged.
"""

import asyncio
import email.utils
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from detectors.delivery.destination import DeliveryError
from detectors.delivery.text import clip, redact, visible

if TYPE_CHECKING:
    from azure.core import AsyncPipelineClient
    from azure.core.exceptions import AzureError
    from azure.core.rest import AsyncHttpResponse, HttpRequest

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
RESPONSE_LIMIT = 4096
MAX_RETRY_AFTER = 24 * 3600.0

# Without "identity" a small compressed answer could unpack into a large one.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "azure-automation-detector"}
_LOGGER = logging.getLogger(__name__)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_THROTTLED_OR_DOWN = frozenset({408, 425, 429})
# Somebody has to change a key, a role, a URL or a setting, and does so while the alert waits in the outbox.
_OPERATOR_CAN_FIX = frozenset({401, 403, 404, 409})


@dataclass(frozen=True)
class Response:
    """A 2xx answer. ``headers`` have lower-case names; ``text`` is the first 4 kB, undecodable bytes replaced."""

    status: int
    headers: Mapping[str, str]
    text: str


def origin(url: str) -> str:
    """Scheme and host (and port) of *url*: all of it that may be shown."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def checked_url(url: str, setting: str) -> str:
    """*url*, when alerts may be sent to it: https, or http to this machine.

    Raises ValueError, which names *setting* and never shows the URL (it holds a credential).
    """
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{setting} is not a URL. Copy it again, whole, beginning with https://")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"{setting} must begin with https:// (plain http is accepted for localhost only)")
    if parts.username is not None:
        # aiohttp would turn it into an Authorization header, with which the Teams trigger refuses the POST.
        raise ValueError(f"{setting} must not hold a user name or password before the host")
    return url


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait according to a ``Retry-After`` header (delta or HTTP date), 0 to one day; None if unusable."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", value.strip()):
        seconds = float(value)
    else:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        # "-0000" parses as naive: RFC 5322 for UTC without a known zone.
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - now).total_seconds()
    # A receiver that asks for a year would silence the alert for good.
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def refusal(
    destination: str,
    host: str,
    status: int,
    *,
    headers: Mapping[str, str],
    text: str,
    now: datetime,
    next_step: str | None = None,
) -> DeliveryError:
    """The error for an answer that is not the expected success; *host* and *text* must be safe to show.

    *next_step* replaces the general advice, for destinations that know better.
    """
    permanent, advice = _verdict(status)
    excerpt = clip(visible(text.strip()), 300)
    answer = f" It said: {excerpt}" if excerpt else ""
    return DeliveryError(
        f"{destination}: {host} answered {status} ({_phrase(status)}). {next_step or advice}{answer}",
        permanent=permanent,
        retry_after=None if permanent else retry_after(headers.get("retry-after"), now),
        # A gateway's 502 or 504 says nothing about what the server behind it did.
        may_have_arrived=status >= 500 or 200 <= status < 300,
    )


def _verdict(status: int) -> tuple[bool, str]:
    """Whether a repetition is useless, and what to do."""
    if 300 <= status < 400:
        return True, "redirect refused: alerts go only to the configured address. Configure the final URL."
    if status in _THROTTLED_OR_DOWN or status >= 500:
        return False, "It is tried again later; nothing to do unless it lasts."
    if status in _OPERATOR_CAN_FIX:
        return False, "Check the destination's URL, key or permission; the alert waits and is tried again."
    if status == 410:
        return True, "The endpoint is gone for good. Configure a new URL or remove the destination."
    if status >= 400:
        return True, "The same request would be refused again. Look at the answer and report it as a defect."
    return False, "That is not the success this destination expects; it is tried again."


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def unreachable(destination: str, host: str, error: "AzureError | TimeoutError") -> DeliveryError:
    """The error for a request that got no answer. Retryable: the next step is the network's, or the operator's."""
    cause, may_have_arrived = _cause(error)
    return DeliveryError(
        f"{destination}: no answer from {host}: {cause}. "
        "Check the network, DNS, proxy and certificate; it is tried again.",
        may_have_arrived=may_have_arrived,
    )


def _cause(error: "AzureError | TimeoutError") -> tuple[str, bool]:
    """The cause, and whether the request may have arrived.

    Never the text of *error* itself: aiohttp puts the whole URL, key included, into some messages.
    """
    # aiohttp and azure.core cost start time: they are imported here and in Poster only, when something is sent.
    import aiohttp
    from azure.core.exceptions import ServiceRequestTimeoutError, ServiceResponseTimeoutError

    if isinstance(error, TimeoutError | ServiceResponseTimeoutError):
        return "time-out while waiting for it", True
    if isinstance(error, ServiceRequestTimeoutError):
        return "time-out while connecting", False
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, aiohttp.ClientConnectorCertificateError):
        return f"its certificate was refused ({visible(str(inner.certificate_error))})", False
    if isinstance(inner, aiohttp.ClientConnectorError):
        return visible(str(inner.os_error.strerror or type(inner.os_error).__name__)), False
    return type(inner or error).__name__, True


def _parts_to_hide(url: str) -> Iterable[str]:
    """Everything in *url* after the host that a server could echo, as written and decoded."""
    parts = urlsplit(url)
    pieces = [parts.path, parts.query, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    pieces += [piece.partition("=")[2] for piece in parts.query.split("&")]
    return {form for piece in pieces for form in (piece, unquote(piece))}


class Poster:
    """Sends bytes by POST. One instance can serve every destination; :meth:`close` is idempotent.

    *connection_verify* is the path of a CA bundle, or True for the system's.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        connection_verify: str | bool = True,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._clock = clock
        self._connection_verify = connection_verify
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] | None = None

    async def post(self, destination: str, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """POST *body* to *url* (see :func:`checked_url`) and return its 2xx answer.

        Raises DeliveryError, which names *destination* and shows of the URL only scheme and host.
        """
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        request = HttpRequest("POST", url, headers={**_HEADERS, **headers}, content=body)
        response: AsyncHttpResponse | None = None
        received = bytearray()
        try:
            # The read time-out counts per read: a receiver that drips single bytes would hold us for hours.
            async with asyncio.timeout(self._connect_timeout + self._read_timeout):
                response = await self._pipeline().send_request(request, stream=True)
                async for chunk in response.iter_raw():
                    received += chunk
                    if len(received) >= RESPONSE_LIMIT:
                        break
        except (AzureError, TimeoutError) as error:
            # Once there is a status, it is the answer, however its body ends.
            if response is None:
                # "from None", because a logged traceback would print the cause's text, and with it the URL.
                raise unreachable(destination, origin(url), error) from None
        finally:
            if response is not None:
                await response.close()

        text = received[:RESPONSE_LIMIT].decode("utf-8", "replace")
        answer_headers = {name.lower(): value for name, value in response.headers.items()}
        _LOGGER.debug("%s: %s answered %d", destination, origin(url), response.status_code)
        if 200 <= response.status_code < 300:
            return Response(response.status_code, answer_headers, text)
        raise refusal(
            destination,
            origin(url),
            response.status_code,
            headers=answer_headers,
            text=redact(text, _parts_to_hide(url)),
            now=self._clock(),
        )

    def _pipeline(self) -> "AsyncPipelineClient[HttpRequest, AsyncHttpResponse]":
        if self._client is None:
            from azure.core import AsyncPipelineClient

            self._client = AsyncPipelineClient(
                "",
                policies=[],
                connection_timeout=self._connect_timeout,
                read_timeout=self._read_timeout,
                connection_verify=self._connection_verify,
                connection_data_block_size=RESPONSE_LIMIT,
            )
        return self._client

    async def close(self) -> None:
        """Release connections. A later :meth:`post` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
