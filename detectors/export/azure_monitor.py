"""A rule as an Azure Monitor log alert: the properties of ``Microsoft.Insights/scheduledQueryRules``.

Azure Monitor knows no entities, no grouping and no look-back beyond two days. What it does know is an alert per
combination of columns (dimensions) with a state of its own; that is what the rule's identity becomes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from detectors.export.document import Extras, read_extras
from detectors.export.left_out import CARRIED_BY_ALL, fixed_severity, left_out, repeats
from detectors.export.shape import CannotExport, Expression, NotCarried, Resource, iso_duration
from detectors.model import Severity
from detectors.rule import Rule

API_VERSION: Final = "2026-03-01"
MOST_DIMENSIONS: Final = 6

# 0 (critical) stays free: Sentinel has nothing above High.
_SEVERITIES: Final = {Severity.HIGH: 1, Severity.MEDIUM: 2, Severity.LOW: 3, Severity.INFORMATIONAL: 4}
_OPERATORS: Final = {"gt": "GreaterThan", "lt": "LessThan", "eq": "Equals"}
_DAY: Final = timedelta(days=1)
_LONGEST: Final = 2 * _DAY
# Frequency and window take these values and no others.
_TAKEN: Final = (
    *(timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 45)),
    *(timedelta(hours=hours) for hours in range(1, 7)),
    _DAY,
)
_LONGEST_STATE: Final = timedelta(hours=12)
"""Documentation describes how alerts resolve themselves up to this frequency."""
_CARRIED: Final = (*CARRIED_BY_ALL, "version")
_NOTIFICATION: Final = "stands in the custom properties of notifications; the alert itself has no place for it"
_REASONS: Final = {
    "tactics": _NOTIFICATION,
    "relevantTechniques": _NOTIFICATION,
    "tags": _NOTIFICATION,
    "entityMappings": "an alert of Azure Monitor has no entities",
    "sentinelEntitiesMappings": "an alert of Azure Monitor has no entities",
    "customDetails": "the values are not in the alert; it links to the query's result",
    "alertDetailsOverride": "title and description are the same in every alert",
    "incidentConfiguration": "Azure Monitor makes no incidents and does not group",
    "alertRuleTemplateName": "Azure Monitor has no templates of this kind",
}


def log_alert(rule: Rule, document: Mapping[str, Any]) -> Resource:
    """*rule*, whose file holds *document*. Its name is the rule's id, so that a second deployment updates it.

    Raises :class:`CannotExport` when Azure Monitor cannot look back as far or compare as the rule does.
    """
    extras = read_extras(document)
    frequency = max((each for each in _TAKEN if each <= rule.query_frequency), default=_TAKEN[0])
    window = _window(rule)
    dimensions, stateful = _dimensions(rule, extras)
    # Suppression needs alerts without a state: the service refuses the two together.
    stateful = stateful and not extras.suppression_enabled and frequency <= _LONGEST_STATE
    properties: dict[str, Any] = {
        "displayName": rule.name,
        "description": rule.description,
        "severity": _SEVERITIES[rule.severity],
        "enabled": Expression("parameters('enabled')") if extras.enabled else False,
        "scopes": [Expression("resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspaceName'))")],
        "evaluationFrequency": iso_duration(frequency),
        "windowSize": iso_duration(min(window, _DAY)),
        "criteria": {"allOf": [_criterion(rule, dimensions)]},
        "autoMitigate": stateful,
        # Without it the deployment fails while a table has no data yet.
        "skipQueryValidation": True,
        "actions": {
            "actionGroups": Expression("parameters('actionGroupIds')"),
            "customProperties": dict(_custom_properties(rule)),
        },
    }
    if window > _DAY:
        properties["overrideQueryTimeRange"] = iso_duration(window)
    if extras.suppression_enabled:
        mute = min((each for each in _TAKEN if each >= max(extras.suppression_duration, frequency)), default=_DAY)
        properties["muteActionsDuration"] = iso_duration(mute)
    return Resource(
        name=rule.id,
        kind="LogAlert",
        api_version=API_VERSION,
        properties=properties,
        not_carried=tuple(_not_carried(rule, document, extras, properties, (frequency, window))),
    )


def _window(rule: Rule) -> timedelta:
    if rule.query_period > _LONGEST:
        period = iso_duration(rule.query_period)
        raise CannotExport(f"queryPeriod is {period}, and a log alert looks back at most {iso_duration(_LONGEST)}")
    return min((each for each in _TAKEN if each >= rule.query_period), default=_LONGEST)


def _operator(rule: Rule) -> str:
    if rule.trigger_operator == "ne":
        # A number of rows is never below 0.
        if rule.trigger_threshold == 0:
            return "GreaterThan"
        raise CannotExport(f"triggerOperator is ne {rule.trigger_threshold}, and a log alert has no such comparison")
    return _OPERATORS[rule.trigger_operator]


def _criterion(rule: Rule, dimensions: Sequence[str]) -> dict[str, Any]:
    return {
        "query": rule.query,
        "timeAggregation": "Count",
        "dimensions": [{"name": name, "operator": "Include", "values": ["*"]} for name in dimensions],
        "operator": _operator(rule),
        "threshold": rule.trigger_threshold,
        "failingPeriods": {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1},
    }


def _dimensions(rule: Rule, extras: Extras) -> tuple[tuple[str, ...], bool]:
    """Columns to split by, and whether one combination of them is one action, so that its alert may keep a state.

    Only "any row at all" means the same for a part of the rows as for all of them. Without the rule's identity, an
    alert that keeps its state would hide a second action of the same caller behind the first.
    """
    any_row = rule.trigger_threshold == 0 and rule.trigger_operator in {"gt", "ne"}
    if not (extras.per_result and any_row):
        return (), False
    identity = tuple(dict.fromkeys(rule.detector.identity))
    if identity:
        return (identity, True) if _can_split(identity) else ((), False)
    entities = tuple(dict.fromkeys(column for mapping in rule.entity_mappings for _, column in mapping.fields))
    return (entities, False) if entities and _can_split(entities) else ((), False)


def _can_split(columns: Sequence[str]) -> bool:
    # Dimensions are text or numbers; a column's type is not known here, but its name tells a time.
    times = any(column.endswith(("Time", "TimeGenerated", "Timestamp")) for column in columns)
    return len(columns) <= MOST_DIMENSIONS and not times


def _custom_properties(rule: Rule) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("RuleId", rule.id),
        ("RuleVersion", rule.version),
        ("Tactics", ", ".join(rule.tactics)),
        ("Techniques", ", ".join(rule.techniques)),
        ("Tags", ", ".join(rule.tags)),
        ("References", " ".join(rule.detector.references)),
    ):
        if value:
            yield name, value


def _not_carried(
    rule: Rule,
    document: Mapping[str, Any],
    extras: Extras,
    properties: Mapping[str, Any],
    timing: tuple[timedelta, timedelta],
) -> Iterator[NotCarried]:
    frequency, window = timing
    every, over = iso_duration(frequency), properties["windowSize"]
    if rule.kind == "NRT":
        text = f"NRT runs each minute on rows as they arrive; this runs every {every} over {over} of event time"
        yield NotCarried("kind", text)
    else:
        if frequency != rule.query_frequency:
            given = iso_duration(rule.query_frequency)
            yield NotCarried("queryFrequency", f"{given} becomes {every}, the next that the service takes")
        if window > _DAY:
            text = f"the query reads {iso_duration(window)}, but rows older than {over} do not count"
            yield NotCarried("queryPeriod", text)
        elif window != rule.query_period:
            given = iso_duration(rule.query_period)
            yield NotCarried("queryPeriod", f"{given} becomes {over}, the next that the service takes")
    yield from (note for note in extras.notes if note.key.startswith("suppression"))
    if extras.suppression_enabled:
        mute = properties["muteActionsDuration"]
        yield NotCarried("suppressionDuration", f"only notifications rest, for {mute}; the alert is still raised")
    named = [dimension["name"] for dimension in properties["criteria"]["allOf"][0]["dimensions"]]
    if extras.per_result:
        text = f"one alert for each {', '.join(named)}" if named else "one alert for all rows of a run"
        yield NotCarried("eventGroupingSettings", f"{text}, not for each row")
    if not properties["autoMitigate"]:
        yield from repeats(frequency, window)
    yield from fixed_severity(rule)
    yield from left_out(document, _CARRIED, _REASONS, ("identity",) if properties["autoMitigate"] else ())
