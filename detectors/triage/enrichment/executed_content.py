"""Evidence ``executed_content``: the text that this job ran, whatever the runbook says now."""

import asyncio
import logging

from detectors.automation import failures, texts
from detectors.model import Evidence
from detectors.triage.enrichment import scripts
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.values import when

NAME, TITLE = "executed_content", "Executed content"

_LOGGER = logging.getLogger(__name__)


async def collect(case: Case) -> Evidence:
    """The script as executed; missing when the event is not about a job.

    Needs ``jobs/runbookContent/action``, which the Reader role does not hold. Survives the deletion of the runbook.
    """
    job = await case.job()
    body = await texts.read(case.client.job.get_runbook_content, *case.account, case.target.name, cap=case.cap_bytes)
    runbook_type, note = None, None
    try:
        async with asyncio.timeout(case.optional_timeout):
            runbook_type = (await case.runbook()).runbook_type
    except TimeoutError:
        note = "Language guessed from the text: the runbook could not be read in time."
    except Exception as error:
        # Running a runbook and deleting it is a way to hide; the executed text must not go down with it.
        sentence, expected = failures.explain(error)
        note = f"Language guessed from the text. {sentence}"
        _LOGGER.log(logging.INFO if expected else logging.ERROR, "runbook type unknown: %s", sentence, exc_info=True)
    return await scripts.evidence(
        body,
        name=NAME,
        title=TITLE,
        runbook=(job.runbook.name if job.runbook else None) or "an unnamed runbook",
        runbook_type=runbook_type,
        about=[("Job started", when(job.start_time)), ("Note", note)],
    )
