"""One action as the Activity Log and as the inventory tell of it, and a detector in memory that hears of both."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from detectors.delivery.destination import Receipt
from detectors.delivery.outbox import Outbox
from detectors.model import Alert, Match, Record, Severity, Source
from detectors.rule import DetectorOptions, EntityMapping, Rule
from detectors.state.store import Store
from detectors.triage.alerting import build_alert
from detectors.triage.intake import Intake
from tests.clock import Clock
from tests.memory_store import MemoryStore

ACCOUNT = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg-ops"
    "/providers/microsoft.automation/automationaccounts/aa-prod"
)
WATCHER = f"{ACCOUNT}/watchers/nightly"

LOG_RULE = Rule(
    id="5a1c0c5e-0000-4000-8000-000000000001",
    kind="Scheduled",
    name="Watcher written",
    description="Identifies a watcher that was written.",
    severity=Severity.MEDIUM,
    query="AzureActivity",
    query_frequency=timedelta(minutes=5),
    query_period=timedelta(minutes=25),
    entity_mappings=(
        EntityMapping("Account", (("FullName", "Caller"),)),
        EntityMapping("AzureResource", (("ResourceId", "_ResourceId"),)),
    ),
    detector=DetectorOptions(identity=("CorrelationId", "OperationNameValue", "_ResourceId", "ActivityStatusValue")),
)
INVENTORY_RULE = dataclasses.replace(
    LOG_RULE,
    id="5a1c0c5e-0000-4000-8000-000000000002",
    name="Watcher added",
    description="Identifies a watcher that is new.",
    query="AutomationInventory_CL",
    entity_mappings=(
        EntityMapping("Account", (("FullName", "ChangedBy"),)),
        EntityMapping("AzureResource", (("ResourceId", "ObjectId"),)),
    ),
    detector=DetectorOptions(identity=("ChangeId",)),
)
OTHER_INVENTORY_RULE = dataclasses.replace(
    INVENTORY_RULE, id="5a1c0c5e-0000-4000-8000-000000000003", name="Trigger on a hybrid worker"
)


def log_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """The watcher is written at 02:50 by dana."""
    return {
        "TimeGenerated": "2026-03-02T02:50:00Z",
        "OperationNameValue": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE",
        "ActivityStatusValue": "Success",
        "Caller": "dana@contoso.com",
        "CallerIpAddress": "203.0.113.7",
        "CorrelationId": f"00000000-0000-0000-0000-{number:012d}",
        "_ResourceId": WATCHER.upper(),
    } | changes


def inventory_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """The watcher is new in the snapshot of 02:55; the API says that it was made at 02:50:02 and not by whom."""
    return {
        "TimeGenerated": "2026-03-02T02:55:00Z",
        "ChangeId": f"{number:032x}",
        "ChangeType": "Added",
        "ObjectType": "Watcher",
        "ObjectName": "nightly",
        "ObjectId": WATCHER,
        "AccountId": ACCOUNT,
        "AccountName": "aa-prod",
        "ChangedProperties": [],
        "Before": None,
        "After": {"scriptName": "Sync-Tags", "scriptRunOn": "hybrid"},
        "ChangedBy": "",
        "ChangedAt": "2026-03-02T02:50:02Z",
        "PreviousSnapshot": "a-00000001",
        "Snapshot": "a-00000002",
        "OperationNameValue": "Inventory/Watcher/Added",
    } | changes


class Sink:
    """A destination that keeps every alert that it got, as it was."""

    def __init__(self, name: str, *, updates: bool | None = None) -> None:
        self.name = name
        self.got: list[Alert] = []
        self.repeats: list[bool] = []
        if updates is not None:
            self.updates = updates

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        self.got.append(alert)
        self.repeats.append(possible_repeat)
        return Receipt(remote_id=f"{self.name}-{len(self.got)}")

    async def close(self) -> None:
        """Nothing to release."""


class Setup:
    """Intake and outbox on one store. ``teams`` takes no updates, ``table`` does."""

    def __init__(
        self, store: Store | None = None, memory: MemoryStore | None = None, clock: Clock | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.memory = memory or MemoryStore()
        self.store = store or self.memory
        self.teams, self.table = Sink("teams"), Sink("log-table", updates=True)
        self.intake = Intake(store=self.store, clock=self.clock)
        self.outbox = Outbox(
            store=self.store,
            triage=self.triage,
            destinations=[self.teams, self.table],
            dead_letters=self.intake,
            clock=self.clock,
            jitter=lambda: 0.5,
        )
        self.while_triaging: Callable[[], Any] | None = None

    async def triage(self, match: Match) -> Alert:
        rule = next(r for r in (LOG_RULE, INVENTORY_RULE, OTHER_INVENTORY_RULE) if r.id == match.rule_id)
        if self.while_triaging:
            during, self.while_triaging = self.while_triaging, None
            await during()
        return build_alert(
            rule, match, (), created_at=self.clock(), query="", query_url="", portal="https://portal.azure.com"
        )

    async def log(self, *rows: dict[str, Any], rule: Rule = LOG_RULE, **options: Any) -> tuple[str, ...]:
        return await self.intake.store(
            rule, rows or [log_row()], source=Source.HUNT, workspace="w", **{"allowance": 100} | options
        )

    async def inventory(self, *rows: dict[str, Any], rule: Rule = INVENTORY_RULE) -> tuple[str, ...]:
        return await self.intake.store(
            rule, rows or [inventory_row()], source=Source.INVENTORY, workspace=None, allowance=100
        )

    async def deliver(self) -> None:
        await self.outbox.deliver(budget=timedelta(seconds=50))

    def record(self, record_id: str) -> Record:
        return self.memory.records[record_id].record

    def joined(self) -> dict[str, str]:
        """Id of each joined match to the alert's."""
        records = (stored.record for stored in self.memory.records.values())
        return {record.id: record.joined_to for record in records if record.joined_to}


def at(minute: float) -> str:
    """02:00 plus *minute* minutes, as a row tells it."""
    moment = datetime.fromisoformat("2026-03-02T02:00:00+00:00") + timedelta(minutes=minute)
    return moment.isoformat().replace("+00:00", "Z")
