"""ARM templates: the JSON around one resource, and strings that must not be taken for expressions."""

import json
from collections.abc import Mapping
from typing import Any, Final

from detectors.export.azure_monitor import log_alert
from detectors.export.sentinel import sentinel_rule
from detectors.export.shape import Expression, NotCarried, Target, is_version
from detectors.rule import Rule

_SCHEMA: Final = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
# What the portal's own export writes and its import reads, so that one file serves the portal and deployments. A
# resource of the type Microsoft.SecurityInsights/alertRules with a scope would serve deployments alone.
_SENTINEL_TYPE: Final = "Microsoft.OperationalInsights/workspaces/providers/alertRules"


def sentinel_template(rule: Rule, document: Mapping[str, Any]) -> tuple[str, tuple[NotCarried, ...]]:
    """The template of *rule* as a Sentinel analytics rule, and what it does not hold.

    Its one parameter is ``workspace``, as in the portal's own export. Raises
    :class:`detectors.export.shape.CannotExport`.
    """
    resource = sentinel_rule(rule, document)
    name = Expression(f"concat(parameters('workspace'), '/Microsoft.SecurityInsights/{resource.name}')")
    template = _template(
        rule,
        Target.SENTINEL,
        {"workspace": _parameter("string", "Name of the Log Analytics workspace that Microsoft Sentinel runs on.")},
        {
            "type": _SENTINEL_TYPE,
            "apiVersion": resource.api_version,
            "name": name,
            "kind": resource.kind,
            "properties": resource.properties,
        },
    )
    return template, resource.not_carried


def azure_monitor_template(rule: Rule, document: Mapping[str, Any]) -> tuple[str, tuple[NotCarried, ...]]:
    """The template of *rule* as a scheduled query rule, and what it does not hold.

    Raises :class:`detectors.export.shape.CannotExport`.
    """
    resource = log_alert(rule, document)
    parameters: dict[str, Any] = {
        "workspaceName": _parameter("string", "Name of the Log Analytics workspace, in this resource group."),
        "location": _parameter(
            "string", "Region of the rule: that of the workspace.", Expression("resourceGroup().location")
        ),
        "actionGroupIds": _parameter("array", "Resource ids of the action groups to notify.", []),
    }
    # A parameter that nothing uses would promise what it cannot do: its file switches the rule off.
    if isinstance(resource.properties["enabled"], Expression):
        parameters["enabled"] = _parameter("bool", "Whether the rule runs after the deployment.", default=True)
    template = _template(
        rule,
        Target.AZURE_MONITOR,
        parameters,
        {
            "type": "Microsoft.Insights/scheduledQueryRules",
            "apiVersion": resource.api_version,
            "name": resource.name,
            "location": Expression("parameters('location')"),
            "kind": resource.kind,
            "properties": resource.properties,
        },
    )
    return template, resource.not_carried


def owner(text: str) -> tuple[str, str] | None:
    """(target, rule id) of a template that was written here, or None for any other text."""
    try:
        template = json.loads(text)
    except (ValueError, RecursionError):
        return None
    metadata = template.get("metadata") if isinstance(template, dict) else None
    if not isinstance(metadata, dict):
        return None
    target, rule_id = metadata.get("exportedTo"), metadata.get("ruleId")
    return (target, rule_id) if isinstance(target, str) and isinstance(rule_id, str) else None


def rendered(value: Any) -> Any:
    """*value* as JSON of a template: expressions in brackets, and no text that reads like one.

    Only a text that begins with ``[`` and also ends with ``]`` is an expression; a bracket added to any other would
    stay in the deployed text.
    """
    match value:
        case Expression():
            return f"[{value.code}]"
        case str():
            return f"[{value}" if value.startswith("[") and value.endswith("]") else value
        case Mapping():
            return {key: rendered(each) for key, each in value.items()}
        case list() | tuple():
            return [rendered(each) for each in value]
        case _:
            return value


def _template(rule: Rule, target: Target, parameters: Mapping[str, Any], resource: Mapping[str, Any]) -> str:
    template = {
        "$schema": _SCHEMA,
        "contentVersion": f"{rule.version}.0" if is_version(rule.version) else "1.0.0.0",
        "metadata": {"ruleId": rule.id, "exportedTo": target.value},
        "parameters": parameters,
        "resources": [resource],
    }
    return json.dumps(rendered(template), indent=2, ensure_ascii=False) + "\n"


def _parameter(kind: str, description: str, default: Any = None) -> dict[str, Any]:
    metadata = {"metadata": {"description": description}}
    return {"type": kind, **({} if default is None else {"defaultValue": default}), **metadata}
