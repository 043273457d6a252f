"""Microsoft Sentinel's incidents and their comments, api-version 2025-09-01, for one workspace.

Bodies follow the published examples; limits are the documented ones. What the service answers beyond a limit and to
an etag that does not match is not published: 400 and 409 here.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from sandbox.endpoints.authorization import refuse_arm
from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response, json_response

API_VERSION = "2025-09-01"
PROVIDER = "Microsoft.SecurityInsights"
MAX_DESCRIPTION = 5_000
MAX_COMMENT = 30_000
MAX_COMMENTS = 100
FIRST_NUMBER = 3177
"""Number of the first incident. Each further one counts on."""

_SEVERITIES = ("High", "Medium", "Low", "Informational")
_STATUSES = ("New", "Active", "Closed")
_OWNER = {"objectId": None, "email": None, "userPrincipalName": None, "assignedTo": None}
_WRITABLE = (
    "title",
    "description",
    "severity",
    "status",
    "labels",
    "owner",
    "firstActivityTimeUtc",
    "lastActivityTimeUtc",
    "classification",
    "classificationComment",
    "classificationReason",
)

Body = dict[str, Any]


class _Given(msgspec.Struct):
    """The body of a PUT."""

    properties: dict[str, Any]
    etag: str | None = None


class SentinelEndpoint:
    """Answers below ``{workspace}/providers/Microsoft.SecurityInsights/incidents``; names are found in any case.

    *workspace* is the workspace's resource id.
    """

    def __init__(self, workspace: str, issuer: TokenIssuer, clock: Callable[[], datetime]) -> None:
        self._workspace = workspace
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._incidents: dict[str, Body] = {}
        self._comments: dict[str, dict[str, Body]] = {}
        self._created = 0
        self._version = 0
        self.url = ""
        self.not_found_shape: Literal["sentinel", "arm"] = "sentinel"
        """Whose words a missing incident is told in. Neither is published."""

    @property
    def incidents(self) -> tuple[Body, ...]:
        """Every incident as the API gives it, oldest first."""
        with self._lock:
            return tuple(self._shown(name) for name in self._incidents)

    def comments(self, incident_id: str) -> tuple[Body, ...]:
        """The comments of one incident, oldest first. Raises :class:`KeyError` when there is no such incident."""
        with self._lock:
            return tuple(self._comments[incident_id.lower()].values())

    def edit(self, incident_id: str, **properties: Any) -> Body:
        """What an analyst does in the portal: change the incident's *properties* (wire names), and so its etag.

        Raises :class:`KeyError` when there is no such incident, :class:`ValueError` for a property that cannot be set.
        """
        if unknown := sorted(set(properties) - set(_WRITABLE)):
            raise ValueError(f"an analyst cannot set {unknown[0]!r}; use one of {', '.join(_WRITABLE)}")
        with self._lock:
            incident = self._incidents[incident_id.lower()]
            incident["properties"].update(properties)
            self._touch(incident)
            return self._shown(incident_id.lower())

    def comment(self, incident_id: str, message: str) -> None:
        """What an analyst writes below an incident. Raises :class:`KeyError` when there is no such incident."""
        with self._lock:
            self._add_comment(incident_id.lower(), str(uuid.uuid4()), message)

    def delete(self, incident_id: str) -> None:
        """What an analyst may do as well. Raises :class:`KeyError` when there is no such incident."""
        with self._lock:
            del self._incidents[incident_id.lower()]
            del self._comments[incident_id.lower()]

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        if refusal := refuse_arm(request, self._issuer, self.url):
            return refusal
        if request.query.get("api-version") != API_VERSION:
            return error_response(
                400,
                "NoRegisteredProviderFound",
                f"No registered resource provider found for API version '{request.query.get('api-version', '')}'. "
                f"The supported api-versions are '{API_VERSION}'.",
            )
        names = request.segments
        depth = len(self._workspace.strip("/").split("/"))
        if "/".join(names[:depth]).lower() != self._workspace.strip("/").lower():
            return _not_found(
                f"Microsoft.OperationalInsights/workspaces/{names[7] if len(names) > 7 else ''}", names[3]
            )
        with self._lock:
            match (request.method, *(name.lower() for name in names[depth:])):
                case (method, "providers", _, "incidents", incident):
                    return self._incident(method, incident, request)
                case (method, "providers", _, "incidents", incident, "comments", *rest) if len(rest) < 2:
                    return self._below(method, incident, rest, request)
        return _not_found("/".join(names[depth:]), names[3])

    def _incident(self, method: str, name: str, request: Request) -> Response:
        if method == "GET":
            if name not in self._incidents:
                return self._no_incident(name)
            return json_response(200, self._shown(name))
        if method != "PUT":
            return error_response(405, "MethodNotAllowed", "The sandbox takes GET and PUT of an incident.")
        try:
            given = msgspec.json.decode(request.content(), type=_Given)
            properties = _checked(given.properties)
        except (msgspec.DecodeError, ValueError) as error:
            return error_response(400, "BadRequest", f"Invalid incident: {error}")
        before = self._incidents.get(name)
        if before is not None and given.etag not in {None, before["etag"]}:
            return error_response(409, "Conflict", f"A newer instance of incident '{name}' exists: the etag differs.")
        now = _time(self._clock())
        if before is None:
            self._incidents[name] = self._new_incident(name, properties, now)
            self._comments[name] = {}
        else:
            # A full replacement: what the body does not hold is gone, an analyst's owner with it.
            kept = {key: value for key, value in before["properties"].items() if key not in _WRITABLE}
            before["properties"] = properties | kept
        self._touch(self._incidents[name])
        return json_response(200 if before else 201, self._shown(name))

    def _new_incident(self, name: str, properties: Body, now: str) -> Body:
        number = FIRST_NUMBER + self._created
        self._created += 1
        identifier = f"{self._workspace}/providers/{PROVIDER}/incidents/{name}"
        return {
            "id": identifier,
            "name": name,
            "type": f"{PROVIDER}/incidents",
            "properties": properties
            | {
                "createdTimeUtc": now,
                "incidentNumber": number,
                "incidentUrl": (
                    f"https://portal.azure.com/#asset/Microsoft_Azure_Security_Insights/Incident{identifier}"
                ),
                "providerName": "Azure Sentinel",
                "providerIncidentId": str(number),
                "relatedAnalyticRuleIds": [],
            },
        }

    def _below(self, method: str, incident: str, rest: list[str], request: Request) -> Response:
        if incident not in self._incidents:
            return self._no_incident(incident)
        comments = self._comments[incident]
        match (method, *rest):
            case ("GET",):
                return json_response(200, {"value": list(comments.values())})
            case ("GET", name):
                if name not in comments:
                    return error_response(404, "NotFound", f"Comment '{name}' was not found.")
                return json_response(200, comments[name])
            case ("PUT", name):
                return self._put_comment(incident, name, request)
        return error_response(405, "MethodNotAllowed", "The sandbox takes GET and PUT of a comment.")

    def _put_comment(self, incident: str, name: str, request: Request) -> Response:
        try:
            message = msgspec.json.decode(request.content(), type=_Given).properties.get("message")
        except (msgspec.DecodeError, ValueError) as error:
            return error_response(400, "BadRequest", f"Invalid comment: {error}")
        if not isinstance(message, str) or not message:
            return error_response(400, "BadRequest", "Invalid comment: 'message' is required.")
        if len(message) > MAX_COMMENT:
            return error_response(400, "BadRequest", f"A comment takes at most {MAX_COMMENT} characters.")
        existed = name in self._comments[incident]
        if not existed and len(self._comments[incident]) >= MAX_COMMENTS:
            return error_response(400, "BadRequest", f"An incident takes at most {MAX_COMMENTS} comments.")
        return json_response(200 if existed else 201, self._add_comment(incident, name, message))

    def _add_comment(self, incident: str, name: str, message: str) -> Body:
        comments = self._comments[incident]
        now = _time(self._clock())
        created = comments[name]["properties"]["createdTimeUtc"] if name in comments else now
        comments[name] = {
            "id": f"{self._incidents[incident]['id']}/comments/{name}",
            "name": name,
            "type": f"{PROVIDER}/incidents/comments",
            "etag": str(uuid.uuid4()),
            "properties": {"message": message, "createdTimeUtc": created, "lastModifiedTimeUtc": now, "author": {}},
        }
        self._touch(self._incidents[incident])
        return comments[name]

    def _no_incident(self, name: str) -> Response:
        if self.not_found_shape == "arm":
            return _not_found(f"{PROVIDER}/incidents/{name}", self._workspace.split("/")[4])
        return error_response(404, "NotFound", f"Incident '{name}' was not found.")

    def _shown(self, name: str) -> Body:
        incident = self._incidents[name]
        counts: Body = {
            "alertsCount": 0,
            "bookmarksCount": 0,
            "commentsCount": len(self._comments[name]),
            "alertProductNames": [],
            "tactics": [],
        }
        return incident | {"properties": incident["properties"] | {"additionalData": counts}}

    def _touch(self, incident: Body) -> None:
        self._version += 1
        incident["etag"] = f'"0300bf09-0000-0000-0000-{self._version:012x}"'
        incident["properties"]["lastModifiedTimeUtc"] = _time(self._clock())


def _checked(properties: Mapping[str, Any]) -> Body:
    """The writable properties of a PUT, absent ones at their defaults. Raises ValueError."""
    for name, choices in (("title", None), ("severity", _SEVERITIES), ("status", _STATUSES)):
        value = properties.get(name)
        if not isinstance(value, str) or not value or (choices and value not in choices):
            raise ValueError(f"'{name}' is required" + (f", one of {', '.join(choices)}." if choices else "."))
    if len(properties.get("description") or "") > MAX_DESCRIPTION:
        raise ValueError(f"'description' takes at most {MAX_DESCRIPTION} characters.")
    labels = properties.get("labels") or []
    if not all(isinstance(label, Mapping) and isinstance(label.get("labelName"), str) for label in labels):
        raise ValueError("'labels' is a list of objects with a 'labelName'.")
    return {
        **{name: properties.get(name) for name in _WRITABLE if name in properties},
        "labels": [{"labelName": label["labelName"], "labelType": "User"} for label in labels],
        "owner": _OWNER | dict(properties.get("owner") or {}),
    }


def _not_found(resource: str, group: str) -> Response:
    return error_response(
        404,
        "ResourceNotFound",
        f"The Resource '{resource}' under resource group '{group}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
