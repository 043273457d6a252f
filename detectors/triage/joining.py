"""Joining: one action that both the Activity Log and the inventory tell of is one alert. Pure.

The first of the two makes the alert. The second becomes evidence of it and makes none. What speaks against that in any
way (another caller, another snapshot, a rule that is more severe) leaves two alerts: one too many is better than none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from detectors.model import (
    ALSO_REPORTED,
    Alert,
    Delivery,
    DeliveryState,
    Entity,
    Evidence,
    Fact,
    Match,
    Record,
    Severity,
)
from detectors.rule import Rule
from detectors.triage import mapped
from detectors.triage.resource import AUTOMATION, parse

Teller = Literal["activity log", "inventory"]
Verb = Literal["change", "delete"]

NEAR: Final = timedelta(minutes=5)
"""The API's time of a change and the Activity Log's are seconds apart; this leaves room for slow operations."""
BETWEEN_SNAPSHOTS: Final = timedelta(minutes=30)
"""How far before a snapshot a change may lie of which the API tells no time."""

KEPT_ENTRIES: Final = 16
KEPT_FOR: Final = timedelta(days=2)
"""Longer than any row of the Activity Log is late."""
MOST_REPORTS: Final = 10
"""On one alert. Further matches are alerts of their own, so that no flood of them is hidden in one."""
MOST_TRIED: Final = 4
"""Alerts that are read to find the one that a match belongs to."""

_LONGEST_VALUE = 300
_MOST_PROPERTIES = 10
_PREFIX = f"{AUTOMATION}/automationaccounts/"

# Objects within objects that the inventory knows by themselves. Everything else below an object is part of it.
_INNER: Final = frozenset({"watcheractions", "hybridrunbookworkers", "packages"})
# Executions, and copies of them: no state of the account differs afterwards.
_EXECUTIONS: Final = frozenset({"jobs", "testjob", "compilationjobs", "sourcecontrolsyncjobs"})
# Reads that are called writes.
_NO_WRITES: Final = frozenset({"listkeys"})
# Of the operations that end in "action" only these leave anything changed: the others list, count and export.
_CHANGING_ACTIONS: Final = frozenset({
    "runbooks/publish/action",
    "runbooks/draft/undoedit/action",
    "watchers/start/action",
    "watchers/stop/action",
    "hybridrunbookworkergroups/hybridrunbookworkers/move/action",
})  # fmt: skip
# Nobody changes these through Azure Resource Manager: they say what the detector could read, or that a webhook was
# called. A change of nothing else must not disappear in the alert about a write at about the same time.
_NO_CHANGES: Final = frozenset({"unread", "watcherActions", "detailsUnread", "contentUnread", "lastInvokedTime"})
_NO_OPERATIONS: Final = frozenset({"inventory/webhook/invoked", "inventory/account/unreadable"})


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What a row tells of: *verb* was done to *object* (a resource id in lower case) between the two times."""

    teller: Teller
    object: str
    verb: Verb
    earliest: datetime
    latest: datetime

    @property
    def document(self) -> str:
        """Name of the document that indexes the alerts about this object and verb."""
        return f"action/{hashlib.sha256(f'{self.verb} {self.object}'.encode('utf-8', 'replace')).hexdigest()[:32]}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in the index. It may be about to be stored, or never come to it: whoever finds it looks."""

    alert_id: str
    teller: Teller
    earliest: datetime
    latest: datetime
    severity: Severity
    """Before triage."""


class Index(msgspec.Struct, frozen=True):
    """The alerts about one object and verb, latest last."""

    entries: tuple[Entry, ...] = ()


def action_of(row: Mapping[str, Any]) -> Action | None:
    """The action that a row of the inventory or of the Activity Log tells of, or None when it is none that can join.

    Those are a change or a removal of an automation account or of something in it, known by its resource id and its
    time. Base lines, jobs, reads and failed attempts are none.
    """
    return _of_inventory(row) if row.get("ChangeType") and row.get("ObjectId") else _of_activity_log(row)


def tells_of_one_action(rule: Rule) -> bool:
    """Whether a match of *rule* is about one action only, by what makes two matches the same.

    A rule that finds somebody's first day, or a second address, says more than the row it hangs it on.
    """
    identity = rule.detector.identity
    return not identity or not {"CorrelationId", "ChangeId", "ObjectId"}.isdisjoint(identity)


def read_index(value: bytes) -> Index:
    """The index in a document. Raises ``msgspec.MsgspecError`` or ``UnicodeDecodeError`` for anything else."""
    return msgspec.json.decode(value, type=Index)


def entry_of(match: Match, action: Action, severity: Severity) -> Entry:
    """The entry of *match*, which becomes an alert."""
    return Entry(
        alert_id=match.id, teller=action.teller, earliest=action.earliest, latest=action.latest, severity=severity
    )


def noted(index: Index, entry: Entry, now: datetime) -> Index:
    """*index* with *entry*, without what is too old or too much; the same when there is nothing to write."""
    if any(each.alert_id == entry.alert_id for each in index.entries) or entry.latest < now - KEPT_FOR:
        return index
    kept = [each for each in (*index.entries, entry) if each.latest >= now - KEPT_FOR]
    return Index(tuple(sorted(kept, key=lambda each: each.latest)[-KEPT_ENTRIES:]))


