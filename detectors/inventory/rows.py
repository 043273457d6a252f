"""Rows of AutomationInventory_CL, made of changes. Pure."""

from typing import Any, Final

import msgspec

from detectors.inventory.changes import Change
from detectors.inventory.encoding import encode, snapshot_id
from detectors.inventory.snapshot import Snapshot
from detectors.kql.values import json_value, parse_datetime

_RUNBOOK: Final = {
    "Watcher": "scriptName",
    "WatcherAction": "scriptName",
    "Webhook": "runbook",
    "JobSchedule": "runbook",
    "RunbookContent": "runbook",
    "Job": "runbook",
}
_RUN_ON: Final = {
    "Watcher": "scriptRunOn",
    "WatcherAction": "scriptRunOn",
    "Webhook": "runOn",
    "JobSchedule": "runOn",
    "Job": "runOn",
}
"""Kind to the property that says it."""

_MODIFIED: Final = (("lastModifiedTime", "lastModifiedBy"), ("modifiedTime", "modifiedBy"))
_CREATED: Final = (("creationTime", "startedBy"), ("createdAt", "createdBy"), ("registeredDateTime", ""))
"""(when, by whom): the first with a time, else the first with a name."""


def row_of(change: Change, before: Snapshot | None, after: Snapshot) -> dict[str, Any]:
    """*change*, which was found between *before* and *after*, as JSON values of every column that the detector fills.

    The columns after ``Snapshot`` are the workspace's own. Strings are never null; times are RFC 3339 text in UTC.
    """
    account = after.account
    properties = (change.before if change.after is None else change.after) or {}
    changed_by, changed_at = _who_and_when(change)
    row = {
        "TimeGenerated": json_value("datetime", after.taken_at),
        "ChangeId": change.id,
        "ChangeType": change.change_type,
        "ObjectType": change.kind,
        "ObjectName": change.name,
        "ObjectId": change.object_id,
        "AccountId": account.id,
        "AccountName": account.name,
        "ResourceGroup": account.resource_group,
        "SubscriptionId": account.subscription_id,
        "Location": account.location,
        # What went with its account is no action of its own; the rules that report removals leave it out.
        "ChangedProperties": ["account"] if not after.objects and change.kind != "Account" else list(change.changed),
        "Before": change.before,
        "After": change.after,
        "RunbookName": change.name if change.kind == "Runbook" else _text(properties, _RUNBOOK.get(change.kind, "")),
        "RunOn": _text(properties, _RUN_ON.get(change.kind, "")),
        "ContentSha256": _text(change.after or {}, "sha256") if change.kind == "RunbookContent" else "",
        "ChangedBy": changed_by,
        "ChangedAt": changed_at,
        "PreviousSnapshot": snapshot_id(before) if before else "",
        "Snapshot": snapshot_id(after),
    }
    # As it reads back wherever it is stored on its way, whatever is in the properties.
    stored = msgspec.json.decode(encode(row))
    return {column: stored[column] for column in row}


def _who_and_when(change: Change) -> tuple[str, str | None]:
    """By whom and when, where the API says so of *this* change.

    What a removed object says of its last modification is not who removed it. A change that moved neither of the two,
    such as a webhook that was invoked, is not by who modified the object some day before.
    """
    if change.after is None:
        return "", None
    pairs: tuple[tuple[str, str], ...] = (*_MODIFIED, *_CREATED)
    if change.change_type == "Modified":
        pairs = tuple(pair for pair in _MODIFIED if not set(pair).isdisjoint(change.changed))
    told = [(_text(change.after, who), parse_datetime(change.after.get(when))) for when, who in pairs]
    timed = [(who, moment) for who, moment in told if moment is not None]
    named = [(who, moment) for who, moment in told if who]
    who, moment = next(iter(timed or named), ("", None))
    return who, json_value("datetime", moment)


def _text(properties: dict[str, Any], name: str) -> str:
    value = properties.get(name)
    return value if isinstance(value, str) else ""
