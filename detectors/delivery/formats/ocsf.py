"""OCSF 1.5.0 Detection Finding (class 2004): for SIEMs that know the schema, such as Security Lake's subscribers.

Attribute names and numbers are those of https://schema.ocsf.io/1.5.0/classes/detection_finding.
"""

import ipaddress
from datetime import datetime
from typing import Any

from detectors.delivery.formats.native import MAX_BYTES, trimmed_data
from detectors.delivery.text import clip, encode_json, visible
from detectors.model import Alert, Severity

VERSION = "1.5.0"
_CLASS = 2004
_CREATE = 1
_NEW = 1
_RULE = 1
_UNKNOWN = 0
_OTHER = 99
_SEVERITIES = {Severity.INFORMATIONAL: 1, Severity.LOW: 2, Severity.MEDIUM: 3, Severity.HIGH: 4}
_ROOM, _LEAST_ROOM = 17_000, 4_000
"""Bytes for the alert's data; what the schema repeats (title, resource) is not counted in it."""
_NAME = 200
_ID = 500
_LABEL = 60
_MOST = 10
_MAPPED = frozenset({
    "id", "rule_name", "rule_version", "severity", "title", "description", "tactics", "techniques", "evidence",
    "response", "references", "row",
})  # fmt: skip
"""Fields of the alert that the schema has a place for; all others go to ``unmapped`` under their own names."""


def build_finding(alert: Alert) -> dict[str, Any]:
    """The alert as a finding that was created (``type_uid`` 200401); less than 20 kB of UTF-8 JSON.

    ``finding_info.uid`` is the alert's id, ``metadata.correlation_uid`` its story. The caller and where from, the API
    call and the matched row are the first of ``evidences``, what triage collected the others. ``unmapped.trimmed``
    lists what did not fit.
    """
    room = _ROOM
    while True:
        finding = _finding(alert, trimmed_data(alert, room))
        excess = len(encode_json(finding)) - MAX_BYTES
        if excess < 0 or room == _LEAST_ROOM:
            return finding
        room = max(_LEAST_ROOM, room - excess - 500)


def _finding(alert: Alert, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "activity_id": _CREATE,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + _CREATE,
        "type_name": "Detection Finding: Create",
        "time": _milliseconds(alert.created_at),
        "start_time": _milliseconds(alert.event_time),
        "severity_id": _SEVERITIES[alert.severity],
        "severity": alert.severity.value,
        "status_id": _NEW,
        "status": "New",
        "is_alert": True,
        "message": _name(alert.title),
        "metadata": {
            "version": VERSION,
            "uid": alert.id,
            "product": {"name": "Azure Automation detector", "vendor_name": "azure-automation-detector"},
            **({"correlation_uid": _name(alert.story)} if alert.story else {}),
            **({"profiles": ["cloud"]} if alert.subscription_id else {}),
        },
        "finding_info": _finding_info(alert, data),
        "evidences": _evidences(alert, data),
        **_cloud(alert),
        **({"remediation": _remediation(data)} if data["response"] else {}),
        "unmapped": {name: value for name, value in data.items() if name not in _MAPPED and value},
    }


def _finding_info(alert: Alert, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": alert.id,
        "title": _name(alert.title),
        "desc": data["description"],
        "types": [alert.kind.value, *(_name(tag, _LABEL) for tag in alert.tags[:_MOST])],
        "created_time": _milliseconds(alert.created_at),
        "first_seen_time": _milliseconds(alert.event_time),
        "data_sources": [alert.source.value],
        "analytic": {
            "uid": _name(alert.rule_id),
            "name": _name(alert.rule_name),
            "type_id": _RULE,
            "type": "Rule",
            "version": _name(alert.rule_version),
        },
        **({"attacks": _attacks(alert)} if alert.tactics or alert.techniques else {}),
    }


def _attacks(alert: Alert) -> list[dict[str, Any]]:
    """One entry for each technique and each tactic: which belongs to which, the rule does not say."""
    attacks: list[dict[str, Any]] = []
    for technique in alert.techniques[:_MOST]:
        parent, _, part = _name(technique, _LABEL).partition(".")
        # The id stands for the name, which some implementations of the schema require.
        attack = {"technique": {"uid": parent, "name": parent}}
        if part:
            attack["sub_technique"] = {"uid": f"{parent}.{part}", "name": f"{parent}.{part}"}
        attacks.append(attack)
    return attacks + [{"tactic": {"name": _name(tactic, _LABEL)}} for tactic in alert.tactics[:_MOST]]


def _evidences(alert: Alert, data: dict[str, Any]) -> list[dict[str, Any]]:
    activity: dict[str, Any] = {"name": "Activity", "data": data["row"] if isinstance(data["row"], dict) else {}}
    if alert.caller:
        caller = _name(alert.caller)
        activity["actor"] = {"user": {"name": caller, "uid": caller, "type_id": _UNKNOWN}}
    if _is_ip(alert.caller_ip):
        activity["src_endpoint"] = {"ip": alert.caller_ip}
    if alert.operation:
        activity["api"] = {"operation": _name(alert.operation)}
    if alert.resource_id:
        activity["resources"] = [_resource(alert)]
    # Cut to the bare minimum, the list may be something else: then it is in unmapped.trimmed.
    collected = data["evidence"] if isinstance(data["evidence"], list) else []
    evidences = [activity] if len(activity) > 2 or activity["data"] else []
    return evidences + [
        {"name": piece["name"], "data": {key: value for key, value in piece.items() if value and key != "name"}}
        for piece in collected
        if isinstance(piece, dict) and isinstance(piece.get("name"), str)
    ]


def _cloud(alert: Alert) -> dict[str, Any]:
    cloud: dict[str, Any] = {}
    if alert.resource_id:
        cloud["resources"] = [_resource(alert)]
    if alert.subscription_id:
        subscription = _name(alert.subscription_id)
        account = {"uid": subscription, "name": subscription, "type_id": _OTHER, "type": "Azure Subscription"}
        cloud["cloud"] = {"provider": "Azure", "account": account}
    return cloud


def _resource(alert: Alert) -> dict[str, Any]:
    parts = [part for part in alert.resource_id[:2_000].split("/") if part]
    lowered = [part.lower() for part in parts]
    tail = parts[len(parts) - lowered[::-1].index("providers") :] if "providers" in lowered else []
    return {
        "uid": _name(alert.resource_id, _ID),
        "name": _name(parts[-1] if parts else alert.resource_id),
        # Namespace, type, name, type, name, ...
        **({"type": _name("/".join([tail[0], *tail[1::2]]))} if len(tail) > 1 else {}),
        **({"group": {"name": _name(alert.resource_group)}} if alert.resource_group else {}),
        **({"namespace": _name(alert.account)} if alert.account else {}),
    }


def _remediation(data: dict[str, Any]) -> dict[str, Any]:
    references = data["references"]
    return {"desc": data["response"], **({"references": references} if isinstance(references, list) else {})}


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _name(text: str, limit: int = _NAME) -> str:
    return clip(visible(text[:limit]), limit)
