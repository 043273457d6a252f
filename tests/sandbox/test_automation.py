from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.mgmt.automation.aio import AutomationClient

from sandbox.accounts import TextFileError
from sandbox.server import ACCOUNT, RESOURCE_GROUP, SUBSCRIPTION, Sandbox
from tests.sandbox.support import ARM, NOW, send, token_for

HERE = (RESOURCE_GROUP, ACCOUNT)
JOB = "45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23"
LINK = "0fa462ba-3aa2-4138-83ca-9ebc3bc55cdc"
WORKER = "c010ad12-ef14-4a2a-aa9e-ef22c4745ddd"
CONTENTS: dict[str, Any] = {
    "runbooks": {
        "Published-Book": {
            "published": "Get-Date",
            "runbookType": "PowerShell72",
            "lastModifiedBy": "a@contoso.example",
        },
        "Edited-Book": {"published": "Get-Date", "draft": "Get-Random"},
        "New-Book": {"draft": "Get-Random"},
    },
    "watchers": {
        "Watch": {
            "scriptName": "Published-Book",
            "scriptRunOn": "group",
            "executionFrequencyInSeconds": 60,
            "status": "Running",
        }
    },
    "webhooks": {"Hook": {"runbook": "Published-Book", "parameters": {"a": "b"}}},
    "schedules": {"Nightly": {"frequency": "Day"}},
    "jobSchedules": {LINK: {"runbook": "Published-Book", "schedule": "Nightly"}},
    "jobs": {
        JOB: {
            "runbook": "Published-Book",
            "startedBy": "a@contoso.example",
            "runOn": "group",
            "output": "done",
            "streams": [{"text": "one"}, {"text": "two", "streamType": "Error"}],
        }
    },
    "hybridRunbookWorkerGroups": {"group": {"createdBy": "a@contoso.example", "workers": {WORKER: {"ip": "10.0.0.9"}}}},
}


@pytest.fixture(autouse=True)
def contents(sandbox: Sandbox) -> None:
    sandbox.account.apply(CONTENTS, NOW - timedelta(hours=1))


def arm(sandbox: Sandbox, path: str, **query: str) -> Any:
    parameters = "&".join(f"{name}={value}" for name, value in {"api-version": "2024-10-23", **query}.items())
    return send(
        sandbox,
        "GET",
        f"{sandbox.account.id}{path}?{parameters}",
        headers={"Authorization": f"Bearer {token_for(sandbox, ARM)}"},
    )


async def test_the_accounts_of_a_subscription_are_listed(sandbox: Sandbox, automation: AutomationClient) -> None:
    sandbox.add_account("aa-second", "rg-other")
    names = [account.name async for account in automation.automation_account.list()]
    assert names == [ACCOUNT, "aa-second"]
    there = [account.name async for account in automation.automation_account.list_by_resource_group("RG-OTHER")]
    assert there == ["aa-second"]


async def test_an_account_is_found_in_any_case(automation: AutomationClient) -> None:
    account = await automation.automation_account.get(RESOURCE_GROUP.upper(), ACCOUNT.upper())
    assert account.id == (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
        f"/providers/Microsoft.Automation/automationAccounts/{ACCOUNT}"
    )
    assert account.state == "Ok"


async def test_a_runbook_tells_its_state_type_and_author(automation: AutomationClient) -> None:
    runbook = await automation.runbook.get(*HERE, "PUBLISHED-BOOK")
    assert (runbook.name, runbook.state, runbook.runbook_type) == ("Published-Book", "Published", "PowerShell72")
    assert runbook.last_modified_by == "a@contoso.example"
    assert runbook.last_modified_time == NOW - timedelta(hours=1)
    assert runbook.job_count == 1
    states = {book.name: book.state async for book in automation.runbook.list_by_automation_account(*HERE)}
    assert states == {"Published-Book": "Published", "Edited-Book": "Edit", "New-Book": "New"}


async def test_published_and_draft_content_are_different_texts(automation: AutomationClient) -> None:
    assert await automation.runbook.get_content(*HERE, "edited-book") == "Get-Date"
    assert await automation.runbook_draft.get_content(*HERE, "edited-book") == "Get-Random"
    assert (await automation.runbook_draft.get(*HERE, "edited-book")).in_edit is True


Call = Callable[[AutomationClient], Awaitable[Any]]
MISSING: list[tuple[str, Call]] = [
    ("published content of a new runbook", lambda client: client.runbook.get_content(*HERE, "New-Book")),
    ("draft of a published runbook", lambda client: client.runbook_draft.get(*HERE, "Published-Book")),
    ("draft content of a published runbook", lambda client: client.runbook_draft.get_content(*HERE, "Published-Book")),
    ("runbook", lambda client: client.runbook.get(*HERE, "nobody")),
    ("job", lambda client: client.job.get(*HERE, "nobody")),
    ("stream", lambda client: client.job_stream.get(*HERE, JOB, "nobody")),
    ("watcher", lambda client: client.watcher.get(*HERE, "nobody")),
    ("worker", lambda client: client.hybrid_runbook_workers.get(*HERE, "group", "nobody")),
]


