"""What each section keeps of an account, and what it asks for beyond its list."""

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from msgspec.structs import replace

from detectors.inventory.encoding import as_stored
from detectors.inventory.sections import jobs as jobs_section
from detectors.inventory.sections import runbooks as runbooks_section
from detectors.inventory.sections.details import LEFT
from detectors.inventory.snapshot import Snapshot
from tests.clock import Clock
from tests.inventory.automation_api import (
    EARLIER,
    FIRST_LISTS,
    HANG,
    LATER,
    REFERENCE,
    UNSUPPORTED,
    Answer,
    AutomationApi,
    full_account,
    listed_account,
    objects,
    one,
    read,
    refusal,
)
from tests.triage.automation_server import SUBSCRIPTION

AT = "2026-02-01T08:00:00.123000Z"
TIMES = {"creationTime": AT, "lastModifiedTime": AT}
MACHINE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-ops/providers/Microsoft.Compute/virtualMachines/vm-1"
WORKER = "c010ad12-ef14-4a2a-aa9e-ef22c4745ddd"


@pytest.mark.parametrize(
    ("kind", "name", "path", "properties"),
    [
        (
            "Watcher",
            "inbox",
            "watchers/inbox",
            {
                "scriptName": "watch-inbox",
                "scriptRunOn": "hybrid-ops",
                "executionFrequencyInSeconds": 60,
                "status": "Running",
                **TIMES,
            },
        ),
        (
            "Runbook",
            "deploy",
            "runbooks/deploy",
            {
                "runbookType": "PowerShell",
                "state": "Edit",
                "draftInEdit": True,
                "description": "Cleans up",
                "lastModifiedBy": "admin@contoso.com",
                **TIMES,
            },
        ),
        (
            "RunbookContent",
            "deploy (draft)",
            "runbooks/deploy/draft/content",
            {
                "runbook": "deploy",
                "version": "draft",
                "runbookType": "PowerShell",
                "sha256": "0d0e66ab470c1720a9c1313fd1fadb84f68de785652782622aa3be1c37fcd6ba",
                "size": 70,
                "truncated": False,
                "modifiedTime": AT,
                "modifiedBy": "admin@contoso.com",
                "suspicious": True,
                "indicators": ["download", "evaluate"],
                "lines": [{"line": 1, "reason": "Evaluates a download (PowerShell)."}],
            },
        ),
        (
            "Webhook",
            "from-pipeline",
            "webhooks/from-pipeline",
            {
                "runbook": "deploy",
                "isEnabled": True,
                "expiryTime": "2036-01-01T00:00:00.700287Z",
                "runOn": "hybrid-ops",
                "parameterNames": ["Action", "Target"],
                "lastInvokedTime": "2026-03-02T02:29:00Z",
                **TIMES,
            },
        ),
        (
            "Schedule",
            "every-night",
            "schedules/every-night",
            {
                "frequency": "Week",
                "interval": 1,
                "startTime": AT,
                "expiryTime": "9999-12-31T23:59:00Z",
                "isEnabled": True,
                "timeZone": "UTC",
                "advancedSchedule": {"weekDays": ["Friday", "Monday"]},
                "description": "At night",
                **TIMES,
            },
        ),
        (
            "JobSchedule",
            "nightly on every-night",
            "jobschedules/2f4d8f35-ecd5-44ee-a019-2382fec58fb7",
            {"runbook": "nightly", "schedule": "every-night", "parameterNames": ["Zone"]},
        ),
        (
            "HybridWorkerGroup",
            "hybrid-ops",
            "hybridrunbookworkergroups/hybrid-ops",
            {
                "groupType": "User",
                "credential": "run-as",
                "createdBy": "admin@contoso.com",
                "createdAt": AT,
                "lastModifiedBy": "admin@contoso.com",
            },
        ),
        (
            "HybridWorker",
            "vm-1",
            f"hybridrunbookworkergroups/hybrid-ops/hybridrunbookworkers/{WORKER}",
            {
                "group": "hybrid-ops",
                "workerName": "vm-1",
                "ip": "203.0.113.10",
                "vmResourceId": MACHINE,
                "workerType": "HybridV2",
                "registeredDateTime": AT,
            },
        ),
        (
            "Module",
            "Contoso.Tools",
            "modules/contoso.tools",
            {"version": "1.2.3", "sizeInBytes": 1024, "isGlobal": False, "provisioningState": "Succeeded", **TIMES},
        ),
        (
            "RuntimeEnvironment",
            "ps-ops",
            "runtimeenvironments/ps-ops",
            {
                "language": "PowerShell",
                "version": "7.2",
                "defaultPackages": {"Az": "8.3.0"},
                "description": "For operations",
                **TIMES,
            },
        ),
        (
            "SourceControl",
            "main-repository",
            "sourcecontrols/main-repository",
            {
                "repoUrl": "https://github.com/contoso/runbooks",
                "branch": "main",
                "folderPath": "/runbooks",
                "autoSync": True,
                "publishRunbook": True,
                "sourceType": "GitHub",
                **TIMES,
            },
        ),
        ("Credential", "run-as", "credentials/run-as", TIMES),
        ("Certificate", "signing", "certificates/signing", TIMES),
        (
            "Connection",
            "AzureRunAsConnection",
            "connections/azurerunasconnection",
            {"connectionType": "Azure", **TIMES},
        ),
        ("Variable", "region", "variables/region", {"isEncrypted": False, **TIMES}),
    ],
)
async def test_an_object_is_kept_by_the_names_of_the_api(
    kind: str, name: str, path: str, properties: dict[str, Any]
) -> None:
    found = objects((await read(full_account())).snapshot, kind)[name]
    assert found.id == f"{REFERENCE.id}/{path}"
    assert found.properties == properties


