"""One reading of an account: what it asks for, what it keeps of what cannot be read, and when it counts for nothing."""

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from msgspec.structs import replace

from detectors.automation.clients import AutomationClients
from detectors.inventory import account_reader
from detectors.inventory.account_reader import MAX_LISTED, AccountReader
from detectors.inventory.encoding import as_stored
from detectors.inventory.reading import AccountGone, Reading, Throttled, Unreachable
from detectors.inventory.sections import PERMISSIONS, SECTIONS, UNPUBLISHED_PERMISSIONS, account
from detectors.inventory.snapshot import InventoryObject, Snapshot
from tests.clock import Clock
from tests.inventory.automation_api import (
    FIRST_LISTS,
    HANG,
    REFERENCE,
    Answer,
    AutomationApi,
    client_of,
    full_account,
    judge,
    listed_account,
    objects,
    one,
    read,
    refusal,
)
from tests.triage.automation_server import (
    ACCOUNT,
    ARM_NOT_FOUND,
    AutomationServer,
    FakeCredential,
    Reply,
    as_json,
    serve,
)

LISTS = {
    section.name: next(path for path in FIRST_LISTS if path.rsplit("/", 1)[-1] == section.name) for section in SECTIONS
}
"""Section to the list that it reads of the full account."""

ALLOWED = msgspec.json.encode(ARM_NOT_FOUND)


def of_section(snapshot: Snapshot, name: str) -> list[InventoryObject]:
    (section,) = (section for section in SECTIONS if section.name == name)
    return [each for each in snapshot.objects if section.yields(snapshot.account, each)]


async def test_a_first_reading_finds_every_kind() -> None:
    snapshot = (await read(full_account())).snapshot
    kinds = {kind for section in SECTIONS for kind in section.kinds} | {"Account"}
    assert {each.kind for each in (*snapshot.objects, *snapshot.jobs)} == kinds - {"WatcherAction"}
    assert snapshot.unread == {}
    assert snapshot.never_read == ()
    assert snapshot.first_read == ()
    assert (snapshot.sequence, snapshot.account, snapshot.taken_at) == (1, REFERENCE, Clock()())
    assert list(snapshot.objects) == sorted(snapshot.objects, key=lambda each: (each.kind, each.id))


async def test_every_object_belongs_to_one_section() -> None:
    snapshot = (await read(full_account())).snapshot
    for each in snapshot.objects:
        if each.kind != "Account":
            assert len([s for s in SECTIONS if s.yields(snapshot.account, each)]) == 1, each.id


async def test_an_unchanged_account_costs_only_its_lists() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.forget()
    second = await read(api, as_stored(first))
    assert api.requests == FIRST_LISTS
    assert second.contents == {}
    assert second.snapshot.digest == first.digest
    assert second.snapshot.jobs == ()
    assert second.snapshot.sequence == 2


async def test_a_change_costs_only_what_it_is_about() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.put_runbook("nightly", "Get-AzAccessToken", modified="2026-03-02T02:59:00+00:00", by="eve@contoso.com")
    api.forget()
    second = await read(api, first)
    assert [path for path in api.requests if path not in FIRST_LISTS] == [
        "runbooks/nightly",
        "runbooks/nightly/content",
    ]
    content = objects(second.snapshot, "RunbookContent")["nightly (published)"].properties
    assert second.contents == {content["sha256"]: b"Get-AzAccessToken"}
    assert content["modifiedBy"] == "eve@contoso.com"
    assert content["modifiedTime"] == "2026-03-02T02:59:00Z"
    others = {(each.kind, each.id): each for each in first.objects if "nightly" not in each.name}
    assert {key: value for key, value in others.items() if value not in second.snapshot.objects} == {}


async def test_what_is_removed_is_missing() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.lists["runbooks"] = [entry for entry in api.lists["runbooks"] if entry["name"] != "deploy"]
    api.lists["variables"] = []
    second = (await read(api, first)).snapshot
    gone = {each.name for each in first.objects} - {each.name for each in second.objects}
    assert gone == {"deploy", "deploy (published)", "deploy (draft)", "region"}


