"""What the three kinds of runbook text have in common as evidence."""

import asyncio
from collections.abc import Iterable

from detectors.automation import texts
from detectors.automation.texts import Body
from detectors.model import Evidence, Fact
from detectors.triage import content
from detectors.triage.content import Content
from detectors.triage.enrichment.values import clean, facts

# Above this, judging and masking take long enough to be felt by everybody else on the event loop.
_THREAD_ABOVE = 50_000


async def evidence(
    body: Body,
    *,
    name: str,
    title: str,
    runbook: str,
    runbook_type: str | None,
    about: Iterable[tuple[str, object]] = (),
) -> Evidence:
    """Evidence with the script as code, its notes as facts, and what was found in it under ``data["findings"]``.

    The findings are of the unmasked text; a text without a known runbook type is judged as what it looks like.
    """
    if len(body.data) > _THREAD_ABOVE:
        shown = await asyncio.to_thread(_judge, body, title, runbook, runbook_type)
    else:
        shown = _judge(body, title, runbook, runbook_type)
    notes = tuple(Fact("Note", note) for note in shown.notes)
    return Evidence(
        name=name,
        title=title,
        facts=facts(about) + notes,
        code=(shown.code,),
        data={
            "runbook": clean(runbook),
            "runbookType": clean(runbook_type),
            "sha256": shown.code.sha256,
            "size": shown.code.size,
            "truncated": shown.code.truncated,
            "findings": [
                {
                    "indicator": finding.indicator,
                    "line": finding.line,
                    "reason": finding.reason,
                    "technique": finding.technique,
                    "rare": finding.rare,
                }
                for finding in shown.findings[:50]
            ],
        },
    )


def _judge(body: Body, title: str, runbook: str, runbook_type: str | None) -> Content:
    if runbook_type is None:
        decoded, _ = texts.decode(body.data, truncated=body.truncated)
        language = content.guess_language(decoded)
    else:
        language = content.language(runbook_type)
    return content.to_content(body, title=f"{title} of {texts.label(runbook, 200)}", language=language)