async def test_packages_say_for_what_they_are() -> None:
    snapshot = (await read(full_account())).snapshot
    found = {
        each.id.removeprefix(f"{REFERENCE.id}/"): each.properties for each in snapshot.objects if each.kind == "Package"
    }
    assert found == {
        "python2packages/requests": {"language": "Python2", "sizeInBytes": 1024, **TIMES},
        "python3packages/requests": {"language": "Python3", "version": "1.2.3", "sizeInBytes": 1024, **TIMES},
        "runtimeenvironments/ps-ops/packages/az.accounts": {
            "language": "PowerShell",
            "runtimeEnvironment": "ps-ops",
            "version": "2.0.0",
            "sizeInBytes": 2048,
            **TIMES,
        },
    }


async def test_the_account_is_kept_as_it_was_listed() -> None:
    listed = listed_account(
        tags={"team": "operations"},
        identity={
            "type": "SystemAssigned, UserAssigned",
            "principalId": "22222222-3333-4444-5555-666666666666",
            "tenantId": "33333333-4444-5555-6666-777777777777",
            "userAssignedIdentities": {
                "/subscriptions/S/resourceGroups/Z/providers/Microsoft.ManagedIdentity/userAssignedIdentities/B": {},
                "/subscriptions/S/resourceGroups/A/providers/Microsoft.ManagedIdentity/userAssignedIdentities/A": {},
            },
        },
        properties={
            "publicNetworkAccess": False,
            "disableLocalAuth": True,
            "state": "Ok",
            "encryption": {"keySource": "Microsoft.Keyvault", "keyVaultProperties": {"keyName": "k"}},
            "creationTime": EARLIER,
            "lastModifiedTime": LATER,
        },
    )
    api = full_account()
    found = one((await read(api, listed=listed)).snapshot, "Account")
    assert (found.id, found.name) == (REFERENCE.id, "aa-prod")
    assert found.properties == {
        "location": "westeurope",
        "tags": {"team": "operations"},
        "identityType": "SystemAssigned, UserAssigned",
        "principalId": "22222222-3333-4444-5555-666666666666",
        "userAssignedIdentities": [
            "/subscriptions/s/resourcegroups/a/providers/microsoft.managedidentity/userassignedidentities/a",
            "/subscriptions/s/resourcegroups/z/providers/microsoft.managedidentity/userassignedidentities/b",
        ],
        "publicNetworkAccess": False,
        "disableLocalAuth": True,
        "state": "Ok",
        "encryptionKeySource": "Microsoft.Keyvault",
        "watcherActions": "not available",
        "unread": [],
    }
    assert "" not in api.requests, "the account itself is not asked for"


async def test_workers_of_a_group_of_one_machine_are_not_asked_for() -> None:
    api = full_account()
    await read(api)
    asked = [path for path in api.requests if path.endswith("hybridRunbookWorkers")]
    assert asked == ["hybridRunbookWorkerGroups/hybrid-ops/hybridRunbookWorkers"]


@pytest.mark.parametrize(
    ("parents", "below", "section", "kind"),
    [
        ("hybridRunbookWorkerGroups", "hybridRunbookWorkers", "hybridRunbookWorkers", "HybridWorker"),
        ("runtimeEnvironments", "packages", "packages", "Package"),
    ],
)
async def test_a_list_below_one_object_that_cannot_be_read_hides_no_other(
    parents: str, below: str, section: str, kind: str
) -> None:
    api = AutomationApi()
    for parent in ("a", "ab", "c"):
        api.put(parents, parent, {"groupType": "User"})
        api.put(f"{parents}/{parent}/{below}", f"in-{parent}", {})
    first = (await read(api)).snapshot
    assert set(objects(first, kind)) == {"in-a", "in-ab", "in-c"}
    api.answers[f"{parents}/a/{below}"] = refusal(404, "NotFound")
    api.lists[f"{parents}/ab/{below}"] = []
    api.put(f"{parents}/c/{below}", "second", {})
    second = (await read(api, first)).snapshot
    assert set(objects(second, kind)) == {"in-a", "in-c", "second"}
    assert list(second.unread) == [section]
    assert second.unread[section].startswith("1 of 3 lists could not be read. ")
    assert second.never_read == ()
    assert api.asked("") == 0
    # When none can be read, the section cannot.
    api.answers[f"{parents}/*"] = refusal(403)
    third = (await read(api, second)).snapshot
    assert set(objects(third, kind)) == {"in-a", "in-c", "second"}
    assert "(403)" in third.unread[section]