async def test_lists_are_read_to_their_last_page() -> None:
    api = full_account()
    for number in range(250):
        api.put("variables", f"v{number}", {"isEncrypted": True})
    snapshot = (await read(api)).snapshot
    assert len(objects(snapshot, "Variable")) == 251
    assert api.asked("variables") == 3
    assert all(query["api-version"] == ["2024-10-23"] for path, query in api_calls(api) if path == "variables")


def api_calls(api: AutomationApi) -> list[tuple[str, dict[str, list[str]]]]:
    return list(zip(api.requests, api.queries, strict=True))


async def test_half_of_a_list_that_is_too_long_is_not_taken_for_the_whole() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.page_size = 5_000
    api.lists["variables"] = [{"name": f"v{number}", "properties": {}} for number in range(MAX_LISTED + 1)]
    second = (await read(api, first)).snapshot
    assert second.unread == {"variables": "There are more than 10,000 variables: too many to be read."}
    assert of_section(second, "variables") == of_section(first, "variables")


async def test_a_list_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_reader, "MAX_PAGES", 3)
    api = full_account()
    link = f"https://management.azure.com/subscriptions{REFERENCE.id.removeprefix('/subscriptions')}/variables"
    api.answers["variables"] = Answer(json.dumps({"value": [], "nextLink": link}).encode())
    snapshot = (await read(api)).snapshot
    assert snapshot.unread == {"variables": "The list of variables does not end within 3 pages."}
    assert api.asked("variables") == 3


async def test_a_page_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_reader, "MAX_PAGE_BYTES", 50_000)
    api = full_account()
    api.put("variables", "large", {"isEncrypted": False, "value": "x" * 100_000})
    snapshot = (await read(api)).snapshot
    assert snapshot.unread == {"variables": "A page of variables has more than 50,000 bytes: it is not read."}
    assert all(connection.closed for connection in api.connections)


@pytest.mark.parametrize("section", LISTS)
async def test_a_section_that_is_refused_keeps_its_objects(section: str) -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers[LISTS[section]] = refusal(403, "AuthorizationFailed", "The client does not have authorization.")
    second = (await read(api, first)).snapshot
    dependent = {"hybridRunbookWorkerGroups": "hybridRunbookWorkers", "runtimeEnvironments": "packages"}.get(section)
    assert set(second.unread) == {section, dependent} - {None}
    assert "(403)" in second.unread[section]
    assert of_section(second, section) == of_section(first, section)
    assert one(second, "Account").properties["unread"] == [section]
    unchanged = [each for each in first.objects if each.kind != "Account"]
    assert [each for each in second.objects if each.kind != "Account"] == unchanged


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(403, "AuthorizationFailed", "no"), "permission Microsoft.Automation/automationAccounts/modules/read"),
        (refusal(404, "InvalidResourceType", "no"), "Azure has no modules for this account (404 InvalidResourceType)."),
        (refusal(400, "NoRegisteredProviderFound", "no"), "Azure has no modules for this account (400 NoReg"),
        (Answer(ALLOWED, 404), "(404)"),
        (refusal(500, "Internal", "Request 17 failed."), "Azure answered 500 when asked for the modules"),
        (Answer(b"<html>Bad gateway</html>", 502), "Azure answered 502 when asked for the modules"),
        (Answer(b"<html>Sign in</html>"), "Azure's answer about the modules is no JSON (DecodeError)."),
        (Answer(b'{"value": [{"name": "\xff"}]}'), "Azure's answer about the modules is no JSON"),
        (Answer(b'{"nextLink": null}'), "Azure's answer holds no list of modules."),
        (Answer(b'{"value": null}'), "Azure's answer holds no list of modules."),
        (Answer(b'{"value": ["Contoso.Tools"]}'), "Azure's answer holds no list of modules."),
        (Answer(b"[]"), "Azure's answer holds no list of modules."),
        (Answer(b'{"value": [{"properties": {}}]}'), "An object of the list has neither name nor id."),
        (Answer(b'{"value": [], "nextLink": 7}'), "Azure's answer names the next page by something that is no text."),
        (Answer(b'{"value": [], "nextLink": "https://evil.example/x"}'), "points to another host (evil.example)"),
        (Answer(b'{"value": [', cut=True), "Azure could not be reached: connection lost"),
        (Answer(b'{"value": ' + b"[" * 100_000), "Azure's answer about the modules is no JSON"),
        (ServiceRequestError("no route"), "Azure could not be reached: no route"),
        (KeyError("an error of our own"), "Azure's answer about the modules could not be read (KeyError)."),
    ],
)
async def test_a_section_that_fails_says_why_and_keeps_its_objects(answer: Answer | Exception, reason: str) -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["modules"] = answer
    second = (await read(api, first, retries=0)).snapshot
    assert list(second.unread) == ["modules"]
    assert reason in second.unread["modules"]
    assert "\n" not in second.unread["modules"]
    assert of_section(second, "modules") == of_section(first, "modules")
    assert all(connection.closed for connection in api.connections)
    del api.answers["modules"]
    third = (await read(api, second)).snapshot
    assert third.unread == {}
    assert third.digest == first.digest
    assert third.first_read == ()


