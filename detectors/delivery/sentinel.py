"""Microsoft Sentinel incidents, by Azure Resource Manager itself: three calls of a stable API version.

Incidents made through the API do not reach the Defender portal (Microsoft Learn, "Microsoft Sentinel in the Defender
portal"): there the table and an analytics rule are the way. This destination is for the Azure portal.

A PUT of an incident replaces all of it, owner and status included, and the service takes it without an etag. So an
incident is only ever written to create it; everything later is a comment.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.http import CONNECT_TIMEOUT, READ_TIMEOUT, RESPONSE_LIMIT, checked_url, origin, refusal
from detectors.delivery.http import unreachable as no_answer
from detectors.delivery.incident import (
    MAX_COMMENTS,
    build_comment,
    build_incident,
    comment_id,
    holds,
    incident_id,
)
from detectors.delivery.text import clip, encode_json, visible
from detectors.model import Alert

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.rest import AsyncHttpResponse, HttpRequest
    from azure.mgmt.core import AsyncARMPipelineClient

API_VERSION = "2025-09-01"
_ROUNDS = 3
_MAX_INCIDENTS = 50
_ANSWER_LIMIT = 512_000
"""Bytes read of an answer: an incident is at most some tens of kilobytes."""
_NO_SUCH_ETAG = '"00000000-0000-0000-0000-000000000000"'
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "azure-automation-detector"}
_log = logging.getLogger(__name__)

_NEXT_STEPS = {
    403: "Give the identity the role Microsoft Sentinel Responder on the workspace's resource group; it takes some "
    "minutes to apply, and the alert waits.",
    404: "Check SENTINEL_WORKSPACE_RESOURCE_ID: there is no such workspace, or Microsoft Sentinel is not enabled on it. "
    "The alert waits.",
}


@dataclass(frozen=True)
class _Answer:
    """A complete answer of any status; ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Moved(Exception):
    """What was read is no longer so: read again. ``error`` is what to raise when that does not help."""

    def __init__(self, error: DeliveryError) -> None:
        super().__init__(str(error))
        self.error = error


class SentinelDestination:
    """Gives each story an incident, and each further alert of it a comment there.

    *workspace_resource_id* is ``/subscriptions/.../resourceGroups/.../providers/Microsoft.OperationalInsights/
    workspaces/NAME``; *scope* is that of the cloud's tokens, by default ``<base_url>/.default``. The caller owns and
    closes *credential*. Raises ValueError when *base_url* is not an https URL.
    """

    def __init__(
        self,
        workspace_resource_id: str,
        credential: "AsyncTokenCredential",
        *,
        clock: Callable[[], datetime],
        base_url: str = "https://management.azure.com",
        scope: str | None = None,
        connection_verify: str | bool = True,
        name: str = "sentinel",
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._base_url = checked_url(base_url, f"the endpoint of {name}").rstrip("/")
        workspace = quote(workspace_resource_id.strip("/"), safe="/")
        self._incidents = f"/{workspace}/providers/Microsoft.SecurityInsights/incidents"
        self._credential = credential
        self._clock = clock
        self._scope = scope or f"{self._base_url}/.default"
        self._connection_verify = connection_verify
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client: AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse] | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        self.name = name

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        """Create the story's incident, or comment on it. A repeat of the same alert changes nothing.

        When the incident is closed (an analyst ended it, and what is new must be seen) or full, a further incident of
        the story is opened. ``remote_id`` is the incident's id, with its number where Sentinel gave one. Raises
        DeliveryError; a conflict is read again and decided anew, three times in all.
        """
        refused: set[str] = set()
        with_etag = True
        async with self._only_one(incident_id(alert)):
            for attempt in itertools.count(1):
                try:
                    return await self._place(alert, refused, search_all=possible_repeat, with_etag=with_etag)
                except _Moved as moved:
                    if attempt == _ROUNDS:
                        raise moved.error from None
                    # Whatever conflicts a second time does not do so because of a race.
                    with_etag = False
        raise AssertionError  # unreachable: the loop has no end of its own

    async def close(self) -> None:
        """Release connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