async def test_values_of_the_wrong_kind_are_left_out() -> None:
    api = AutomationApi()
    odd = {"runbook": "nightly", "isEnabled": "yes", "expiryTime": 7, "runOn": {"x": 1}, "parameters": ["a"]}
    api.put("webhooks", "odd", odd)
    api.put("schedules", "odd", {"interval": "2", "advancedSchedule": [], "frequency": True, "startTime": "soon"})
    api.put("schedules", "never", {"startTime": "0001-01-01T00:00:00+00:00", "interval": 10**30})
    api.put("sourceControls", "odd", {"repoUrl": 7, "branch": None, "autoSync": 1})
    api.lists["runtimeEnvironments/odd/packages"] = []
    api.put("runtimeEnvironments", "odd", {"defaultPackages": [], "runtime": "PowerShell"})
    api.lists["modules"] = [{"name": "Az", "properties": None}, {"id": "/x/modules/Pester"}]
    snapshot = (await read(api)).snapshot
    assert snapshot.unread == {}
    assert one(snapshot, "Webhook").properties == {}
    assert objects(snapshot, "Schedule")["odd"].properties == {"interval": "2", "startTime": "soon"}
    assert objects(snapshot, "Schedule")["never"].properties == {"interval": f"{10**30}"}
    assert one(snapshot, "SourceControl").properties == {}
    assert one(snapshot, "RuntimeEnvironment").properties == {}
    assert set(objects(snapshot, "Module")) == {"Az", "Pester"}


async def test_a_monthly_schedule_says_when() -> None:
    api = AutomationApi()
    advanced = {
        "weekDays": None,
        "monthDays": [15, 1],
        "monthlyOccurrences": [{"occurrence": 2, "day": "Monday"}, {"occurrence": 1, "day": "Friday"}],
    }
    api.put("schedules", "monthly", {"advancedSchedule": advanced})
    assert one((await read(api)).snapshot, "Schedule").properties["advancedSchedule"] == {
        "monthDays": [1, 15],
        "monthlyOccurrences": [{"day": "Friday", "occurrence": 1}, {"day": "Monday", "occurrence": 2}],
    }


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://github.com/contoso/ops", "https://github.com/contoso/ops"),
        ("https://user:pat@github.com/contoso/ops", "https://«masked»@github.com/contoso/ops"),
        ("https://pat@dev.azure.com/contoso/_git/ops", "https://«masked»@dev.azure.com/contoso/_git/ops"),
        ("https://user:p@ss@dev.azure.com/x", "https://«masked»@dev.azure.com/x"),
        ("https://user:pa/ss@github.com/x", "https://«masked»@github.com/x"),
        ("https://user:pa#s?s@github.com/x", "https://«masked»@github.com/x"),
        ("git@github.com:contoso/ops", "«masked»@github.com:contoso/ops"),
        ("https://contoso.com:8443/x@y", "https://contoso.com:8443/x@y"),
        ("https://contoso.com/x?token=abcdef", "https://contoso.com/x?token=«masked»"),
    ],
)
async def test_a_repository_is_kept_without_its_user(url: str, kept: str) -> None:
    api = AutomationApi()
    api.put("sourceControls", "ops", {"repoUrl": url})
    assert one((await read(api)).snapshot, "SourceControl").properties == {"repoUrl": kept}


async def test_texts_that_people_wrote_are_masked_as_lines_and_as_one() -> None:
    api = AutomationApi()
    api.put("schedules", "a", {"description": "first\r\npassword:\nhunter2 \u202eabc"})
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC\n" * 3
    api.put("schedules", "b", {"description": f"{key}-----END PRIVATE KEY-----"})
    api.put("schedules", "c", {"description": "x" * 30_000})
    found = objects((await read(api)).snapshot, "Schedule")
    assert "hunter2" not in str(found["a"].properties)
    assert "MIIEvQ" not in str(found["b"].properties)
    assert found["c"].properties == {"description": "(30,000 characters: not kept)"}


# Runbooks


async def test_a_list_that_tells_of_a_draft_is_believed() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a", "b", listed={"draft": {"inEdit": True, "lastModifiedTime": EARLIER}})
    first = (await read(api)).snapshot
    runbook = one(first, "Runbook").properties
    assert (runbook["draftInEdit"], runbook["draftLastModifiedTime"]) == (True, AT)
    api.put_runbook("nightly", "a", "c", listed={"draft": {"inEdit": True, "lastModifiedTime": LATER}})
    second = await read(api, first)
    draft = objects(second.snapshot, "RunbookContent")["nightly (draft)"]
    assert draft.properties["modifiedTime"] == "2026-03-02T02:30:00Z"
    assert list(second.contents.values()) == [b"c"]


async def test_a_runbook_that_was_never_published_is_asked_for_its_draft_alone() -> None:
    api = AutomationApi()
    api.put_runbook("new-one", None, "a")
    snapshot = (await read(api)).snapshot
    assert [path for path in api.requests if "/" in path] == ["runbooks/new-one", "runbooks/new-one/draft/content"]
    assert "contentUnread" not in one(snapshot, "Runbook").properties


async def test_a_draft_goes_when_it_is_published() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a", "b")
    first = (await read(api)).snapshot
    assert set(objects(first, "RunbookContent")) == {"nightly (published)", "nightly (draft)"}
    api.put_runbook("nightly", "b", modified=LATER)
    second = (await read(api, first)).snapshot
    assert set(objects(second, "RunbookContent")) == {"nightly (published)"}
    assert one(second, "RunbookContent").properties["sha256"] != one_content(first, "published")["sha256"]


def one_content(snapshot: Snapshot, version: str) -> dict[str, Any]:
    (found,) = (each for each in snapshot.objects if each.properties.get("version") == version)
    return found.properties


