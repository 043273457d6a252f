"""The table ``AutomationDetections_CL``, through the Logs Ingestion API; Sentinel raises its incidents from it.

Delivery is at least once: a row may come twice, and an alert to which evidence was added has a later row with
``Updates`` above 0. ``AutomationDetections_CL | where AlertKind != "heartbeat" | summarize arg_max(TimeGenerated, *) by
AlertId`` is each alert once, in its newest form; a rule that raises incidents reads ``where Updates == 0``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from detectors.delivery.destination import Receipt
from detectors.delivery.http import CONNECT_TIMEOUT, READ_TIMEOUT
from detectors.delivery.ingestion import MAX_CALL_BYTES, MAX_VALUE_BYTES, Ingestion, size
from detectors.delivery.text import first_that_fit, fit_fields
from detectors.model import Alert, Severity, Source

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

TABLE = "AutomationDetections_CL"
HEARTBEAT = "heartbeat"
"""AlertKind of the row that every hunt writes. No alert has it: whoever reads alerts leaves these rows out."""
MAX_COLUMN_BYTES = MAX_VALUE_BYTES
MAX_ROW_BYTES = MAX_CALL_BYTES


@dataclass(frozen=True)
class Column:
    """A column of the table. Names: a letter, then letters, digits, underscores, 2 to 45 in all, none reserved."""

    name: str
    type: Literal["string", "datetime", "int", "real", "boolean", "dynamic"]
    description: str


COLUMNS: tuple[Column, ...] = (
    Column(
        "TimeGenerated",
        "datetime",
        "When the alert was made, or was last updated. The service replaces a time over two days old.",
    ),
    Column("AlertId", "string", "The same for every delivery of one alert: deduplicate by it."),
    Column("AlertKind", "string", "detection, summary, health, or heartbeat: no alert, the sign that a hunt ran."),
    Column("RuleId", "string", "Id of the rule that matched."),
    Column("RuleName", "string", "Name of the rule that matched."),
    Column("RuleVersion", "string", "Version of the rule that matched."),
    Column("Severity", "string", "Informational, Low, Medium or High, after triage."),
    Column("SeverityReasons", "dynamic", "Why the severity is what it is: list of sentences."),
    # Title, Type, TenantId and id are reserved.
    Column("AlertTitle", "string", "One line that names the action."),
    Column("Description", "string", "What the rule finds and why it matters."),
    Column("Tactics", "dynamic", "MITRE ATT&CK tactics: list."),
    Column("Techniques", "dynamic", "MITRE ATT&CK techniques: list."),
    Column("Tags", "dynamic", "Other names of the technique, such as AZT504: list."),
    Column("Source", "string", "hunt, stream, inventory or detector."),
    Column("Workspace", "string", "Workspace that the row came from, if several are hunted."),
    Column("EventTime", "datetime", "When the action happened."),
    Column("FoundTime", "datetime", "When the detector saw it."),
    Column("DelaySeconds", "real", "From the action to the alert."),
    Column("Updates", "int", "How often evidence was added since the alert was made: 0 in its first row."),
    Column("Operation", "string", "Azure operation name."),
    Column("Outcome", "string", "Status of the operation."),
    Column("Caller", "string", "Who acted: user principal name, object or application id."),
    Column("CallerIpAddress", "string", "Where from."),
    Column("TargetResourceId", "string", "ARM id of the resource acted upon."),
    Column("SubscriptionId", "string", "Its subscription."),
    Column("ResourceGroup", "string", "Its resource group."),
    Column("AutomationAccount", "string", "Name of the automation account or Function App."),
    Column("CorrelationId", "string", "Joins to AzureActivity."),
    Column("Entities", "dynamic", "Sentinel entities: list of {type, fields}."),
    Column("Facts", "dynamic", "What leads the alert: list of {label, value}."),
    Column("Evidence", "dynamic", "What triage found or why it is missing: list of {name, title, missing, ...}."),
    Column("Items", "dynamic", "The matches that a summary alert names: list."),
    Column("Triage", "string", "What a person checks first (Markdown)."),
    Column("Response", "string", "What to do when it is real (Markdown)."),
    Column("FalsePositives", "dynamic", "When the action is expected: list."),
    Column("References", "dynamic", "Links to read: list."),
    Column("PortalUrl", "string", "The resource in the Azure portal."),
    Column("QueryUrl", "string", "The rule's query, ready to run."),
    Column("Row", "dynamic", "The row that matched."),
    Column("InventoryAccounts", "int", "Of a heartbeat: automation accounts that the inventory knows."),
    Column("InventoryStalestSeconds", "int", "Of a heartbeat: how long ago the stalest of them was read."),
    Column("TrimmedColumns", "dynamic", "Columns cut to fit the service's limits: list."),
)
"""The one place that names the columns; the table and the data collection rule are made from it."""


def build_row(alert: Alert) -> dict[str, Any]:
    """The alert as one row: exactly :data:`COLUMNS`, JSON values only, within the service's limits.

    A value over :data:`MAX_COLUMN_BYTES` is cut with a marker, a row over :data:`MAX_ROW_BYTES` loses from its
    largest columns; ``TrimmedColumns`` names them.
    """
    values = _values(alert)
    # Half an item names nothing: whole ones go, from the end.
    items = values["Items"]
    values["Items"] = first_that_fit(items, MAX_COLUMN_BYTES)
    # The room is for TrimmedColumns itself.
    row, trimmed = fit_fields(values, MAX_COLUMN_BYTES, MAX_ROW_BYTES - 1_000, size)
    if len(row["Items"]) < len(items) and "Items" not in trimmed:
        trimmed.append("Items")
    return {**row, "TrimmedColumns": trimmed}


def build_heartbeat_row(
    identifier: str,
    *,
    started_at: datetime,
    finished_at: datetime,
    healthy: bool,
    problems: Sequence[str],
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """A heartbeat as one row of the same columns, with AlertKind ``heartbeat``; ``Row`` holds *values*.

    Of those, ``inventory_accounts`` and ``inventory_stalest_seconds`` have columns of their own, null where absent.

    ``Outcome`` is ``healthy`` or ``unhealthy``; *problems* are the sentences of ``SeverityReasons``. Columns that say
    something about an action are empty. Limits as in :func:`build_row`.
    """
    state = "healthy" if healthy else "unhealthy"
    blank = {"string": "", "real": 0.0, "int": 0, "dynamic": [], "datetime": finished_at.isoformat()}
    filled = {
        "AlertId": identifier,
        "AlertKind": HEARTBEAT,
        "RuleId": "detector-heartbeat",
        "RuleName": "Detector heartbeat",
        "Severity": Severity.INFORMATIONAL.value,
        "SeverityReasons": list(problems),
        "AlertTitle": f"The detector ran and is {state}",
        "Source": Source.DETECTOR.value,
        "EventTime": started_at.isoformat(),
        "DelaySeconds": (finished_at - started_at).total_seconds(),
        "Outcome": state,
        "Row": dict(values),
        "InventoryAccounts": values.get("inventory_accounts"),
        "InventoryStalestSeconds": _whole(values.get("inventory_stalest_seconds")),
    }
    row = {column.name: filled.get(column.name, blank[column.type]) for column in COLUMNS[:-1]}
    fitted, trimmed = fit_fields(row, MAX_COLUMN_BYTES, MAX_ROW_BYTES - 1_000, size)
    return {**fitted, "TrimmedColumns": trimmed}


def _values(alert: Alert) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(alert)
    return {
        "TimeGenerated": (alert.updated_at or alert.created_at).isoformat(),
        "AlertId": alert.id,
        "AlertKind": alert.kind.value,
        "RuleId": alert.rule_id,
        "RuleName": alert.rule_name,
        "RuleVersion": alert.rule_version,
        "Severity": alert.severity.value,
        "SeverityReasons": data["severity_reasons"],
        "AlertTitle": alert.title,
        "Description": alert.description,
        "Tactics": data["tactics"],
        "Techniques": data["techniques"],
        "Tags": data["tags"],
        "Source": alert.source.value,
        "Workspace": alert.workspace or "",
        "EventTime": alert.event_time.isoformat(),
        "FoundTime": alert.found_at.isoformat(),
        "DelaySeconds": (alert.created_at - alert.event_time).total_seconds(),
        "Updates": alert.updates,
        "Operation": alert.operation,
        "Outcome": alert.outcome,
        "Caller": alert.caller,
        "CallerIpAddress": alert.caller_ip,
        "TargetResourceId": alert.resource_id,
        "SubscriptionId": alert.subscription_id,
        "ResourceGroup": alert.resource_group,
        "AutomationAccount": alert.account,
        "CorrelationId": _correlation_id(alert),
        "Entities": data["entities"],
        "Facts": data["facts"],
        "Evidence": data["evidence"],
        "Items": data["items"],
        "Triage": alert.triage,
        "Response": alert.response,
        "FalsePositives": data["false_positives"],
        "References": data["references"],
        "PortalUrl": alert.portal_url,
        "QueryUrl": alert.query_url,
        "Row": data["row"],
        "InventoryAccounts": None,
        "InventoryStalestSeconds": None,
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _correlation_id(alert: Alert) -> str:
    """From the row, where its case is kept, else from the identity."""
    for source in (alert.row, alert.identity):
        for name, value in source.items():
            if name.casefold() == "correlationid" and isinstance(value, str) and value:
                return value
    return ""


class LogTableDestination:
    """Uploads each alert as one row.

    *endpoint* is a data collection endpoint or the rule's own ``logsIngestion`` endpoint, *rule_id* the rule's
    immutable id, *stream* its ``Custom-...`` stream, *scope* that of the cloud's tokens. The caller owns and closes
    *credential*. Raises ValueError when *endpoint* is not an https URL.
    """

    def __init__(
        self,
        endpoint: str,
        rule_id: str,
        stream: str,
        credential: "AsyncTokenCredential",
        *,
        clock: Callable[[], datetime],
        scope: str = "https://monitor.azure.com/.default",
        name: str = "log-table",
        connection_verify: str | bool = True,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._ingestion = Ingestion(
            endpoint,
            rule_id,
            stream,
            credential,
            clock=clock,
            scope=scope,
            name=name,
            connection_verify=connection_verify,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self.name = name
        self.updates = True

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:  # noqa: ARG002 - AlertId deduplicates
        """Upload the alert's row; ``remote_id`` is its AlertId. An updated alert is a further row of the same id."""
        await self._ingestion.upload([build_row(alert)])
        return Receipt(remote_id=alert.id)

    async def send_heartbeat(
        self,
        identifier: str,
        *,
        started_at: datetime,
        finished_at: datetime,
        healthy: bool,
        problems: Sequence[str],
        values: Mapping[str, Any],
    ) -> None:
        """Upload the heartbeat's row (:func:`build_heartbeat_row`). Raises DeliveryError."""
        row = build_heartbeat_row(
            identifier,
            started_at=started_at,
            finished_at=finished_at,
            healthy=healthy,
            problems=problems,
            values=values,
        )
        await self._ingestion.upload([row])

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._ingestion.close()