async def test_a_list_with_a_byte_order_mark_is_read() -> None:
    api = full_account()
    api.answers["modules"] = Answer(b'\xef\xbb\xbf{"value": [{"name": "Az", "properties": null}]}')
    assert set(objects((await read(api)).snapshot, "Module")) == {"Az"}


async def test_a_section_without_an_answer_in_time_keeps_its_objects_and_others_go_on() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["schedules"] = HANG
    # Nothing but the hanging request ever waits here, so no time at all is enough for the others.
    second = (await read(api, first, section_timeout=0)).snapshot
    assert second.unread == {"schedules": "No answer within 0 seconds when asked for the schedules."}
    assert [each for each in second.objects if each.kind != "Account"] == [
        each for each in first.objects if each.kind != "Account"
    ]


async def test_a_section_is_a_base_line_when_it_is_first_read() -> None:
    api = full_account()
    api.answers["watchers"] = refusal(403)
    first = (await read(api)).snapshot
    assert first.never_read == ("watchers",)
    second = (await read(api, as_stored(first))).snapshot
    assert second.never_read == ("watchers",)
    del api.answers["watchers"]
    third = (await read(api, as_stored(second))).snapshot
    assert third.never_read == ()
    assert third.first_read == (("Watcher", f"{REFERENCE.id}/watchers/inbox"),)
    api.put_watcher("second")
    assert (await read(api, as_stored(third))).snapshot.first_read == ()


async def test_an_account_that_may_not_be_read_is_a_snapshot_all_the_same() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["*"] = refusal(403, "AuthorizationFailed", "no")
    second = (await read(api, first)).snapshot
    assert set(second.unread) == {section.name for section in SECTIONS}
    # What reads on from a section that is refused has no refusal of its own.
    from_others = {"hybridRunbookWorkers", "packages"}
    assert one(second, "Account").properties["unread"] == sorted(second.unread.keys() - from_others)
    assert [each for each in second.objects if each.kind != "Account"] == [
        each for each in first.objects if each.kind != "Account"
    ]
    assert second.seen_jobs == first.seen_jobs
    assert second.jobs_read_at == first.jobs_read_at
    assert second.never_read == ()
    assert (await read(api)).snapshot.never_read == tuple(sorted(section.name for section in SECTIONS))


async def test_what_may_be_over_in_five_minutes_is_no_change_of_the_account() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["modules"] = refusal(503, "ServerBusy", "later")
    second = (await read(api, first)).snapshot
    assert (set(second.unread), one(second, "Account")) == ({"modules"}, one(first, "Account"))
    api.answers["modules"] = refusal(403, "AuthorizationFailed", "no")
    third = (await read(api, second)).snapshot
    assert one(third, "Account").properties["unread"] == ["modules"]
    api.answers["modules"] = refusal(503, "ServerBusy", "later")
    fourth = (await read(api, third)).snapshot
    assert one(fourth, "Account").properties["unread"] == ["modules"], "nothing says that it may be read again"