async def test_the_same_text_written_again_is_no_change_of_the_text() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a")
    first = (await read(api)).snapshot
    api.put_runbook("nightly", "a", modified=LATER, by="eve@contoso.com")
    second = await read(api, first)
    assert one(second.snapshot, "RunbookContent") == one(first, "RunbookContent")
    assert one(second.snapshot, "Runbook").properties["lastModifiedBy"] == "eve@contoso.com"
    assert second.contents == {}


async def test_a_text_beyond_the_limit_is_cut_and_counts_as_changed_whenever_it_is_written() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "x" * 50_000)
    first = await read(api, cap_bytes=1_000)
    found = one(first.snapshot, "RunbookContent").properties
    assert (found["size"], found["truncated"]) == (1_000, True)
    assert first.contents == {found["sha256"]: b"x" * 1_000}
    assert all(connection.closed for connection in api.connections)
    api.put_runbook("nightly", "x" * 50_000 + "y", modified=LATER)
    second = (await read(api, first.snapshot, cap_bytes=1_000)).snapshot
    assert one(second, "RunbookContent").properties["modifiedTime"] == "2026-03-02T02:30:00Z"


async def test_the_digest_is_of_the_bytes_as_they_were_sent() -> None:
    api = AutomationApi()
    data = "﻿Get-Date é".encode("utf-16")
    api.put_runbook("nightly", data)
    seen: list[tuple[bytes, str]] = []

    def look(text: bytes, runbook_type: str) -> Any:
        seen.append((text, runbook_type))
        raise RecursionError

    reading = await read(api, judge_content=look)
    assert list(reading.contents.values()) == [data]
    assert seen == [(data, "PowerShell")]


async def test_a_text_that_cannot_be_judged_is_kept_and_judged_the_next_time() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a")

    def fail(_: bytes, __: str) -> Any:
        raise RecursionError("what the text was")

    first = await read(api, judge_content=fail)
    assert one(first.snapshot, "Runbook").properties["contentUnread"] == {"published": "not judged (RecursionError)"}
    assert "suspicious" not in one(first.snapshot, "RunbookContent").properties
    assert list(first.contents.values()) == [b"a"]
    second = (await read(api, first.snapshot)).snapshot
    assert one(second, "RunbookContent").properties["suspicious"] is False
    assert "contentUnread" not in one(second, "Runbook").properties


async def test_a_large_text_is_judged_beside_the_event_loop() -> None:
    threads: list[threading.Thread] = []

    def look(_: bytes, __: str) -> Any:
        threads.append(threading.current_thread())
        raise RecursionError

    api = AutomationApi()
    api.put_runbook("small", "x" * 50_000)
    api.put_runbook("large", "x" * 50_001)
    await read(api, judge_content=look)
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refusal(404, "NotFound"), "Azure answered 404"),
        (refusal(500, "Internal"), "Azure answered 500"),
        (Answer(b"text", cut=True), "no answer"),
        (ServiceResponseError("connection lost"), "no answer"),
        (KeyError("an error of our own"), "not readable (KeyError)"),
    ],
)
async def test_a_text_that_cannot_be_read_leaves_the_one_before(answer: Answer | Exception, why: str) -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a")
    api.put_runbook("weekly", "b")
    first = (await read(api)).snapshot
    api.put_runbook("nightly", "c", modified=LATER)
    api.put_runbook("weekly", "d", modified=LATER)
    api.answers["runbooks/nightly/content"] = answer
    second = await read(api, first)
    before, after = objects(first, "RunbookContent"), objects(second.snapshot, "RunbookContent")
    assert after["nightly (published)"] == before["nightly (published)"]
    assert objects(second.snapshot, "Runbook")["nightly"].properties["contentUnread"] == {"published": why}
    assert list(second.contents.values()) == [b"d"]
    assert second.snapshot.unread == {}
    # It stays the same while it stays so, and is read as soon as it can be.
    api.forget()
    third = (await read(api, as_stored(second.snapshot))).snapshot
    assert third.digest == second.snapshot.digest
    assert "runbooks/nightly" not in api.requests
    api.answers.clear()
    fourth = (await read(api, third)).snapshot
    runbook = objects(fourth, "Runbook")["nightly"].properties
    assert "contentUnread" not in runbook
    assert one_of(fourth, "nightly (published)")["modifiedTime"] == "2026-03-02T02:30:00Z"
    assert fourth.first_read == ()


def one_of(snapshot: Snapshot, name: str) -> dict[str, Any]:
    return objects(snapshot)[name].properties


async def test_a_text_that_is_missing_is_asked_for_again_while_it_may_still_appear() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a", modified=LATER)
    del api.texts["runbooks/nightly/content"]
    clock = Clock()
    first = (await read(api, clock=clock)).snapshot
    for minutes, asked in ((20, 1), (20, 0), (60, 0)):
        clock.advance(minutes=minutes)
        api.forget()
        second = (await read(api, first, clock=clock)).snapshot
        assert api.asked("runbooks/nightly/content") == asked
        assert second.digest == first.digest
    api.put_runbook("nightly", "a", modified="2026-03-02T04:00:00+00:00")
    assert "nightly (published)" in objects((await read(api, first)).snapshot)


