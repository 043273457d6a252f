"""What started a job, inferred: the API says who started it, and of a trigger not even that one was involved.

An inference, not a fact. The signs, most certain first: a webhook of the runbook whose last invocation is next to the
job's creation; a watcher that runs the runbook, as its script or as an action, on the group where the job ran; a job
schedule of the runbook, when the job was asked for and no user or application started it.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from detectors.inventory.snapshot import InventoryObject

WEBHOOK: Final = "Webhook"
WATCHER: Final = "Watcher"
SCHEDULE: Final = "Schedule"

NEAR: Final = timedelta(minutes=5)
"""How far a webhook's last invocation may lie from the creation of a job that it is taken for the cause of."""

_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Trigger:
    """``kind`` is Webhook, Watcher or Schedule; both are empty when nothing points to a trigger."""

    kind: str = ""
    name: str = ""


class Triggers:
    """The triggers among *objects* of one account, by the runbook that they start."""

    def __init__(self, objects: Iterable[InventoryObject]) -> None:
        self._webhooks: dict[str, list[InventoryObject]] = {}
        self._watchers: dict[str, list[InventoryObject]] = {}
        self._links: dict[str, list[InventoryObject]] = {}
        disabled: set[str] = set()
        for each in objects:
            match each.kind:
                case "Webhook":
                    _add(self._webhooks, each.properties.get("runbook"), each)
                case "Watcher":
                    for script in {_folded(each.properties.get("scriptName")), *_actions(each)}:
                        _add(self._watchers, script, each)
                case "JobSchedule":
                    _add(self._links, each.properties.get("runbook"), each)
                case "Schedule" if each.properties.get("isEnabled") is False:
                    disabled.add(_folded(each.name))
        self._disabled = disabled

    def of(self, job: Mapping[str, Any], *, asked: bool) -> Trigger:
        """What started the job with these properties. *asked*: they come from the job itself, not from a list alone.

        A list does not say who started a job; that it says nothing is then no sign.
        """
        runbook = _folded(job.get("runbook"))
        return (
            self._webhook(runbook, job)
            or self._watcher(runbook, job)
            or (self._schedule(runbook, job) if asked and not is_principal(job.get("startedBy")) else None)
            or Trigger()
        )

    def _webhook(self, runbook: str, job: Mapping[str, Any]) -> Trigger | None:
        created = _time(job.get("creationTime"))
        near: list[tuple[timedelta, str]] = []
        for webhook in self._webhooks.get(runbook, ()):
            invoked = _time(webhook.properties.get("lastInvokedTime"))
            if created and invoked and abs(created - invoked) <= NEAR:
                near.append((abs(created - invoked), webhook.name))
        return Trigger(WEBHOOK, min(near)[1]) if near else None

    def _watcher(self, runbook: str, job: Mapping[str, Any]) -> Trigger | None:
        group = _folded(job.get("runOn"))
        names = [
            watcher.name
            for watcher in self._watchers.get(runbook, ())
            if group and _folded(watcher.properties.get("scriptRunOn")) == group
        ]
        return Trigger(WATCHER, min(names)) if names else None

    def _schedule(self, runbook: str, job: Mapping[str, Any]) -> Trigger | None:
        group = _folded(job.get("runOn"))
        names = [
            str(link.properties.get("schedule", ""))
            for link in self._links.get(runbook, ())
            if _folded(link.properties.get("runOn")) == group
            and _folded(link.properties.get("schedule")) not in self._disabled
        ]
        return Trigger(SCHEDULE, min(names)) if names else None


def is_principal(started_by: object) -> bool:
    """Whether ``startedBy`` names a user or an application rather than a trigger or nobody."""
    text = str(started_by or "").strip()
    return "@" in text or _GUID.fullmatch(text) is not None


def _add(index: dict[str, list[InventoryObject]], runbook: object, each: InventoryObject) -> None:
    if key := _folded(runbook):
        index.setdefault(key, []).append(each)


def _actions(watcher: InventoryObject) -> set[str]:
    actions = watcher.properties.get("actions")
    return {_folded(action) for action in actions} if isinstance(actions, list) else set()


def _folded(name: object) -> str:
    return str(name or "").casefold()


def _time(text: object) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None
