"""Evidence ``job_output``: the first lines that the job wrote."""

import asyncio
import functools

from detectors.automation import texts
from detectors.model import Evidence, Fact
from detectors.triage import content
from detectors.triage.enrichment.case import Case

NAME, TITLE = "job_output", "Job output"
LINES = 20


async def collect(case: Case) -> Evidence:
    """The first :data:`LINES` lines of the job's output; missing when the event is not about a job."""
    await case.job()
    body = await texts.read(case.client.job.get_output, *case.account, case.target.name, cap=case.cap_bytes)
    if not body.data.strip():
        return Evidence(name=NAME, title=TITLE, facts=(Fact("Output", "The job has written no output so far."),))
    # In a thread: a megabyte takes long enough to decode to be felt on the event loop.
    shown = await asyncio.to_thread(functools.partial(content.to_content, body, title=TITLE, lines=LINES))
    return Evidence(
        name=NAME,
        title=TITLE,
        facts=tuple(Fact("Note", note) for note in shown.notes),
        code=(shown.code,),
        data={"sha256": shown.code.sha256, "size": shown.code.size, "truncated": shown.code.truncated},
    )