async def test_one_refusal_of_a_text_is_enough() -> None:
    api = AutomationApi()
    for number in range(5):
        api.put_runbook(f"r{number}", "a", "b")
        api.answers[f"runbooks/r{number}/content"] = refusal(403)
    first = (await read(api)).snapshot
    assert len([path for path in api.requests if path.endswith("/content") and "draft" not in path]) == 1
    assert len(objects(first, "RunbookContent")) == 5
    notes = {str(each.properties["contentUnread"]) for each in objects(first, "Runbook").values()}
    assert notes == {"{'published': 'Azure answered 403'}"}
    api.forget()
    await read(api, first)
    assert len(api.requests) == len(FIRST_LISTS) - 2 + 1
    api.answers.clear()
    second = (await read(api, first)).snapshot
    assert len(objects(second, "RunbookContent")) == 10


async def test_what_a_visit_has_no_time_for_is_read_by_the_next() -> None:
    api = AutomationApi()
    for name in ("a", "b", "c"):
        api.put_runbook(name, f"text of {name}")
    api.answers["runbooks/b/content"] = HANG
    first = (await read(api, section_timeout=0)).snapshot
    assert first.unread == {}
    assert set(objects(first, "RunbookContent")) == {"a (published)"}
    notes = {name: each.properties.get("contentUnread") for name, each in objects(first, "Runbook").items()}
    assert notes == {"a": None, "b": {"published": LEFT}, "c": {"published": LEFT}}
    assert objects(first, "Runbook")["c"].properties["detailsUnread"] == LEFT
    api.answers.clear()
    api.forget()
    second = (await read(api, as_stored(first))).snapshot
    asked = [path for path in api.requests if "/" in path]
    assert asked == ["runbooks/b/content", "runbooks/c", "runbooks/c/content"]
    assert set(objects(second, "RunbookContent")) == {"a (published)", "b (published)", "c (published)"}
    # They were there at the first reading, so they are the base line, and no change.
    assert second.first_read == tuple(("RunbookContent", f"{REFERENCE.id}/runbooks/{name}/content") for name in "bc")
    assert not any("Unread" in key or "Baseline" in key for each in second.objects for key in each.properties)


async def test_a_text_that_is_written_before_it_was_ever_read_is_a_change() -> None:
    api = AutomationApi()
    api.put_runbook("a", "text")
    api.answers["runbooks/a/content"] = refusal(500)
    first = (await read(api)).snapshot
    api.answers.clear()
    api.put_runbook("a", "text", modified=LATER)
    assert (await read(api, first)).snapshot.first_read == ()


async def test_the_text_of_a_runbook_that_is_new_is_a_change_however_late_it_is_read() -> None:
    api = AutomationApi()
    first = (await read(api)).snapshot
    api.put_runbook("a", "text", modified=LATER)
    api.answers["runbooks/a/content"] = refusal(500)
    second = (await read(api, first)).snapshot
    api.answers.clear()
    third = (await read(api, second)).snapshot
    assert "a (published)" in objects(third)
    assert third.first_read == ()


async def test_what_failed_before_does_not_take_the_time_of_what_was_never_tried() -> None:
    api = AutomationApi()
    for name in ("a", "b"):
        api.put_runbook(name, "text")
    api.answers["runbooks/a/content"] = refusal(500)
    api.answers["runbooks/b/content"] = refusal(500)
    first = (await read(api)).snapshot
    api.answers["runbooks/a/content"] = HANG
    api.answers["runbooks/b/content"] = HANG
    api.put_runbook("z", "text", modified=LATER)
    second = (await read(api, first, section_timeout=0)).snapshot
    assert set(objects(second, "RunbookContent")) == {"z (published)"}


async def test_a_visit_keeps_so_much_text_in_memory_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runbooks_section, "MAX_CONTENT_BYTES", 25)
    api = AutomationApi()
    for number in range(7):
        api.put_runbook(f"r{number}", f"ten bytes {number}")
    snapshot: Snapshot | None = None
    sizes = []
    for _ in range(3):
        reading = await read(api, snapshot)
        snapshot = reading.snapshot
        sizes.append(len(reading.contents))
    assert sizes == [3, 3, 1]
    assert snapshot is not None
    assert len(objects(snapshot, "RunbookContent")) == 7


async def test_who_wrote_a_runbook_is_not_taken_from_before_it_moved() -> None:
    api = AutomationApi()
    api.put_runbook("nightly", "a", by="admin@contoso.com")
    first = (await read(api)).snapshot
    api.put_runbook("nightly", "b", modified=LATER, by="eve@contoso.com")
    api.answers["runbooks/nightly"] = refusal(500)
    second = (await read(api, first)).snapshot
    runbook = one(second, "Runbook").properties
    assert "lastModifiedBy" not in runbook
    assert runbook["detailsUnread"] == "Azure answered 500"
    api.answers.clear()
    api.forget()
    third = (await read(api, second)).snapshot
    assert one(third, "Runbook").properties["lastModifiedBy"] == "eve@contoso.com"
    assert [path for path in api.requests if "/" in path] == ["runbooks/nightly"]


async def test_a_name_that_cannot_be_part_of_a_request_is_not_sent() -> None:
    api = AutomationApi()
    api.put("runbooks", "..", {"state": "Published"})
    api.put("runbooks", "a/../b", {"state": "Published"})
    api.put("watchers", "..", {"scriptName": "x"})
    snapshot = (await read(api)).snapshot
    assert snapshot.unread == {}
    assert not any("/" in path for path in api.requests)
    assert len(objects(snapshot, "Runbook")) == 2
    assert "cannot be part of a request" in one(snapshot, "Watcher").properties["detailsUnread"]


