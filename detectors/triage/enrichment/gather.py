"""Collect the evidence for one alert: all at once, each piece within its time, none able to spoil another."""

import asyncio
import logging
from collections.abc import Sequence

from detectors.automation.failures import explain
from detectors.automation.texts import label
from detectors.model import Evidence
from detectors.triage.enrichment import ENRICHMENTS
from detectors.triage.enrichment.case import Case

_LOGGER = logging.getLogger(__name__)


async def gather(case: Case, names: Sequence[str], *, piece_timeout: float, deadline: float) -> tuple[Evidence, ...]:
    """One Evidence per name, in that order. A failure becomes evidence that says why it is missing.

    :param names: keys of :data:`~detectors.triage.enrichment.ENRICHMENTS`; an unknown one is reported as missing.
    :param piece_timeout: seconds for each piece.
    :param deadline: seconds from now for all of them.

    Raises nothing but ``CancelledError``, when the caller itself is cancelled.
    """
    tasks = [asyncio.create_task(_piece(case, name, piece_timeout), name=f"enrichment {name}") for name in names]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=deadline)
        return tuple(
            task.result() if task.done() and not task.cancelled() else _missing(name, _too_late(deadline))
            for name, task in zip(names, tasks, strict=True)
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await case.close()


async def _piece(case: Case, name: str, limit: float) -> Evidence:
    enrichment = ENRICHMENTS.get(name)
    if enrichment is None:
        known = ", ".join(ENRICHMENTS)
        return _missing(name, f"There is no enrichment of this name. Correct the rule: known are {known}.")
    try:
        async with asyncio.timeout(limit) as timer:
            return await enrichment.collect(case)
    except Exception as error:
        if timer.expired():
            return _missing(name, f"Azure did not answer within {limit:g} seconds. Read it in the portal, or later.")
        sentence, expected = explain(error)
        if expected:
            _LOGGER.info("enrichment %s is missing: %s", name, sentence)
        else:
            _LOGGER.exception("enrichment %s failed", name)
        return _missing(name, sentence)


def _missing(name: str, sentence: str) -> Evidence:
    title = ENRICHMENTS[name].title if name in ENRICHMENTS else label(name, 100)
    return Evidence(name=name, title=title, missing=sentence)


def _too_late(deadline: float) -> str:
    return f"The time for all evidence of this alert ({deadline:g} seconds) was over. Read it in the portal."