@pytest.mark.parametrize(
    ("answer", "sections"),
    [
        # Three sections without any answer are enough to know.
        (ServiceRequestError("no route"), 3),
        (ClientAuthenticationError("no identity"), 3),
        (HANG, 3),
        (refusal(503, "ServerBusy", "later"), len(SECTIONS)),
        (refusal(401, "InvalidAuthenticationToken", "no"), len(SECTIONS)),
        (Answer(b"<html>Sign in</html>"), len(SECTIONS)),
    ],
)
async def test_an_account_of_which_nothing_is_heard_has_no_snapshot(answer: Answer | Exception, sections: int) -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["*"] = answer
    api.forget()
    with pytest.raises(Unreachable) as caught:
        await read(api, first, section_timeout=0, retries=0)
    asked = {"hybridRunbookWorkers", "packages"}
    assert len(set(api.requests)) == (sections if sections == 3 else sections - len(asked))
    assert str(caught.value)


async def every_request() -> list[str]:
    api = full_account()
    api.answers["watchers/inbox/watcherActions"] = Answer(b'{"value": []}')
    await read(api)
    return list(dict.fromkeys(api.requests))


async def test_a_throttle_at_any_request_ends_the_reading() -> None:
    paths = await every_request()
    assert len(paths) > 25
    for path in paths:
        api = full_account()
        api.answers[path] = refusal(429, "TooManyRequests", "later", Retry_After="17")
        with pytest.raises(Throttled) as caught:
            await read(api)
        assert caught.value.retry_after == 17.0, path
        assert api.requests[-1] == path
        # The gate of the subscription waits, and not the client.
        assert api.slept == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Mon, 02 Mar 2026 03:00:30 GMT"}, 30.0),
        ({"Retry-After": "Mon, 02 Mar 2026 02:00:00 GMT"}, 0.0),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
    ],
)
async def test_a_throttle_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    api = full_account()
    for path in ("webhooks", "jobs/45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23"):
        api.answers = {path: Answer(b"{}", 429, headers)}
        with pytest.raises(Throttled) as caught:
            await read(api, retries=0)
        assert caught.value.retry_after == seconds


async def test_a_server_error_is_tried_once_more() -> None:
    api = full_account()
    api.answers["modules"] = refusal(503)

    def recover(path: str) -> None:
        if path == "modules":
            api.answers.clear()

    api.after = recover
    assert (await read(api)).snapshot.unread == {}
    assert api.asked("modules") == 2


@pytest.mark.parametrize("code", ["ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "NotFound"])
async def test_an_account_that_is_gone_is_said_to_be(code: str) -> None:
    api = full_account()
    first = (await read(api)).snapshot
    api.answers["*"] = refusal(404, code)
    api.forget()
    with pytest.raises(AccountGone, match="aa-prod does not exist any more"):
        await read(api, first)
    assert api.requests == ["runbooks", ""]


async def test_an_account_that_goes_while_it_is_read_is_said_to_be_gone() -> None:
    api = full_account()

    def delete(path: str) -> None:
        if path == "connections":
            api.answers["*"] = refusal(404, "ResourceNotFound")

    api.after = delete
    with pytest.raises(AccountGone):
        await read(api)


async def test_whether_an_account_is_gone_is_asked_once_for_a_section_that_stays_missing() -> None:
    api = full_account()
    del api.lists["python2Packages"]
    first = (await read(api)).snapshot
    assert list(first.unread) == ["python2Packages"]
    assert api.asked("") == 1
    api.forget()
    await read(api, first)
    assert api.requests == FIRST_LISTS


@pytest.mark.parametrize("answer", [refusal(403), refusal(500), HANG, ServiceRequestError("no route")])
async def test_an_account_of_which_it_is_unknown_is_not_gone(answer: Answer | Exception) -> None:
    api = full_account()
    del api.lists["python2Packages"]
    api.answers[""] = answer
    assert list((await read(api, section_timeout=0)).snapshot.unread) == ["python2Packages"]


async def test_a_throttle_while_it_is_unknown_ends_the_reading() -> None:
    api = full_account()
    del api.lists["python2Packages"]
    api.answers[""] = refusal(429, Retry_After="9")
    with pytest.raises(Throttled) as caught:
        await read(api)
    assert caught.value.retry_after == 9.0


async def test_a_section_that_stays_unread_is_told_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "detectors")
    api = full_account()
    api.answers["modules"] = refusal(403)
    api.answers["variables"] = KeyError("an error of our own")
    first = (await read(api)).snapshot
    await read(api, first)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, text in told if " modules unread: " in text] == ["INFO", "DEBUG"]
    # What nobody expects is told every time, with its place.
    unexpected = [(level, text) for level, text in told if " variables unread: " in text]
    assert [level for level, _ in unexpected] == ["WARNING", "WARNING"]
    assert all(".py:" in text for _, text in unexpected)