# Watchers


async def test_the_status_of_a_watcher_is_asked_for_when_it_moves() -> None:
    api = AutomationApi()
    api.put_watcher("inbox", "New")
    first = (await read(api)).snapshot
    assert one(first, "Watcher").properties["status"] == "New"
    api.forget()
    second = (await read(api, first)).snapshot
    assert api.asked("watchers/inbox") == 0
    assert one(second, "Watcher") == one(first, "Watcher")
    api.put_watcher("inbox", "Running", modified=LATER)
    third = (await read(api, second)).snapshot
    assert one(third, "Watcher").properties["status"] == "Running"


async def test_a_status_that_the_list_gives_is_believed() -> None:
    api = AutomationApi()
    api.put("watchers", "inbox", {"scriptName": "x", "status": "New", "lastModifiedTime": EARLIER})
    first = (await read(api)).snapshot
    api.put("watchers", "inbox", {"scriptName": "x", "status": "Running", "lastModifiedTime": EARLIER})
    second = (await read(api, first)).snapshot
    assert one(second, "Watcher").properties["status"] == "Running"
    assert api.asked("watchers/inbox") == 0


async def test_parameters_of_a_watcher_are_kept_and_its_secrets_are_not() -> None:
    api = AutomationApi()
    parameters = {"Folder": "inbox", "SqlPassword": "hunter2", "SecretName": "sql", "Empty": None, "Count": 3}
    api.put_watcher("inbox", scriptParameters=parameters)
    assert one((await read(api)).snapshot, "Watcher").properties["scriptParameters"] == {
        "Count": "3",
        "Empty": "",
        "Folder": "inbox",
        "SecretName": "sql",
        "SqlPassword": "«masked»",
    }


async def test_a_watcher_that_moved_to_the_cloud_keeps_no_group() -> None:
    api = AutomationApi()
    api.put_watcher("inbox")
    first = (await read(api)).snapshot
    api.put_watcher("inbox", modified=LATER, scriptRunOn=None)
    assert "scriptRunOn" not in one((await read(api, first)).snapshot, "Watcher").properties


async def test_a_watcher_that_cannot_be_asked_is_asked_again() -> None:
    api = AutomationApi()
    api.put_watcher("inbox")
    api.answers["watchers/inbox"] = refusal(500)
    first = (await read(api)).snapshot
    assert one(first, "Watcher").properties["detailsUnread"] == "Azure answered 500"
    second = (await read(api, first)).snapshot
    assert second.digest == first.digest
    api.answers.clear()
    third = (await read(api, second)).snapshot
    assert one(third, "Watcher").properties["status"] == "Running"
    assert "detailsUnread" not in one(third, "Watcher").properties


async def test_watchers_that_there_was_no_time_for_are_asked_by_the_next_visit() -> None:
    api = AutomationApi()
    for name in ("a", "b"):
        api.put_watcher(name)
    api.answers["watchers/a"] = HANG
    first = (await read(api, section_timeout=0)).snapshot
    assert {each.properties["detailsUnread"] for each in objects(first, "Watcher").values()} == {LEFT}
    assert first.unread == {}
    api.answers.clear()
    second = (await read(api, first)).snapshot
    assert {each.properties["status"] for each in objects(second, "Watcher").values()} == {"Running"}


async def test_a_watcher_that_failed_before_does_not_take_the_time_of_one_that_is_new() -> None:
    api = AutomationApi()
    api.put_watcher("a")
    api.answers["watchers/a"] = refusal(500)
    first = (await read(api)).snapshot
    api.answers["watchers/a"] = HANG
    api.put_watcher("z")
    second = (await read(api, first, section_timeout=0)).snapshot
    assert objects(second, "Watcher")["z"].properties["status"] == "Running"
    assert objects(second, "Watcher")["a"].properties["detailsUnread"] == "Azure answered 500"


ASK = "watchers/inbox/watcherActions"


def actions(*entries: dict[str, Any]) -> Answer:
    return Answer(json.dumps({"value": entries}).encode())


def asked_for_actions(api: AutomationApi) -> list[str]:
    return [path for path in api.requests if path.endswith("watcherActions")]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(json.dumps(UNSUPPORTED).encode(), 404),
        refusal(400, "InvalidResourceType"),
        refusal(400, "NoRegisteredProviderFound"),
        refusal(404, "NotFound"),
    ],
)
async def test_that_actions_are_not_available_is_noted_once(answer: Answer) -> None:
    api = AutomationApi()
    api.answers["watchers/*"] = answer
    for name in ("inbox", "outbox"):
        api.put_watcher(name)
        single = Answer(json.dumps(api.singles[f"watchers/{name}"]).encode())
        api.answers = {f"watchers/{name}": single, **api.answers}
    first = (await read(api)).snapshot
    assert one(first, "Account").properties["watcherActions"] == "not available"
    assert asked_for_actions(api) == [ASK]
    api.forget()
    second = (await read(api, first)).snapshot
    assert asked_for_actions(api) == []
    assert second.digest == first.digest
    # Asked again when a watcher is new or has moved, and that one first.
    api.put_watcher("outbox", modified=LATER)
    await read(api, second)
    assert asked_for_actions(api) == ["watchers/outbox/watcherActions"]