@pytest.mark.parametrize("shape", ["arm", "automation"])
@pytest.mark.parametrize(("what", "call"), MISSING, ids=[what for what, _ in MISSING])
async def test_what_is_missing_is_a_404_in_either_documented_shape(
    sandbox: Sandbox, automation: AutomationClient, what: str, call: Call, shape: Literal["arm", "automation"]
) -> None:
    sandbox.automation.not_found_shape = shape
    with pytest.raises(ResourceNotFoundError) as caught:
        await call(automation)
    assert caught.value.error is not None, what
    assert caught.value.error.code == {"arm": "ResourceNotFound", "automation": "NotFound"}[shape]


async def test_an_unknown_account_is_a_404(automation: AutomationClient) -> None:
    with pytest.raises(ResourceNotFoundError, match="aa-nobody"):
        await automation.automation_account.get(RESOURCE_GROUP, "aa-nobody")


async def test_only_a_job_itself_tells_who_started_it_and_where(automation: AutomationClient) -> None:
    [listed] = [job async for job in automation.job.list_by_automation_account(*HERE)]
    assert not {"startedBy", "runOn", "parameters"} & set(listed.as_dict()["properties"])
    job = await automation.job.get(*HERE, JOB)
    assert (job.started_by, job.run_on, job.runbook and job.runbook.name) == (
        "a@contoso.example",
        "group",
        "Published-Book",
    )


async def test_a_job_keeps_the_text_that_it_executed(sandbox: Sandbox, automation: AutomationClient) -> None:
    sandbox.account.apply({"runbooks": {"Published-Book": {"published": "Remove-Evidence"}}}, NOW)
    assert await automation.runbook.get_content(*HERE, "Published-Book") == "Remove-Evidence"
    assert await automation.job.get_runbook_content(*HERE, JOB) == "Get-Date"
    assert await automation.job.get_output(*HERE, JOB) == "done"


async def test_only_a_stream_itself_tells_its_text(automation: AutomationClient) -> None:
    streams = [stream async for stream in automation.job_stream.list_by_job(*HERE, JOB)]
    assert [stream.stream_type for stream in streams] == ["Output", "Error"]
    assert all(stream.stream_text is None for stream in streams)
    stream = await automation.job_stream.get(*HERE, JOB, streams[1].job_stream_id or "")
    assert stream.stream_text == "two"