async def test_questions_about_single_objects_have_a_time_of_their_own() -> None:
    api = full_account()
    api.suspends = True
    reader = AccountReader(
        client_of(api),
        REFERENCE,
        {},
        None,
        mask=str,
        judge_content=judge,
        cap_bytes=1,
        clock=Clock(),
        section_timeout=600,
    )
    found: list[object] = []

    async def step() -> None:
        found.extend(await reader.list_all("modules"))

    reader._deadline = asyncio.get_running_loop().time() - 1
    with pytest.raises(TimeoutError):
        await step()
    await reader.in_time([step])
    assert len(found) == 1


async def test_a_reading_can_be_cancelled() -> None:
    api = full_account()
    api.answers["modules"] = HANG
    task = asyncio.create_task(read(api))
    while "modules" not in api.requests:  # noqa: ASYNC110 - nothing else tells that the request is under way
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_permissions_are_those_of_the_requests() -> None:
    needed = {account.PERMISSION}
    for path in await every_request():
        types = "/".join(path.split("/")[::2]) if "draft" not in path else "runbooks/draft/content"
        if path.endswith("/content") and "draft" not in path:
            types = "runbooks/content"
        needed.add(f"Microsoft.Automation/automationAccounts/{types}/read")
    assert set(PERMISSIONS) == needed
    assert set(PERMISSIONS) >= UNPUBLISHED_PERMISSIONS
    assert all(section.permissions for section in SECTIONS)


async def test_what_changes_by_itself_is_no_change() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    stated = 0
    for section in SECTIONS:
        for entry in api.lists[LISTS[section.name]]:
            for path in section.volatile:
                *parents, name = path.split(".")
                target = entry
                for parent in parents:
                    target = target.setdefault(parent, {})
                target[name] = "2026-03-02T02:59:59+00:00" if name.startswith(("last", "next")) else 99
                stated += 1
    assert stated > 20
    second = (await read(api, first, listed=listed_account(etag="99"))).snapshot
    assert second.unread == {}
    assert second.digest == first.digest


async def test_the_same_state_is_the_same_digest_in_any_order() -> None:
    api = full_account()
    first = (await read(api)).snapshot
    for entries in api.lists.values():
        entries.reverse()
    assert (await read(api, first)).snapshot.digest == first.digest
    assert (await read(api)).snapshot.digest == first.digest


async def test_a_name_that_shows_as_another_is_another_object() -> None:
    api = full_account()
    api.put("variables", "region\u202e", {"isEncrypted": True})
    api.put("variables", "REGION", {"isEncrypted": True})
    found = [each for each in (await read(api)).snapshot.objects if each.kind == "Variable"]
    # The case does not count, a character that cannot be seen does.
    assert len(found) == 2
    assert {each.name for each in found} == {"region", "REGION"}


SECRET = "S3cr3tValue9f2c"


