"""Evidence ``published_content``: the text that runs when the runbook is started."""

from detectors.automation import texts
from detectors.automation.failures import Missing
from detectors.model import Evidence
from detectors.triage.enrichment import scripts
from detectors.triage.enrichment.case import Case
from detectors.triage.enrichment.values import when

NAME, TITLE = "published_content", "Published content"


async def collect(case: Case) -> Evidence:
    """The published script; missing while the runbook's state is New."""
    runbook = await case.runbook()
    name = await case.runbook_name()
    if runbook.state == "New":
        raise Missing(f"Runbook '{texts.label(name, 100)}' is not published yet (state New): see its draft.")
    body = await texts.read(case.client.runbook.get_content, *case.account, name, cap=case.cap_bytes)
    edited = "A draft is in edit: what will be published next may differ." if runbook.state == "Edit" else None
    return await scripts.evidence(
        body,
        name=NAME,
        title=TITLE,
        runbook=runbook.name or name,
        runbook_type=runbook.runbook_type,
        about=[
            ("Last modified", when(runbook.last_modified_time)),
            ("Last modified by", runbook.last_modified_by),
            ("Note", edited),
        ],
    )
