"""Azure Monitor's common alert schema: for Logic Apps and ticket systems that already parse it.

The detector is not Azure Monitor, and says so: ``monitoringService`` is its own, and ids are its own, not ARM ids.
"""

from typing import Any

from detectors.delivery.formats.native import MAX_BYTES, trimmed_data
from detectors.delivery.text import clip, visible
from detectors.model import Alert, Severity

SCHEMA_ID = "azureMonitorCommonAlertSchema"
MONITORING_SERVICE = "Azure Automation detector"
_SEVERITIES = {
    Severity.HIGH: "Sev0",
    Severity.MEDIUM: "Sev1",
    Severity.LOW: "Sev2",
    Severity.INFORMATIONAL: "Sev3",
}
# Twice, because quotes and backslashes double in JSON: rule, description, target, item, story; then the fixed texts.
_ENVELOPE = 2 * (200 + 1_000 + 300 + 100 + 100) + 1_000


def build_alert(alert: Alert) -> dict[str, Any]:
    """``{"schemaId", "data"}``: essentials that any receiver of the schema reads, and the alert as ``alertContext``.

    Severities: High is Sev0, Medium Sev1, Low Sev2, Informational Sev3. ``alertId`` is the alert's id, the same for
    every delivery.
    """
    target = _short(alert.resource_id, 300)
    return {
        "schemaId": SCHEMA_ID,
        "data": {
            "essentials": {
                "alertId": alert.id,
                "alertRule": _short(alert.rule_name, 200),
                "severity": _SEVERITIES[alert.severity],
                "signalType": "Log",
                "monitorCondition": "Fired",
                "monitoringService": MONITORING_SERVICE,
                "alertTargetIDs": [target] if target else [],
                "configurationItems": [_short(target.rpartition("/")[2], 100)] if target else [],
                "originAlertId": alert.id,
                "firedDateTime": alert.created_at.isoformat(),
                "description": _short(f"{alert.title}\n{alert.description}", 1_000),
                "essentialsVersion": "1.0",
                "alertContextVersion": "1.0",
            },
            "alertContext": trimmed_data(alert, MAX_BYTES - _ENVELOPE),
            "customProperties": {"story": _short(alert.story, 100)} if alert.story else {},
        },
    }


def _short(text: str, limit: int) -> str:
    return clip(visible(text[:limit], keep_newlines=True), limit)
