"""The Automation API of Azure Resource Manager, read side, api-version 2024-10-23; and the list of subscriptions."""

import operator
import re
from typing import Any, Literal
from urllib.parse import quote, urlencode

from sandbox.accounts import Account, Item
from sandbox.directory import Directory
from sandbox.endpoints import asset_bodies
from sandbox.endpoints import automation_bodies as bodies
from sandbox.endpoints.authorization import refuse_arm
from sandbox.rows import parse_moment
from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response, json_response

API_VERSION = "2024-10-23"
SUBSCRIPTIONS_API_VERSION = "2022-12-01"
WATCHER_ACTIONS_API_VERSION = "2015-10-31"
PAGE_SIZE = 100

_BODIES = {**bodies.BODIES, **asset_bodies.BODIES}
_KINDS = {kind.lower(): kind for kind in _BODIES}
_COMPARISON = re.compile(r"(?:properties/)?creationTime\s+(ge|gt|le|lt)\s+(?:datetime)?'?([^'\s]+)'?")
_OPERATORS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


class AutomationEndpoint:
    """``GET`` below ``/subscriptions``. Names are found in any case."""

    def __init__(self, directory: Directory, issuer: TokenIssuer) -> None:
        self._directory = directory
        self._issuer = issuer
        self.url = ""
        self.not_found_shape: Literal["arm", "automation"] = "arm"
        """Which of the two documented 404 bodies a missing resource below an account has."""
        self.watcher_actions = False
        """Whether ``watchers/{watcher}/watcherActions`` answers: nothing published says that Azure does."""
        self.lists_field_values = False
        """Whether a list of connections tells their field values. The published list has null, a get tells them."""

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        if refusal := refuse_arm(request, self._issuer, self.url):
            return refusal
        path = [segment.lower() for segment in request.segments]
        wanted = API_VERSION
        if path == ["subscriptions"]:
            wanted = SUBSCRIPTIONS_API_VERSION
        elif "watcheractions" in path or path[2:3] == ["resources"]:
            # Neither the SDK nor a published specification knows watcher actions.
            if not self.watcher_actions or path[2:3] == ["resources"]:
                return error_response(
                    404,
                    "InvalidResourceType",
                    "The resource type could not be found in the namespace 'Microsoft.Automation' for api version "
                    f"'{request.query.get('api-version', '')}'.",
                )
            wanted = WATCHER_ACTIONS_API_VERSION
        if "api-version" not in request.query:
            return error_response(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if request.query["api-version"] != wanted:
            return error_response(
                400,
                "NoRegisteredProviderFound",
                f"No registered resource provider found for API version '{request.query['api-version']}'. "
                f"The supported api-versions are '{wanted}'.",
            )
        if request.method != "GET":
            return error_response(405, "MethodNotAllowed", "The sandbox only answers reads of the Automation API.")
        return self._read(request, path)

    def _read(self, request: Request, path: list[str]) -> Response:
        names = request.segments
        match path:
            case ["subscriptions"]:
                return self._page(request, [bodies.subscription_body(each) for each in self._directory.subscriptions()])
            case ["subscriptions", subscription, "providers", "microsoft.automation", "automationaccounts"]:
                accounts = self._directory.accounts(subscription)
                return self._page(request, [bodies.account_summary(account) for account in accounts])
            case ["subscriptions", subscription, "resourcegroups", group, "providers", provider, kind, *rest] if (
                provider == "microsoft.automation" and kind == "automationaccounts"
            ):
                if not rest:
                    accounts = self._directory.accounts(subscription)
                    there = [account for account in accounts if account.resource_group.lower() == group]
                    return self._page(request, [bodies.account_summary(account) for account in there])
                account = self._directory.account(subscription, group, rest[0])
                if account is not None:
                    return self._below(request, account, names[8:])
                return _arm_not_found(f"automationAccounts/{names[7]}", names[3])
        return _arm_not_found("/".join(names[4:]), names[3] if len(names) > 3 else "")

    def _below(self, request: Request, account: Account, names: tuple[str, ...]) -> Response:
        if not names:
            return json_response(200, bodies.account_body(account), _LIMITS)
        kind = _KINDS.get(names[0].lower())
        if kind is None:
            return self._not_found(account, "/".join(names))
        single, listed = _BODIES[kind]
        if kind == "connections" and self.lists_field_values:
            listed = single
        if len(names) == 1:
            items = account.items(kind)
            if kind == "jobs" and "$filter" in request.query:
                try:
                    items = _filtered(items, request.query["$filter"])
                except ValueError as error:
                    return error_response(400, "BadRequest", str(error))
            # The published lists of jobs carry a null nextLink, the others none.
            return self._page(request, [listed(account, item) for item in items], null_link=kind == "jobs")
        item = account.item(kind, names[1])
        if item is None:
            return self._not_found(account, f"{kind}/{names[1]}")
        if len(names) == 2:
            return json_response(200, single(account, item), _LIMITS)
        return self._detail(request, account, item, kind, names)

    def _detail(self, request: Request, account: Account, item: Item, kind: str, names: tuple[str, ...]) -> Response:
        match (kind, *(name.lower() for name in names[2:])):
            case ("runbooks", "content") if bodies.runbook_state(item) != "New" and item.get("published") is not None:
                return _text(item, "published", "text/powershell")
            case ("runbooks", "draft") if item.get("draft") is not None:
                return json_response(200, bodies.draft_body(item), _LIMITS)
            case ("runbooks", "draft", "content") if item.get("draft") is not None:
                return _text(item, "draft", "text/plain")
            case ("jobs", "output"):
                return _text(item, "output", "text/plain")
            case ("jobs", "runbookcontent") if item.get("content") is not None:
                return _text(item, "content", "text/powershell")
            case ("jobs", "streams"):
                return self._page(
                    request,
                    [
                        bodies.stream_body(account, item, number, stream, in_list=True)
                        for number, stream in enumerate(item.get("streams", ()), start=1)
                    ],
                    null_link=True,
                )
            case ("jobs", "streams", wanted):
                for number, stream in enumerate(item.get("streams", ()), start=1):
                    if bodies.stream_id(item, number).lower() == wanted:
                        return json_response(
                            200, bodies.stream_body(account, item, number, stream, in_list=False), _LIMITS
                        )
            case (_, below, *wanted) if (kind, below) in _CHILDREN and len(wanted) < 2:
                body = _CHILDREN[kind, below]
                if not wanted:
                    return self._page(request, [body(account, item, child) for child in item.children.values()])
                if wanted[0] in item.children:
                    return json_response(200, body(account, item, item.children[wanted[0]]), _LIMITS)
        return self._not_found(account, "/".join(names))

    def _page(self, request: Request, values: list[bodies.Body], *, null_link: bool = False) -> Response:
        try:
            skip = int(request.query.get("$skip", "0"))
        except ValueError:
            return error_response(400, "BadRequest", "$skip must be a number.")
        body: dict[str, Any] = {"value": values[skip : skip + PAGE_SIZE]}
        if skip + PAGE_SIZE < len(values):
            kept = {name: value for name, value in request.query.items() if name != "$skip"}
            query = urlencode(kept | {"$skip": str(skip + PAGE_SIZE)}, safe="$", quote_via=quote)
            body["nextLink"] = f"{self.url}{request.path}?{query}"
        elif null_link:
            body["nextLink"] = None
        return json_response(200, body, _LIMITS)

    def _not_found(self, account: Account, what: str) -> Response:
        if self.not_found_shape == "automation":
            # The older shape of the service itself, which the SDK still reads.
            return json_response(404, {"code": "NotFound", "message": f"{what} was not found."})
        return _arm_not_found(f"automationAccounts/{account.name}/{what}", account.resource_group)


_CHILDREN = {
    ("hybridRunbookWorkerGroups", "hybridrunbookworkers"): bodies.worker_body,
    ("runtimeEnvironments", "packages"): asset_bodies.package_body,
    ("watchers", "watcheractions"): bodies.watcher_action_body,
}
_LIMITS = {"x-ms-ratelimit-remaining-subscription-reads": "249"}


def _arm_not_found(resource: str, group: str) -> Response:
    return error_response(
        404,
        "ResourceNotFound",
        f"The Resource 'Microsoft.Automation/{resource}' under resource group '{group}' was not found. For more "
        "details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def _filtered(jobs: list[Item], text: str) -> list[Item]:
    """The jobs for which every comparison of *text* holds. Raises :class:`ValueError` for what it cannot read."""
    # Which filters the service takes is not published; these are what clients are known to send.
    for part in re.split(r"\s+and\s+", text.strip()):
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise ValueError(f"The sandbox only knows the filter 'properties/creationTime ge TIME', not {text!r}.")
        holds, moment = _OPERATORS[match[1]], parse_moment(match[2])
        jobs = [job for job in jobs if holds(job.created, moment)]
    return jobs


def _text(item: Item, field: str, content_type: str) -> Response:
    text = str(item.get(field) or "")
    return Response(
        200,
        text.encode(item.get("encoding", "utf-8")),
        item.get("contentType", content_type),
        _LIMITS,
    )
