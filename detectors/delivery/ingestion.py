"""The Logs Ingestion API: rows for one stream of a data collection rule, in calls that the service takes."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from detectors.delivery.destination import DeliveryError
from detectors.delivery.http import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    RESPONSE_LIMIT,
    checked_url,
    origin,
    refusal,
    unreachable,
)
from detectors.delivery.text import clip, visible

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import HttpResponseError
    from azure.monitor.ingestion.aio import LogsIngestionClient

MAX_VALUE_BYTES = 64_000
"""The service cuts a value at 64 KB without a word, which would leave a dynamic column unreadable."""
MAX_CALL_BYTES = 900_000
"""A call takes 1 MB of JSON, counted before compression too."""


def size(value: Any) -> int:
    """Bytes as the client sends them: its ``json.dumps`` spells one emoji in twelve."""
    return len(json.dumps(value))


def calls(rows: Iterable[Mapping[str, Any]], limit: int = MAX_CALL_BYTES) -> Iterator[list[Mapping[str, Any]]]:
    """*rows* in their order, in parts whose JSON arrays have at most *limit* bytes; a row beyond that is alone."""
    part: list[Mapping[str, Any]] = []
    used = 0
    for row in rows:
        # Two brackets around the first, a comma and a space before each further one.
        more = size(row) + 2
        if part and used + more > limit:
            yield part
            part, used = [], 0
        part.append(row)
        used += more
    if part:
        yield part


class Ingestion:
    """Uploads rows to one stream. *name* is what messages call it.

    *endpoint* is a data collection endpoint or the rule's own ``logsIngestion`` endpoint, *rule_id* the rule's
    immutable id, *stream* its ``Custom-...`` stream, *scope* that of the cloud's tokens. The caller owns and closes
    *credential*. Raises ValueError when *endpoint* is not an https URL.
    """

    def __init__(
        self,
        endpoint: str,
        rule_id: str,
        stream: str,
        credential: "AsyncTokenCredential",
        *,
        clock: Callable[[], datetime],
        scope: str,
        name: str,
        connection_verify: str | bool = True,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._endpoint = checked_url(endpoint, f"the endpoint of {name}")
        self._rule_id = rule_id
        self._stream = stream
        self._credential = credential
        self._clock = clock
        self._name = name
        self._options: dict[str, Any] = {
            "credential_scopes": [scope],
            "connection_verify": connection_verify,
            "connection_timeout": connect_timeout,
            "read_timeout": read_timeout,
            # Whoever sends tries again later. The client's own retries would multiply with that, and redirects could
            # carry the token elsewhere.
            "retry_total": 0,
            "permit_redirects": False,
        }
        self._client: LogsIngestionClient | None = None

    async def upload(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Upload *rows*, which fit into one call (:func:`calls`). Raises :class:`DeliveryError`."""
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            await self._open().upload(self._rule_id, self._stream, [dict(row) for row in rows])
        except HttpResponseError as error:
            raise self._refusal(error) from error
        except AzureError as error:
            raise unreachable(self._name, origin(self._endpoint), error) from error

    def _refusal(self, error: "HttpResponseError") -> DeliveryError:
        from azure.core.exceptions import ClientAuthenticationError, DecodeError

        host = origin(self._endpoint)
        response: Any = error.response
        status = error.status_code
        if response is None and isinstance(error, DecodeError):
            # For content types it does not know, the client loses the status.
            return DeliveryError(
                f"{self._name}: {host} gave an answer that is not JSON. "
                "Check the endpoint and any proxy on the way; it is tried again.",
                may_have_arrived=True,
            )
        # The credential raises the same class as a 401 from the service does, with the answer of the token endpoint:
        # its 400 must not count as the service's, which would be permanent.
        if response is None or status is None or (isinstance(error, ClientAuthenticationError) and status != 401):
            return DeliveryError(
                f"{self._name}: no token for {host}: {clip(visible(str(error.message)), 300)}. "
                "Check the managed identity of the app; it is tried again."
            )
        return refusal(
            self._name,
            host,
            status,
            headers={key.lower(): value for key, value in response.headers.items()},
            text=bytes(response.content)[:RESPONSE_LIMIT].decode("utf-8", "replace"),
            now=self._clock(),
            next_step=_NEXT_STEPS.get(status),
        )

    def _open(self) -> "LogsIngestionClient":
        if self._client is None:
            from azure.monitor.ingestion.aio import LogsIngestionClient

            self._client = LogsIngestionClient(self._endpoint, self._credential, **self._options)
        return self._client

    async def close(self) -> None:
        """Release connections. Idempotent; a later :meth:`upload` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


_NEXT_STEPS = {
    400: "Check that the stream's columns are those of the table (deploy the infrastructure again).",
    403: "Give the identity the role Monitoring Metrics Publisher on the data collection rule; it takes up to "
    "30 minutes to apply, and what is to be sent waits.",
    404: "Check the ingestion endpoint, the immutable id of the data collection rule and the stream's name.",
    413: "The row is larger than the service takes; report it as a defect.",
}