def secrets_everywhere() -> AutomationApi:
    """Every field of every body that may hold a secret holds one."""
    api = full_account()
    link = {"uri": f"https://contoso.blob.core.windows.net/x?sv=2024&sig={SECRET}", "contentHash": {"value": SECRET}}
    parameters = {"Password": {"type": "string", "defaultValue": f"'{SECRET}'"}}
    api.put_runbook(
        "nightly",
        f"$password = '{SECRET}'",
        f"$password = '{SECRET}'",
        listed={"publishContentLink": link, "parameters": parameters, "description": f"password={SECRET}"},
        single={
            "publishContentLink": link,
            "parameters": parameters,
            "draft": {"draftContentLink": link, "parameters": parameters, "inEdit": True},
        },
    )
    api.put_watcher("inbox", scriptParameters={"SqlPassword": SECRET, "Target": f"https://contoso.com/?sig={SECRET}"})
    api.answers["watchers/inbox/watcherActions"] = Answer(
        json.dumps(
            {
                "value": [
                    {
                        "name": "act",
                        "properties": {
                            "scriptName": "deploy",
                            "password": SECRET,
                            "webhookUri": f"https://contoso.com/webhooks?token={SECRET}",
                            "scriptParameters": {"ApiKey": SECRET},
                            "secret": {"value": SECRET},
                            "note": f"password: {SECRET}",
                        },
                    }
                ]
            }
        ).encode()
    )
    by_token = f"https://contoso.com/webhooks?token={SECRET}"
    by_user = f"https://{SECRET}:{SECRET}@github.com/c/r"
    everything = dict.fromkeys(("password", "value", "description", "userName", "thumbprint", "base64Value"), SECRET)
    bodies: dict[str, dict[str, Any]] = {
        "webhooks/from-pipeline": {"uri": by_token, "parameters": {"x": SECRET}},
        "schedules/every-night": {"description": f"client_secret={SECRET}"},
        "modules/Contoso.Tools": {"contentLink": link, "error": {"message": SECRET}},
        "python2Packages/requests": {"contentLink": link},
        "python3Packages/requests": {"contentLink": link},
        "runtimeEnvironments/ps-ops/packages/Az.Accounts": {"contentLink": link, "error": {"message": SECRET}},
        "runtimeEnvironments/ps-ops": {"description": f"password={SECRET}"},
        "sourceControls/main-repository": {"repoUrl": by_user, "securityToken": {"accessToken": SECRET}},
        "credentials/run-as": everything,
        "certificates/signing": everything,
        "connections/AzureRunAsConnection": {"fieldDefinitionValues": everything, **everything},
        "variables/region": everything,
        "hybridRunbookWorkerGroups/hybrid-ops": {"credential": {"name": "run-as", "password": SECRET}},
    }
    for path, properties in bodies.items():
        collection, name = path.rsplit("/", 1)
        api.put(collection, name, properties)
    api.put(
        "jobSchedules",
        None,
        {"jobScheduleId": "1", "runbook": {"name": "nightly"}, "schedule": {"name": "s"}, "parameters": {"x": SECRET}},
    )
    api.put_job("7584055f-5118-460a-a2dd-5176c9c8efe9", parameters={"Password": SECRET}, exception=SECRET)
    return api


async def test_no_secret_enters_a_snapshot_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api = secrets_everywhere()
    listed = listed_account(tags={"ApiKey": SECRET, "note": f"password={SECRET}"})
    reading = await read(api, listed=listed)
    assert reading.snapshot.unread == {}
    assert {each.kind for each in reading.snapshot.objects} >= {"WatcherAction", "Variable", "Connection"}
    assert SECRET.encode() not in msgspec.json.encode(reading.snapshot)
    assert not [record for record in caplog.records if SECRET in text_of(record)]
    assert len(caplog.records) > 30, "the SDK's own records are looked at too"
    # The texts of runbooks alone are kept whole, for what they say; they are stored apart from the snapshot.
    assert [data for data in reading.contents.values() if SECRET.encode() in data]