def candidates(index: Index, action: Action, match_id: str) -> list[Entry]:
    """Alerts that another source made of what may be *action*, the nearest in time first."""
    fitting = [
        entry
        for entry in index.entries
        if entry.teller != action.teller
        and entry.alert_id != match_id
        and entry.earliest <= action.latest
        and action.earliest <= entry.latest
    ]
    return sorted(fitting, key=lambda entry: _distance(entry, action))[:MOST_TRIED]


def report_of(rule: Rule, match: Match, action: Action) -> Evidence:
    """What *match*, found by *rule*, adds to the alert that another source made of the same action."""
    facts = _inventory_facts(match.row) if action.teller == "inventory" else _log_facts(rule, match)
    data = {
        "matchId": match.id,
        "teller": action.teller,
        "ruleId": rule.id,
        "severity": mapped.severity(rule, match.row).value,
    }
    if action.teller == "inventory":
        data["snapshot"] = mapped.text(match.row.get("Snapshot"))
    else:
        data["caller"] = mapped.caller(rule, match.row)
        data["callerIpAddress"] = mapped.address(rule, match.row)
        data["correlationId"] = mapped.text(match.row.get("CorrelationId"))
    return Evidence(
        name=ALSO_REPORTED,
        title=f"Also reported by {'the inventory' if action.teller == 'inventory' else 'the Activity Log'}",
        facts=(*(fact for fact in facts if fact.value), Fact("Rule", f"{rule.name} ({data['severity']})")),
        data=data,
    )


def with_report(record: Record, entry: Entry, report: Evidence, now: datetime) -> Record | None:
    """*record*, the alert of *entry*, with *report*; unchanged when it has it; None when it does not take it.

    An alert that was triaged before is updated, and what was sent of it counts as outdated.
    """
    if record.match is None or record.joined_to is not None or record.summarised_by is not None:
        return None
    reports = reports_of(record.alert.evidence if record.alert else record.match.reports)
    if any(each.data.get("matchId") == report.data["matchId"] for each in reports):
        return record
    level = record.alert.severity if record.alert else entry.severity
    # A responder who has seen the alert must hear of it again when it turns out to be worse.
    if len(reports) >= MOST_REPORTS or Severity(report.data["severity"]).rank > level.rank:
        return None
    if not all(_of_one_action(each, report) for each in reports if each.data.get("teller") == report.data["teller"]):
        return None
    if record.alert is None:
        return replace(record, match=replace(record.match, reports=(*record.match.reports, report)))
    outdated = {name: _outdated(delivery) for name, delivery in record.deliveries.items()}
    return replace(
        record,
        alert=with_evidence(record.alert, report, now),
        deliveries=outdated,
        due=now if any(delivery.outdated for delivery in outdated.values()) else record.due,
    )


def with_evidence(alert: Alert, report: Evidence, now: datetime) -> Alert:
    """*alert*, which was triaged before, with *report*. It stays in its story, which is where it was sent."""
    caller, address = who((report,))
    return replace(
        alert,
        evidence=(*alert.evidence, report),
        caller=alert.caller or caller,
        caller_ip=alert.caller_ip or address,
        entities=with_caller(alert.entities, caller, address),
        updates=alert.updates + 1,
        updated_at=now,
    )


