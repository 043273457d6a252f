"""Thousands of automation accounts: each is made from its number when it is asked for, and kept by nobody.

Accounts stay as they are until :meth:`Fleet.change` is told to change a share of them. :mod:`sandbox.fleet_server`
serves them.
"""

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.accounts import Account
from sandbox.directory import Subscription

RUNBOOKS = 20
WATCHERS = 2
WEBHOOKS = 3
CHANGED_RUNBOOK = "Runbook-05"
CHANGED_WATCHER = "Watcher-1"

_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
_ORDINARY = "Connect-AzAccount -Identity | Out-Null\n" + "".join(
    f"""
$machines{part} = Get-AzVM -ResourceGroupName 'rg-operations-{part}' -Status
$machines{part} | Where-Object {{ $_.Tags['AutoStart'] -eq 'true' }} | Start-AzVM -NoWait
"""
    for part in range(12)
)
_SHARED: dict[str, Any] = {
    "schedules": {"Nightly": {"frequency": "Day", "timeZone": "Europe/Stockholm"}},
    "modules": {
        "Az.Accounts": {"version": "2.12.1", "sizeInBytes": 4_194_304, "isGlobal": True},
        "Az.Compute": {"version": "5.7.0", "sizeInBytes": 3_145_728, "isGlobal": True},
        "Contoso.Operations": {"version": "1.4.2", "sizeInBytes": 65_536},
    },
    "python3Packages": {"requests": {"version": "2.31.0", "sizeInBytes": 62_574}},
    "runtimeEnvironments": {
        "PowerShell-7.4-Contoso": {
            "language": "PowerShell",
            "version": "7.4",
            "defaultPackages": {"Az": "12.3.0"},
            "packages": {"Contoso.Operations": {"version": "1.4.2", "sizeInBytes": 65_536}},
        }
    },
    "credentials": {"svc-operations": {"userName": "svc-operations@contoso.example"}},
    "variables": {"Environment": {"value": '"production"'}, "Region": {"value": '"westeurope"'}},
}


def subscription_id(number: int) -> str:
    """The id of a fleet's subscription, counted from 0."""
    return f"11111111-2222-3333-4444-{number:012}"


class Fleet:
    """A :class:`~sandbox.directory.Directory` of *accounts* accounts, dealt out to *subscriptions* subscriptions.

    Each account has 20 runbooks, 2 watchers and 3 webhooks, a hybrid worker group with one worker, a schedule with one
    runbook on it, some modules and packages, a credential and two variables; no jobs.
    """

    def __init__(self, accounts: int, subscriptions: int = 1) -> None:
        if not 1 <= subscriptions <= accounts:
            raise ValueError(f"{accounts} accounts cannot be in {subscriptions} subscriptions; name 1 or more of each")
        self.size = accounts
        self._subscriptions = subscriptions
        self._revisions: dict[int, int] = {}
        self._changes = 0

    def subscriptions(self) -> list[Subscription]:
        """See :class:`~sandbox.directory.Directory`."""
        return [Subscription(subscription_id(number)) for number in range(self._subscriptions)]

    def accounts(self, subscription: str) -> list[Account]:
        """See :class:`~sandbox.directory.Directory`; made without their contents."""
        wanted = _number(subscription)
        return [self._bare(number) for number in range(self.size) if number % self._subscriptions == wanted]

    def account(self, subscription: str, resource_group: str, name: str) -> Account | None:
        """See :class:`~sandbox.directory.Directory`."""
        number = _number(name)
        if number is None or number >= self.size or number % self._subscriptions != _number(subscription):
            return None
        account = _filled(number, number % self._subscriptions, self._revisions.get(number, 0))
        same = (account.name, account.resource_group) == (name.lower(), resource_group.lower())
        return account if same else None

    def change(self, share: float) -> tuple[str, ...]:
        """Write another text into one runbook and another frequency into one watcher of a *share* of the accounts.

        Which ones is the same in every fleet of this size: they lie evenly, the first being account 0. Returns their
        names. Raises :class:`ValueError` for a share that is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"a share is above 0 and at most 1, not {share}")
        count = max(1, round(share * self.size))
        chosen = sorted({index * self.size // count for index in range(count)})
        self._changes += 1
        self._revisions |= dict.fromkeys(chosen, self._changes)
        return tuple(_name(number) for number in chosen)

    def _bare(self, number: int) -> Account:
        return _bare(number, number % self._subscriptions)


def _name(number: int) -> str:
    return f"aa-operations-{number:05}"


def _number(text: str) -> int | None:
    """The number at the end of a subscription's id or an account's name."""
    digits = text.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def _bare(number: int, subscription: int) -> Account:
    account = Account(subscription_id(subscription), f"rg-operations-{number % 20:02}", _name(number), _BEGUN)
    account.settings = {"identity": {"type": "SystemAssigned", "principalId": _guid(9, number)}}
    return account


# An account is read by a dozen lists in a row, and then not again for a whole visit of the others.
@functools.lru_cache(maxsize=256)
def _filled(number: int, subscription: int, revision: int) -> Account:
    account = _bare(number, subscription)
    account.apply(_contents(number), _BEGUN)
    if revision:
        moment = _BEGUN + timedelta(hours=revision)
        change = {
            "runbooks": {CHANGED_RUNBOOK: {"published": _script(number, CHANGED_RUNBOOK, revision)}},
            "watchers": {CHANGED_WATCHER: {"executionFrequencyInSeconds": 60 + revision}},
        }
        account.apply(change, moment)
    # What happens below an account does not move the account itself.
    account.modified = _BEGUN
    return account


def _contents(number: int) -> dict[str, Any]:
    books = [f"Runbook-{index:02}" for index in range(1, RUNBOOKS + 1)]
    return _SHARED | {
        "runbooks": {book: {"published": _script(number, book, 0), "runbookType": "PowerShell72"} for book in books},
        "watchers": {
            f"Watcher-{index}": {
                "scriptName": books[index],
                "scriptRunOn": "hwg-operations",
                "executionFrequencyInSeconds": 60,
                "status": "Running",
            }
            for index in range(1, WATCHERS + 1)
        },
        "webhooks": {
            f"Webhook-{index}": {"runbook": books[10 + index], "expiryTime": "2027-01-01T00:00:00+00:00"}
            for index in range(1, WEBHOOKS + 1)
        },
        "jobSchedules": {_guid(1, number): {"runbook": books[0], "schedule": "Nightly"}},
        "hybridRunbookWorkerGroups": {"hwg-operations": {"workers": {_guid(2, number): {"workerName": "vm-ops"}}}},
    }


def _guid(kind: int, number: int) -> str:
    return f"{kind:08}-2222-4333-8444-{number:012}"


def _script(number: int, book: str, revision: int) -> str:
    """An ordinary runbook of about 2 KB, another one for each account, name and revision."""
    return f"# {book} of {_name(number)}, revision {revision}\n{_ORDINARY}"
