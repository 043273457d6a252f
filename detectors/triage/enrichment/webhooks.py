"""Evidence ``webhooks``: who holds such a URL starts the runbook without signing in."""

from typing import TYPE_CHECKING

from detectors.automation.failures import Missing
from detectors.automation.texts import label
from detectors.model import Evidence
from detectors.triage.enrichment.case import MAX_LISTED, Case, same
from detectors.triage.enrichment.values import facts, parameters, relative, run_on, when, wire, yes

if TYPE_CHECKING:
    from azure.mgmt.automation.models import Webhook

NAME, TITLE = "webhooks", "Webhooks"
MAX_SHOWN = 20


async def collect(case: Case) -> Evidence:
    """The webhooks that start the runbook, the target's own first; all of the account when no runbook is known."""
    listing = await case.webhooks()
    own = [await case.webhook()] if case.target.kind == "webhook" else []
    try:
        runbook: str | None = await case.runbook_name()
    except Missing:
        runbook = None
    linked = [
        webhook
        for webhook in listing.items
        if not any(same(webhook.name, mine.name) for mine in own)
        and (runbook is None or (webhook.runbook is not None and same(webhook.runbook.name, runbook)))
    ]
    shown = [*own, *linked][:MAX_SHOWN]
    collected: list[tuple[str, object]] = [fact for webhook in shown for fact in _describe(case, webhook)]
    if not shown:
        about = f"starts runbook '{label(runbook, 100)}'" if runbook else "exists in this account"
        collected.append(("Webhooks", f"None {about} ({len(listing.items)} in the account)."))
    if len(own) + len(linked) > len(shown):
        collected.append(("Webhooks", f"{len(own) + len(linked) - len(shown)} more are not shown."))
    if not listing.complete:
        collected.append(("Note", f"The account has more than {MAX_LISTED} webhooks; the first were read."))
    return Evidence(
        name=NAME,
        title=TITLE,
        facts=facts(collected),
        data={"webhooks": [wire(webhook) for webhook in shown], "inAccount": len(listing.items)},
    )


def _describe(case: Case, webhook: "Webhook") -> list[tuple[str, object]]:
    return [
        ("Webhook", webhook.name),
        ("Starts runbook", webhook.runbook.name if webhook.runbook else None),
        ("Enabled", yes(webhook.is_enabled)),
        ("Expires", relative(webhook.expiry_time, case.clock())),
        ("Last invoked", when(webhook.last_invoked_time) or "never"),
        ("Runs on", run_on(webhook.run_on)),
        ("Parameters", parameters(webhook.parameters)),
        ("Created", when(webhook.creation_time)),
        ("Last modified by", webhook.last_modified_by),
    ]
