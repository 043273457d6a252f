"""The rule file format: a YAML document to a :class:`detectors.rule.Rule`, noting every problem in one pass.

Microsoft Sentinel's analytics-rule YAML (limits: Azure/Azure-Sentinel,
``.script/tests/detectionTemplateSchemaValidation``, and the documentation where it is stricter) plus the top-level
key ``detector:``, described by :class:`detectors.rule.DetectorOptions`. Other top-level keys are Sentinel's own and
pass; an unknown key under ``detector:`` never does.
"""

import dataclasses
import difflib
import re
import uuid
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from detectors import strict_yaml
from detectors.model import Severity
from detectors.rule import DetectorOptions, EntityMapping, Rule

DEFAULT_FREQUENCY: Final = timedelta(minutes=5)
DEFAULT_PERIOD: Final = timedelta(minutes=25)
PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORTEST: Final = timedelta(minutes=5)
_LONGEST: Final = timedelta(days=14)
_OPERATORS: Final = {
    "gt": "gt",
    "lt": "lt",
    "eq": "eq",
    "ne": "ne",
    "greaterthan": "gt",
    "lessthan": "lt",
    "equal": "eq",
    "notequal": "ne",
}
_TACTICS: Final = _words(
    "Reconnaissance ResourceDevelopment InitialAccess Execution Persistence PrivilegeEscalation DefenseEvasion "
    "CredentialAccess Discovery LateralMovement Collection CommandAndControl Exfiltration Impact "
    "PreAttack ImpairProcessControl InhibitResponseFunction"
)
# Identifiers by entity type (Microsoft Sentinel entity types reference); None: a type that no rule here needs,
# whose identifiers are left to Sentinel.
_ENTITIES: Final[dict[str, frozenset[str] | None]] = {
    "Account": _words(
        "FullName Name NTDomain DnsDomain UPNSuffix Sid AadTenantId AadUserId PUID IsDomainJoined DisplayName "
        "ObjectGuid"
    ),
    "Host": _words(
        "FullName HostName DnsDomain NTDomain NetBiosName AzureID OMSAgentID OSFamily OSVersion IsDomainJoined"
    ),
    "IP": frozenset({"Address", "AddressScope"}),
    "URL": frozenset({"Url"}),
    "AzureResource": frozenset({"ResourceId"}),
    "CloudApplication": frozenset({"AppId", "Name", "InstanceName"}),
    "FileHash": frozenset({"Algorithm", "Value"}),
    "File": frozenset({"Directory", "Name"}),
    "Process": frozenset({"ProcessId", "CommandLine", "ElevationToken", "CreationTimeUtc"}),
    "DNS": frozenset({"DomainName"}),
    "Malware": frozenset({"Name", "Category"}),
    "RegistryKey": frozenset({"Hive", "Key"}),
    "RegistryValue": frozenset({"Name", "Value", "ValueType"}),
    "SecurityGroup": frozenset({"DistinguishedName", "SID", "ObjectGuid"}),
    "IoTDevice": None,
    "Mailbox": None,
    "MailCluster": None,
    "MailMessage": None,
    "SubmissionMail": None,
    "SentinelEntities": None,
}
_DETECTOR_KEYS: Final = tuple(field.name for field in dataclasses.fields(DetectorOptions))
_TECHNIQUE: Final = re.compile(r"T\d{4}(\.\d{3})?", re.ASCII)
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_COLUMN: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DETAIL: Final = re.compile(r"[A-Za-z]\w{0,19}", re.ASCII)
_SHORT_DURATION: Final = re.compile(r"(\d{1,5})([mhd])", re.ASCII)
_TIME_SPAN: Final = re.compile(r"(?:(\d{1,3})\.)?(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """``5m``, ``1h``, ``14d`` or a .NET TimeSpan (``hh:mm:ss``, ``d.hh:mm:ss``); None when it is neither."""
    if match := _SHORT_DURATION.fullmatch(text):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
        return timedelta(**{unit: int(match[1])})
    if match := _TIME_SPAN.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if hours < 24 and minutes < 60 and seconds < 60:
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return None


def read_rule(document: Any, file: str, enrichments: Collection[str]) -> tuple[Rule, list[str]]:
    """The rule in *document* and its problems, one line each, that begin with *file*.

    When there are problems, the rule holds defaults in the places of what could not be read: good enough for
    further checks, not for use.
    """
    reader = _Reader(file)
    if isinstance(document, dict):
        return _rule(reader, document, enrichments), reader.problems
    problem = f"{file}: is {strict_yaml.kind_of(document)}; a rule is a mapping of keys"
    return _rule(reader, {}, enrichments), [problem]


class _Reader:
    """Takes typed values out of a mapping and notes what is wrong, so that one pass finds every problem."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[str] = []

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.file}: {key}: {text}")

    def has_problem(self, key: str) -> bool:
        return any(line.startswith(f"{self.file}: {key}: ") for line in self.problems)

    def text(
        self, source: Mapping[str, Any], key: str, *, longest: int, prefix: str = "", required: bool = True
    ) -> str:
        value = source.get(key)
        if value is None:
            if required:
                self.problem(prefix + key, "is missing; add it")
            return ""
        if not isinstance(value, str):
            self.problem(prefix + key, f"is {strict_yaml.kind_of(value)}, not text; put it in quotes")
            return ""
        if required and not value.strip():
            self.problem(prefix + key, "is empty; write something")
        if len(value) > longest:
            self.problem(prefix + key, f"has {len(value)} characters; at most {longest} are allowed")
        return value

    def number(self, source: Mapping[str, Any], key: str, highest: int, prefix: str = "") -> int | None:
        value = source.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            self.problem(prefix + key, f"is {value!r}; it is a whole number from 0 to {highest}")
            return None
        return value

    def texts(self, source: Mapping[str, Any], key: str, prefix: str = "") -> tuple[str, ...]:
        value = source.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(prefix + key, f"is {strict_yaml.kind_of(value)}; it is a list of texts")
            return ()
        for item in value:
            if not isinstance(item, str):
                self.problem(prefix + key, f"holds {item!r}, which is {strict_yaml.kind_of(item)}; put it in quotes")
        return tuple(item for item in value if isinstance(item, str))

    def mapping(self, source: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = source.get(key)
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"is {strict_yaml.kind_of(value)}; it is a mapping of keys")
        return value if isinstance(value, dict) else {}

    def mappings(self, source: Mapping[str, Any], key: str, prefix: str = "") -> list[dict[str, Any]]:
        value = source.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            self.problem(prefix + key, "is not a list of mappings; write one '- key: value' per entry")
            return []
        return value or []