@pytest.mark.parametrize("collection", [section.name for section in SECTIONS])
@pytest.mark.parametrize("body", [b'{"value": [{"value": "%s"', b'{"no list": "%s"}', b'["%s"]', b"%s"])
async def test_no_secret_of_an_answer_that_cannot_be_read_is_told(
    collection: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api = full_account()
    api.answers[LISTS[collection]] = Answer(body % SECRET.encode())
    snapshot = (await read(api)).snapshot
    assert collection in snapshot.unread
    assert SECRET.encode() not in msgspec.json.encode(snapshot)
    assert not [record for record in caplog.records if SECRET in text_of(record)]


@pytest.mark.parametrize(
    "path",
    [
        "runbooks/nightly",
        "watchers/inbox",
        "watchers/inbox/watcherActions",
        "jobs/45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23",
    ],
)
async def test_no_secret_of_an_object_that_cannot_be_read_is_told(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api = full_account()
    api.answers[path] = Answer(f'{{"properties": {{"x": "{SECRET}"'.encode())
    snapshot = (await read(api)).snapshot
    assert snapshot.unread == {}
    assert SECRET.encode() not in msgspec.json.encode(snapshot)
    assert not [record for record in caplog.records if SECRET in text_of(record)]
    assert [record for record in caplog.records if "unread" in record.getMessage()]


def text_of(record: logging.LogRecord) -> str:
    return logging.Formatter("%(message)s").format(record)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AutomationServer]:
    with serve(tmp_path) as running:
        yield running


async def test_an_account_is_read_over_the_network_by_the_clients_of_the_detector(server: AutomationServer) -> None:
    api = full_account()
    for path, entries in api.lists.items():
        server.put(f"/{path}", {"value": entries})
    for path, body in api.singles.items():
        server.put(f"/{path}", body)
    for path, text in api.texts.items():
        server.answers[f"/{path}"] = Reply(text, content_type="text/powershell")
    first_page, second_page = api.lists["runbooks"][:1], api.lists["runbooks"][1:]
    server.put("/runbooks", {"value": first_page, "nextLink": f"{server.url}{ACCOUNT}/more?api-version=1&$skip=1"})
    server.put("/more", {"value": second_page})
    clients = AutomationClients(
        FakeCredential(),
        base_url=server.url,
        scope="https://management.azure.com/.default",
        connection_verify=str(server.certificate),
        retry_total=0,
        longest_retry_after=0.0,
    )

    async def visit(previous: Snapshot | None) -> Reading:
        return await read(api, previous, client=clients.get(REFERENCE.subscription_id), cap_bytes=6)

    try:
        first = await visit(None)
        assert first.snapshot.unread == {}
        assert first.snapshot.objects == (await read(api, cap_bytes=6)).snapshot.objects
        assert {len(data) for data in first.contents.values()} == {6}
        server.requests.clear()
        second = await visit(first.snapshot)
        lists = [f"/{path}" for path in FIRST_LISTS]
        assert server.requests == ["/runbooks", "/more", *lists[1:]]
        assert second.snapshot.digest == first.snapshot.digest
        server.answers["/schedules"] = as_json({"code": "TooManyRequests"}, 429, Retry_After="7")
        with pytest.raises(Throttled) as caught:
            await visit(second.snapshot)
        assert caught.value.retry_after == 7.0
        assert set(server.methods) == {"GET"}
    finally:
        await clients.close()
        await settle()


async def settle() -> None:
    """Ends when every connection is closed: aiohttp does not wait for TLS to say goodbye, the event loop must."""
    selector = getattr(asyncio.get_running_loop(), "_selector")  # noqa: B009 - a private attribute mypy does not know
    # One entry is the loop's own pipe to itself.
    while len(selector.get_map()) > 1:  # noqa: ASYNC110 - nothing signals that a transport is gone
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_the_time_is_asked_once_at_the_start() -> None:
    clock = Clock()
    api = full_account()
    api.after = lambda _: clock.advance(seconds=1)
    snapshot = (await read(api, clock=clock)).snapshot
    assert snapshot.taken_at == Clock()() == snapshot.jobs_read_at
    assert clock() - snapshot.taken_at > timedelta(seconds=20)


async def test_a_snapshot_reads_back_as_it_was() -> None:
    snapshot = (await read(secrets_everywhere())).snapshot
    assert as_stored(snapshot) == snapshot
    assert replace(snapshot, sequence=9).digest == snapshot.digest
