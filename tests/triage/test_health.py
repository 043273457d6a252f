"""Alerts about the inventory itself: one for each stretch of time in which something is wrong."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from detectors.model import Alert, AlertKind, Severity
from detectors.state.store import Conflict, Document, StoreUnavailable
from detectors.triage.health import StaleInventory
from detectors.triage.intake import Intake
from detectors.triage.stretches import CALM
from tests.clock import Clock
from tests.memory_store import MemoryStore

ACCOUNT = "/subscriptions/s/resourcegroups/g/providers/microsoft.automation/automationaccounts/aa-prod"


class Setup:
    def __init__(self, memory: MemoryStore | None = None) -> None:
        self.clock = Clock()
        self.memory = memory or MemoryStore()
        self.intake = Intake(store=self.memory, clock=self.clock)

    async def stale(self, since: datetime | None = None, **changes: Any) -> None:
        told = since or self.clock() - timedelta(minutes=75)
        values: dict[str, Any] = {"account_id": ACCOUNT, "since": told, "accounts": 3}
        await self.intake.report_stale_inventory(StaleInventory(**values | changes))

    async def fresh(self) -> None:
        await self.intake.report_stale_inventory(None)

    @property
    def alerts(self) -> list[Alert]:
        return [stored.record.alert for stored in self.memory.records.values() if stored.record.alert]


async def test_accounts_that_are_not_read_in_time_are_one_alert_with_the_stalest_and_the_last_error() -> None:
    setup = Setup()
    await setup.stale(error="Azure refused to list watchers (403).")
    (alert,) = setup.alerts
    assert (alert.kind, alert.severity) == (AlertKind.HEALTH, Severity.MEDIUM)
    assert {fact.label: fact.value for fact in alert.facts} == {
        "Stalest account": ACCOUNT,
        "Not read since": "2026-03-02T01:45:00+00:00",
        "Minutes ago": "75",
        "Accounts known": "3",
        "Last error": "Azure refused to list watchers (403).",
    }
    assert set(await setup.memory.due(setup.clock(), 10)) == {alert.id}


async def test_a_stretch_is_one_alert_whichever_account_is_the_stalest_in_it() -> None:
    setup = Setup()
    for number in range(30):
        await setup.stale(account_id=f"{ACCOUNT}-{number}", since=setup.clock() - timedelta(hours=2))
        setup.clock.advance(minutes=5)
    assert len(setup.alerts) == 1


async def test_an_age_that_wavers_around_the_limit_is_one_stretch_and_a_calm_hour_ends_it() -> None:
    setup = Setup()
    for _ in range(10):
        await setup.stale()
        setup.clock.advance(minutes=5)
        await setup.fresh()
        setup.clock.advance(minutes=CALM.total_seconds() / 60 - 6)
    assert len(setup.alerts) == 1
    setup.clock.advance(minutes=6)
    await setup.stale()
    assert len(setup.alerts) == 2


async def test_a_healthy_inventory_is_not_written_about() -> None:
    setup = Setup()
    await setup.fresh()
    await setup.intake.report_no_inventory(None)
    assert setup.memory.documents == {}
    await setup.stale()
    await setup.fresh()
    before = dict(setup.memory.documents)
    setup.clock.advance(days=9)
    await setup.fresh()
    assert setup.memory.documents == before


async def test_a_crash_between_the_stretch_and_its_alert_is_made_good_by_the_next_run() -> None:
    class Failing(MemoryStore):
        fails = True

        async def create(self, record: Any) -> bool:
            if self.fails:
                self.fails = False
                raise StoreUnavailable("the store is gone")
            return await super().create(record)

    setup = Setup(Failing())
    with pytest.raises(StoreUnavailable):
        await setup.stale()
    setup.clock.advance(minutes=5)
    await setup.stale()
    await setup.stale()
    assert len(setup.alerts) == 1


async def test_two_runs_at_once_and_a_damaged_note_cost_no_alert() -> None:
    class Racing(MemoryStore):
        raced = False

        async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
            if not self.raced:
                self.raced = True
                await other.stale()
            return await super().write_document(name, value, version)

    memory = Racing()
    other = Setup(MemoryStore(memory.place))
    other.clock.advance(seconds=1)
    setup = Setup(memory)
    await setup.stale()
    assert len(setup.alerts) == 1
    for name, document in dict(memory.documents).items():
        memory.documents[name] = Document(b"?", document.version)
    setup.clock.advance(minutes=5)
    await setup.stale()
    assert len(setup.alerts) == 2


async def test_a_note_that_others_write_all_the_time_ends_in_some_answer() -> None:
    class Busy(MemoryStore):
        async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
            raise Conflict("somebody else")

    setup = Setup(Busy())
    await setup.stale()
    await setup.fresh()
    assert setup.alerts == [], "whoever wrote it says it"


async def test_an_identity_that_may_list_nothing_is_one_low_alert_that_says_what_to_check() -> None:
    setup = Setup()
    for _ in range(3):
        await setup.intake.report_no_inventory("Azure refused to list automation accounts (403).")
        setup.clock.advance(minutes=5)
    (alert,) = setup.alerts
    assert alert.severity is Severity.LOW
    assert [fact.value for fact in alert.facts] == ["Azure refused to list automation accounts (403)."]
    assert "`Microsoft.Resources/subscriptions/read`" in alert.response
    assert "the detector's role is assigned" in alert.response