def _rule(reader: _Reader, document: dict[str, Any], enrichments: Collection[str]) -> Rule:
    rule_id = reader.text(document, "id", longest=36)
    if rule_id and not _is_guid(rule_id):
        reader.problem("id", f"{rule_id!r} is not a GUID; make one with `python -c 'import uuid; print(uuid.uuid4())'`")
    kind = {"scheduled": "Scheduled", "nrt": "NRT"}.get(reader.text(document, "kind", longest=64).lower(), "")
    if not kind and isinstance(document.get("kind"), str):
        reader.problem("kind", f"{document['kind']!r} does not run here; it is Scheduled or NRT")
    frequency, period = _timing(reader, document, kind)
    severity = reader.text(document, "severity", longest=64)
    if severity and severity not in list(Severity):
        reader.problem("severity", f"{severity!r} is not a severity; it is one of {', '.join(Severity)}")
    version = reader.text(document, "version", longest=20)
    if version and not _VERSION.fullmatch(version):
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
        version=version,
        path=reader.file,
        detector=_detector(reader, document, enrichments),
    )


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _timing(reader: _Reader, document: dict[str, Any], kind: str) -> tuple[timedelta, timedelta]:
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


def _duration(reader: _Reader, document: dict[str, Any], key: str) -> timedelta | None:
    text = reader.text(document, key, longest=32)
    if not text:
        return None
    duration = parse_duration(text)
    if duration is None:
        reader.problem(key, f"{text!r} is not a duration; write 5m, 1h, 1d or hh:mm:ss")
    elif not _SHORTEST <= duration <= _LONGEST:
        reader.problem(key, f"{text} is outside Sentinel's limits; it is 5m to 14d")
        return None
    return duration


def _trigger(reader: _Reader, document: dict[str, Any], kind: str) -> tuple[str, int]:
    required = kind != "NRT"
    text = reader.text(document, "triggerOperator", longest=16, required=required)
    operator = _OPERATORS.get(text.lower(), "") if text else "gt"
    if not operator:
        reader.problem("triggerOperator", f"{text!r} is not an operator; it is gt, lt, eq or ne")
    if required and document.get("triggerThreshold") is None:
        reader.problem("triggerThreshold", "is missing; add it")
    return operator or "gt", reader.number(document, "triggerThreshold", 10_000) or 0


