"""Anybody's Sentinel rule to a :class:`detectors.rule.Rule`: what Sentinel or its repositories tolerate is read too.

Three formats meet here: scheduled and NRT analytics rules, hunting queries (no kind, no schedule) and Defender XDR
custom detections. Only a missing query keeps a rule out. Everything else that is odd becomes a note, which names the
key and what is done instead; the query's text is never touched.
"""

import re
import uuid
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from detectors.kql.text import line_at, tokens_of
from detectors.kql.traits import longest_span
from detectors.model import Severity
from detectors.rule import EntityMapping, Rule
from detectors.rulebook import custom_detection
from detectors.rulebook.reading import Reading
from detectors.rulebook.values import (
    COLUMN,
    DEFAULT_FREQUENCY,
    DEFAULT_PERIOD,
    ENTITIES,
    LONGEST,
    LONGEST_SUPPRESSION,
    OPERATORS,
    SHORTEST,
    TACTICS,
    TECHNIQUE,
    meant,
    read_duration,
    words,
)

DAILY: Final = timedelta(days=1)
_USUAL_SUPPRESSION: Final = timedelta(hours=5)
_IDS: Final = uuid.UUID("8f1d3a52-6c0e-5b7a-9d24-b3e1c07f4a68")
"""Namespace of the ids that are made for rules without one; changing it would make every such rule a new rule."""
_READ_KEYS: Final = words(
    "id kind name description severity query queryFrequency queryPeriod triggerOperator triggerThreshold tactics "
    "relevantTechniques tags entityMappings customDetails alertDetailsOverride suppressionEnabled suppressionDuration "
    "version status enabled"
)
_SENTINELS_OWN: Final = words(
    "requiredDataConnectors eventGroupingSettings incidentConfiguration sentinelEntitiesMappings metadata "
    "alertRuleTemplateName templateVersion "
    # Parts of ``metadata`` that Sentinel's repository often writes one level too high.
    "author source support categories threatAnalysisTactics threatAnalysisTechniques "
    # Hunting queries say the same at more length; both spellings are in use.
    "description-detailed description_detailed"
)
# Before entity mappings, a query named its entities by these columns.
_CUSTOM_ENTITIES: Final = {
    "AccountCustomEntity": ("Account", "FullName"),
    "HostCustomEntity": ("Host", "FullName"),
    "IPCustomEntity": ("IP", "Address"),
    "URLCustomEntity": ("URL", "Url"),
}
_QUERY_KINDS: Final = frozenset({"scheduled", "nrt", "customdetection"})
_FILLED_BY_HUNTING: Final = re.compile(r"\{\{(?:StartTimeISO|EndTimeISO)\}\}")
"""What Sentinel's hunting page, and nothing else, replaces by the time range that was picked there."""


class NoRule(Exception):
    """The document has no query. ``broken`` says that it calls itself a rule all the same."""

    def __init__(self, message: str, *, broken: bool) -> None:
        super().__init__(message)
        self.broken = broken


def read_plain_rule(document: Any, file: str, key: str) -> tuple[Rule, list[str]]:
    """The rule in *document* (as ``loose_yaml`` reads it) and a note for each oddity, beginning with *file*.

    *key* is the file's path inside its folder, ``/`` between the parts: the id of a rule that has none is made from
    it. Raises :class:`NoRule`, and nothing else.
    """
    reading = Reading(file)
    if isinstance(document, dict) and custom_detection.is_one(document):
        document = custom_detection.to_analytics_rule(document, reading.note)
    if not isinstance(document, dict):
        raise NoRule("is no rule: it is not a mapping of keys", broken=False)
    query = document.get("query")
    if not isinstance(query, str) or not query.strip():
        kind = document.get("kind")
        broken = isinstance(kind, str) and kind.strip().lower() in _QUERY_KINDS
        raise NoRule("query: is missing; add it, nothing can run without" if broken else "is no rule: it has no query",
                     broken=broken)  # fmt: skip
    return _rule(reading, document, query, key), reading.notes


def derived_id(*parts: str) -> str:
    """A GUID made from *parts*, the same wherever and whenever it is made."""
    # A lone surrogate has no UTF-8, which uuid5 encodes its name as.
    text = "\n".join(parts).encode("utf-8", "backslashreplace").decode()
    return str(uuid.uuid5(_IDS, text))


