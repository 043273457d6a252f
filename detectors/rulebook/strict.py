"""The rule file format: a YAML document to a :class:`detectors.rule.Rule`, noting every problem in one pass.

Microsoft Sentinel's analytics-rule YAML (limits: Azure/Azure-Sentinel,
``.script/tests/detectionTemplateSchemaValidation``, and the documentation where it is stricter) plus the top-level
key ``detector:``, described by :class:`detectors.rule.DetectorOptions`. Other top-level keys are Sentinel's own and
pass; an unknown key under ``detector:`` never does.
"""

import dataclasses
import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final

from detectors import strict_yaml
from detectors.model import Severity
from detectors.rule import DetectorOptions, EntityMapping, Rule
from detectors.rulebook.values import (
    COLUMN,
    DEFAULT_FREQUENCY,
    DEFAULT_PERIOD,
    ENTITIES,
    LONGEST,
    LONGEST_SUPPRESSION,
    OPERATORS,
    PLACEHOLDER,
    SHORTEST,
    TACTICS,
    TECHNIQUE,
    VERSION,
    Reader,
    is_guid,
    meant,
    parse_duration,
    read_duration,
)

_DETECTOR_KEYS: Final = tuple(field.name for field in dataclasses.fields(DetectorOptions))
_DETAIL: Final = re.compile(r"[A-Za-z]\w{0,19}", re.ASCII)


def read_rule(document: Any, file: str, enrichments: Collection[str]) -> tuple[Rule, list[str]]:
    """The rule in *document* and its problems, one line each, that begin with *file*.

    When there are problems, the rule holds defaults in the places of what could not be read: good enough for
    further checks, not for use.
    """
    reader = Reader(file)
    if isinstance(document, dict):
        return _rule(reader, document, enrichments), reader.problems
    problem = f"{file}: is {strict_yaml.kind_of(document)}; a rule is a mapping of keys"
    return _rule(reader, {}, enrichments), [problem]


def _rule(reader: Reader, document: dict[str, Any], enrichments: Collection[str]) -> Rule:
    rule_id = reader.text(document, "id", longest=36)
    if rule_id and not is_guid(rule_id):
        reader.problem("id", f"{rule_id!r} is not a GUID; make one with `python -c 'import uuid; print(uuid.uuid4())'`")
    kind = {"scheduled": "Scheduled", "nrt": "NRT"}.get(reader.text(document, "kind", longest=64).lower(), "")
    if not kind and isinstance(document.get("kind"), str):
        reader.problem("kind", f"{document['kind']!r} does not run here; it is Scheduled or NRT")
    frequency, period = _timing(reader, document, kind)
    severity = reader.text(document, "severity", longest=64)
    if severity and severity not in list(Severity):
        reader.problem("severity", f"{severity!r} is not a severity; it is one of {', '.join(Severity)}")
    version = reader.text(document, "version", longest=20)
    if version and not VERSION.fullmatch(version):
        reader.problem("version", f"{version!r} is not a version; write three numbers such as 1.0.0")
    operator, threshold = _trigger(reader, document, kind)
    overrides = reader.mapping(document, "alertDetailsOverride")
    return Rule(
        id=rule_id.lower(),
        kind=kind,
        name=reader.text(document, "name", longest=256),
        description=reader.text(document, "description", longest=5000),
        severity=Severity(severity) if severity in list(Severity) else Severity.LOW,
        query=reader.text(document, "query", longest=10_000),
        query_frequency=frequency,
        query_period=period,
        trigger_operator=operator,
        trigger_threshold=threshold,
        tactics=_tactics(reader, document),
        techniques=_techniques(reader, document),
        tags=_tags(reader, document),
        entity_mappings=_entity_mappings(reader, document),
        custom_details=_custom_details(reader, document),
        title_format=_title_format(reader, overrides),
        suppression=_suppression(reader, document),
        version=version,
        path=reader.file,
        detector=_detector(reader, document, enrichments),
    )


