"""A rule and rows for the tests of hunt, intake and outbox."""

from datetime import timedelta
from typing import Any

from detectors.model import Severity
from detectors.rule import DetectorOptions, EntityMapping, Rule

ACCOUNT = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/rg"
    "/providers/microsoft.automation/automationaccounts/aa"
)

RULE = Rule(
    id="5a1c0c5e-0000-4000-8000-000000000001",
    kind="Scheduled",
    name="Runbook changed",
    description="Identifies a changed runbook.",
    severity=Severity.LOW,
    query="AzureActivity",
    query_frequency=timedelta(minutes=5),
    query_period=timedelta(minutes=25),
    title_format="Runbook changed by {{Caller}}",
    entity_mappings=(EntityMapping("Account", (("FullName", "Caller"),)),),
    custom_details=(("Operation", "OperationNameValue"),),
    detector=DetectorOptions(
        identity=("CorrelationId", "OperationNameValue", "_ResourceId", "ActivityStatusValue"), summary=("Caller",)
    ),
)


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An Activity Log row; *number* makes it an action of its own."""
    return {
        "TimeGenerated": f"2026-03-02T02:50:{number % 60:02d}Z",
        "OperationNameValue": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/RUNBOOKS/WRITE",
        "ActivityStatusValue": "Success",
        "Caller": "dana@example.com",
        "CallerIpAddress": "192.0.2.7",
        "CorrelationId": f"00000000-0000-0000-0000-{number:012d}",
        "_ResourceId": f"{ACCOUNT}/runbooks/rb{number}",
    } | changes