def reports_of(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Those of *evidence* that :func:`report_of` made."""
    return tuple(each for each in evidence if each.name == ALSO_REPORTED)


def who(reports: Sequence[Evidence]) -> tuple[str, str]:
    """(caller, address) that the first of *reports* with a caller names; empty when none does."""
    named = (each.data for each in reports if each.data.get("caller"))
    data = next(named, {})
    return str(data.get("caller", "")), str(data.get("callerIpAddress", ""))


def with_caller(entities: tuple[Entity, ...], caller: str, address: str) -> tuple[Entity, ...]:
    """*entities* with an account and an address, each where there is none."""
    types = {entity.type for entity in entities}
    told = (("Account", "FullName", caller), ("IP", "Address", address))
    return (
        *entities,
        *(Entity(kind, {field: value}) for kind, field, value in told if value and kind not in types),
    )


def time_of(value: Any) -> datetime | None:
    """ISO 8601 text as a time in UTC unless it says otherwise, or None."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _of_inventory(row: Mapping[str, Any]) -> Action | None:
    found = object_of(mapped.text(row.get("ObjectId")))
    seen_at = _recent(row.get("TimeGenerated"))
    change = row.get("ChangeType")
    if found is None or seen_at is None or change not in {"Added", "Modified", "Removed"}:
        return None
    changed = set(_names(row.get("ChangedProperties")))
    operation = mapped.text(row.get("OperationNameValue")).casefold()
    if operation in _NO_OPERATIONS or (change == "Modified" and changed and changed <= _NO_CHANGES):
        return None
    changed_at = _recent(row.get("ChangedAt"))
    earliest, latest = (changed_at - NEAR, changed_at + NEAR) if changed_at else (
        seen_at - BETWEEN_SNAPSHOTS, seen_at + NEAR,
    )  # fmt: skip
    verb: Verb = "delete" if change == "Removed" else "change"
    return Action(teller="inventory", object=found, verb=verb, earliest=earliest, latest=latest)


def _of_activity_log(row: Mapping[str, Any]) -> Action | None:
    found = object_of(mapped.text(row.get("_ResourceId")))
    at = _recent(row.get("TimeGenerated"))
    verb = _verb(mapped.text(row.get("OperationNameValue")))
    failed = mapped.text(row.get("ActivityStatusValue")).strip().casefold() in {"failure", "failed"}
    if found is None or at is None or verb is None or failed:
        return None
    return Action(teller="activity log", object=found, verb=verb, earliest=at, latest=at)


def object_of(resource_id: str) -> str | None:
    """The object of an automation account that the id, or one below it, names; the account itself when it is that.

    The text of a runbook is part of the runbook. In lower case; None for a job and for what is no such id.
    """
    resource = parse(resource_id)
    if resource is None or resource.provider.casefold() != AUTOMATION or not resource.names or resource.extension:
        return None
    pairs = list(zip((each.casefold() for each in resource.types), resource.names, strict=False))
    if pairs[0][0] != "automationaccounts" or (len(resource.types) > 1 and resource.types[1].casefold() == "jobs"):
        return None
    depth = 3 if len(pairs) > 2 and pairs[2][0] in _INNER else 2
    path = "/".join(part for pair in pairs[:depth] for part in pair)
    return (
        f"/subscriptions/{resource.subscription_id}/resourcegroups/{resource.resource_group}"
        f"/providers/{AUTOMATION}/{path}"
    ).casefold()


def _verb(operation: str) -> Verb | None:
    name = operation.strip().casefold()
    if not name.startswith(_PREFIX):
        return None
    name = name.removeprefix(_PREFIX)
    parts = name.split("/")
    if not _EXECUTIONS.isdisjoint(parts):
        return None
    if parts[-1] == "delete":
        return "delete"
    written = parts[-1] == "write" and _NO_WRITES.isdisjoint(parts)
    return "change" if written or name in _CHANGING_ACTIONS else None


def _recent(value: Any) -> datetime | None:
    # The year 1 stands for "never" in some answers, and nothing can be subtracted from it.
    moment = time_of(value)
    return moment if moment and 2000 <= moment.year < 3000 else None


def _of_one_action(one: Evidence, other: Evidence) -> bool:
    """Whether two reports of one source may tell of the same action.

    Two callers did two things. Two snapshots saw two changes, of which the log may have told one.
    """
    if one.data.get("teller") == "inventory":
        return bool(one.data.get("snapshot") == other.data.get("snapshot"))
    return str(one.data.get("caller", "")).casefold() == str(other.data.get("caller", "")).casefold()


def _outdated(delivery: Delivery) -> Delivery:
    on_its_way = delivery.state is DeliveryState.PENDING and delivery.claimed_until is not None
    return replace(delivery, outdated=True) if on_its_way or delivery.state is DeliveryState.SENT else delivery


def _distance(entry: Entry, action: Action) -> timedelta:
    middle = entry.earliest + (entry.latest - entry.earliest) / 2
    return abs(middle - (action.earliest + (action.latest - action.earliest) / 2))


def _log_facts(rule: Rule, match: Match) -> list[Fact]:
    row = match.row
    return [
        Fact("Caller", mapped.caller(rule, row)),
        Fact("Address", mapped.address(rule, row)),
        Fact("Operation", mapped.text(row.get("OperationNameValue"))),
        Fact("Logged at", match.event_time.isoformat(timespec="seconds")),
        Fact("Correlation id", mapped.text(row.get("CorrelationId"))),
    ]


def _inventory_facts(row: Mapping[str, Any]) -> list[Fact]:
    names = _names(row.get("ChangedProperties"))
    before, after = _properties(row.get("Before")), _properties(row.get("After"))
    more = f" and {len(names) - _MOST_PROPERTIES} more" if len(names) > _MOST_PROPERTIES else ""
    return [
        Fact("Change", f"{mapped.text(row.get('ChangeType'))} {mapped.text(row.get('ObjectType'))}".strip()),
        Fact("Object", mapped.text(row.get("ObjectName"))),
        Fact("Changed properties", ", ".join(names[:_MOST_PROPERTIES]) + more),
        *(
            Fact(f"{name}, before and after", f"{_shown(before.get(name))} → {_shown(after.get(name))}")
            for name in names[:_MOST_PROPERTIES]
        ),
        Fact("Last modified by", mapped.text(row.get("ChangedBy"))),
        Fact("Last modified at", mapped.text(row.get("ChangedAt"))),
        Fact("Snapshot taken at", mapped.text(row.get("TimeGenerated"))),
        Fact("Snapshot", mapped.text(row.get("Snapshot"))),
        Fact("Snapshot before", mapped.text(row.get("PreviousSnapshot"))),
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _properties(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(value: Any) -> list[str]:
    return [name[:_LONGEST_VALUE] for name in value if isinstance(name, str)] if isinstance(value, list) else []
