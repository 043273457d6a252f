"""Keys of a rule file that matter to an export alone, read from the YAML document beside the rule.

A rule that others wrote may hold anything here: what cannot be used is noted, and Sentinel's default stands in.
"""

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from detectors.export.shape import NotCarried, iso_duration
from detectors.rulebook.values import LONGEST_SUPPRESSION, read_duration

_DEFAULT_DURATION: Final = timedelta(hours=5)
_AGGREGATIONS: Final = ("SingleAlert", "AlertPerResult")
_MATCHING: Final = ("AllEntities", "AnyAlert", "Selected")
_GROUP_LISTS: Final = ("groupByEntities", "groupByAlertDetails", "groupByCustomDetails")
_OVERRIDE_TEXTS: Final = (
    "alertDisplayNameFormat",
    "alertDescriptionFormat",
    "alertTacticsColumnName",
    "alertSeverityColumnName",
)
_FLAGS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_OVERRIDE_PAIR: Final = ("alertProperty", "value")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extras:
    """What :class:`detectors.rule.Rule` does not keep; mappings are in the shape of Sentinel's API."""

    enabled: bool
    """False where the file itself switches the rule off."""
    per_result: bool
    """One alert for each row, not one for each run."""
    suppression_enabled: bool
    suppression_duration: timedelta
    incident: Mapping[str, Any]
    overrides: Mapping[str, Any]
    sentinel_entities: tuple[str, ...]
    """Columns that hold entities as Sentinel itself writes them."""
    template_name: str | None
    """The installed template that the rule was made from."""
    notes: tuple[NotCarried, ...]
    """What was there and could not be used."""


def read_extras(document: Mapping[str, Any]) -> Extras:
    """What *document*, a whole rule file, says beyond the rule. Raises nothing: what is wrong is in ``notes``."""
    reader = _Reader()
    grouping = reader.mapping(document, "", "eventGroupingSettings")
    aggregation = reader.word(grouping, "eventGroupingSettings.", "aggregationKind", _AGGREGATIONS)
    reader.beyond(grouping, "eventGroupingSettings.", {"aggregationKind"})
    duration = reader.duration(document, "", "suppressionDuration")
    if duration > LONGEST_SUPPRESSION:
        reader.note("suppressionDuration", f"{iso_duration(duration)} is longer than Sentinel takes; it is P1D")
        duration = LONGEST_SUPPRESSION
    template = document.get("alertRuleTemplateName")
    return Extras(
        enabled=reader.flag(document, "", "enabled", default=True),
        per_result=aggregation == "AlertPerResult",
        suppression_enabled=reader.flag(document, "", "suppressionEnabled", default=False),
        suppression_duration=duration,
        incident=_incident(reader, document),
        overrides=_overrides(reader, document),
        sentinel_entities=_sentinel_entities(reader, document),
        template_name=template if isinstance(template, str) and template else None,
        notes=tuple(reader.notes),
    )


