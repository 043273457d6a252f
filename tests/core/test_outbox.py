"""From stored match to sent alert, whatever fails in between."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from detectors.delivery.attempts import next_attempt
from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.outbox import GIVE_UP_AFTER, LEASE, Outbox
from detectors.model import Alert, Delivery, DeliveryState, Match, Record, Severity, Source
from detectors.state.store import StoreUnavailable
from detectors.triage.alerting import build_alert
from detectors.triage.intake import Intake
from tests.clock import Clock
from tests.core.samples import RULE, row
from tests.memory_store import MemoryStore


class Recorder:
    """A destination that keeps what it got and fails as it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[tuple[str, bool]] = []
        self.failures: list[Exception] = []

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((alert.id, possible_repeat))
        return Receipt(remote_id=f"{self.name}-{len(self.sent)}")

    async def close(self) -> None:
        """Nothing to release."""


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = MemoryStore()
        self.teams, self.table = Recorder("teams"), Recorder("log-table")
        self.intake = Intake(store=self.memory, clock=self.clock)
        self.triaged: list[str] = []
        self.outbox = self.new_outbox()

    def new_outbox(self) -> Outbox:
        return Outbox(
            store=self.memory,
            triage=self.triage,
            destinations=[self.teams, self.table],
            dead_letters=self.intake,
            clock=self.clock,
            jitter=lambda: 0.5,
        )

    async def triage(self, match: Match) -> Alert:
        self.triaged.append(match.id)
        return build_alert(
            RULE, match, (), created_at=self.clock(), query="", query_url="", portal="https://portal.azure.com"
        )

    async def store(self, count: int = 1, allowance: int = 100) -> tuple[str, ...]:
        rows: Sequence[dict[str, Any]] = [row(number) for number in range(count)]
        return await self.intake.store(RULE, rows, source=Source.HUNT, workspace="w", allowance=allowance)

    def record(self, record_id: str) -> Record:
        return self.memory.records[record_id].record

    async def deliver(self) -> None:
        await self.outbox.deliver(budget=timedelta(seconds=50))


async def test_a_match_is_triaged_once_and_sent_to_every_destination() -> None:
    setup = Setup()
    (identifier,) = await setup.store()
    await setup.outbox.process(identifier)
    await setup.deliver()
    assert setup.triaged == [identifier]
    assert setup.teams.sent == setup.table.sent == [(identifier, False)]
    record = setup.record(identifier)
    assert record.due is None
    assert record.deliveries["teams"].state is DeliveryState.SENT
    assert record.deliveries["teams"].remote_id == "teams-1"


async def test_a_failed_destination_is_tried_again_and_the_other_one_is_left_alone() -> None:
    setup = Setup()
    setup.teams.failures = [DeliveryError("teams answered 500"), DeliveryError("teams answered 500")]
    (identifier,) = await setup.store()
    await setup.deliver()
    assert setup.record(identifier).deliveries["teams"].error == "teams answered 500"
    assert setup.table.sent == [(identifier, False)]
    setup.clock.advance(seconds=29)
    await setup.deliver()
    assert setup.record(identifier).deliveries["teams"].attempts == 1
    setup.clock.advance(seconds=1)
    await setup.deliver()
    setup.clock.advance(minutes=1)
    await setup.deliver()
    assert setup.teams.sent == [(identifier, False)]
    assert setup.table.sent == [(identifier, False)]
    assert setup.record(identifier).due is None


async def test_a_destination_may_ask_to_wait() -> None:
    setup = Setup()
    setup.teams.failures = [DeliveryError("throttled", retry_after=600)]
    (identifier,) = await setup.store()
    await setup.deliver()
    assert setup.record(identifier).due == setup.clock() + timedelta(seconds=600)


async def test_an_answer_that_was_lost_makes_the_next_attempt_say_that_it_may_be_a_repeat() -> None:
    setup = Setup()
    setup.teams.failures = [DeliveryError("time-out", may_have_arrived=True), DeliveryError("no connection")]
    (identifier,) = await setup.store()
    for _ in range(3):
        await setup.deliver()
        setup.clock.advance(minutes=2)
    assert setup.teams.sent == [(identifier, True)]


