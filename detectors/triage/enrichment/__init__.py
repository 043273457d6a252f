"""Enrichments: each answers one question of a responder, in a file of its own.

To add one: write ``<name>.py`` with ``NAME``, ``TITLE`` and ``async def collect(case: Case) -> Evidence``, and
register it with one line below. Importing this package loads nothing of Azure.
"""

import dataclasses
from collections.abc import Awaitable, Callable

from detectors.model import Evidence
from detectors.triage.enrichment import (
    draft_content,
    executed_content,
    job,
    job_output,
    published_content,
    runbook,
    schedules,
    watchers,
    webhooks,
)
from detectors.triage.enrichment.case import Case


@dataclasses.dataclass(frozen=True)
class Enrichment:
    """``collect`` raises what Azure raises and :class:`~detectors.automation.failures.Missing`."""

    title: str
    collect: Callable[[Case], Awaitable[Evidence]]


ENRICHMENTS: dict[str, Enrichment] = {
    "runbook": Enrichment(runbook.TITLE, runbook.collect),
    "published_content": Enrichment(published_content.TITLE, published_content.collect),
    "draft_content": Enrichment(draft_content.TITLE, draft_content.collect),
    "job": Enrichment(job.TITLE, job.collect),
    "executed_content": Enrichment(executed_content.TITLE, executed_content.collect),
    "job_output": Enrichment(job_output.TITLE, job_output.collect),
    "watchers": Enrichment(watchers.TITLE, watchers.collect),
    "webhooks": Enrichment(webhooks.TITLE, webhooks.collect),
    "schedules": Enrichment(schedules.TITLE, schedules.collect),
}
