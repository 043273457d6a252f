"""Which subscriptions and accounts there are: the SDK's own client, over a transport that answers from memory."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from azure.core.utils import case_insensitive_dict
from azure.mgmt.automation.aio import AutomationClient

from detectors.automation.failures import Refused
from detectors.automation.policies import BoundedRetry, SameHostReads
from detectors.inventory import scope
from detectors.inventory.account_reader import AccountGone, Throttled
from detectors.inventory.scope import Denied, ScopeUnknown, accounts_of, look_again, visible_subscriptions
from detectors.inventory.snapshot import AccountReference
from tests.clock import Clock
from tests.triage.automation_server import FakeCredential

URL = "https://management.azure.com"
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
OTHER = "11111111-2222-3333-4444-AAAAAAAAAAAA"
LIST = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Automation/automationAccounts?api-version=2024-10-23"
REFERENCE = AccountReference(
    subscription_id=SUBSCRIPTION, resource_group="rg-ops", name="aa-prod", location="westeurope"
)
CLOCK = Clock()


class Answers(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """What is answered, one after the other: (status, body, headers), or an error."""

    def __init__(self, *answers: tuple[int, Any, Mapping[str, str]] | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.slept: list[float] = []

    async def send(self, request: HttpRequest, **options: Any) -> AsyncHttpResponse:
        self.requests.append(request.url.removeprefix(URL))
        assert request.method == "GET"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def chunks(**_: Any) -> AsyncIterator[bytes]:
            yield data

        response = AsyncHttpResponseImpl(
            request=request,
            internal_response=_Connection(),
            status_code=status,
            reason="",
            content_type="application/json",
            headers=case_insensitive_dict({"Content-Type": "application/json", **headers}),
            stream_download_generator=chunks,
        )
        if not options.get("stream"):
            await response.read()
        return response

    async def sleep(self, duration: float) -> None:
        self.slept.append(duration)

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


class _Connection:
    async def close(self) -> None:
        """Nothing to close."""


def client_of(transport: Answers) -> AutomationClient:
    """With the policies that the detector gives it."""
    return AutomationClient(
        FakeCredential(),
        SUBSCRIPTION,
        URL,
        transport=transport,
        credential_scopes=[f"{URL}/.default"],
        retry_policy=BoundedRetry(longest=0.0, retry_total=1, retry_status=1),
        per_retry_policies=[SameHostReads(URL)],
    )


def page(entries: list[Any], next_link: str | None = None) -> tuple[int, Any, Mapping[str, str]]:
    return 200, {"value": entries, **({"nextLink": next_link} if next_link else {})}, {}


def refusal(status: int, code: str = "Code", **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    body = {"error": {"code": code, "message": "Azure says no."}}
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


def subscription(identifier: str, state: str = "Enabled") -> dict[str, str]:
    return {"id": f"/subscriptions/{identifier}", "subscriptionId": identifier, "displayName": "ops", "state": state}


def account(name: str, group: str = "resourceGroups", subscription_id: str = SUBSCRIPTION) -> dict[str, Any]:
    below = f"{group}/rg-ops/providers/Microsoft.Automation/automationAccounts/{name}"
    return {
        "id": f"/subscriptions/{subscription_id}/{below}",
        "name": name,
        "location": "westeurope",
        "identity": {"type": "SystemAssigned", "principalId": "22222222-2222-3333-4444-555555555555"},
        "properties": {"state": None, "publicNetworkAccess": False},
    }


# Subscriptions


async def test_subscriptions_are_read_page_by_page_in_any_state() -> None:
    next_page = "/subscriptions?api-version=2022-12-01&%24skiptoken=eyJuIjoxfQ"
    answers = Answers(
        page([subscription(OTHER, "Disabled"), subscription(SUBSCRIPTION)], f"{URL}{next_page}"),
        page([subscription("11111111-2222-3333-4444-666666666666", "PastDue")]),
    )
    found = await visible_subscriptions(client_of(answers), CLOCK)
    assert [(each.id, each.state, each.active) for each in found] == [
        (SUBSCRIPTION, "Enabled", True),
        ("11111111-2222-3333-4444-666666666666", "PastDue", True),
        (OTHER.lower(), "Disabled", False),
    ]
    assert answers.requests == ["/subscriptions?api-version=2022-12-01", next_page]


@pytest.mark.parametrize(
    ("state", "active"),
    [("Enabled", True), ("Warned", True), ("PastDue", True), ("Disabled", False), ("Deleted", False), ("", False)],
)
async def test_which_states_are_in_use(state: str, active: bool) -> None:
    (found,) = await visible_subscriptions(client_of(Answers(page([subscription(SUBSCRIPTION, state)]))), CLOCK)
    assert found.active is active


async def test_a_next_page_on_another_host_is_refused() -> None:
    answers = Answers(page([subscription(SUBSCRIPTION)], "https://management.contoso.com/subscriptions?page=2"))
    with pytest.raises(Refused, match=r"management\.contoso\.com"):
        await visible_subscriptions(client_of(answers), CLOCK)
    assert len(answers.requests) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ({}, "no list"),
        ([], "no list"),
        ({"value": None}, "no list"),
        ({"value": [{"displayName": "ops"}]}, "without an id"),
        ({"value": ["ops"]}, "without an id"),
        ({"value": [], "nextLink": 5}, "no text"),
    ],
)
async def test_an_answer_that_is_no_list_is_not_taken_for_an_empty_one(body: Any, says: str) -> None:
    with pytest.raises(ScopeUnknown, match=says):
        await visible_subscriptions(client_of(Answers((200, body, {}))), CLOCK)


async def test_a_list_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "MAX_PAGES", 3)
    answers = Answers(*[page([subscription(SUBSCRIPTION)], f"{URL}/subscriptions?page")] * 3)
    with pytest.raises(ScopeUnknown, match="does not end"):
        await visible_subscriptions(client_of(answers), CLOCK)


async def test_a_refusal_says_its_status_and_what_to_do() -> None:
    with pytest.raises(ScopeUnknown, match=r"answered 403 AuthorizationFailed .* INVENTORY_SUBSCRIPTIONS"):
        await visible_subscriptions(client_of(Answers(refusal(403, "AuthorizationFailed"))), CLOCK)


@pytest.mark.parametrize(
    ("headers", "waits"),
    [({"Retry_After": "17"}, 17), ({"x_ms_retry_after_ms": "500"}, 0.5), ({}, None)],
)
async def test_a_throttled_list_of_subscriptions_says_how_long(headers: dict[str, str], waits: float | None) -> None:
    answers = Answers(*[refusal(429, **headers)] * 2)
    with pytest.raises(Throttled) as caught:
        await visible_subscriptions(client_of(answers), CLOCK)
    assert caught.value.retry_after == waits


async def test_no_answer_at_all_is_what_azure_core_raises() -> None:
    answers = Answers(*[ServiceRequestError("no route")] * 2)
    with pytest.raises(ServiceRequestError):
        await visible_subscriptions(client_of(answers), CLOCK)


# Accounts


async def test_accounts_are_listed_with_what_the_list_says_of_them() -> None:
    answers = Answers(page([account("aa-prod")], URL + LIST + "&page=2"), page([account("AA-Test", "resourcegroups")]))
    found = await accounts_of(client_of(answers), SUBSCRIPTION.upper(), CLOCK)
    assert list(found) == [REFERENCE.id, REFERENCE.id.replace("aa-prod", "aa-test")]
    reference, entry = found[REFERENCE.id]
    assert reference == REFERENCE
    assert entry == account("aa-prod")
    assert [each.name for each, _ in found.values()] == ["aa-prod", "AA-Test"]
    assert answers.requests[0] == LIST


async def test_a_page_of_accounts_that_fails_makes_no_half_list() -> None:
    answers = Answers(page([account("aa-prod")], URL + LIST + "&page=2"), *[refusal(500)] * 2)
    with pytest.raises(ScopeUnknown, match=f"answered 500 Code .* subscription {SUBSCRIPTION}"):
        await accounts_of(client_of(answers), SUBSCRIPTION, CLOCK)


async def test_a_next_page_of_accounts_on_another_host_is_refused() -> None:
    answers = Answers(page([account("aa-prod")], "https://management.contoso.com/more"))
    with pytest.raises(Refused):
        await accounts_of(client_of(answers), SUBSCRIPTION, CLOCK)


@pytest.mark.parametrize(
    "entry",
    [
        account("aa-prod", subscription_id=OTHER),
        account("aa-prod/runbooks/nightly"),
        {**account("aa-prod"), "id": None},
        {**account("aa-prod"), "id": "aa-prod\u202e"},
    ],
    ids=["another subscription", "something below", "no id", "no path"],
)
async def test_a_list_with_something_that_is_no_account_of_it_is_not_used(entry: dict[str, Any]) -> None:
    with pytest.raises(ScopeUnknown, match="none of that subscription") as caught:
        await accounts_of(client_of(Answers(page([account("aa-one"), entry]))), SUBSCRIPTION, CLOCK)
    assert "\u202e" not in str(caught.value)


async def test_a_list_of_too_many_accounts_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "MAX_ACCOUNTS", 2)
    answers = Answers(page([account(f"aa-{number}") for number in range(3)]))
    with pytest.raises(ScopeUnknown, match="more than 2 automation accounts"):
        await accounts_of(client_of(answers), SUBSCRIPTION, CLOCK)


async def test_a_throttled_list_of_accounts_says_how_long() -> None:
    with pytest.raises(Throttled) as caught:
        await accounts_of(client_of(Answers(refusal(429, Retry_After="42"))), SUBSCRIPTION, CLOCK)
    assert caught.value.retry_after == 42


async def test_a_refused_list_says_what_is_needed() -> None:
    with pytest.raises(ScopeUnknown, match=r"403 AuthorizationFailed .*Microsoft\.Automation/automationAccounts/read"):
        await accounts_of(client_of(Answers(refusal(403, "AuthorizationFailed"))), SUBSCRIPTION, CLOCK)


async def test_a_list_that_cannot_be_read_is_the_sdk_s_own_error() -> None:
    with pytest.raises(HttpResponseError) as caught:
        await accounts_of(client_of(Answers((200, b"<html>", {}))), SUBSCRIPTION, CLOCK)
    assert not isinstance(caught.value, ScopeUnknown)


# One account


async def test_an_account_that_exists_after_all_is_told_as_the_list_would() -> None:
    answers = Answers((200, account("aa-prod"), {}))
    assert await look_again(client_of(answers), REFERENCE, CLOCK) == account("aa-prod")
    assert answers.requests == [
        LIST.replace("/providers", "/resourceGroups/rg-ops/providers").replace("?", "/aa-prod?")
    ]


@pytest.mark.parametrize(
    ("answer", "raised", "says"),
    [
        (refusal(404, "ResourceNotFound"), AccountGone, "404"),
        (refusal(404, "ResourceGroupNotFound"), AccountGone, "404"),
        (refusal(403, "AuthorizationFailed"), Denied, "Microsoft.Automation/automationAccounts/read"),
        (refusal(429, Retry_After="8"), Throttled, "429"),
        (refusal(401), HttpResponseError, "no"),
        (refusal(404, "SubscriptionNotFound"), HttpResponseError, "no"),
    ],
    ids=["gone", "gone with its group", "denied", "throttled", "not signed in", "unseen"],
)
async def test_what_else_may_be_said_of_an_account(answer: Any, raised: type[Exception], says: str) -> None:
    with pytest.raises(raised, match=says):
        await look_again(client_of(Answers(answer)), REFERENCE, CLOCK)