async def test_actions_are_kept_where_they_are_told() -> None:
    api = AutomationApi()
    api.put_watcher("inbox")
    entry = {
        "id": "/x/watchers/inbox/watcherActions/act",
        "name": "act",
        "properties": {
            "scriptName": "deploy",
            "scriptRunOn": "hybrid-ops",
            "isEnabled": True,
            "order": 1,
            "password": "hunter2",
            "creationTime": EARLIER,
            "scriptParameters": {"Target": "vm-1"},
            "etag": "1",
            "note": None,
        },
    }
    api.answers[ASK] = actions(entry)
    first = (await read(api)).snapshot
    action = one(first, "WatcherAction")
    assert (action.name, action.id) == ("act", f"{REFERENCE.id}/watchers/inbox/watcheractions/act")
    assert action.properties == {
        "watcher": "inbox",
        "scriptName": "deploy",
        "scriptRunOn": "hybrid-ops",
        "isEnabled": True,
        "order": 1,
        "password": "«masked»",
        "creationTime": AT,
        "parameterNames": ["Target"],
    }
    assert one(first, "Watcher").properties["actions"] == ["deploy"]
    assert one(first, "Account").properties["watcherActions"] == "available"
    assert api.queries[api.requests.index(ASK)] == {"api-version": ["2015-10-31"]}
    # An action may be added although its watcher does not move.
    api.answers[ASK] = actions(entry, {"name": "second", "properties": {"runbook": {"name": "wipe"}}})
    second = (await read(api, first)).snapshot
    assert one(second, "Watcher").properties["actions"] == ["deploy", "wipe"]
    api.answers[ASK] = actions()
    third = (await read(api, second)).snapshot
    assert "actions" not in one(third, "Watcher").properties
    assert objects(third, "WatcherAction") == {}


@pytest.mark.parametrize(
    "answer",
    [refusal(403), refusal(500), HANG, Answer(b"{}"), refusal(404, "ResourceNotFound"), ServiceResponseError("x")],
)
async def test_actions_that_were_told_stay_while_there_is_no_answer(answer: Answer | Exception) -> None:
    api = AutomationApi()
    api.put_watcher("inbox")
    api.answers[ASK] = actions({"name": "act", "properties": {"scriptName": "deploy"}})
    first = (await read(api)).snapshot
    api.answers[ASK] = answer
    second = (await read(api, first, section_timeout=0)).snapshot
    assert second.digest == first.digest


async def test_actions_of_which_nothing_is_known_are_asked_for_again() -> None:
    api = AutomationApi()
    api.put_watcher("inbox")
    api.answers[ASK] = refusal(500)
    first = (await read(api)).snapshot
    assert "watcherActions" not in one(first, "Account").properties
    assert api.asked(ASK) == 1, "what nobody has specified is not tried twice"
    api.forget()
    await read(api, first)
    assert api.asked(ASK) == 1


async def test_an_account_without_watchers_is_not_asked_for_actions() -> None:
    api = AutomationApi()
    snapshot = (await read(api)).snapshot
    assert "watcherActions" not in one(snapshot, "Account").properties
    assert asked_for_actions(api) == []


# Jobs


def names(jobs: Sequence[Any]) -> list[str]:
    return [each.name for each in jobs]


async def test_a_job_is_told_once_with_who_started_it() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    (job,) = first.jobs
    assert job.kind == "Job"
    assert job.id == f"{REFERENCE.id}/jobs/45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23"
    assert job.properties == {
        "runbook": "deploy",
        "status": "Running",
        "runOn": "hybrid-ops",
        "runtimeEnvironment": "PowerShell-7.2",
        "creationTime": "2026-03-02T02:30:00Z",
        "startTime": "2026-03-02T02:30:00Z",
        "parameterNames": ["Target"],
        "trigger": "Webhook",
        "triggerName": "from-pipeline",
    }
    other = "7584055f-5118-460a-a2dd-5176c9c8efe9"
    api.put_job(other, startedBy="eve@contoso.com", created="2026-03-02T02:55:00+00:00")
    api.forget()
    second = (await read(api, as_stored(first))).snapshot
    assert names(second.jobs) == [other]
    assert second.jobs[0].properties["startedBy"] == "eve@contoso.com"
    assert second.jobs[0].properties["trigger"] == ""
    assert [path for path in api.requests if path.startswith("jobs/")] == [f"jobs/{other}"]
    assert (await read(api, second)).snapshot.jobs == ()


async def test_jobs_are_listed_from_an_hour_before_the_last_list() -> None:
    api = AutomationApi()
    clock = Clock()
    first = (await read(api, clock=clock)).snapshot
    assert api.queries[-1]["$filter"] == ["properties/creationTime ge 2026-03-02T02:00:00Z"]
    clock.advance(hours=5)
    api.answers["jobs"] = refusal(500)
    second = (await read(api, first, clock=clock)).snapshot
    assert second.taken_at > first.taken_at
    api.answers.clear()
    third = (await read(api, second, clock=clock)).snapshot
    # Not from the snapshot before, which has no jobs of these five hours.
    assert api.queries[-1]["$filter"] == ["properties/creationTime ge 2026-03-02T02:00:00Z"]
    await read(api, third, clock=clock)
    assert api.queries[-1]["$filter"] == ["properties/creationTime ge 2026-03-02T07:00:00Z"]
    # A snapshot of before this field was kept.
    await read(api, replace(third, jobs_read_at=None, taken_at=clock() - timedelta(hours=3)), clock=clock)
    assert api.queries[-1]["$filter"] == ["properties/creationTime ge 2026-03-02T04:00:00Z"]


