"""Evidence is collected all at once, within its time, and no piece can spoil another."""

import asyncio

import pytest

from detectors.triage.enrichment import ENRICHMENTS
from detectors.triage.enrichment.gather import gather
from tests.triage.automation_server import AutomationServer, Reply, as_json, as_text
from tests.triage.conftest import CaseFor


async def test_one_lookup_serves_every_piece(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_job()
    server.put_runbook(state="Edit")
    for path in ("/runbooks/nightly/content", "/runbooks/nightly/draft/content", "/jobs/j1/runbookContent"):
        server.answers[path] = as_text("Get-Date")
    server.answers["/jobs/j1/output"] = as_text("done", "text/plain")
    for path in ("/watchers", "/webhooks", "/jobSchedules"):
        server.put(path, {"value": []})
    evidence = await gather(case_for("/jobs/j1"), list(ENRICHMENTS), piece_timeout=30, deadline=30)
    assert [(piece.name, piece.missing) for piece in evidence] == [(name, None) for name in ENRICHMENTS]
    assert all(server.asked(path) == 1 for path in server.requests)


async def test_the_order_is_that_of_the_names(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook()
    names = ["webhooks", "runbook", "no-such-thing", "job"]
    evidence = await gather(case_for("/runbooks/nightly"), names, piece_timeout=30, deadline=30)
    assert [piece.name for piece in evidence] == names
    assert evidence[2].missing is not None
    assert evidence[2].missing.startswith("There is no enrichment of this name. Correct the rule: known are runbook,")


async def test_no_names_give_no_evidence(case_for: CaseFor) -> None:
    assert await gather(case_for("/runbooks/nightly"), [], piece_timeout=1, deadline=1) == ()


async def test_a_slow_piece_is_missing_and_the_others_are_there(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook()
    server.answers["/webhooks"] = Reply(hold=True)
    case = case_for("/runbooks/nightly")
    await case.runbook()
    slow, quick = await gather(case, ["webhooks", "runbook"], piece_timeout=0.05, deadline=30)
    assert slow.missing == "Azure did not answer within 0.05 seconds. Read it in the portal, or later."
    assert slow.title == "Webhooks"
    assert quick.missing is None


async def test_the_deadline_ends_what_is_left(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook()
    server.answers["/webhooks"] = Reply(hold=True)
    case = case_for("/runbooks/nightly")
    await case.runbook()
    slow, quick = await gather(case, ["webhooks", "runbook"], piece_timeout=30, deadline=0.05)
    assert slow.missing == ("The time for all evidence of this alert (0.05 seconds) was over. Read it in the portal.")
    assert quick.missing is None


async def test_one_failure_does_not_spoil_the_others(server: AutomationServer, case_for: CaseFor) -> None:
    server.put_runbook()
    server.answers["/webhooks"] = as_json({"code": "Forbidden", "message": "no"}, 403)
    server.put("/watchers", {"value": ["not an object"]})
    names = ["webhooks", "watchers", "runbook"]
    evidence = await gather(case_for("/runbooks/nightly"), names, piece_timeout=30, deadline=30)
    assert evidence[0].missing is not None
    assert "may not read the webhooks of automation account 'aa-prod' (403)" in evidence[0].missing
    assert evidence[1].missing is not None
    assert evidence[2].missing is None


async def test_a_cancelled_caller_is_cancelled_and_leaves_nothing_running(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.answers["/runbooks/nightly"] = Reply(hold=True)
    before = asyncio.all_tasks()
    whole = asyncio.create_task(
        gather(case_for("/runbooks/nightly"), ["runbook", "published_content"], piece_timeout=30, deadline=30)
    )
    while not server.requests:  # noqa: ASYNC110 - the server runs in a thread of its own
        await asyncio.sleep(0)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert asyncio.all_tasks() == before


async def test_a_cancelled_waiter_does_not_cancel_the_lookup_for_the_others(
    server: AutomationServer, case_for: CaseFor
) -> None:
    server.put_job()
    case = case_for("/jobs/j1")
    first, second = asyncio.create_task(case.job()), asyncio.create_task(case.job())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "j1"
    assert first.cancelled()
    assert server.asked("/jobs/j1") == 1


async def test_a_failed_lookup_is_made_once_and_fails_for_all(server: AutomationServer, case_for: CaseFor) -> None:
    names = ["job", "executed_content", "job_output", "runbook"]
    evidence = await gather(case_for("/jobs/j1"), names, piece_timeout=30, deadline=30)
    assert len({piece.missing for piece in evidence}) == 1
    assert server.requests == ["/jobs/j1"]