def _rule(reading: Reading, document: dict[str, Any], query: str, key: str) -> Rule:
    hunting = all(document.get(key) is None for key in ("kind", "queryFrequency", "queryPeriod"))
    kind = _kind(reading, document, hunting=hunting)
    frequency, period = _timing(reading, document, kind, query, hunting=hunting)
    overrides = reading.mapping(document, "alertDetailsOverride")
    override = "alertDetailsOverride."
    operator, threshold = _trigger(reading, document)
    if len(query) > 10_000:
        reading.note("query", f"has {len(query)} characters; Sentinel takes at most 10000, the Logs API takes more")
    _note_placeholders(reading, query)
    _note_rest(reading, document)
    return Rule(
        id=_id(reading, document, key),
        kind=kind,
        name=_name(reading, document, key),
        description=_unquoted(reading.text(document, "description", longest=5000)),
        severity=_severity(reading, document, hunting=hunting),
        query=query,
        query_frequency=frequency,
        query_period=period,
        trigger_operator=operator,
        trigger_threshold=threshold,
        tactics=_tactics(reading, document),
        techniques=_techniques(reading, document),
        tags=_tags(document),
        entity_mappings=_entity_mappings(reading, document, query),
        custom_details=_custom_details(reading, document),
        title_format=reading.text(overrides, "alertDisplayNameFormat", longest=256, prefix=override) or None,
        description_format=reading.text(overrides, "alertDescriptionFormat", longest=5000, prefix=override) or None,
        severity_column=reading.text(overrides, "alertSeverityColumnName", longest=500, prefix=override),
        tactics_column=reading.text(overrides, "alertTacticsColumnName", longest=500, prefix=override),
        suppression=_suppression(reading, document),
        version=_version(reading, document),
        path=reading.file,
        plain=True,
    )


def _id(reading: Reading, document: dict[str, Any], key: str) -> str:
    text = reading.text(document, "id", longest=200)
    try:
        return str(uuid.UUID(text))
    except ValueError:
        made = derived_id(key)
        reading.note("id", f"{f'{text!r} is no GUID' if text else 'is missing'}; {made} is made from the file's path")
        return made


def _kind(reading: Reading, document: dict[str, Any], *, hunting: bool) -> str:
    if hunting:  # its one note is about the timing
        return "Scheduled"
    text = reading.text(document, "kind", longest=64)
    known = {"scheduled": "Scheduled", "nrt": "NRT"}.get(text.lower())
    if known is None:
        why = f"{text!r} is unknown" if text else "is missing"
        reading.note("kind", f"{why}; the rule runs as Scheduled")
    return known or "Scheduled"


def _name(reading: Reading, document: dict[str, Any], key: str) -> str:
    if name := _unquoted(reading.text(document, "name", longest=256)):
        return name
    stem = PurePosixPath(key).stem[:256] or "rule"
    reading.note("name", f"is missing; the file's name {stem!r} is taken")
    return stem


def _unquoted(text: str) -> str:
    """Sentinel's repository writes descriptions as a block of text in quotes of its own."""
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _severity(reading: Reading, document: dict[str, Any], *, hunting: bool) -> Severity:
    text = reading.text(document, "severity", longest=64)
    if hunting and not text:
        return Severity.INFORMATIONAL
    by_fold = {severity.casefold(): severity for severity in Severity}
    severity = by_fold.get(text.casefold())
    if severity is None:
        severity = (
            Severity.HIGH if text.casefold() == "critical" else Severity.MEDIUM if text else Severity.INFORMATIONAL
        )
        reading.note("severity", f"{f'{text!r} is unknown' if text else 'is missing'}; {severity} is taken")
    elif severity != text:
        reading.note("severity", f"{text!r} is read as {severity}")
    return severity


