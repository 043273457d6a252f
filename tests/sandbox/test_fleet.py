"""The fleet: many accounts that are made when they are asked for, served from a process of its own."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.automation.aio import AutomationClient

from sandbox.accounts import KINDS
from sandbox.endpoints import asset_bodies, automation_bodies
from sandbox.fleet import CHANGED_RUNBOOK, CHANGED_WATCHER, Fleet, subscription_id
from sandbox.fleet_process import FleetError, FleetProcess
from sandbox.fleet_server import CONTENT, GET, LIST, REFUSED, WATCHER_ACTIONS, kind_of

FIRST, SECOND = subscription_id(0), subscription_id(1)
BODIES = {**automation_bodies.BODIES, **asset_bodies.BODIES}


def everything(fleet: Fleet, name: str) -> dict[str, Any]:
    """All that the lists of one account tell, and the texts of its runbooks."""
    [bare] = [
        account
        for subscription in fleet.subscriptions()
        for account in fleet.accounts(subscription.id)
        if account.name == name
    ]
    account = fleet.account(bare.subscription, bare.resource_group, name)
    assert account is not None
    lists = {kind: [BODIES[kind][1](account, item) for item in account.items(kind)] for kind in KINDS}
    texts = [item.get("published") for item in account.items("runbooks")]
    return {"account": automation_bodies.account_summary(account), "lists": lists, "texts": texts}


def test_an_account_holds_what_the_bench_asks_for() -> None:
    fleet = Fleet(5, 2)
    lists = everything(fleet, "aa-operations-00003")["lists"]
    counts = {kind: len(items) for kind, items in lists.items()}
    assert (counts["runbooks"], counts["watchers"], counts["webhooks"]) == (20, 2, 3)
    assert (counts["hybridRunbookWorkerGroups"], counts["schedules"], counts["jobs"]) == (1, 1, 0)
    books = {item["name"] for item in lists["runbooks"]}
    assert {item["properties"]["scriptName"] for item in lists["watchers"]} < books
    assert {item["properties"]["runbook"]["name"] for item in lists["webhooks"]} < books


def test_accounts_are_dealt_out_and_each_is_found_where_it_is_listed() -> None:
    fleet = Fleet(5, 2)
    listed = [fleet.accounts(subscription.id) for subscription in fleet.subscriptions()]
    assert [len(accounts) for accounts in listed] == [3, 2]
    for account in (account for accounts in listed for account in accounts):
        found = fleet.account(account.subscription.upper(), account.resource_group.upper(), account.name.upper())
        assert found is not None
        assert found.id == account.id
        assert automation_bodies.account_summary(found) == automation_bodies.account_summary(account)
    [first, *_], [second, *_] = listed
    assert fleet.account(SECOND, first.resource_group, first.name) is None
    assert fleet.account(FIRST, "rg-other", first.name) is None
    assert fleet.account(FIRST, first.resource_group, "aa-operations-00005") is None
    assert fleet.account(FIRST, first.resource_group, "operations-00000") is None
    assert second.subscription == SECOND


def test_nothing_changes_between_two_looks_and_no_two_texts_are_alike() -> None:
    fleet = Fleet(300, 3)
    names = [f"aa-operations-{number:05}" for number in range(5)]
    looks = [everything(fleet, name) for name in names]
    for subscription in fleet.subscriptions():
        for account in fleet.accounts(subscription.id):
            # More accounts than are kept.
            assert fleet.account(account.subscription, account.resource_group, account.name) is not None
    assert [everything(fleet, name) for name in names] == looks
    assert [everything(Fleet(300, 3), name) for name in names] == looks
    texts = [text for look in looks for text in look["texts"]]
    assert len(set(texts)) == len(texts) == 5 * 20
    assert all(1_500 < len(text) < 2_500 for text in texts)


def test_a_share_of_the_accounts_changes_in_one_text_and_one_watcher() -> None:
    fleet = Fleet(100, 4)
    names = [account.name for s in fleet.subscriptions() for account in fleet.accounts(s.id)]
    before = {name: everything(fleet, name) for name in names}
    changed = fleet.change(0.04)
    assert len(changed) == 4
    after = {name: everything(fleet, name) for name in names}
    assert {name for name in names if before[name] != after[name]} == set(changed)
    for name in changed:
        differences = [
            (kind, old["name"])
            for kind in KINDS
            for old, new in zip(before[name]["lists"][kind], after[name]["lists"][kind], strict=True)
            if old != new
        ]
        assert differences == [("runbooks", CHANGED_RUNBOOK), ("watchers", CHANGED_WATCHER)]
        texts = zip(before[name]["texts"], after[name]["texts"], strict=True)
        assert sum(old != new for old, new in texts) == 1
        assert before[name]["account"] == after[name]["account"]
    assert fleet.change(0.04) == changed
    assert everything(fleet, changed[0]) != after[changed[0]]
    assert Fleet(100, 4).change(0.04) == changed


@pytest.mark.parametrize("share", [0, -0.5, 1.1, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share is above 0"):
        Fleet(10).change(share)


@pytest.mark.parametrize(("accounts", "subscriptions"), [(0, 1), (3, 0), (2, 3)])
def test_a_fleet_without_accounts_for_its_subscriptions_is_refused(accounts: int, subscriptions: int) -> None:
    with pytest.raises(ValueError, match="cannot be in"):
        Fleet(accounts, subscriptions)


HERE = "/subscriptions/s/resourcegroups/g/providers/microsoft.automation/automationaccounts"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/subscriptions", LIST),
        ("/subscriptions/s/providers/microsoft.automation/automationaccounts", LIST),
        (HERE, LIST),
        (f"{HERE}/a", GET),
        (f"{HERE}/a/runbooks", LIST),
        (f"{HERE}/a/runbooks/r", GET),
        (f"{HERE}/a/runbooks/r/content", CONTENT),
        (f"{HERE}/a/runbooks/r/draft", GET),
        (f"{HERE}/a/runbooks/r/draft/content", CONTENT),
        (f"{HERE}/a/hybridrunbookworkergroups/g/hybridrunbookworkers", LIST),
        (f"{HERE}/a/hybridrunbookworkergroups/g/hybridrunbookworkers/w", GET),
        (f"{HERE}/a/runtimeenvironments/e/packages", LIST),
        (f"{HERE}/a/jobs/j/runbookcontent", CONTENT),
        (f"{HERE}/a/watchers/w/watcheractions", WATCHER_ACTIONS),
    ],
)
def test_a_request_is_counted_for_what_it_asks(path: str, kind: str) -> None:
    assert kind_of([segment for segment in path.split("/") if segment]) == kind


@pytest.fixture(scope="module")
def started() -> Iterator[FleetProcess]:
    with FleetProcess(accounts=230, subscriptions=2) as fleet:
        yield fleet


@pytest.fixture
def fleet(started: FleetProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetProcess]:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, started.environment()[name])
    started.set_latency(0)
    started.reset()
    yield started
    started.set_fault(None)


@pytest.fixture
async def client(fleet: FleetProcess) -> AsyncIterator[AutomationClient]:
    async with (
        ManagedIdentityCredential() as credential,
        AutomationClient(
            credential,
            FIRST,
            fleet.url,
            credential_scopes=["https://management.azure.com/.default"],
            connection_verify=fleet.environment()["CA_BUNDLE"],
            retry_total=0,
        ) as client,
    ):
        yield client


async def test_a_real_client_reads_a_fleet_and_is_counted(fleet: FleetProcess, client: AutomationClient) -> None:
    accounts = [account async for account in client.automation_account.list()]
    assert len(accounts) == 115
    [here, name] = str(accounts[7].id).split("/")[4:9:4]
    runbooks = [runbook async for runbook in client.runbook.list_by_automation_account(here, name)]
    assert len(runbooks) == 20
    text = await client.runbook.get_content(here, name, "runbook-01")
    assert name in text
    assert (await client.watcher.get(here, name, "watcher-1")).status == "Running"
    subscriptions = await client.send_request(
        HttpRequest("GET", "/subscriptions", params={"api-version": "2022-12-01"})
    )
    assert [each["subscriptionId"] for each in subscriptions.json()["value"]] == [FIRST, SECOND]
    # The accounts come in two pages.
    assert fleet.counts() == {"kinds": {LIST: 4, CONTENT: 1, GET: 1}, "subscriptions": {FIRST: 5}}


async def test_only_the_subscription_that_is_throttled_is_refused(
    fleet: FleetProcess, client: AutomationClient
) -> None:
    fleet.set_fault({"kind": "Status", "status": 429, "retry_after": 4, "times": 1}, subscription=SECOND)
    path = "/subscriptions/{}/providers/Microsoft.Automation/automationAccounts"
    first, second, again = [
        await client.send_request(HttpRequest("GET", path.format(each), params={"api-version": "2024-10-23"}))
        for each in (FIRST, SECOND, SECOND)
    ]
    assert (first.status_code, second.status_code, again.status_code) == (200, 429, 200)
    assert second.headers["Retry-After"] == "4"
    assert fleet.counts()["kinds"] == {LIST: 2, REFUSED: 1}
    fleet.set_fault({"kind": "Throttle", "burst": 1, "per_second": 0.001}, subscription=FIRST)
    assert [each async for each in client.automation_account.list_by_resource_group("rg")] == []
    with pytest.raises(HttpResponseError) as caught:
        await client.automation_account.get("rg", "aa")
    assert caught.value.status_code == 429


async def test_an_answer_takes_at_least_the_latency(fleet: FleetProcess, client: AutomationClient) -> None:
    await client.send_request(HttpRequest("GET", "/subscriptions", params={"api-version": "2022-12-01"}))
    fleet.set_latency(0.2)
    before = time.monotonic()
    await client.send_request(HttpRequest("GET", "/subscriptions", params={"api-version": "2022-12-01"}))
    assert time.monotonic() - before >= 0.2


async def test_what_changes_in_the_process_is_what_a_fleet_changes(
    fleet: FleetProcess, client: AutomationClient
) -> None:
    changed = fleet.change(0.01)
    assert changed == list(Fleet(230, 2).change(0.01))
    watcher = await client.watcher.get("rg-operations-00", changed[0], CHANGED_WATCHER)
    assert watcher.execution_frequency_in_seconds == 61
    with pytest.raises(FleetError, match="a share is above 0"):
        fleet.change(2)


def test_a_fleet_that_cannot_start_says_so() -> None:
    with pytest.raises(FleetError, match="ended at once"):
        FleetProcess(accounts=1, subscriptions=2)


def test_the_process_ends_when_its_parent_is_gone() -> None:
    code = """
import os
from sandbox.fleet_process import FleetProcess

fleet = FleetProcess(accounts=1)
print(fleet.url, flush=True)
os._exit(1)  # as a parent that is killed: nothing is cleaned up
"""
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    port = int(parent.stdout.strip().rpartition(":")[2])
    # Refused or reset: it is gone. Else this ends when the process does; one that lives waits for a greeting.
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        assert connection.recv(1) == b""