def _incident(reader: "_Reader", document: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "incidentConfiguration."
    given = reader.mapping(document, "", "incidentConfiguration")
    incident: dict[str, Any] = {"createIncident": reader.flag(given, prefix, "createIncident", default=True)}
    reader.beyond(given, prefix, {"createIncident", "groupingConfiguration"})
    grouping = reader.mapping(given, prefix, "groupingConfiguration")
    if grouping:
        prefix += "groupingConfiguration."
        # Four keys are required by the API and optional in a rule file.
        incident["groupingConfiguration"] = {
            "enabled": reader.flag(grouping, prefix, "enabled", default=False),
            "reopenClosedIncident": reader.flag(grouping, prefix, "reopenClosedIncident", default=False),
            "lookbackDuration": iso_duration(reader.duration(grouping, prefix, "lookbackDuration")),
            "matchingMethod": reader.word(grouping, prefix, "matchingMethod", _MATCHING),
        } | {name: reader.texts(grouping, prefix, name) for name in _GROUP_LISTS if grouping.get(name) is not None}
        known = {"enabled", "reopenClosedIncident", "lookbackDuration", "matchingMethod", *_GROUP_LISTS}
        reader.beyond(grouping, prefix, known)
    return incident


def _overrides(reader: "_Reader", document: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "alertDetailsOverride."
    given = reader.mapping(document, "", "alertDetailsOverride")
    overrides: dict[str, Any] = {}
    for name in _OVERRIDE_TEXTS:
        value = given.get(name)
        if isinstance(value, str) and value:
            overrides[name] = value
        elif value:
            reader.note(prefix + name, "is not text and is left out")
    dynamic = given.get("alertDynamicProperties") or []
    pairs = dynamic if isinstance(dynamic, list) else [dynamic]
    usable = [pair for pair in pairs if _is_override_pair(pair)]
    if len(usable) < len(pairs):
        reader.note(prefix + "alertDynamicProperties", "entries that are not alertProperty and value are left out")
    if usable:
        overrides["alertDynamicProperties"] = [
            {key: pair[key] for key in ("alertProperty", "value")} for pair in usable
        ]
    reader.beyond(given, prefix, {*_OVERRIDE_TEXTS, "alertDynamicProperties"})
    return overrides


def _is_override_pair(pair: Any) -> bool:
    return (
        isinstance(pair, dict) and pair.keys() == set(_OVERRIDE_PAIR) and all(isinstance(v, str) for v in pair.values())
    )


def _sentinel_entities(reader: "_Reader", document: Mapping[str, Any]) -> tuple[str, ...]:
    given = document.get("sentinelEntitiesMappings") or []
    entries = given if isinstance(given, list) else [given]
    columns = [entry.get("columnName") for entry in entries if isinstance(entry, dict)]
    usable = tuple(column for column in columns if isinstance(column, str) and column)
    if len(usable) < len(entries):
        reader.note("sentinelEntitiesMappings", "entries without the text columnName are left out")
    return usable


class _Reader:
    def __init__(self) -> None:
        self.notes: list[NotCarried] = []

    def note(self, key: str, reason: str) -> None:
        self.notes.append(NotCarried(key, reason))

    def beyond(self, source: Mapping[str, Any], prefix: str, known: set[str]) -> None:
        for key in source:
            if key not in known:
                self.note(prefix + key, "is no property of Sentinel's API and is left out")

    def mapping(self, source: Mapping[str, Any], prefix: str, key: str) -> Mapping[str, Any]:
        value = source.get(key)
        if value is not None and not isinstance(value, dict):
            self.note(prefix + key, "is not a mapping of keys and is left out")
        return value if isinstance(value, dict) else {}

    def flag(self, source: Mapping[str, Any], prefix: str, key: str, *, default: bool) -> bool:
        value = source.get(key)
        if value is None:
            return default
        # A rule that others wrote comes with every value as text.
        found = value if isinstance(value, bool) else _FLAGS.get(value.lower()) if isinstance(value, str) else None
        if found is not None:
            return found
        self.note(prefix + key, f"{_shown(value)} is not true or false; {str(default).lower()} is used")
        return default

    def word(self, source: Mapping[str, Any], prefix: str, key: str, words: tuple[str, ...]) -> str:
        value = source.get(key)
        found = next((word for word in words if isinstance(value, str) and word.lower() == value.lower()), None)
        if value is not None and found is None:
            self.note(prefix + key, f"{_shown(value)} is not one of {', '.join(words)}; {words[0]} is used")
        return found or words[0]

    def texts(self, source: Mapping[str, Any], prefix: str, key: str) -> list[str]:
        value = source.get(key)
        texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
        if not isinstance(value, list) or len(texts) < len(value):
            self.note(prefix + key, "what is not text in a list is left out")
        return texts

    def duration(self, source: Mapping[str, Any], prefix: str, key: str) -> timedelta:
        value = source.get(key)
        if value is None:
            return _DEFAULT_DURATION
        found = read_duration(value) if isinstance(value, str) else None
        if not found:
            self.note(prefix + key, f"{_shown(value)} is not a duration; {iso_duration(_DEFAULT_DURATION)} is used")
        return found or _DEFAULT_DURATION


def _shown(value: Any) -> str:
    return repr(value)[:60]