def _timing(
    reading: Reading, document: dict[str, Any], kind: str, query: str, *, hunting: bool
) -> tuple[timedelta, timedelta]:
    if kind == "NRT":
        for key in ("queryFrequency", "queryPeriod"):
            if document.get(key) is not None:
                reading.note(key, "has no meaning in an NRT rule; it runs at each hunt")
        return DEFAULT_FREQUENCY, DEFAULT_PERIOD
    frequency = _duration(reading, document, "queryFrequency")
    period = _duration(reading, document, "queryPeriod")
    if frequency is None:
        frequency = min(period or DAILY, DAILY)
        if not hunting:
            reading.note("queryFrequency", f"is not given; the rule runs every {_shown(frequency)}")
    if period is None:
        period, why = _period_of(query, frequency)
        if hunting:
            severity = "" if document.get("severity") else f", as {Severity.INFORMATIONAL}"
            told = f"it runs every {_shown(frequency)} over {_shown(period)}{severity}"
            reading.note("kind", f"is missing, as in a hunting query; {told}: {why}")
        else:
            reading.note("queryPeriod", f"is not given; {_shown(period)} is taken: {why}")
    if period < frequency:
        reading.note("queryPeriod", f"is shorter than queryFrequency, which leaves gaps; {_shown(frequency)} is taken")
        period = frequency
    if period >= timedelta(days=2) and frequency < timedelta(hours=1):
        reading.note("queryFrequency", "is below 1h, which Sentinel refuses for 2d or more; the rule runs every 1h")
        frequency = timedelta(hours=1)
    return frequency, period


def _period_of(query: str, frequency: timedelta) -> tuple[timedelta, str]:
    """How far back a rule that does not say so looks, and why."""
    longest = longest_span(query)
    period = max(min(longest or DAILY, LONGEST), frequency)
    if longest is None:
        return period, "the query names no time"
    if longest > LONGEST:
        return period, f"the query names {_shown(longest)}, but no rule reads rows older than {_shown(LONGEST)}"
    named = f"the longest time that the query names is {_shown(longest)}"
    return period, named if longest == period else "the query names no longer time"


def _duration(reading: Reading, document: dict[str, Any], key: str) -> timedelta | None:
    text = reading.text(document, key, longest=64)
    if not text:
        return None
    duration = read_duration(text)
    if duration is None:
        reading.note(key, f"{text!r} is no duration; it is passed over")
        return None
    clamped = min(max(duration, SHORTEST), LONGEST)
    if clamped != duration:
        reading.note(key, f"{text} is outside Sentinel's 5m to 14d; {_shown(clamped)} is taken")
    return clamped