async def test_jobs_can_be_filtered_by_their_creation(sandbox: Sandbox, automation: AutomationClient) -> None:
    sandbox.account.apply({"jobs": {"late": {"runbook": "Published-Book"}}}, NOW)
    since = (NOW - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    late = automation.job.list_by_automation_account(*HERE, filter=f"properties/creationTime ge {since}")
    assert [job.name async for job in late] == ["late"]
    with pytest.raises(HttpResponseError, match="only knows the filter"):
        [job async for job in automation.job.list_by_automation_account(*HERE, filter="status eq 'x'")]


async def test_only_a_watcher_itself_tells_its_status(automation: AutomationClient) -> None:
    [listed] = [watcher async for watcher in automation.watcher.list_by_automation_account(*HERE)]
    assert listed.status is None
    watcher = await automation.watcher.get(*HERE, "watch")
    assert (watcher.status, watcher.script_name, watcher.script_run_on) == ("Running", "Published-Book", "group")
    assert watcher.execution_frequency_in_seconds == 60
    assert watcher.last_modified_by is None


async def test_watcher_actions_cannot_be_read(sandbox: Sandbox, automation: AutomationClient) -> None:
    response = await automation.send_request(
        HttpRequest("GET", f"{sandbox.account.id}/watchers/watch/watcherActions", params={"api-version": "2015-10-31"})
    )
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "InvalidResourceType"


async def test_webhooks_never_tell_their_uri(automation: AutomationClient) -> None:
    [listed] = [hook async for hook in automation.webhook.list_by_automation_account(*HERE)]
    webhook = await automation.webhook.get(*HERE, "hook")
    assert (listed.uri, webhook.uri) == (None, "")
    assert webhook.runbook is not None
    assert webhook.runbook.name == "Published-Book"
    assert webhook.expiry_time == NOW.replace(year=2027) - timedelta(hours=1)


async def test_schedules_and_their_links_are_read(automation: AutomationClient) -> None:
    schedules = [schedule.name async for schedule in automation.schedule.list_by_automation_account(*HERE)]
    links = [link.job_schedule_id async for link in automation.job_schedule.list_by_automation_account(*HERE)]
    link = await automation.job_schedule.get(*HERE, LINK)
    assert (schedules, links) == (["Nightly"], [LINK])
    assert link.schedule is not None
    schedule = await automation.schedule.get(*HERE, link.schedule.name or "")
    assert schedule.frequency == "Day"


async def test_worker_groups_and_their_workers_are_read(automation: AutomationClient) -> None:
    groups = [group async for group in automation.hybrid_runbook_worker_group.list_by_automation_account(*HERE)]
    assert [(group.name, group.group_type) for group in groups] == [("group", "User")]
    assert (await automation.hybrid_runbook_worker_group.get(*HERE, "GROUP")).system_data is not None
    workers = automation.hybrid_runbook_workers.list_by_hybrid_runbook_worker_group(*HERE, "group")
    assert [worker.name async for worker in workers] == [WORKER]
    assert (await automation.hybrid_runbook_workers.get(*HERE, "group", WORKER)).ip == "10.0.0.9"


async def test_two_hundred_and_fifty_runbooks_come_in_three_pages(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    many = sandbox.add_account("aa-many")
    many.apply({"runbooks": {f"Book-{number:03}": {"published": "x"} for number in range(250)}}, NOW)
    listed = automation.runbook.list_by_automation_account(RESOURCE_GROUP, "aa-many")
    names = [runbook.name async for runbook in listed]
    assert names == [f"Book-{number:03}" for number in range(250)]
    assert sandbox.ledger.counts["automation"] == 3


def test_a_next_link_is_absolute_and_names_the_sandbox(sandbox: Sandbox) -> None:
    sandbox.account.apply({"jobs": {f"job-{number}": {"runbook": "x"} for number in range(120)}}, NOW)
    first = arm(sandbox, "/jobs").json()
    assert first["nextLink"] == f"{sandbox.url}{sandbox.account.id}/jobs?api-version=2024-10-23&$skip=100"
    last = arm(sandbox, "/jobs", **{"$skip": "100"}).json()
    assert (len(last["value"]), last["nextLink"]) == (21, None)


def test_texts_have_the_content_types_of_the_published_examples(sandbox: Sandbox) -> None:
    types = {
        path: arm(sandbox, path).headers["content-type"]
        for path in (
            "/runbooks/Edited-Book/content",
            "/runbooks/Edited-Book/draft/content",
            f"/jobs/{JOB}/output",
            f"/jobs/{JOB}/runbookContent",
        )
    }
    assert list(types.values()) == ["text/powershell", "text/plain", "text/plain", "text/powershell"]


def test_a_text_can_be_sent_in_another_encoding_and_type(sandbox: Sandbox) -> None:
    change = {"published": "Get-Date", "encoding": "utf-16", "contentType": "application/octet-stream"}
    sandbox.account.apply({"runbooks": {"Published-Book": change}}, NOW)
    answer = arm(sandbox, "/runbooks/Published-Book/content")
    assert answer.body.decode("utf-16") == "Get-Date"
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_name_may_hold_an_encoded_slash(sandbox: Sandbox) -> None:
    sandbox.account.apply({"runbooks": {"odd/name": {"published": "odd"}}}, NOW)
    assert arm(sandbox, "/runbooks/odd%2Fname/content").body == b"odd"


@pytest.mark.parametrize(
    ("method", "query", "status", "code"),
    [
        ("GET", "", 400, "MissingApiVersionParameter"),
        ("GET", "?api-version=2015-10-31", 400, "NoRegisteredProviderFound"),
        ("PUT", "?api-version=2024-10-23", 405, "MethodNotAllowed"),
    ],
)
def test_requests_that_the_sandbox_does_not_play_are_refused(
    sandbox: Sandbox, method: str, query: str, status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {token_for(sandbox, ARM)}"}
    answer = send(sandbox, method, f"{sandbox.account.id}{query}", headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_null_removes_and_what_is_not_named_stays(sandbox: Sandbox) -> None:
    sandbox.account.apply({"watchers": {"WATCH": {"status": "Stopped"}}, "webhooks": {"hook": None}}, NOW)
    watcher = sandbox.account.item("watchers", "watch")
    assert watcher is not None
    assert (watcher.name, watcher.get("status"), watcher.get("scriptName")) == ("Watch", "Stopped", "Published-Book")
    assert (watcher.created, watcher.modified) == (NOW - timedelta(hours=1), NOW)
    assert sandbox.account.items("webhooks") == []


def test_a_patch_with_a_file_outside_of_a_scenario_changes_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(TextFileError, match=r"x\.ps1"):
        sandbox.account.apply({"runbooks": {"A": {"published": "a"}, "B": {"published": {"file": "x.ps1"}}}}, NOW)
    assert sandbox.account.item("runbooks", "A") is None