async def test_jobs_from_before_count_for_nothing_where_azure_does_not_filter() -> None:
    api = AutomationApi()
    api.put_job("old", created="2026-03-02T01:59:59+00:00")
    api.put_job("new", created="2026-03-02T02:00:00+00:00")
    snapshot = (await read(api)).snapshot
    assert names(snapshot.jobs) == ["new"]
    assert snapshot.seen_jobs == ("new",)


async def test_jobs_are_known_as_long_as_they_may_be_listed_again() -> None:
    api = AutomationApi()
    clock = Clock()
    api.put_job("a", created="2026-03-02T02:59:00+00:00")
    snapshot = (await read(api, clock=clock)).snapshot
    for number in range(10):
        clock.advance(minutes=10)
        api.put_job(f"j{number}", created=f"{clock() - timedelta(minutes=1):%Y-%m-%dT%H:%M:%S+00:00}")
        snapshot = (await read(api, snapshot, clock=clock)).snapshot
        assert names(snapshot.jobs) == [f"j{number}"]
    assert "a" not in snapshot.seen_jobs
    assert len(snapshot.seen_jobs) < 9


async def test_a_job_without_a_time_is_told_once() -> None:
    api = AutomationApi()
    api.put("jobs", "a", {"jobId": "a", "runbook": {"name": "nightly"}})
    first = (await read(api)).snapshot
    assert names(first.jobs) == ["a"]
    second = (await read(api, first)).snapshot
    assert (second.jobs, second.seen_jobs, second.unread) == ((), ("a",), {})


async def test_a_job_that_is_listed_twice_is_one() -> None:
    api = AutomationApi()
    api.put_job("a")
    api.lists["jobs"].append({**api.lists["jobs"][0], "name": "A"})
    assert len((await read(api)).snapshot.jobs) == 1


async def test_so_many_jobs_are_asked_and_none_hides_behind_another_runbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_section, "MAX_ASKED", 3)
    api = AutomationApi()
    for number in range(9):
        api.put_job(
            f"flood-{number}", "harmless", created=f"2026-03-02T02:1{number}:00+00:00", startedBy="a@contoso.com"
        )
    api.put_job("the-one", "wipe", created="2026-03-02T02:50:00+00:00", startedBy="eve@contoso.com")
    snapshot = (await read(api)).snapshot
    assert len(snapshot.jobs) == 10
    asked = [path for path in api.requests if path.startswith("jobs/")]
    assert asked == ["jobs/flood-0", "jobs/the-one", "jobs/flood-1"]
    started = {job.name for job in snapshot.jobs if "startedBy" in job.properties}
    assert started == {"flood-0", "flood-1", "the-one"}


@pytest.mark.parametrize("answer", [refusal(404, "NotFound"), refusal(500), HANG, ServiceResponseError("x")])
async def test_a_job_that_cannot_be_asked_is_told_all_the_same(answer: Answer | Exception) -> None:
    api = full_account()
    api.lists["webhooks"] = []
    api.put("jobSchedules", None, {"jobScheduleId": "1", "runbook": {"name": "deploy"}, "schedule": {"name": "s"}})
    api.answers["jobs/45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23"] = answer
    snapshot = (await read(api, section_timeout=0)).snapshot
    (job,) = snapshot.jobs
    assert snapshot.unread == {}
    # Nobody said that no user started it: a list never says who did.
    assert (job.properties["status"], job.properties["trigger"]) == ("Running", "")


async def test_a_list_of_jobs_that_is_too_long_counts_as_far_as_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_section, "MAX_LISTED", 200)
    api = AutomationApi()
    for number in range(300):
        api.put_job(f"j{number:03}")
    snapshot = (await read(api)).snapshot
    assert len(snapshot.jobs) == 200
    assert snapshot.unread == {"jobs": "More than 200 jobs since 2026-03-02 02:00 UTC."}
    assert snapshot.never_read == ()
    assert snapshot.jobs_read_at == Clock()()
    assert one(snapshot, "Account").properties["unread"] == [], "nothing was refused"


async def test_a_list_of_jobs_that_is_too_slow_counts_as_far_as_it_was_read() -> None:
    api = AutomationApi()
    for number in range(150):
        api.put_job(f"j{number:03}")

    def stop(path: str) -> None:
        if path == "jobs":
            api.answers["jobs"] = HANG

    api.after = stop
    snapshot = (await read(api, section_timeout=0)).snapshot
    assert len(snapshot.jobs) == 100
    assert snapshot.unread == {"jobs": "The list of jobs did not end within 0 seconds."}


async def test_jobs_that_could_not_be_listed_stay_to_be_listed() -> None:
    api = full_account()
    api.answers["jobs"] = refusal(500)
    first = (await read(api)).snapshot
    assert (first.jobs, first.seen_jobs, first.jobs_read_at) == ((), (), None)
    api.answers.clear()
    assert len((await read(api, first)).snapshot.jobs) == 1
