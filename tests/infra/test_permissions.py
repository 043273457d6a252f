"""The permissions that the code lists are those of the requests that it makes, no fewer and no more."""

import fnmatch
import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.identity.aio import ManagedIdentityCredential

from detectors import rulebook
from detectors.app import Detector
from detectors.automation.clients import AutomationClients
from detectors.automation.permissions import (
    ALL_SUBSCRIPTIONS,
    DRAFTS,
    EVERYTHING_BELOW,
    READS,
    ROLE_ACTIONS,
    RUNTIME_ENVIRONMENT_ACTIONS,
    RUNTIME_ENVIRONMENT_NOT_ACTIONS,
)
from detectors.inventory.sections import PERMISSIONS, UNPUBLISHED_PERMISSIONS
from detectors.settings import load_settings
from detectors.triage.enrichment import ENRICHMENTS
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.gather import gather
from detectors.triage.resource import automation_target
from sandbox.server import ACCOUNT, RESOURCE_GROUP, SUBSCRIPTION, Sandbox
from tests.clock import Clock

ACCOUNTS = "Microsoft.Automation/automationAccounts"
JOB = "3f0c9a51-2d4e-4a6b-8c7d-000000000001"
LINK = "3f0c9a51-2d4e-4a6b-8c7d-000000000002"
WORKER = "3f0c9a51-2d4e-4a6b-8c7d-000000000003"

# A path below an account, names replaced by a star, to the permission without the provider. By hand and not by a rule,
# because a rule has been wrong once: Azure asks for an action where the request is a GET.
PERMISSION_OF: dict[str, str] = {
    "": "read",
    "certificates": "certificates/read",
    "connections": "connections/read",
    "credentials": "credentials/read",
    "hybridRunbookWorkerGroups": "hybridRunbookWorkerGroups/read",
    "hybridRunbookWorkerGroups/*/hybridRunbookWorkers": "hybridRunbookWorkerGroups/hybridRunbookWorkers/read",
    "jobs": "jobs/read",
    "jobs/*": "jobs/read",
    "jobs/*/output": "jobs/output/read",
    "jobs/*/runbookContent": "jobs/runbookContent/action",
    "jobSchedules": "jobSchedules/read",
    "jobSchedules/*": "jobSchedules/read",
    "modules": "modules/read",
    "python2Packages": "python2Packages/read",
    "python3Packages": "python3Packages/read",
    "runbooks": "runbooks/read",
    "runbooks/*": "runbooks/read",
    "runbooks/*/content": "runbooks/content/read",
    "runbooks/*/draft/content": "runbooks/draft/content/read",
    "runtimeEnvironments": "runtimeEnvironments/read",
    "runtimeEnvironments/*/packages": "runtimeEnvironments/packages/read",
    "schedules": "schedules/read",
    "schedules/*": "schedules/read",
    "sourceControls": "sourceControls/read",
    "variables": "variables/read",
    "watchers": "watchers/read",
    "watchers/*": "watchers/read",
    "watchers/*/watcherActions": "watchers/watcherActions/read",
    "webhooks": "webhooks/read",
    "webhooks/*": "webhooks/read",
}
CONTENTS: dict[str, Any] = {
    "runbooks": {"nightly": {"published": "Get-Date", "draft": "Get-Process", "state": "Edit"}},
    "jobs": {JOB: {"runbook": "nightly", "status": "Completed", "output": "done"}},
    "watchers": {"Watch": {"scriptName": "nightly", "scriptRunOn": "group", "actions": {"Act": {"scriptName": "x"}}}},
    "webhooks": {"hook": {"runbook": "nightly"}},
    "schedules": {"daily": {"frequency": "Day", "interval": 1}},
    "jobSchedules": {LINK: {"runbook": "nightly", "schedule": "daily"}},
    "hybridRunbookWorkerGroups": {"group": {"workers": {WORKER: {"workerName": "vm-1"}}}},
    "modules": {"Az.Accounts": {"version": "2.12.1"}},
    "python2Packages": {"configparser": {"version": "3.5.0"}},
    "python3Packages": {"requests": {"version": "2.31.0"}},
    "runtimeEnvironments": {
        "PowerShell-7.4": {"language": "PowerShell", "version": "7.4", "packages": {"Contoso.Tools": {"version": "1"}}}
    },
    "sourceControls": {"Ops": {"repoUrl": "https://github.com/contoso/runbooks.git", "branch": "main"}},
    "credentials": {"svc": {"userName": "svc-automation@contoso.example"}},
    "certificates": {"run-as": {"thumbprint": "AB" * 20}},
    "connections": {"AzureRunAs": {"connectionType": "Azure"}},
    "variables": {"Host": {"value": '"db.contoso.example"'}},
}
TARGETS = (
    f"jobs/{JOB}", "runbooks/nightly", "watchers/Watch", "webhooks/hook", "schedules/daily", f"jobSchedules/{LINK}",
)  # fmt: skip