def _tactics(reader: _Reader, document: dict[str, Any]) -> tuple[str, ...]:
    if document.get("tactics") is None:
        reader.problem("tactics", "is missing; add a list such as [Persistence]")
    tactics = reader.texts(document, "tactics")
    for tactic in tactics:
        if tactic not in _TACTICS:
            reader.problem("tactics", f"{tactic!r} is not a tactic{_meant(tactic, _TACTICS)}; they are in PascalCase")
    return tactics


def _techniques(reader: _Reader, document: dict[str, Any]) -> tuple[str, ...]:
    techniques = reader.texts(document, "relevantTechniques")
    for technique in techniques:
        if not _TECHNIQUE.fullmatch(technique):
            reader.problem("relevantTechniques", f"{technique!r} is not a technique; write T1053 or T1053.005")
    if len(techniques) > 10:
        reader.problem("relevantTechniques", f"names {len(techniques)} techniques; Sentinel takes at most 10")
    return techniques


def _tags(reader: _Reader, document: dict[str, Any]) -> tuple[str, ...]:
    tags: list[str] = []
    for tag in reader.mappings(document, "tags"):
        for name, value in tag.items():
            if isinstance(value, str):
                tags.append(value)
            else:
                reader.problem("tags", f"{name}: is {strict_yaml.kind_of(value)}, not text; put it in quotes")
    return tuple(tags)


def _entity_mappings(reader: _Reader, document: dict[str, Any]) -> tuple[EntityMapping, ...]:
    mappings = reader.mappings(document, "entityMappings")
    if not mappings and not reader.has_problem("entityMappings"):
        reader.problem("entityMappings", "is missing; map at least one entity, such as Account, to a column")
    if len(mappings) > 10:
        reader.problem("entityMappings", f"has {len(mappings)} entries; Sentinel takes at most 10")
    result = []
    for mapping in mappings:
        entity_type = reader.text(mapping, "entityType", longest=64, prefix="entityMappings.")
        if entity_type and entity_type not in _ENTITIES:
            meant = _meant(entity_type, _ENTITIES)
            reader.problem(
                "entityMappings.entityType", f"{entity_type!r} is not an entity type{meant}; see Sentinel's list"
            )
        known = _ENTITIES.get(entity_type)
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


def _custom_details(reader: _Reader, document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    details = reader.mapping(document, "customDetails")
    if len(details) > 20:
        reader.problem("customDetails", f"has {len(details)} entries; Sentinel takes at most 20")
    pairs = []
    for name, column in details.items():
        if not _DETAIL.fullmatch(name):
            reader.problem("customDetails", f"{name!r} is not a name of 1 to 20 letters, digits and _; rename it")
        if isinstance(column, str) and len(column) <= 500 and _COLUMN.fullmatch(column):
            pairs.append((name, column))
        else:
            reader.problem("customDetails", f"{name}: {str(column)[:60]!r} is not the name of a column")
    return tuple(pairs)


def _title_format(reader: _Reader, overrides: dict[str, Any]) -> str | None:
    prefix = "alertDetailsOverride."
    for key, longest in (("alertDisplayNameFormat", 256), ("alertDescriptionFormat", 5000)):
        text = reader.text(overrides, key, longest=longest, prefix=prefix, required=False)
        names = PLACEHOLDER.findall(text)
        if len(set(names)) > 3:
            reader.problem(prefix + key, f"names {len(set(names))} columns; Sentinel takes at most 3")
        for name in names:
            if not _COLUMN.fullmatch(name):
                reader.problem(
                    prefix + key, f"'{{{{{name}}}}}' is not a column in braces; write {{{{Caller}}}}, no spaces"
                )
    title = overrides.get("alertDisplayNameFormat")
    return title if isinstance(title, str) and title else None


def _detector(reader: _Reader, document: dict[str, Any], enrichments: Collection[str]) -> DetectorOptions:
    options = reader.mapping(document, "detector")
    for key in options:
        if key not in _DETECTOR_KEYS:
            keys = ", ".join(_DETECTOR_KEYS)
            reader.problem(f"detector.{key}", f"is not a key{_meant(key, _DETECTOR_KEYS)}; the keys are {keys}")
    stream = options.get("stream", False)
    if not isinstance(stream, bool):
        reader.problem("detector.stream", f"is {strict_yaml.kind_of(stream)}; it is true or false")
    prefix = "detector."
    enrich = reader.texts(options, "enrich", prefix)
    for name in enrich:
        if name not in enrichments:
            known = ", ".join(enrichments)
            meant = _meant(name, enrichments)
            reader.problem("detector.enrich", f"{name!r} is not an enrichment{meant}; it is one of {known}")
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


def _meant(word: str, known: Collection[str]) -> str:
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return f" (did you mean {by_fold[close[0]]}?)" if close else ""
