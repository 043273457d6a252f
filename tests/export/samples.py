"""Rules to export: all built-in ones, and those that others may bring."""

from pathlib import Path
from typing import Any

import yaml

from detectors import rulebook, strict_yaml
from detectors.rule import Rule

BOOK = rulebook.load(check_query=False)
BUILT_IN = {Path(rule.path).stem: rule for rule in BOOK.rules}
PLAIN_ID = "11111111-2222-3333-4444-555555555555"

PLAIN: dict[str, Any] = {
    "id": PLAIN_ID,
    "kind": "Scheduled",
    "name": "Plain rule",
    "description": "Identifies nothing in particular.",
    "severity": "High",
    "requiredDataConnectors": [{"connectorId": "AzureActivity", "dataTypes": ["AzureActivity"]}],
    "queryFrequency": "1h",
    "queryPeriod": "1h",
    "triggerOperator": "gt",
    "triggerThreshold": 0,
    "tactics": ["Persistence"],
    "relevantTechniques": ["T1053.005", "T1053.006", "T1546"],
    "query": "AzureActivity\n| take 1\n",
    "entityMappings": [
        {"entityType": "Account", "fieldMappings": [{"identifier": "FullName", "columnName": "Caller"}]},
        {"entityType": "IP", "fieldMappings": [{"identifier": "Address", "columnName": "CallerIpAddress"}]},
    ],
    "version": "1.2.3",
}
"""As Microsoft's public rules are: no ``detector:``."""

FULL: dict[str, Any] = PLAIN | {
    "suppressionEnabled": True,
    "suppressionDuration": "6h",
    "eventGroupingSettings": {"aggregationKind": "AlertPerResult"},
    "customDetails": {"Operation": "OperationNameValue"},
    "alertDetailsOverride": {
        "alertDisplayNameFormat": "Seen {{Caller}}",
        "alertDescriptionFormat": "From {{CallerIpAddress}}",
        "alertSeverityColumnName": "Level",
        "alertTacticsColumnName": "Tactic",
        "alertDynamicProperties": [{"alertProperty": "RemediationSteps", "value": "Steps"}],
    },
    "incidentConfiguration": {
        "createIncident": True,
        "groupingConfiguration": {
            "enabled": True,
            "reopenClosedIncident": False,
            "lookbackDuration": "PT5H",
            "matchingMethod": "Selected",
            "groupByEntities": ["Account"],
            "groupByAlertDetails": ["DisplayName"],
            "groupByCustomDetails": ["Operation"],
        },
    },
    "alertRuleTemplateName": "66666666-7777-8888-9999-000000000000",
    "sentinelEntitiesMappings": [{"columnName": "Entities"}],
    "tags": [{"ATRM": "AZT504"}],
}
"""Every key that Sentinel knows."""

NRT: dict[str, Any] = {
    key: value
    for key, value in FULL.items()
    if key not in {"queryFrequency", "queryPeriod", "triggerOperator", "triggerThreshold"}
} | {"kind": "NRT"}


def document_of(stem: str) -> dict[str, Any]:
    """The YAML of a built-in rule."""
    document: dict[str, Any] = strict_yaml.read(rulebook.BUILT_IN / f"{stem}.yaml")
    return document


def write(folder: Path, document: dict[str, Any], name: str = "plain") -> Path:
    """*document* as a rule file."""
    path = folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def read(folder: Path, document: dict[str, Any]) -> Rule:
    """The rule of *document*, by way of a file."""
    return rulebook.load_rule(write(folder, document), check_query=False)