def permission_of(method: str, path: str) -> str:
    """What Azure asks for when it gets this request. Raises KeyError for one that the table does not know."""
    assert method == "GET", (method, path)
    segments = path.strip("/").split("/")
    if segments == ["subscriptions"]:
        return ALL_SUBSCRIPTIONS
    folded = [segment.casefold() for segment in segments]
    below = segments[folded.index("automationaccounts") + 2 :]
    # Every second segment is a name, but draft and content are no collections.
    if len(below) > 1:
        below[1] = "*"
    return f"{ACCOUNTS}/{PERMISSION_OF['/'.join(below)]}"


def asked(sandbox: Sandbox) -> set[str]:
    """Permissions of the requests so far. Each was answered: a refused one would hide those that follow it."""
    requests = [each for each in sandbox.ledger.requests if each.endpoint == "automation"]
    assert {each.status for each in requests} == {200}, [each for each in requests if each.status != 200]
    return {permission_of(each.method, each.path) for each in requests}


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    clock = Clock()
    with Sandbox.start(tmp_path, clock=clock) as started:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, started.environment()[name])
        started.account.apply(CONTENTS, clock() - timedelta(hours=1))
        started.automation.watcher_actions = True
        yield started


async def enrich(sandbox: Sandbox) -> None:
    async with ManagedIdentityCredential() as credential:
        clients = AutomationClients(
            credential, base_url=sandbox.url, connection_verify=str(sandbox.ca_bundle), retry_total=0
        )
        try:
            for path in TARGETS:
                target = automation_target(
                    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/{ACCOUNTS}/{ACCOUNT}/{path}"
                )
                assert target is not None
                case = Case(target, clients.get(SUBSCRIPTION), clock=Clock())
                evidence = await gather(case, list(ENRICHMENTS), piece_timeout=30, deadline=30)
                assert len(evidence) == len(ENRICHMENTS)
        finally:
            await clients.close()


async def take_inventory(sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, subscriptions: str) -> None:
    # A rule about something else: an alert would be enriched in the same run, and its requests be taken for these.
    rules = folder / "rules"
    rules.mkdir()
    shutil.copy(rulebook.BUILT_IN / "function-code-changed.yaml", rules)
    monkeypatch.setattr(rulebook, "BUILT_IN", rules)
    environment = sandbox.environment() | {
        "STATE_PATH": str(folder / "state.db"),
        "INVENTORY_SUBSCRIPTIONS": subscriptions,
    }
    clock = Clock()
    detector = Detector(load_settings(environment), environment=environment, clock=clock, sleep=clock.sleep)
    try:
        await detector.open()
        report = await detector.inventory()
        assert (report.visited, report.errors) == (1, ())
    finally:
        await detector.close()


async def test_the_enrichments_ask_for_what_is_listed_for_them(sandbox: Sandbox) -> None:
    await enrich(sandbox)
    assert asked(sandbox) == {action for action, read in READS.items() if "enrichment" in read.used_by}


