"""Evidence ``runbook``: what the runbook is, who changed it last, whether a draft is waiting."""

from detectors.model import Evidence
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.values import facts, when, wire, yes

NAME, TITLE = "runbook", "Runbook"


async def collect(case: Case) -> Evidence:
    """The runbook's metadata."""
    runbook = await case.runbook()
    link = runbook.publish_content_link
    return Evidence(
        name=NAME,
        title=TITLE,
        facts=facts(
            [
                ("Runbook", runbook.name),
                ("Type", runbook.runbook_type),
                ("State", runbook.state),
                ("Runtime environment", runbook.runtime_environment),
                ("Created", when(runbook.creation_time)),
                ("Last modified", when(runbook.last_modified_time)),
                ("Last modified by", runbook.last_modified_by),
                ("Jobs so far", runbook.job_count),
                ("Draft in edit", yes(runbook.draft.in_edit) if runbook.draft else None),
                ("Parameters", ", ".join(map(str, runbook.parameters or {}))),
                ("Content imported from", link.uri if link else None),
                ("Description", runbook.description),
            ]
        ),
        data=wire(runbook),
    )
