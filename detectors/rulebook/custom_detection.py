"""Defender XDR custom detections (``kind: CustomDetection``) as the analytics rule that they were made from."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from detectors.rulebook.values import ENTITIES, read_duration

Note = Callable[[str, str], None]

_SECTIONS: Final = {
    "accounts": "Account",
    "azureresources": "AzureResource",
    "cloudapplications": "CloudApplication",
    "dns": "DNS",
    "filehashes": "FileHash",
    "files": "File",
    "hosts": "Host",
    "ips": "IP",
    "mailboxes": "Mailbox",
    "processes": "Process",
    "registrykeys": "RegistryKey",
    "registryvalues": "RegistryValue",
    "securitygroups": "SecurityGroup",
    "urls": "URL",
}
"""Lists of ``entityMappings``, in lower case, to Sentinel's entity type."""
_OTHER_NAMES: Final = {
    ("Account", "upn"): "FullName",
    ("Host", "name"): "HostName",
    ("SecurityGroup", "objectid"): "ObjectGuid",
}
"""(entity type, column key in lower case without ``column``) to Sentinel's identifier, where the two differ."""
_CONTINUOUS: Final = frozenset({"0", "PT0S", "PT0M", "PT0H"})


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether *document* is a custom detection."""
    kind, properties = document.get("kind"), document.get("properties")
    named = isinstance(kind, str) and kind.strip().lower() == "customdetection"
    return named or (isinstance(properties, dict) and "queryCondition" in properties)


def to_analytics_rule(document: Mapping[str, Any], note: Note) -> dict[str, Any]:
    """The same rule with the keys of an analytics rule; *note* is told (key, text) of what cannot be carried over."""
    properties = _mapping(document, "properties")
    template = _mapping(_mapping(properties, "detectionAction"), "alertTemplate")
    source = _mapping(_mapping(document, "contentProvenance"), "source")
    schedule = _mapping(properties, "schedule")
    # ``period`` is what Defender called the frequency before.
    frequency = schedule.get("frequency") or schedule.get("period")
    severity = template.get("severity")
    continuous = isinstance(frequency, str) and frequency.strip().upper() in _CONTINUOUS
    tactics, techniques = _tactics(template)
    title = template.get("title")
    rule = {
        # Its own id is a name. With the id of the rule it was made from, that rule and this one are not both run.
        "id": source.get("id") or properties.get("id"),
        "kind": "NRT" if continuous else "Scheduled",
        "name": properties.get("displayName") or title,
        "description": template.get("description"),
        "severity": severity.capitalize() if isinstance(severity, str) else severity,
        "query": _mapping(properties, "queryCondition").get("queryText"),
        "queryFrequency": None if continuous else frequency,
        "queryPeriod": None if continuous else _look_back(schedule, source, frequency, note),
        "tactics": tactics,
        "relevantTechniques": techniques,
        "entityMappings": _entities(_mapping(template, "entityMappings"), note),
        "version": document.get("version") or source.get("version"),
        "status": properties.get("status"),
    }
    if isinstance(title, str) and "{{" in title:
        rule["alertDetailsOverride"] = {"alertDisplayNameFormat": title}
    return {key: value for key, value in rule.items() if value is not None}


def _look_back(schedule: Mapping[str, Any], source: Mapping[str, Any], frequency: Any, note: Note) -> Any:
    """What the detection says, else the rule it was made from, else what Defender does at that frequency."""
    if told := schedule.get("lookback") or _mapping(source, "schedule").get("queryPeriod"):
        return told
    every = read_duration(frequency) if isinstance(frequency, str) else None
    if not every:
        return None
    hours, minutes = divmod(4 * int(every.total_seconds()) // 60, 60)
    usual = "30d" if every >= timedelta(days=1) else f"{60 * hours + minutes}m" if minutes else f"{hours}h"
    note("schedule.lookback", f"is not given; {usual} is taken, as Defender does for {frequency}")
    return usual


def _mapping(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _tactics(template: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    entries = template.get("tactics")
    tactics: list[str] = []
    techniques: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        tactic = entry.get("tactic") if isinstance(entry, dict) else entry
        tactics += [tactic] if isinstance(tactic, str) else []
        named = entry.get("techniques") if isinstance(entry, dict) else None
        for item in named if isinstance(named, list) else []:
            technique = item.get("technique") if isinstance(item, dict) else item
            techniques += [technique] if isinstance(technique, str) else []
    return tactics, techniques


def _entities(sections: Mapping[str, Any], note: Note) -> list[dict[str, Any]]:
    mappings = []
    for section, entries in sections.items():
        entity_type = _SECTIONS.get(section.casefold())
        if entity_type is None or not isinstance(entries, list):
            note("entityMappings", f"{section[:60]!r} is no list of entities that is known here; it is left out")
            continue
        for entry in entries:
            fields = []
            for name, column in entry.items() if isinstance(entry, dict) else ():
                if not name.casefold().endswith("column"):
                    continue
                if (identifier := _identifier(entity_type, name[: -len("column")])) is None:
                    note("entityMappings", f"{section}.{name[:60]} has no counterpart in Sentinel; it is left out")
                else:
                    fields.append({"identifier": identifier, "columnName": column})
            if fields:
                mappings.append({"entityType": entity_type, "fieldMappings": fields})
    return mappings


def _identifier(entity_type: str, name: str) -> str | None:
    """Sentinel's identifier for Defender's *name*; None when it has none."""
    known = ENTITIES[entity_type]
    if known is None:
        return name[:1].upper() + name[1:]
    by_fold = {identifier.casefold(): identifier for identifier in known}
    return _OTHER_NAMES.get((entity_type, name.casefold())) or by_fold.get(name.casefold())