async def test_an_inventory_asks_for_what_is_listed_for_it(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take_inventory(sandbox, tmp_path, monkeypatch, SUBSCRIPTION)
    assert asked(sandbox) == {action for action, read in READS.items() if "inventory" in read.used_by}


async def test_the_subscriptions_are_asked_for_only_where_none_is_named(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take_inventory(sandbox, tmp_path, monkeypatch, "")
    assert ALL_SUBSCRIPTIONS in asked(sandbox)


def test_the_sections_of_the_inventory_name_the_same() -> None:
    assert set(PERMISSIONS) == {action for action, read in READS.items() if "inventory" in read.used_by}


def test_every_permission_says_who_needs_it_why_and_what_is_missing_without_it() -> None:
    for action, read in READS.items():
        assert read.used_by, action
        assert set(read.used_by) <= {"enrichment", "inventory"}, action
        assert read.why.endswith("."), action
        assert read.without.endswith("."), action


def test_what_azure_does_not_list_is_granted_by_a_pattern_that_matches_what_it_lists() -> None:
    by_pattern = {action for action, read in READS.items() if read.granted_by}
    assert by_pattern >= UNPUBLISHED_PERMISSIONS
    for action in by_pattern:
        pattern = READS[action].granted_by
        assert fnmatch.fnmatchcase(action, pattern), action
        listed = set(READS) - UNPUBLISHED_PERMISSIONS
        assert any(fnmatch.fnmatchcase(each, pattern) for each in listed), pattern


def granted(action: str, actions: tuple[str, ...], not_actions: tuple[str, ...] = ()) -> bool:
    """As Azure decides it: a star matches any characters, slashes too, and a refusal wins within the role."""
    return any(fnmatch.fnmatchcase(action, each) for each in actions) and action not in not_actions


def test_the_role_grants_what_is_asked_for() -> None:
    refused = {action for action in READS if not granted(action, ROLE_ACTIONS)}
    assert refused == {f"{ACCOUNTS}/runtimeEnvironments/read", f"{ACCOUNTS}/runtimeEnvironments/packages/read"}
    every = (*ROLE_ACTIONS, *RUNTIME_ENVIRONMENT_ACTIONS)
    assert all(granted(action, every, RUNTIME_ENVIRONMENT_NOT_ACTIONS) for action in READS)


def test_the_role_names_nothing_that_azure_does_not_list_and_one_pattern() -> None:
    assert not set(ROLE_ACTIONS) & UNPUBLISHED_PERMISSIONS
    assert [action for action in ROLE_ACTIONS if "*" in action] == [DRAFTS]
    assert list(ROLE_ACTIONS) == sorted(set(ROLE_ACTIONS))
    assert EVERYTHING_BELOW not in ROLE_ACTIONS


@pytest.mark.parametrize(
    "action",
    [
        "runbooks/write",
        "jobs/write",
        "listKeys/action",
        "agentRegistrationInformation/read",
        "jobs/streams/read",
        "configurations/content/read",
    ],
)
def test_the_role_grants_no_key_no_write_and_no_text_that_is_not_read(action: str) -> None:
    assert not granted(f"{ACCOUNTS}/{action}", ROLE_ACTIONS)
    every = (*ROLE_ACTIONS, *RUNTIME_ENVIRONMENT_ACTIONS)
    assert not granted(f"{ACCOUNTS}/{action}", every, RUNTIME_ENVIRONMENT_NOT_ACTIONS)


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("jobs/j/runbookContent", "jobs/runbookContent/action"),
        ("runbooks/r/draft/content", "runbooks/draft/content/read"),
        ("runbooks/content", "runbooks/read"),
        ("", "read"),
    ],
)
def test_a_request_is_told_its_permission(path: str, permission: str) -> None:
    account = f"/subscriptions/s/resourceGroups/g/providers/{ACCOUNTS}/a"
    assert permission_of("GET", f"{account}/{path}") == f"{ACCOUNTS}/{permission}"
    with pytest.raises(KeyError):
        permission_of("GET", f"{account}/runbooks/r/history")


def test_the_table_of_this_test_has_no_line_that_is_never_used() -> None:
    used: Mapping[str, str] = PERMISSION_OF
    assert {f"{ACCOUNTS}/{each}" for each in used.values()} == set(READS)