def _shown(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _trigger(reading: Reading, document: dict[str, Any]) -> tuple[str, int]:
    text = reading.text(document, "triggerOperator", longest=64)
    operator = OPERATORS.get(text.lower()) if text else "gt"
    if operator is None:
        reading.note("triggerOperator", f"{text!r} is no operator; gt is taken")
    number = reading.text(document, "triggerThreshold", longest=16)
    if number and not number.isdecimal():
        reading.note("triggerThreshold", f"{number!r} is no whole number from 0 to 10000; 0 is taken")
    threshold = int(number) if number.isdecimal() else 0
    if threshold > 10_000:
        reading.note("triggerThreshold", f"{number} is above Sentinel's 10000, which is taken")
    return operator or "gt", min(threshold, 10_000)


def _tactics(reading: Reading, document: dict[str, Any]) -> tuple[str, ...]:
    by_fold = {tactic.casefold(): tactic for tactic in TACTICS}
    tactics = []
    for text in reading.texts(document, "tactics"):
        tactic = by_fold.get(re.sub(r"[\s_-]", "", text).casefold())
        if tactic is None:
            reading.note("tactics", f"{text[:60]!r} is unknown{meant(text, TACTICS)}; it is left out")
        else:
            tactics.append(tactic)
    return tuple(dict.fromkeys(tactics))


def _techniques(reading: Reading, document: dict[str, Any]) -> tuple[str, ...]:
    techniques = []
    for text in reading.texts(document, "relevantTechniques"):
        if TECHNIQUE.fullmatch(text.upper()):
            techniques.append(text.upper())
        else:
            reading.note("relevantTechniques", f"{text[:60]!r} is no technique; it is left out")
    return tuple(dict.fromkeys(techniques))


def _tags(document: dict[str, Any]) -> tuple[str, ...]:
    value = document.get("tags")
    tags: list[str] = []
    for item in value if isinstance(value, list) else []:
        if isinstance(item, str):
            tags.append(item)
        elif isinstance(item, dict):
            tags += [text for name, text in item.items() if isinstance(text, str) and not name.startswith("Schema")]
    return tuple(dict.fromkeys(tags))


def _entity_mappings(reading: Reading, document: dict[str, Any], query: str) -> tuple[EntityMapping, ...]:
    mappings = reading.mappings(document, "entityMappings")
    if not mappings:
        words = (token.group() for token in tokens_of(query) if token.lastgroup == "name")
        named = dict.fromkeys(word for word in words if word in _CUSTOM_ENTITIES)
        found = tuple(EntityMapping(_CUSTOM_ENTITIES[c][0], ((_CUSTOM_ENTITIES[c][1], c),)) for c in named)
        told = f"the columns {', '.join(named)} are taken" if named else "an alert names no entity"
        reading.note("entityMappings", f"is not given; {told}")
        return found
    if len(mappings) > 10:
        reading.note("entityMappings", f"has {len(mappings)} entries; Sentinel takes at most 10, all are kept")
    result = []
    for mapping in mappings:
        entity_type = reading.text(mapping, "entityType", longest=64, prefix="entityMappings.")
        prefix = f"entityMappings.{entity_type or '?'}"
        if entity_type not in ENTITIES:
            reading.note("entityMappings", f"{entity_type!r} is no entity type{meant(entity_type, ENTITIES)}")
        pairs = []
        for field in reading.mappings(mapping, "fieldMappings", f"{prefix}.fieldMappings"):
            identifier = reading.text(field, "identifier", longest=64, prefix=f"{prefix}.")
            column = reading.text(field, "columnName", longest=500, prefix=f"{prefix}.")
            if identifier and COLUMN.fullmatch(column):
                pairs.append((identifier, column))
            else:
                reading.note(prefix, f"the field {identifier!r} names no column; it is left out")
        if entity_type and pairs:
            result.append(EntityMapping(entity_type, tuple(pairs)))
    return tuple(result)


def _custom_details(reading: Reading, document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    details = reading.mapping(document, "customDetails")
    if len(details) > 20:
        reading.note("customDetails", f"has {len(details)} entries; Sentinel takes at most 20, all are kept")
    pairs = []
    for name, column in details.items():
        if isinstance(column, str) and COLUMN.fullmatch(column.strip()):
            pairs.append((name[:100], column.strip()))
        else:
            reading.note("customDetails", f"{name[:60]!r} names no column; it is left out")
    return tuple(pairs)


def _suppression(reading: Reading, document: dict[str, Any]) -> timedelta:
    if reading.text(document, "suppressionEnabled", longest=16).lower() not in {"true", "yes", "on"}:
        return timedelta(0)
    text = reading.text(document, "suppressionDuration", longest=64)
    duration = read_duration(text) if text else None
    if not duration:
        reading.note("suppressionDuration", f"{text!r} is no duration; 5h is taken")
        return _USUAL_SUPPRESSION
    if duration > LONGEST_SUPPRESSION:
        reading.note("suppressionDuration", f"{text} is longer than Sentinel's 24h, which is taken")
    return min(duration, LONGEST_SUPPRESSION)


def _version(reading: Reading, document: dict[str, Any]) -> str:
    version = reading.text(document, "version", longest=20)
    if not version:
        reading.note("version", "is not given; 0.0.0 is shown")
    return version or "0.0.0"


def _note_placeholders(reading: Reading, query: str) -> None:
    # Text in a string is a null time to todatetime(), and every comparison with null is false: no error, no rows.
    found = (token for token in tokens_of(query) if _FILLED_BY_HUNTING.search(token.group()))
    lines = sorted({line_at(query, token.start()) for token in found})
    if lines:
        where = f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"
        told = "which only Sentinel's hunting page fills in, so it finds nothing; put ago(1d) and now() instead"
        reading.note("query", f"{where}: holds {{{{StartTimeISO}}}} or {{{{EndTimeISO}}}}, {told}")


def _note_rest(reading: Reading, document: dict[str, Any]) -> None:
    status = reading.text(document, "status", longest=64).casefold()
    enabled = reading.text(document, "enabled", longest=16).casefold()
    if status in {"deprecated", "disabled"} or enabled == "false":
        reading.note("status", "says that the rule is not in use; it runs here, so take the file out to stop it")
    if others := sorted(str(key)[:60] for key in document.keys() - _READ_KEYS - _SENTINELS_OWN):
        shown = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
        reading.note("keys", f"{shown}: nothing here reads them")
