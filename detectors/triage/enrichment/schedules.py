"""Evidence ``schedules``: when the runbook starts by itself."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from detectors.automation import failures
from detectors.automation.failures import Missing
from detectors.automation.texts import label
from detectors.model import Evidence
from detectors.triage.enrichment.case import MAX_LISTED, Case, same
from detectors.triage.enrichment.values import facts, parameters, plain, relative, run_on, wire, yes

if TYPE_CHECKING:
    from azure.mgmt.automation.models import JobSchedule, Schedule

NAME, TITLE = "schedules", "Schedules"
MAX_SHOWN = 10

_LOGGER = logging.getLogger(__name__)


async def collect(case: Case) -> Evidence:
    """The schedules linked to the runbook; for a schedule, every runbook that it starts."""
    listing = await case.job_schedules()
    target = case.target
    # A schedule is asked for all it starts, anything else for what starts its runbook.
    schedule_name = target.name if target.kind == "schedule" else None
    runbook: str | None = None
    if schedule_name is None:
        try:
            runbook = await case.runbook_name()
        except Missing:
            runbook = None
    linked = [link for link in listing.items if _concerns(link, runbook, schedule_name)]
    shown = linked[:MAX_SHOWN]
    schedules = await asyncio.gather(*(_schedule(case, link) for link in shown))
    collected: list[tuple[str, object]] = []
    for link, (schedule, reason) in zip(shown, schedules, strict=True):
        collected += _describe(case, link, schedule, reason)
    if not shown and target.kind == "schedule":
        schedule, reason = await _read(case, target.name)
        schedules = [(schedule, reason)]
        collected += _timing(case, target.name, schedule, reason)
        collected.append(("Starts runbook", "None: the schedule is linked to no runbook."))
    elif not shown:
        about = f"starts runbook '{label(runbook, 100)}'" if runbook else "starts a runbook in this account"
        collected.append(("Schedules", f"None {about} ({len(listing.items)} links in the account)."))
    if len(linked) > len(shown):
        collected.append(("Schedules", f"{len(linked) - len(shown)} more links are not shown."))
    if not listing.complete:
        collected.append(("Note", f"The account has more than {MAX_LISTED} links; the first were read."))
    data: dict[str, Any] = {
        "jobSchedules": [wire(link) for link in shown],
        "schedules": [wire(schedule) for schedule, _ in schedules if schedule is not None],
        "inAccount": len(listing.items),
    }
    return Evidence(name=NAME, title=TITLE, facts=facts(collected), data=data)


def _concerns(link: "JobSchedule", runbook: str | None, schedule: str | None) -> bool:
    if schedule is not None:
        return link.schedule is not None and same(link.schedule.name, schedule)
    return runbook is None or (link.runbook is not None and same(link.runbook.name, runbook))


async def _schedule(case: Case, link: "JobSchedule") -> tuple["Schedule | None", str | None]:
    if link.schedule is None or not link.schedule.name:
        return None, "The link names no schedule."
    return await _read(case, link.schedule.name)


async def _read(case: Case, name: str) -> tuple["Schedule | None", str | None]:
    try:
        return await case.schedule(name), None
    except Exception as error:
        # One unreadable schedule must not take the others away.
        sentence, expected = failures.explain(error)
        _LOGGER.log(logging.INFO if expected else logging.WARNING, "schedule: %s", sentence, exc_info=True)
        return None, sentence


def _describe(
    case: Case, link: "JobSchedule", schedule: "Schedule | None", reason: str | None
) -> list[tuple[str, object]]:
    return [
        *_timing(case, link.schedule.name if link.schedule else None, schedule, reason),
        ("Starts runbook", link.runbook.name if link.runbook else None),
        ("Runs on", run_on(link.run_on)),
        ("Parameters", parameters(link.parameters)),
    ]


def _timing(case: Case, name: str | None, schedule: "Schedule | None", reason: str | None) -> list[tuple[str, object]]:
    if schedule is None:
        return [("Schedule", name), ("Note", reason)]
    every = f"every {schedule.interval} {plain(schedule.frequency)}" if schedule.interval else schedule.frequency
    return [
        ("Schedule", schedule.name or name),
        ("Frequency", every),
        ("Enabled", yes(schedule.is_enabled)),
        ("Next run", relative(schedule.next_run, case.clock())),
        ("Expires", relative(schedule.expiry_time, case.clock())),
    ]
