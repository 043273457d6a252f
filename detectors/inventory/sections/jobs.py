"""Jobs since the reading before: what was executed, whether or not anything else tells of it.

Events, not state. They are listed from an hour before the reading before, because a job may be listed late, and those
that are known already are passed over. A list does not say who started a job or where it ran: that is asked of each, in
one visit of :data:`MAX_ASKED`. Last of all sections, since what started a job is inferred from the others.
"""

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from detectors.automation import texts
from detectors.inventory.account_reader import MAX_LISTED, AccountReader, ReadingEnded, Section, build, permissions
from detectors.inventory.answers import cause, name_of, properties_of, requestable, where
from detectors.inventory.sections.values import Convert, moment, name_in, parameter_names, pick, word
from detectors.inventory.snapshot import InventoryObject
from detectors.inventory.triggers import Triggers

LISTED: Final[dict[str, Convert]] = {
    "runbook": name_in,
    "status": word,
    "creationTime": moment,
    "startTime": moment,
    "endTime": moment,
}
SINGLE: Final[dict[str, Convert]] = {"startedBy": word, "runOn": word}
VOLATILE: Final[dict[str, str]] = {}
"""None: a job is kept as it was when it was first seen."""

OVERLAP: Final = timedelta(hours=1)
"""How late a job may appear in the list. The first reading looks back as far."""
MAX_ASKED: Final = 50

_SLACK: Final = timedelta(minutes=5)

_log = logging.getLogger(__name__)


class _Job:
    def __init__(self, name: str, created: datetime | None, properties: dict[str, Any]) -> None:
        self.name = name
        self.created = created
        self.properties = properties
        self.asked = False


async def _read(reader: AccountReader) -> list[InventoryObject]:
    known = set(reader.seen_jobs)
    since = (reader.jobs_read_at or (reader.previous.taken_at if reader.previous else reader.now)) - OVERLAP
    entries, shortened = await _listed(reader, since)
    jobs = [_job(reader, entry) for entry in entries]
    # Should Azure not filter: nothing of the month of jobs that it keeps is new.
    jobs = [job for job in jobs if job.created is None or job.created >= since]
    new = list({job.name.lower(): job for job in jobs if job.name.lower() not in known}.values())
    await reader.in_time([functools.partial(_ask, reader, job) for job in _in_turn(new)[:MAX_ASKED]])
    again = reader.now - OVERLAP - _SLACK
    reader.seen_jobs = tuple(sorted({job.name.lower() for job in jobs if job.created is None or job.created >= again}))
    reader.jobs_read_at = reader.now
    if shortened:
        reader.unread["jobs"] = shortened
    triggers = Triggers(reader.found)
    return [_object(reader, job, triggers) for job in sorted(new, key=_key)]


async def _listed(reader: AccountReader, since: datetime) -> tuple[list[Mapping[str, Any]], str]:
    """The jobs created since, and why there may be more.

    A list that is too long, or too slow, counts as far as it was read: else the next would be longer, and so on.
    """
    entries: list[Mapping[str, Any]] = []
    only = f"properties/creationTime ge {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        async with (
            asyncio.timeout(reader.section_timeout),
            contextlib.aclosing(reader.pages("jobs", only=only)) as pages,
        ):
            async for page in pages:
                entries += page
                if len(entries) >= MAX_LISTED:
                    return entries[:MAX_LISTED], f"More than {MAX_LISTED:,} jobs since {since:%Y-%m-%d %H:%M} UTC."
    except TimeoutError:
        if not entries:
            raise
        return entries, f"The list of jobs did not end within {reader.section_timeout:g} seconds."
    return entries, ""


def _job(reader: AccountReader, entry: Mapping[str, Any]) -> _Job:
    values = properties_of(entry)
    properties = pick(values, LISTED, reader.mask)
    if environment := word(properties_of(values, "jobRuntimeEnvironment").get("runtimeEnvironmentName"), reader.mask):
        properties["runtimeEnvironment"] = environment
    try:
        created = datetime.fromisoformat(str(properties.get("creationTime")))
    except ValueError:
        created = None
    return _Job(name_of(entry), created if created and created.tzinfo else None, properties)


def _in_turn(jobs: list[_Job]) -> list[_Job]:
    """The first job of each runbook, then the second of each: many jobs of one runbook hide no other's."""
    turns: Counter[str] = Counter()
    turn: dict[str, int] = {}
    for job in sorted(jobs, key=_key):
        runbook = str(job.properties.get("runbook", "")).casefold()
        turn[job.name] = turns[runbook]
        turns[runbook] += 1
    return sorted(jobs, key=lambda job: (turn[job.name], _key(job)))


async def _ask(reader: AccountReader, job: _Job) -> None:
    try:
        with reader.asking():
            single = await reader.client.job.get(*reader.names, requestable(job.name))
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - logged below, without the answer that azure-core puts into its errors
        _log.info(
            "inventory of %s: job %s unread: %s (%s)",
            reader.account.id, texts.label(job.name, 100), cause(error), where(error),
        )  # fmt: skip
        return
    values = properties_of(single)
    job.properties |= pick(values, SINGLE, reader.mask)
    if names := parameter_names(values.get("parameters"), reader.mask):
        job.properties["parameterNames"] = names
    job.asked = True


def _object(reader: AccountReader, job: _Job, triggers: Triggers) -> InventoryObject:
    trigger = triggers.of(job.properties, asked=job.asked)
    properties = {**job.properties, "trigger": trigger.kind, "triggerName": trigger.name}
    return build("Job", job.name, reader.id_of("jobs", job.name), properties)


def _key(job: _Job) -> tuple[str, str]:
    return str(job.properties.get("creationTime", "")), job.name


SECTION: Final = Section(name="jobs", kinds=("Job",), permissions=permissions("jobs"), read=_read, volatile=VOLATILE)