def _timing(reader: Reader, document: dict[str, Any], kind: str) -> tuple[timedelta, timedelta]:
    if kind == "NRT":
        for key in ("queryFrequency", "queryPeriod"):
            if key in document:
                reader.problem(key, "has no meaning in an NRT rule; remove it")
        return DEFAULT_FREQUENCY, DEFAULT_PERIOD
    frequency = _duration(reader, document, "queryFrequency")
    period = _duration(reader, document, "queryPeriod")
    if frequency is None or period is None:
        return DEFAULT_FREQUENCY, DEFAULT_PERIOD
    if period < frequency:
        reader.problem("queryPeriod", "is shorter than queryFrequency, which leaves gaps; make it at least as long")
    if period >= timedelta(days=2) and frequency < timedelta(hours=1):
        reader.problem("queryFrequency", "is below 1h, which Sentinel refuses for a queryPeriod of 2d or more")
    return frequency, period


def _duration(reader: Reader, document: dict[str, Any], key: str) -> timedelta | None:
    text = reader.text(document, key, longest=32)
    if not text:
        return None
    duration = parse_duration(text)
    if duration is None:
        reader.problem(key, f"{text!r} is not a duration; write 5m, 1h, 1d or hh:mm:ss")
    elif not SHORTEST <= duration <= LONGEST:
        reader.problem(key, f"{text} is outside Sentinel's limits; it is 5m to 14d")
        return None
    return duration


def _trigger(reader: Reader, document: dict[str, Any], kind: str) -> tuple[str, int]:
    required = kind != "NRT"
    text = reader.text(document, "triggerOperator", longest=16, required=required)
    operator = OPERATORS.get(text.lower(), "") if text else "gt"
    if not operator:
        reader.problem("triggerOperator", f"{text!r} is not an operator; it is gt, lt, eq or ne")
    if required and document.get("triggerThreshold") is None:
        reader.problem("triggerThreshold", "is missing; add it")
    return operator or "gt", reader.number(document, "triggerThreshold", 10_000) or 0


def _suppression(reader: Reader, document: dict[str, Any]) -> timedelta:
    enabled = document.get("suppressionEnabled", False)
    if not isinstance(enabled, bool):
        reader.problem("suppressionEnabled", f"is {strict_yaml.kind_of(enabled)}; it is true or false")
    text = reader.text(document, "suppressionDuration", longest=32, required=enabled is True)
    duration = read_duration(text) if text else None
    if text and not (duration and duration <= LONGEST_SUPPRESSION):
        reader.problem("suppressionDuration", f"{text!r} is no duration of at most 24h; write 5h or PT5H")
    return duration if enabled is True and duration else timedelta(0)


def _tactics(reader: Reader, document: dict[str, Any]) -> tuple[str, ...]:
    if document.get("tactics") is None:
        reader.problem("tactics", "is missing; add a list such as [Persistence]")
    tactics = reader.texts(document, "tactics")
    for tactic in tactics:
        if tactic not in TACTICS:
            reader.problem("tactics", f"{tactic!r} is not a tactic{meant(tactic, TACTICS)}; they are in PascalCase")
    return tactics


def _techniques(reader: Reader, document: dict[str, Any]) -> tuple[str, ...]:
    techniques = reader.texts(document, "relevantTechniques")
    for technique in techniques:
        if not TECHNIQUE.fullmatch(technique):
            reader.problem("relevantTechniques", f"{technique!r} is not a technique; write T1053 or T1053.005")
    if len(techniques) > 10:
        reader.problem("relevantTechniques", f"names {len(techniques)} techniques; Sentinel takes at most 10")
    return techniques


def _tags(reader: Reader, document: dict[str, Any]) -> tuple[str, ...]:
    tags: list[str] = []
    for tag in reader.mappings(document, "tags"):
        for name, value in tag.items():
            if isinstance(value, str):
                tags.append(value)
            else:
                reader.problem("tags", f"{name}: is {strict_yaml.kind_of(value)}, not text; put it in quotes")
    return tuple(tags)


