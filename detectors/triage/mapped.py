"""Who, from where and to what: from the columns of the Activity Log, else from the entities that a rule maps.

Rules over other tables have no ``Caller``, and somebody's rule may have renamed it. Pure; rows are hostile text.
"""

from collections.abc import Mapping
from typing import Any, Final

from detectors.model import Severity
from detectors.rule import Rule

_RUNBOOK: Final = ("runbook", "published_content", "draft_content", "watchers", "webhooks", "schedules")
_ENRICHMENTS: Final[dict[str, tuple[str, ...]]] = {
    "runbook": _RUNBOOK,
    "job": ("job", "executed_content", "job_output", "runbook", "watchers", "webhooks", "schedules"),
    "watcher": ("watchers", "runbook", "published_content", "draft_content"),
    "webhook": ("webhooks", "runbook", "published_content", "draft_content"),
    "schedule": ("schedules", "runbook", "published_content"),
    "jobSchedule": ("schedules", "runbook", "published_content"),
}
# What the account can be asked for when no runbook is known: lists of everything that starts one.
_ACCOUNT: Final = ("watchers", "webhooks", "schedules")


def enrichments(rule: Rule, kind: str) -> tuple[str, ...]:
    """Evidence to collect for a match on an Automation object of *kind* (of ``AutomationTarget``).

    A rule of ours names it. For anybody else's it follows from what the match is about.
    """
    return _ENRICHMENTS.get(kind, _ACCOUNT) if rule.plain else rule.detector.enrich


def text(value: Any) -> str:
    """*value* as bounded text; empty for null."""
    return "" if value is None else str(value)[:2_048]


def resource_id(rule: Rule, row: Mapping[str, Any]) -> str:
    """The resource id: ``_ResourceId``, else the mapped AzureResource, else ``ResourceId``."""
    mapped = _entity(rule, row, "AzureResource").get("ResourceId", "")
    return text(row.get("_ResourceId")) or mapped or text(row.get("ResourceId"))


def caller(rule: Rule, row: Mapping[str, Any]) -> str:
    """Who did it: ``Caller``, else the mapped Account in the most telling of its forms."""
    if told := text(row.get("Caller")):
        return told
    account = _entity(rule, row, "Account")
    if account.get("FullName"):
        return account["FullName"]
    if account.get("Name"):
        return "@".join(part for part in (account["Name"], account.get("UPNSuffix", "")) if part)
    return account.get("AadUserId") or account.get("ObjectGuid") or account.get("DisplayName") or ""


def address(rule: Rule, row: Mapping[str, Any]) -> str:
    """From where: ``CallerIpAddress``, else the mapped IP."""
    return text(row.get("CallerIpAddress")) or _entity(rule, row, "IP").get("Address", "")


def severity(rule: Rule, row: Mapping[str, Any]) -> Severity:
    """The value of ``alertSeverityColumnName`` where it is a severity, else the rule's own."""
    told = text(row.get(rule.severity_column)).strip().casefold() if rule.severity_column else ""
    return next((level for level in Severity if level.casefold() == told), rule.severity)


def tactics(rule: Rule, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The value of ``alertTacticsColumnName`` (a list, or text with commas) where there is one, else the rule's own."""
    told = row.get(rule.tactics_column) if rule.tactics_column else None
    items = told if isinstance(told, list) else text(told).split(",")
    found = tuple(dict.fromkeys(item for part in items if (item := text(part).strip())))
    # Tactics are one word each; whatever else a column holds is not one, and it comes from the log.
    return tuple(item for item in found if item.isascii() and item.isalpha() and len(item) <= 40)[:20] or rule.tactics


def _entity(rule: Rule, row: Mapping[str, Any], entity_type: str) -> dict[str, str]:
    """The fields with a value of every mapping of *entity_type*; of two with the same field the first."""
    fields: dict[str, str] = {}
    for mapping in rule.entity_mappings:
        if mapping.entity_type == entity_type:
            for identifier, column in mapping.fields:
                if value := text(row.get(column)):
                    fields.setdefault(identifier, value)
    return fields