async def test_a_crash_while_sending_is_finished_by_the_next_run_and_marked() -> None:
    class Crash(BaseException):
        pass

    setup = Setup()
    setup.teams.failures = [Crash()]  # type: ignore[list-item]  # a process that dies raises nothing we may catch
    (identifier,) = await setup.store()
    with pytest.raises(Crash):
        await setup.outbox.process(identifier)
    setup.outbox = setup.new_outbox()
    await setup.deliver()
    assert setup.teams.sent == []
    setup.clock.advance(seconds=LEASE.total_seconds())
    await setup.deliver()
    assert setup.teams.sent == [(identifier, True)]
    assert setup.table.sent == [(identifier, False)]


async def test_two_deliverers_at_once_send_once() -> None:
    setup = Setup()
    new = await setup.store(20)
    other = setup.new_outbox()
    await asyncio.gather(setup.deliver(), other.deliver(budget=timedelta(seconds=50)))
    assert sorted(setup.teams.sent) == sorted((identifier, False) for identifier in new)
    assert len(setup.triaged) == 20


async def test_a_refusal_for_good_is_told_through_the_other_destinations() -> None:
    setup = Setup()
    setup.teams.failures = [DeliveryError("teams answered 410: the workflow is gone", permanent=True)]
    (identifier,) = await setup.store()
    await setup.deliver()
    assert setup.record(identifier).deliveries["teams"].state is DeliveryState.DEAD
    await setup.deliver()
    health = [s.record.alert for s in setup.memory.records.values() if s.record.alert and s.record.id != identifier]
    assert [alert.title for alert in health] == ["An alert did not reach teams"]
    assert setup.teams.sent == []
    assert [i for i, _ in setup.table.sent] == [identifier, health[0].id]


async def test_after_a_day_without_success_an_alert_is_dead_and_no_alert_is_raised_about_the_alert_about_it() -> None:
    setup = Setup()
    (identifier,) = await setup.store()
    setup.teams.failures = [DeliveryError("down") for _ in range(10_000)]
    setup.table.failures = [DeliveryError("down") for _ in range(10_000)]
    await setup.deliver()
    while setup.clock() < setup.record(identifier).created_at + GIVE_UP_AFTER + timedelta(minutes=20):
        setup.clock.advance(minutes=16)
        await setup.deliver()
    assert {d.state for d in setup.record(identifier).deliveries.values()} == {DeliveryState.DEAD}


async def test_matches_named_by_a_stored_summary_are_closed_without_an_alert_of_their_own() -> None:
    setup = Setup()
    new = await setup.store(6, allowance=1)
    await setup.deliver()
    setup.clock.advance(minutes=15)
    await setup.deliver()
    assert sorted(i for i, _ in setup.teams.sent) == sorted(new)
    assert all(stored.record.due is None for stored in setup.memory.records.values())


async def test_a_store_that_fails_after_the_send_is_caught_up_with_later() -> None:
    setup = Setup()
    (identifier,) = await setup.store()
    replace, calls = setup.memory.replace, 0

    async def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise StoreUnavailable("tables did not answer")
        return await replace(*arguments)

    setup.memory.replace = failing  # type: ignore[method-assign,assignment]  # the one seam a test needs
    await setup.deliver()
    setup.clock.advance(minutes=5)
    await setup.deliver()
    sent = [repeat for _, repeat in setup.teams.sent] + [repeat for _, repeat in setup.table.sent]
    assert sent.count(False) == 2
    assert setup.record(identifier).due is None


async def test_the_budget_leaves_the_rest_for_the_next_run() -> None:
    setup = Setup()
    await setup.store(5)
    report = await setup.outbox.deliver(budget=timedelta(0))
    assert (report.looked_at, report.left) == (0, 5)


def test_retries_back_off_to_a_quarter_of_an_hour() -> None:
    clock = Clock()
    waits = [(next_attempt(clock(), n, None, 0.5) - clock()).total_seconds() for n in (1, 2, 3, 6, 50)]
    assert waits == [30, 60, 120, 900, 900]
    assert next_attempt(clock(), 1, 86_400, 0.5) - clock() == timedelta(hours=1)


def test_a_delivery_state_survives_the_store() -> None:
    import msgspec

    clock = Clock()
    record = Record(id="a", due=None, created_at=clock(), deliveries={"teams": Delivery(error="x" * 300)})
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
    assert Severity.HIGH.raised() is Severity.HIGH