def _entity_mappings(reader: Reader, document: dict[str, Any]) -> tuple[EntityMapping, ...]:
    mappings = reader.mappings(document, "entityMappings")
    if not mappings and not reader.has_problem("entityMappings"):
        reader.problem("entityMappings", "is missing; map at least one entity, such as Account, to a column")
    if len(mappings) > 10:
        reader.problem("entityMappings", f"has {len(mappings)} entries; Sentinel takes at most 10")
    result = []
    for mapping in mappings:
        entity_type = reader.text(mapping, "entityType", longest=64, prefix="entityMappings.")
        if entity_type and entity_type not in ENTITIES:
            hint = meant(entity_type, ENTITIES)
            reader.problem(
                "entityMappings.entityType", f"{entity_type!r} is not an entity type{hint}; see Sentinel's list"
            )
        known = ENTITIES.get(entity_type)
        prefix = f"entityMappings.{entity_type or '?'}."
        fields = reader.mappings(mapping, "fieldMappings", prefix)
        if not 1 <= len(fields) <= 3:
            reader.problem(prefix + "fieldMappings", f"has {len(fields)} entries; it takes 1 to 3")
        pairs = []
        for field in fields:
            identifier = reader.text(field, "identifier", longest=64, prefix=prefix)
            column = reader.text(field, "columnName", longest=500, prefix=prefix)
            if identifier and known is not None and identifier not in known:
                names = ", ".join(sorted(known))
                reader.problem(prefix + "identifier", f"{identifier!r} does not identify it; one of {names} does")
            pairs.append((identifier, column))
        result.append(EntityMapping(entity_type, tuple(pairs)))
    return tuple(result)


def _custom_details(reader: Reader, document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    details = reader.mapping(document, "customDetails")
    if len(details) > 20:
        reader.problem("customDetails", f"has {len(details)} entries; Sentinel takes at most 20")
    pairs = []
    for name, column in details.items():
        if not _DETAIL.fullmatch(name):
            reader.problem("customDetails", f"{name!r} is not a name of 1 to 20 letters, digits and _; rename it")
        if isinstance(column, str) and len(column) <= 500 and COLUMN.fullmatch(column):
            pairs.append((name, column))
        else:
            reader.problem("customDetails", f"{name}: {str(column)[:60]!r} is not the name of a column")
    return tuple(pairs)


def _title_format(reader: Reader, overrides: dict[str, Any]) -> str | None:
    prefix = "alertDetailsOverride."
    for key, longest in (("alertDisplayNameFormat", 256), ("alertDescriptionFormat", 5000)):
        text = reader.text(overrides, key, longest=longest, prefix=prefix, required=False)
        names = PLACEHOLDER.findall(text)
        if len(set(names)) > 3:
            reader.problem(prefix + key, f"names {len(set(names))} columns; Sentinel takes at most 3")
        for name in names:
            if not COLUMN.fullmatch(name):
                reader.problem(
                    prefix + key, f"'{{{{{name}}}}}' is not a column in braces; write {{{{Caller}}}}, no spaces"
                )
    title = overrides.get("alertDisplayNameFormat")
    return title if isinstance(title, str) and title else None


def _detector(reader: Reader, document: dict[str, Any], enrichments: Collection[str]) -> DetectorOptions:
    options = reader.mapping(document, "detector")
    for key in options:
        if key not in _DETECTOR_KEYS:
            keys = ", ".join(_DETECTOR_KEYS)
            reader.problem(f"detector.{key}", f"is not a key{meant(key, _DETECTOR_KEYS)}; the keys are {keys}")
    stream = options.get("stream", False)
    if not isinstance(stream, bool):
        reader.problem("detector.stream", f"is {strict_yaml.kind_of(stream)}; it is true or false")
    prefix = "detector."
    enrich = reader.texts(options, "enrich", prefix)
    for name in enrich:
        if name not in enrichments:
            known = ", ".join(enrichments)
            hint = meant(name, enrichments)
            reader.problem("detector.enrich", f"{name!r} is not an enrichment{hint}; it is one of {known}")
    references = reader.texts(options, "references", prefix)
    for reference in references:
        if not reference.startswith("https://"):
            reader.problem("detector.references", f"{reference[:80]!r} is not an https:// address")
    return DetectorOptions(
        stream=stream is True,
        identity=reader.texts(options, "identity", prefix),
        enrich=enrich,
        risk_score=reader.number(options, "risk_score", 100, prefix),
        references=references,
        false_positives=reader.texts(options, "false_positives", prefix),
        triage=reader.text(options, "triage", longest=10_000, prefix=prefix, required=False),
        response=reader.text(options, "response", longest=10_000, prefix=prefix, required=False),
        summary=reader.texts(options, "summary", prefix),
    )
