"""Microsoft Sentinel incidents, by Azure Resource Manager itself: three calls of a stable API version.

Incidents made through the API do not reach the Defender portal (Microsoft Learn, "Microsoft Sentinel in the Defender
portal"): there the table and an analytics rule are the way. This destination is for the Azure portal.

A PUT of an incident replaces all of it, owner and status included, and the service takes it without an etag. So an
incident is only ever written to create it; everything later is a comment.
"""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.http import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    RESPONSE_LIMIT,
    checked_url,
    origin,
    refusal,
    unreachable,
)
from detectors.delivery.incident import (
    MAX_COMMENTS,
    build_comment,
    build_incident,
    build_update,
    comment_id,
    holds,
    incident_id,
    update_id,
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
"""Bytes read of an answer. An incident is some tens of kilobytes at most."""
_NO_INCIDENTS_ETAG = '"00000000-0000-0000-0000-000000000000"'
_HEADERS = {
    "Accept": "application/json",
    # Without "identity" a small compressed answer could unpack into a large one.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "azure-automation-detector",
}
_LOGGER = logging.getLogger(__name__)

_NEXT_STEPS = {
    403: "Give the identity the role Microsoft Sentinel Responder on the workspace's resource group; it takes some "
    "minutes to apply, and the alert waits.",
    404: "Check SENTINEL_WORKSPACE_RESOURCE_ID: there is no such workspace, or Microsoft Sentinel is not enabled on "
    "it. The alert waits.",
}

Incident = dict[str, Any]


@dataclass(frozen=True)
class _Answer:
    """An answer of any status; ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass
class _Sending:
    """One alert on its way, and what the attempts so far have taught about the story's incidents."""

    alert: Alert
    possible_repeat: bool
    unwritable: set[str] = field(default_factory=set)
    create_with_etag: bool = True


class _Moved(DeliveryError):
    """What was read is no longer so: read again and decide anew."""


class SentinelDestination:
    """Gives each story an incident, and each further alert of it a comment there.

    *workspace_resource_id* is ``/subscriptions/.../providers/Microsoft.OperationalInsights/workspaces/NAME``, *scope*
    that of the cloud's tokens, by default ``<base_url>/.default``. The caller owns and closes *credential*. Raises
    ValueError when *base_url* is not an https URL.
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
        # Whole: the client's send_request joins nothing.
        self._incidents = f"{self._base_url}/{workspace}/providers/Microsoft.SecurityInsights/incidents"
        self._credential = credential
        self._clock = clock
        self._scope = scope or f"{self._base_url}/.default"
        self._connection_verify = connection_verify
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client: AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse] | None = None
        self._stories: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.name = name
        self.updates = True

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        """Create the story's incident, or comment on it. A repeat of the same alert changes nothing.

        When the incident is closed (an analyst ended it, and what is new must be seen) or full, the story gets a
        further one. An alert that was updated since it came is a comment on the incident that has it, closed or not,
        and never a further incident. ``remote_id`` is the incident's id, with its number where Sentinel gives one.
        Raises DeliveryError; a conflict is read again and decided anew, three times in all.
        """
        sending = _Sending(alert, possible_repeat)
        # Two first alerts of one story at once would both find no incident, and the second PUT replace the first.
        story = self._stories.setdefault(incident_id(alert), asyncio.Lock())
        async with story:
            for _ in range(_ROUNDS - 1):
                with contextlib.suppress(_Moved):
                    return await self._place(sending)
            return await self._place(sending)

    async def _place(self, sending: _Sending) -> Receipt:
        alert = sending.alert
        target: str | None = None
        earlier = ""
        for number in range(1, _MAX_INCIDENTS + 1):
            identifier = incident_id(alert, number)
            incident = await self._read(identifier)
            if incident is None:
                if target is None:
                    return await self._create(sending, identifier, earlier)
                break
            if holds(incident, alert):
                return await self._update(alert, identifier, incident)
            obstacle = "takes no further comment" if identifier in sending.unwritable else _obstacle(incident)
            # An earlier attempt may have put the comment there before the incident was closed or full.
            may_be_there = sending.possible_repeat or alert.updates or obstacle
            if may_be_there and await self._read(f"{identifier}/comments/{comment_id(alert)}") is not None:
                return await self._update(alert, identifier, incident)
            if obstacle:
                earlier = f"Goes on from incident {_number(incident) or identifier}, which {obstacle}."
            elif target is None:
                target, written = identifier, incident
                if not sending.possible_repeat and not alert.updates:
                    break
        if target is None:
            raise DeliveryError(
                f"{self.name}: all {_MAX_INCIDENTS} incidents of this story are closed or full. Look at them in "
                "Microsoft Sentinel; the alert is complete in the other destinations.",
                permanent=True,
            )
        return await self._comment(sending, target, written)

    async def _create(self, sending: _Sending, identifier: str, earlier: str) -> Receipt:
        body = build_incident(sending.alert, earlier=earlier)
        if sending.create_with_etag:
            # A PUT replaces what another process created since the read. An etag that no incident has lets it create
            # only (so the published example), and conflict with what is there.
            body["etag"] = _NO_INCIDENTS_ETAG
        answer = await self._call("PUT", identifier, body)
        if answer.status in {409, 412}:
            # If it is not there on the next read either, it was the etag itself that was refused.
            sending.create_with_etag = False
            raise _moved(self._refusal(answer))
        incident = self._success(answer)
        if answer.status == 200:
            _LOGGER.warning(
                "%s: incident %s was created by somebody else at the same moment and has been replaced; "
                "its first alert is complete in the table AutomationDetections_CL",
                self.name,
                identifier,
            )
        return _receipt(identifier, incident)

    async def _comment(self, sending: _Sending, identifier: str, incident: Incident) -> Receipt:
        answer = await self._call(
            "PUT", f"{identifier}/comments/{comment_id(sending.alert)}", build_comment(sending.alert)
        )
        if answer.status == 400:
            # The count of comments that was read may be older than the comments. A further incident takes the alert,
            # whatever this one had against it.
            sending.unwritable.add(identifier)
        if answer.status in {400, 404, 409, 412}:
            raise _moved(self._refusal(answer))
        self._success(answer)
        return _receipt(identifier, incident)

    async def _update(self, alert: Alert, identifier: str, incident: Incident) -> Receipt:
        """Comment on *incident*, which has *alert*, with what was added since; nothing to do when nothing was."""
        if not alert.updates:
            return _receipt(identifier, incident)
        answer = await self._call("PUT", f"{identifier}/comments/{update_id(alert)}", build_update(alert))
        if answer.status in {404, 409, 412}:
            raise _moved(self._refusal(answer))
        if answer.status == 400 and _count(incident) >= MAX_COMMENTS:
            _LOGGER.warning(
                "%s: incident %s has all the comments it can take; what was added to alert %s is in the table "
                "AutomationDetections_CL only",
                self.name,
                identifier,
                alert.id,
            )
            return _receipt(identifier, incident)
        self._success(answer)
        return _receipt(identifier, incident)

    async def _read(self, path: str) -> Incident | None:
        """The incident or comment, None when there is none.

        That the whole workspace is missing is a 404 as well, in bodies that are not documented and not told apart
        here: the PUT that follows is then a 404 too, and that one can mean nothing else.
        """
        try:
            answer = await self._call("GET", path)
            return None if answer.status == 404 else self._success(answer)
        except DeliveryError as error:
            # Whatever became of it, a read leaves nothing behind.
            error.may_have_arrived = False
            raise

    def _success(self, answer: _Answer) -> Incident:
        if answer.status not in {200, 201}:
            raise self._refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DeliveryError(
                f"{self.name}: {origin(self._base_url)} answered {answer.status} with something that is not the JSON "
                "of Microsoft Sentinel. Check the endpoint and any proxy on the way; it is tried again.",
                may_have_arrived=True,
            ) from None

    def _refusal(self, answer: _Answer) -> DeliveryError:
        return refusal(
            self.name,
            origin(self._base_url),
            answer.status,
            headers=answer.headers,
            text=answer.content[:RESPONSE_LIMIT].decode("utf-8", "replace"),
            now=self._clock(),
            next_step=_NEXT_STEPS.get(answer.status),
        )

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Answer:
        """One request, bounded in time and size. Raises DeliveryError when there is no answer."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.core.rest import HttpRequest

        request = HttpRequest(
            method,
            f"{self._incidents}/{path}",
            params={"api-version": API_VERSION},
            headers=_HEADERS,
            content=None if body is None else encode_json(body),
        )
        response: AsyncHttpResponse | None = None
        received = bytearray()
        try:
            async with asyncio.timeout(self._connect_timeout + self._read_timeout):
                response = await self._open().send_request(request, stream=True)
                async for chunk in response.iter_raw():
                    received += chunk
                    if len(received) >= _ANSWER_LIMIT:
                        break
        except ClientAuthenticationError as error:
            # From the credential only: a 401 of the service itself is an answer.
            raise DeliveryError(
                f"{self.name}: no token for {origin(self._base_url)}: {clip(visible(str(error.message)), 300)}. "
                "Check the managed identity of the app; it is tried again."
            ) from error
        except (AzureError, TimeoutError) as error:
            # Once there is a status, it is the answer, however its body ends.
            if response is None:
                raise unreachable(self.name, origin(self._base_url), error) from error
        finally:
            if response is not None:
                await response.close()
        return _Answer(
            response.status_code,
            {name.lower(): value for name, value in response.headers.items()},
            bytes(received[:_ANSWER_LIMIT]),
        )

    def _open(self) -> "AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse]":
        if self._client is None:
            from azure.core.pipeline.policies import RequestIdPolicy
            from azure.mgmt.core import AsyncARMPipelineClient
            from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy

            # No retries (the outbox has them), no redirects (the token would go along), no registration of resource
            # providers (this identity writes incidents and nothing else).
            self._client = AsyncARMPipelineClient(
                self._base_url,
                policies=[
                    RequestIdPolicy(),
                    AsyncARMChallengeAuthenticationPolicy(self._credential, self._scope),
                ],
                connection_timeout=self._connect_timeout,
                read_timeout=self._read_timeout,
                connection_verify=self._connection_verify,
            )
        return self._client

    async def close(self) -> None:
        """Release connections. Idempotent; a later :meth:`send` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _moved(error: DeliveryError) -> _Moved:
    # A conflict that outlasts the rounds may be gone in a minute, whatever its status says in general.
    return _Moved(str(error), retry_after=error.retry_after)


def _obstacle(incident: Incident) -> str:
    """Why no comment belongs on *incident* any more, as the end of a sentence; empty when one does."""
    properties = incident.get("properties") or {}
    if properties.get("status") == "Closed":
        return "is closed"
    return "has all the comments it can take" if _count(incident) >= MAX_COMMENTS else ""


def _count(incident: Incident) -> int:
    additional = (incident.get("properties") or {}).get("additionalData") or {}
    return additional.get("commentsCount") or 0


def _number(incident: Incident) -> int | None:
    number = (incident.get("properties") or {}).get("incidentNumber")
    return number if isinstance(number, int) else None


def _receipt(identifier: str, incident: Incident) -> Receipt:
    number = _number(incident)
    return Receipt(remote_id=identifier if number is None else f"{identifier} (incident {number})")
