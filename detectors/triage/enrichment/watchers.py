"""Evidence ``watchers``: the watcher tasks that run the runbook again and again on a hybrid worker.

Nothing in the log need say that one exists (ATRM, AZT504), so the account is asked.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from detectors.automation import failures
from detectors.automation.failures import Missing
from detectors.automation.texts import label
from detectors.model import Evidence
from detectors.triage.enrichment.case import MAX_LISTED, Case, same
from detectors.triage.enrichment.values import clean, facts, parameters, run_on, when, wire
from detectors.triage.resource import is_safe_name

if TYPE_CHECKING:
    from azure.mgmt.automation.models import Watcher

NAME, TITLE = "watchers", "Watchers"
MAX_SHOWN = 20

# No published specification has watcher actions, only the permissions do. The version is the oldest that knows
# watchers: a guess, and a refusal is an answer.
_ACTIONS_API_VERSION = "2015-10-31"

_LOGGER = logging.getLogger(__name__)


async def collect(case: Case) -> Evidence:
    """The watchers that name the runbook, the target's own first; all of the account when no runbook is known."""
    listing = await case.watchers()
    own = [await case.watcher()] if case.target.kind == "watcher" else []
    others = [watcher for watcher in listing.items if not any(same(_name(watcher), _name(mine)) for mine in own)]
    try:
        runbook: str | None = await case.runbook_name()
    except Missing:
        runbook = None
    linked = [watcher for watcher in others if runbook is None or same(watcher.script_name, runbook)]
    shown = [*own, *linked][:MAX_SHOWN]
    collected: list[tuple[str, object]] = [fact for watcher in shown for fact in _describe(watcher, runbook)]
    if not shown:
        about = f"runs runbook '{label(runbook, 100)}'" if runbook else "exists in this account"
        collected.append(("Watchers", f"None {about} ({len(listing.items)} in the account)."))
    if len(own) + len(linked) > len(shown):
        collected.append(("Watchers", f"{len(own) + len(linked) - len(shown)} more are not shown."))
    if not listing.complete:
        collected.append(("Note", f"The account has more than {MAX_LISTED} watchers; the first were read."))
    actions, answer = await _actions(case, shown[0]) if shown else (None, None)
    if answer:
        collected.append(("Watcher actions", answer))
    data: dict[str, Any] = {"watchers": [wire(watcher) for watcher in shown], "inAccount": len(listing.items)}
    if actions is not None:
        data["watcherActions"] = actions
    return Evidence(name=NAME, title=TITLE, facts=facts(collected), data=data)


def _describe(watcher: "Watcher", runbook: str | None) -> list[tuple[str, object]]:
    frequency = watcher.execution_frequency_in_seconds
    elsewhere = None
    if not same(watcher.script_name, runbook):
        elsewhere = f"'{label(watcher.script_name, 100)}' is not the runbook of this event; its text was not collected."
    return [
        ("Watcher", _name(watcher)),
        ("Script", watcher.script_name),
        ("Runs", f"every {frequency} seconds" if frequency is not None else None),
        ("Runs on", run_on(watcher.script_run_on)),
        ("Status", watcher.status),
        ("Parameters", parameters(watcher.script_parameters)),
        ("Created", when(watcher.creation_time)),
        ("Last modified", when(watcher.last_modified_time)),
        ("Last modified by", watcher.last_modified_by),
        ("Description", watcher.description),
        ("Script content", elsewhere),
    ]


def _name(watcher: "Watcher") -> str:
    # The name is null in some of Microsoft's published examples; the id always ends with it.
    return watcher.name or (watcher.id or "").rsplit("/", 1)[-1]


async def _actions(case: Case, watcher: "Watcher") -> tuple[Any, str]:
    """(the answer's JSON or None, a sentence): one try; not to get an answer is a fact and no failure."""
    from azure.core.rest import HttpRequest

    name = _name(watcher)
    if not is_safe_name(name):
        return None, "Not available: the watcher's name cannot be part of a request."
    request = HttpRequest(
        "GET",
        f"{quote(case.target.account_id)}/watchers/{quote(name, safe='')}/watcherActions",
        params={"api-version": _ACTIONS_API_VERSION},
    )
    try:
        async with asyncio.timeout(case.optional_timeout):
            response = await case.client.send_request(request, retry_total=0)
            body = response.json() if response.status_code == 200 else None
    except TimeoutError:
        return None, f"Not available: no answer within {case.optional_timeout:g} seconds."
    except Exception as error:
        sentence, expected = failures.explain(error)
        _LOGGER.log(logging.INFO if expected else logging.WARNING, "watcher actions: %s", sentence, exc_info=True)
        return None, f"Not available: {sentence}"
    if response.status_code != 200:
        return None, f"Not available: Azure publishes no way to read them and answered {response.status_code}."
    actions = body.get("value", []) if isinstance(body, dict) else []
    names = [str(action.get("name")) for action in actions if isinstance(action, dict)]
    return clean(actions), ", ".join(names[:MAX_SHOWN]) or "none"
