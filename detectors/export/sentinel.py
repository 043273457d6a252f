"""A rule as a Microsoft Sentinel analytics rule: the properties of ``Microsoft.SecurityInsights/alertRules``."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detectors.export.document import Extras, read_extras
from detectors.export.left_out import CARRIED_BY_ALL, fixed_severity, left_out, repeats
from detectors.export.shape import CannotExport, Expression, NotCarried, Resource, is_version, iso_duration
from detectors.rule import Rule

STABLE: Final = "2025-09-01"
# No stable version has the kind NRT, sub-techniques or Sentinel's own entities.
PREVIEW: Final = "2025-10-01-preview"

_LONGEST_QUERY: Final = 10_000
_OPERATORS: Final = {"gt": "GreaterThan", "lt": "LessThan", "eq": "Equal", "ne": "NotEqual"}
_CARRIED: Final = (
    *CARRIED_BY_ALL,
    *("tactics", "relevantTechniques", "entityMappings", "customDetails", "alertDetailsOverride"),
    *("incidentConfiguration", "alertRuleTemplateName"),
)


def sentinel_rule(rule: Rule, document: Mapping[str, Any], *, switch: Expression | None = None) -> Resource:
    """*rule*, whose file holds *document*. Its name is the rule's id, so that a second deployment updates it.

    *switch* is the template's parameter that switches rules on; a rule that its file switches off stays off. Raises
    :class:`CannotExport` when Sentinel would refuse the query for its length.
    """
    if len(rule.query) > _LONGEST_QUERY:
        raise CannotExport(f"query has {len(rule.query)} characters, and Sentinel takes at most {_LONGEST_QUERY}")
    extras = read_extras(document)
    preview = rule.kind == "NRT"
    properties: dict[str, Any] = {
        "displayName": rule.name,
        "description": rule.description,
        "severity": rule.severity.value,
        "enabled": switch if switch and extras.enabled else extras.enabled,
        "query": rule.query,
    }
    if rule.kind == "Scheduled":
        properties |= {
            "queryFrequency": iso_duration(rule.query_frequency),
            "queryPeriod": iso_duration(rule.query_period),
            "triggerOperator": _OPERATORS[rule.trigger_operator],
            "triggerThreshold": rule.trigger_threshold,
        }
    properties |= {
        "suppressionDuration": iso_duration(extras.suppression_duration),
        "suppressionEnabled": extras.suppression_enabled,
        "tactics": list(rule.tactics),
        # The service refuses T1053.005 here: a technique is T and four digits.
        "techniques": list(dict.fromkeys(technique.partition(".")[0] for technique in rule.techniques)),
        "eventGroupingSettings": {"aggregationKind": "AlertPerResult" if extras.per_result else "SingleAlert"},
        "incidentConfiguration": extras.incident,
    }
    properties |= {key: value for key, value in _optional(rule, extras, preview=preview) if value}
    return Resource(
        name=rule.id,
        kind=rule.kind,
        api_version=PREVIEW if preview else STABLE,
        properties=properties,
        not_carried=tuple(_not_carried(rule, document, extras, preview=preview)),
    )


def _optional(rule: Rule, extras: Extras, *, preview: bool) -> Iterator[tuple[str, Any]]:
    yield (
        "entityMappings",
        [
            {
                "entityType": mapping.entity_type,
                "fieldMappings": [
                    {"identifier": identifier, "columnName": column} for identifier, column in mapping.fields
                ],
            }
            for mapping in rule.entity_mappings
        ],
    )
    yield "customDetails", dict(rule.custom_details)
    yield "alertDetailsOverride", extras.overrides
    if preview:
        yield "subTechniques", list(_sub_techniques(rule))
        yield "sentinelEntitiesMappings", [{"columnName": column} for column in extras.sentinel_entities]
    if extras.template_name:
        # The service takes a version only together with the template that it is the version of.
        yield "alertRuleTemplateName", extras.template_name
        yield "templateVersion", rule.version if is_version(rule.version) else None


def _not_carried(rule: Rule, document: Mapping[str, Any], extras: Extras, *, preview: bool) -> Iterator[NotCarried]:
    carried = set(_CARRIED)
    if preview:
        carried.add("sentinelEntitiesMappings")
    if extras.template_name and is_version(rule.version):
        carried.add("version")
    reasons = {"sentinelEntitiesMappings": f"no stable version of the API has it ({PREVIEW} does)"}
    yield from extras.notes
    if not preview and (named := ", ".join(_sub_techniques(rule))):
        yield NotCarried("relevantTechniques", f"{named}: the technique alone, as no stable API has sub-techniques")
    if preview:
        yield NotCarried("kind", f"NRT is in no stable version of the API; the preview {PREVIEW} is used")
    else:
        yield from repeats(rule.query_frequency, rule.query_period)
    yield from fixed_severity(rule)
    yield from left_out(document, carried, reasons)


def _sub_techniques(rule: Rule) -> Iterator[str]:
    return (technique for technique in rule.techniques if "." in technique)
