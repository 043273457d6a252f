"""Evidence ``draft_content``: the text in edit, which a test job runs without anything being published."""

from detectors.automation import texts
from detectors.automation.failures import Missing
from detectors.model import Evidence
from detectors.triage.enrichment import scripts
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.values import when

NAME, TITLE = "draft_content", "Draft content"


async def collect(case: Case) -> Evidence:
    """The draft script; missing while the runbook's state is Published."""
    runbook = await case.runbook()
    name = await case.runbook_name()
    if runbook.state == "Published":
        raise Missing(f"Runbook '{texts.label(name, 100)}' has no draft (state Published).")
    body = await texts.read(case.client.runbook_draft.get_content, *case.account, name, cap=case.cap_bytes)
    draft = runbook.draft
    return await scripts.evidence(
        body,
        name=NAME,
        title=TITLE,
        runbook=runbook.name or name,
        runbook_type=runbook.runbook_type,
        about=[("Draft last modified", when(draft.last_modified_time) if draft else None)],
    )
