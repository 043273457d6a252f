"""Which subscriptions and automation accounts there are, asked of Azure Resource Manager."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from detectors.automation import failures
from detectors.automation.texts import label
from detectors.inventory.account_reader import AccountGone, Throttled
from detectors.inventory.answers import status_of, wait_of
from detectors.inventory.snapshot import AccountReference

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.mgmt.automation.aio import AutomationClient

SUBSCRIPTIONS_API_VERSION = "2022-12-01"
ACTIVE_STATES = frozenset({"Enabled", "Warned", "PastDue"})
"""In any other state nothing in a subscription can be changed or started."""
MAX_PAGES = 1_000
MAX_ACCOUNTS = 50_000
"""Of one subscription. Beyond, the list counts as not read: half of it would make the other half look removed."""

_ACCOUNT_ID = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Automation/automationAccounts/([^/]+)/?",
    re.IGNORECASE,
)


class ScopeUnknown(Exception):
    """Azure did not say what there is. The message names the request, the cause and the next step."""


class Denied(Exception):
    """The account exists, and the detector may not read it. The message is the sentence for the responder."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that the detector's identity sees. ``id`` is in lower case."""

    id: str
    state: str

    @property
    def active(self) -> bool:
        """Whether anything in it can happen."""
        return self.state in ACTIVE_STATES


async def visible_subscriptions(client: "AutomationClient", clock: Callable[[], datetime]) -> tuple[Subscription, ...]:
    """Every subscription that the identity of *client* sees, in any state, in the order of their ids.

    Raises :class:`ScopeUnknown`, Throttled, :class:`detectors.automation.failures.Refused` for a next page on another
    host, and what azure-core raises when there is no answer.
    """
    from azure.core.exceptions import DecodeError, HttpResponseError

    url = f"/subscriptions?api-version={SUBSCRIPTIONS_API_VERSION}"
    found: dict[str, Subscription] = {}
    for _ in range(MAX_PAGES):
        try:
            with throttling(clock):
                body = await _get(client, url)
        except DecodeError:
            raise ScopeUnknown(_unclear("it is no JSON")) from None
        except HttpResponseError as error:
            raise ScopeUnknown(
                f"Azure answered {_answer(error)} when asked which subscriptions the detector's identity sees. Check "
                "the identity and its tenant, or name the subscriptions in INVENTORY_SUBSCRIPTIONS."
            ) from None
        entries = body.get("value") if isinstance(body, dict) else None
        # An answer without a list is no empty list.
        if not isinstance(entries, list):
            raise ScopeUnknown(_unclear("it holds no list"))
        for entry in entries:
            identifier = entry.get("subscriptionId") if isinstance(entry, dict) else None
            if not isinstance(identifier, str) or not identifier:
                raise ScopeUnknown(_unclear("it lists one without an id"))
            found[identifier.lower()] = Subscription(id=identifier.lower(), state=str(entry.get("state") or ""))
        url = body.get("nextLink") or ""
        if not url:
            return tuple(subscription for _, subscription in sorted(found.items()))
        if not isinstance(url, str):
            raise ScopeUnknown(_unclear("it names the next page by something that is no text"))
    raise ScopeUnknown(_unclear(f"it does not end within {MAX_PAGES:,} pages"))


async def accounts_of(
    client: "AutomationClient", subscription_id: str, clock: Callable[[], datetime]
) -> dict[str, tuple[AccountReference, Mapping[str, Any]]]:
    """The automation accounts of the subscription of *client*, by id, with what the list says of each, as JSON.

    Raises :class:`ScopeUnknown` for a refusal or a list that cannot be taken for the whole, Throttled, and what the
    SDK raises when there is no answer or it cannot be read.
    """
    from azure.core.exceptions import HttpResponseError

    found: dict[str, tuple[AccountReference, Mapping[str, Any]]] = {}
    try:
        with throttling(clock):
            async for model in client.automation_account.list():
                entry: dict[str, Any] = model.as_dict()
                account = _reference(entry, subscription_id)
                found[account.id] = account, entry
                if len(found) > MAX_ACCOUNTS:
                    raise ScopeUnknown(
                        f"Subscription {subscription_id} lists more than {MAX_ACCOUNTS:,} automation accounts; the "
                        "list is not used. Find out why there are so many."
                    )
    except HttpResponseError as error:
        if status_of(error)[0] is None:
            raise
        raise ScopeUnknown(
            f"Azure answered {_answer(error)} when asked for the automation accounts of subscription "
            f"{subscription_id}. Give the detector's identity Reader there (it needs "
            "Microsoft.Automation/automationAccounts/read), or leave the subscription out of INVENTORY_SUBSCRIPTIONS."
        ) from None
    return found


async def look_again(
    client: "AutomationClient", account: AccountReference, clock: Callable[[], datetime]
) -> Mapping[str, Any]:
    """What Azure says of an account that the list of its subscription did not have.

    The list holds only what the detector may read, and lags behind what is new: it alone proves nothing. Raises
    AccountGone, :class:`Denied`, Throttled, and what the SDK raises.
    """
    from azure.core.exceptions import HttpResponseError

    try:
        with throttling(clock):
            model = await client.automation_account.get(account.resource_group, account.name)
    except HttpResponseError as error:
        status, code = status_of(error)
        # Azure says of a subscription that the detector may not see any more that it is not there.
        if status == 404 and code != "SubscriptionNotFound":
            raise AccountGone(failures.explain(error)[0]) from None
        if status == 403:
            raise Denied(failures.explain(error)[0]) from None
        raise
    entry: dict[str, Any] = model.as_dict()
    return entry


@contextlib.contextmanager
def throttling(clock: Callable[[], datetime]) -> Iterator[None]:
    """Around calls of the SDK: a 429 becomes Throttled."""
    from azure.core.exceptions import HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        if status_of(error)[0] == 429:
            raise Throttled(f"Azure throttled the detector ({_answer(error)}).", wait_of(error, clock())) from None
        raise


async def _get(client: "AutomationClient", url: str) -> Any:
    from azure.core.exceptions import HttpResponseError
    from azure.core.rest import HttpRequest
    from azure.mgmt.core.exceptions import ARMErrorFormat

    # Relative or not: send_request joins it to the client's own host, and its policy refuses any other.
    response = await client.send_request(HttpRequest("GET", url, headers={"Accept": "application/json"}))
    if response.status_code != 200:
        raise HttpResponseError(response=response, error_format=ARMErrorFormat)
    try:
        return response.json()
    except ValueError:
        raise ScopeUnknown(_unclear("it is no JSON")) from None


def _answer(error: "HttpResponseError") -> str:
    """Status and code of a refusal; nothing else of the answer."""
    status, code = status_of(error)
    return f"{status} {code}".rstrip()


def _unclear(cause: str) -> str:
    return (
        f"Azure's list of subscriptions cannot be used: {cause}. Find out what changed the answer (a proxy?), or name "
        "the subscriptions in INVENTORY_SUBSCRIPTIONS."
    )


def _reference(entry: Mapping[str, Any], subscription_id: str) -> AccountReference:
    match = _ACCOUNT_ID.fullmatch(str(entry.get("id") or ""))
    if match is None or match[1].lower() != subscription_id.lower():
        raise ScopeUnknown(
            f"The list of automation accounts of subscription {subscription_id} has one with the id "
            f"{label(ascii(entry.get('id')), 200)}, which is none of that subscription; the list is not used. Find out "
            "what changed the answer (a proxy?)."
        )
    return AccountReference(
        subscription_id=match[1], resource_group=match[2], name=match[3], location=str(entry.get("location") or "")
    )
