"""Every rule's export fits the published resource shape and holds the query byte for byte."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detectors.export.arm import azure_monitor_template, sentinel_template
from detectors.export.bicep import bicep_module
from detectors.export.sentinel import PREVIEW, STABLE
from detectors.export.shape import CannotExport
from detectors.rule import Rule
from tests.export import samples
from tests.export.published_shape import alert_rule_problems, scheduled_query_rule_problems
from tests.export.readers import Name, arm_value, bicep_resource

WORKSPACE = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/w"
SENTINEL = "Microsoft.OperationalInsights/workspaces/providers/alertRules"
LOG_ALERT = "Microsoft.Insights/scheduledQueryRules"
PREVIEW_ONLY = {"subTechniques", "sentinelEntitiesMappings"}
"""What the models, which are of a preview, have and the stable version has not."""

Foreign = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Deployed:
    """A resource as Azure would get it."""

    type: str
    api_version: str
    name: str
    body: dict[str, Any]


def as_sentinel(rule: Rule, document: Foreign) -> Deployed:
    template = json.loads(sentinel_template(rule, document)[0])
    assert list(template["parameters"]) == ["workspace"]
    name = f"[concat(parameters('workspace'), '/Microsoft.SecurityInsights/{rule.id}')]"
    return deployed(template, {name: rule.id})


def as_log_alert(rule: Rule, document: Foreign) -> Deployed:
    template = json.loads(azure_monitor_template(rule, document)[0])
    assert list(template["parameters"]) == ["workspaceName", "location", "actionGroupIds", "enabled"]
    expressions = {
        "[parameters('location')]": "westeurope",
        "[parameters('enabled')]": True,
        "[parameters('actionGroupIds')]": [],
        "[resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspaceName'))]": WORKSPACE,
    }
    return deployed(template, expressions)


def deployed(template: dict[str, Any], expressions: dict[str, Any]) -> Deployed:
    (resource,) = template["resources"]
    body = arm_value(resource, expressions)
    return Deployed(body.pop("type"), body.pop("apiVersion"), body.pop("name"), body)


def as_bicep(rule: Rule, document: Foreign) -> Deployed:
    kind, body = bicep_resource(bicep_module(rule, document)[0], "rule")
    type_, _, version = kind.partition("@")
    assert body.pop("scope") == Name("workspace")
    assert isinstance(body["properties"]["enabled"], Name)
    assert body["properties"]["enabled"] == "enabled"
    body["properties"]["enabled"] = True
    return Deployed(type_, version, body.pop("name"), body)


def criterion(alert: Deployed) -> dict[str, Any]:
    (only,) = alert.body["properties"]["criteria"]["allOf"]
    assert isinstance(only, dict)
    return only


def test_there_are_rules_to_export() -> None:
    assert not samples.BOOK.problems
    assert len(samples.BUILT_IN) >= 4


@pytest.mark.parametrize("stem", samples.BUILT_IN)
def test_a_built_in_rule_fits_as_a_sentinel_rule(stem: str) -> None:
    rule, document = samples.BUILT_IN[stem], samples.document_of(stem)
    template, module = as_sentinel(rule, document), as_bicep(rule, document)
    assert template.type == SENTINEL
    assert module.type == "Microsoft.SecurityInsights/alertRules"
    assert (template.api_version, template.name, template.body) == (module.api_version, module.name, module.body)
    assert (template.api_version, template.name) == (STABLE, rule.id)
    assert alert_rule_problems(template.body) == []
    properties = template.body["properties"]
    assert not PREVIEW_ONLY & properties.keys()
    assert properties["query"].encode() == rule.query.encode() == document["query"].encode()
    assert properties["description"] == document["description"]


@pytest.mark.parametrize("stem", samples.BUILT_IN)
def test_a_built_in_rule_fits_as_a_log_alert_or_is_refused_for_its_period(stem: str) -> None:
    rule, document = samples.BUILT_IN[stem], samples.document_of(stem)
    if rule.query_period.days > 2:
        with pytest.raises(CannotExport, match="looks back at most P2D"):
            azure_monitor_template(rule, document)
        return
    alert = as_log_alert(rule, document)
    assert (alert.type, alert.name) == (LOG_ALERT, rule.id)
    assert scheduled_query_rule_problems(alert.body) == []
    # Optional in the model, required by the service for this kind.
    assert alert.body["properties"].keys() >= {"severity", "scopes", "evaluationFrequency", "windowSize", "criteria"}
    assert alert.body["properties"]["skipQueryValidation"] is True
    assert criterion(alert)["query"].encode() == document["query"].encode()


@pytest.mark.parametrize("document", [samples.PLAIN, samples.FULL, samples.NRT], ids=["plain", "full", "nrt"])
def test_a_rule_of_others_fits_everywhere(document: Foreign, tmp_path: Path) -> None:
    rule = samples.read(tmp_path, document)
    template, module, alert = as_sentinel(rule, document), as_bicep(rule, document), as_log_alert(rule, document)
    assert template.body == module.body
    assert alert_rule_problems(template.body) == []
    assert scheduled_query_rule_problems(alert.body) == []
    assert template.body["properties"]["query"] == criterion(alert)["query"] == document["query"]


def test_every_key_of_sentinel_arrives(tmp_path: Path) -> None:
    rule = samples.read(tmp_path, samples.FULL)
    properties = as_sentinel(rule, samples.FULL).body["properties"]
    expected = {
        "displayName": "Plain rule",
        "severity": "High",
        "enabled": True,
        "queryFrequency": "PT1H",
        "queryPeriod": "PT1H",
        "triggerOperator": "GreaterThan",
        "triggerThreshold": 0,
        "suppressionEnabled": True,
        "suppressionDuration": "PT6H",
        "tactics": ["Persistence"],
        "techniques": ["T1053", "T1546"],
        "alertRuleTemplateName": samples.FULL["alertRuleTemplateName"],
        "templateVersion": "1.2.3",
    } | {
        key: samples.FULL[key]
        for key in (
            *("entityMappings", "customDetails", "alertDetailsOverride"),
            *("eventGroupingSettings", "incidentConfiguration"),
        )
    }
    assert {key: properties[key] for key in expected} == expected


def test_what_was_not_said_is_sentinels_default(tmp_path: Path) -> None:
    properties = as_sentinel(samples.read(tmp_path, samples.PLAIN), samples.PLAIN).body["properties"]
    assert (properties["suppressionEnabled"], properties["suppressionDuration"]) == (False, "PT5H")
    assert properties["eventGroupingSettings"] == {"aggregationKind": "SingleAlert"}
    assert properties["incidentConfiguration"] == {"createIncident": True}
    # The service refuses a version without the template that it belongs to.
    assert not {"templateVersion", "alertRuleTemplateName", "alertDetailsOverride", "customDetails"} & set(properties)


def test_a_near_real_time_rule_needs_the_preview(tmp_path: Path) -> None:
    exported = as_sentinel(samples.read(tmp_path, samples.NRT), samples.NRT)
    assert (exported.api_version, exported.body["kind"]) == (PREVIEW, "NRT")
    assert exported.body["properties"]["subTechniques"] == ["T1053.005", "T1053.006"]
    assert exported.body["properties"]["sentinelEntitiesMappings"] == [{"columnName": "Entities"}]
    assert not {"queryFrequency", "queryPeriod", "triggerOperator"} & exported.body["properties"].keys()


@pytest.mark.parametrize(("operator", "word"), [("gt", "GreaterThan"), ("lt", "LessThan"), ("eq", "Equal")])
def test_the_trigger_in_both_languages(operator: str, word: str, tmp_path: Path) -> None:
    document = samples.PLAIN | {"triggerOperator": operator, "triggerThreshold": 3}
    rule = samples.read(tmp_path, document)
    properties = as_sentinel(rule, document).body["properties"]
    assert (properties["triggerOperator"], properties["triggerThreshold"]) == (word, 3)
    condition = criterion(as_log_alert(rule, document))
    assert (condition["operator"], condition["threshold"]) == ("Equals" if word == "Equal" else word, 3)
    assert condition["timeAggregation"] == "Count"


def test_not_equal_is_more_than_none_or_nothing(tmp_path: Path) -> None:
    none = samples.PLAIN | {"triggerOperator": "ne"}
    assert criterion(as_log_alert(samples.read(tmp_path, none), none))["operator"] == "GreaterThan"
    three = none | {"triggerThreshold": 3}
    with pytest.raises(CannotExport, match="ne 3"):
        azure_monitor_template(samples.read(tmp_path, three), three)


@pytest.mark.parametrize(
    ("frequency", "period", "expected"),
    [
        ("5m", "25m", ("PT5M", "PT30M", None)),
        ("20m", "1h", ("PT15M", "PT1H", None)),
        ("1h", "7h", ("PT1H", "P1D", None)),
        ("1d", "1d", ("P1D", "P1D", None)),
        ("1h", "2d", ("PT1H", "P1D", "P2D")),
        ("1d", "25h", ("P1D", "P1D", "P2D")),
    ],
)
def test_a_log_alert_runs_and_looks_back_as_the_service_can(
    frequency: str, period: str, expected: tuple[str, str, str | None], tmp_path: Path
) -> None:
    document = samples.PLAIN | {"queryFrequency": frequency, "queryPeriod": period}
    properties = as_log_alert(samples.read(tmp_path, document), document).body["properties"]
    got = (properties["evaluationFrequency"], properties["windowSize"], properties.get("overrideQueryTimeRange"))
    assert got == expected


def test_a_longer_period_is_refused(tmp_path: Path) -> None:
    document = samples.PLAIN | {"queryFrequency": "1d", "queryPeriod": "14d"}
    with pytest.raises(CannotExport, match="queryPeriod is P14D"):
        azure_monitor_template(samples.read(tmp_path, document), document)


@pytest.mark.parametrize(("severity", "number"), [("High", 1), ("Medium", 2), ("Low", 3), ("Informational", 4)])
def test_severities(severity: str, number: int, tmp_path: Path) -> None:
    document = samples.PLAIN | {"severity": severity}
    rule = samples.read(tmp_path, document)
    assert as_log_alert(rule, document).body["properties"]["severity"] == number
    assert as_sentinel(rule, document).body["properties"]["severity"] == severity


def test_an_alert_per_result_is_split_and_only_identity_keeps_a_state(tmp_path: Path) -> None:
    per_result = samples.PLAIN | {"eventGroupingSettings": {"aggregationKind": "AlertPerResult"}}

    def split(document: Foreign) -> tuple[list[str], bool]:
        alert = as_log_alert(samples.read(tmp_path, document), document)
        names = [dimension["name"] for dimension in criterion(alert)["dimensions"]]
        return names, alert.body["properties"]["autoMitigate"]

    identity = ["CorrelationId", "OperationNameValue"]
    assert split(samples.PLAIN) == ([], False)
    assert split(per_result) == (["Caller", "CallerIpAddress"], False)
    assert split(per_result | {"detector": {"identity": identity}}) == (identity, True)
    # A threshold counts all rows, a time is no dimension, and seven are one too many.
    assert split(per_result | {"detector": {"identity": identity}, "triggerThreshold": 1}) == ([], False)
    assert split(per_result | {"detector": {"identity": ["Caller", "TimeGenerated"]}}) == ([], False)
    assert split(per_result | {"detector": {"identity": list("ABCDEFG")}}) == ([], False)


def test_suppression_rests_notifications_of_alerts_without_a_state(tmp_path: Path) -> None:
    document = samples.FULL | {"detector": {"identity": ["Caller"]}, "suppressionDuration": "PT90M"}
    properties = as_log_alert(samples.read(tmp_path, document), document).body["properties"]
    assert (properties["muteActionsDuration"], properties["autoMitigate"]) == ("PT2H", False)


def test_a_bracketed_text_is_no_expression(tmp_path: Path) -> None:
    document = samples.PLAIN | {
        "name": "[concat('a', 'b')]",
        "description": "[open",
        "query": "[secret]",
        "tags": [{"x": "[y]"}],
    }
    rule = samples.read(tmp_path, document)
    text = sentinel_template(rule, document)[0]
    assert "\"displayName\": \"[[concat('a', 'b')]\"" in text
    assert '"description": "[open"' in text
    for properties in (as_sentinel(rule, document).body["properties"], as_log_alert(rule, document).body["properties"]):
        assert (properties["displayName"], properties["description"]) == (document["name"], "[open")
    assert as_sentinel(rule, document).body["properties"]["query"] == "[secret]"
    assert criterion(as_log_alert(rule, document))["query"] == "[secret]"


Spoil = Callable[[dict[str, Any]], object]
SPOILED: dict[str, tuple[Spoil, str]] = {
    "unknown": (lambda p: p.update(colour="red"), "properties.colour: is unknown"),
    "unknown in depth": (lambda p: p["entityMappings"][0].update(x=1), "properties.entityMappings[0].x: is unknown"),
    "missing": (lambda p: p.pop("suppressionDuration"), "properties.suppressionDuration: is required"),
    "missing in depth": (
        lambda p: p["incidentConfiguration"].pop("createIncident"),
        "properties.incidentConfiguration.createIncident: is required",
    ),
    "word": (lambda p: p.update(triggerOperator="gt"), "properties.triggerOperator: 'gt' is not one of"),
    "case of a word": (lambda p: p.update(severity="high"), "properties.severity: 'high' is not one of"),
    "word in a list": (lambda p: p.update(tactics=["Luck"]), "properties.tactics[0]: 'Luck' is not one of"),
    "type": (lambda p: p.update(enabled="true"), "properties.enabled: 'true' is not true or false"),
    "number": (lambda p: p.update(triggerThreshold=True), "properties.triggerThreshold: True is not a whole number"),
    "duration": (lambda p: p.update(queryPeriod="1h"), "properties.queryPeriod: '1h' is not a duration"),
    "null": (lambda p: p.update(description=None), "properties.description: None is not text"),
    "read-only": (lambda p: p.update(lastModifiedUtc="x"), "properties.lastModifiedUtc: only the service sets it"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_the_check_of_a_sentinel_rule_can_fail(name: str, tmp_path: Path) -> None:
    body = copy.deepcopy(as_sentinel(samples.read(tmp_path, samples.FULL), samples.FULL).body)
    spoil, problem = SPOILED[name]
    spoil(body["properties"])
    (found,) = alert_rule_problems(body)
    assert found.startswith(problem)


LOG_SPOILED: dict[str, tuple[Spoil, str]] = {
    "unknown": (lambda p: p.update(interval=5), "properties.interval: is unknown"),
    "severity": (lambda p: p.update(severity=5), "properties.severity: 5 is not one of"),
    "word": (lambda p: p["criteria"]["allOf"][0].update(operator="gt"), "properties.criteria.allOf[0].operator: 'gt'"),
    "missing": (
        lambda p: p["criteria"]["allOf"][0]["dimensions"][0].pop("values"),
        "properties.criteria.allOf[0].dimensions[0].values: is required",
    ),
    "duration": (lambda p: p.update(windowSize="25m"), "properties.windowSize: '25m' is not a duration"),
    "type": (lambda p: p.update(scopes=WORKSPACE), f"properties.scopes: {WORKSPACE!r} is not a list"),
    "map": (
        lambda p: p["actions"]["customProperties"].update(RuleId=1),
        "properties.actions.customProperties.RuleId: 1 is not text",
    ),
}


@pytest.mark.parametrize("name", LOG_SPOILED)
def test_the_check_of_a_log_alert_can_fail(name: str, tmp_path: Path) -> None:
    body = copy.deepcopy(as_log_alert(samples.read(tmp_path, samples.FULL), samples.FULL).body)
    spoil, problem = LOG_SPOILED[name]
    spoil(body["properties"])
    (found,) = scheduled_query_rule_problems(body)
    assert found.startswith(problem)


def test_a_rule_that_its_file_switches_off_stays_off(tmp_path: Path) -> None:
    document = samples.PLAIN | {"enabled": False}
    rule = samples.read(tmp_path, document)
    assert as_sentinel(rule, document).body["properties"]["enabled"] is False
    assert "    enabled: enabled && false\n" in bicep_module(rule, document)[0]
    template = json.loads(azure_monitor_template(rule, document)[0])
    assert "enabled" not in template["parameters"]
    assert template["resources"][0]["properties"]["enabled"] is False


@pytest.mark.parametrize(("version", "content"), [("1.2.3", "1.2.3.0"), ("2", "1.0.0.0"), ("1.0-beta", "1.0.0.0")])
def test_a_template_has_a_version_of_four_numbers(version: str, content: str, tmp_path: Path) -> None:
    document = samples.FULL | {"version": version}
    template = json.loads(sentinel_template(samples.read(tmp_path, document), document)[0])
    assert template["contentVersion"] == content
    given = template["resources"][0]["properties"].get("templateVersion")
    assert given == ("1.2.3" if version == "1.2.3" else None)


def test_a_query_that_sentinel_would_refuse_is_refused(tmp_path: Path) -> None:
    document = samples.PLAIN | {"query": "AzureActivity\n" + "| where true\n" * 1_000}
    rule = samples.read(tmp_path, document)
    for export in (sentinel_template, bicep_module):
        with pytest.raises(CannotExport, match="Sentinel takes at most 10000"):
            export(rule, document)
    assert criterion(as_log_alert(rule, document))["query"] == document["query"]
