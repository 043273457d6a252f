"""Rows become stored matches: once each, and none without a place in an alert."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from detectors.model import AlertKind, Record, Source
from detectors.state.store import StoreUnavailable
from detectors.triage.intake import Intake, matches_of
from tests.clock import Clock
from tests.core.samples import RULE, row
from tests.memory_store import MemoryStore


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = MemoryStore()
        self.intake = Intake(store=self.memory, clock=self.clock)

    async def store(self, rows: Sequence[dict[str, Any]], allowance: int = 100) -> tuple[str, ...]:
        return await self.intake.store(RULE, rows, source=Source.HUNT, workspace="w", allowance=allowance)


async def test_every_new_action_is_stored_and_due_at_once() -> None:
    setup = Setup()
    new = await setup.store([row(1), row(2)])
    assert len(new) == 2
    assert set(await setup.memory.due(setup.clock(), 10)) == set(new)


async def test_the_same_rows_again_store_nothing() -> None:
    setup = Setup()
    await setup.store([row(1), row(2)])
    assert await setup.store([row(2), row(1), row(1, ActivityStatusValue="Succeeded")]) == ()
    assert len(setup.memory.records) == 2


async def test_two_hunts_at_once_store_each_action_once() -> None:
    setup = Setup()
    rows = [row(number) for number in range(30)]
    first, second = await asyncio.gather(setup.store(rows), setup.store(list(reversed(rows))))
    assert len(setup.memory.records) == 30
    assert sorted([*first, *second]) == sorted(setup.memory.records)


async def test_beyond_the_allowance_one_summary_names_every_match() -> None:
    setup = Setup()
    new = await setup.store([row(number) for number in range(12)], allowance=5)
    records = [setup.memory.records[i].record for i in new]
    assert [record.alert is None for record in records] == [True] * 5 + [False]
    summary = records[-1].alert
    assert summary is not None
    assert summary.kind is AlertKind.SUMMARY
    waiting = {s.record.id for s in setup.memory.records.values() if s.record.summarised_by == summary.id}
    assert {item.match_id for item in summary.items} == waiting
    assert len(waiting) == 7
    assert {item.caller for item in summary.items} == {"dana@example.com"}


async def test_more_matches_than_fit_on_one_card_make_several_summaries() -> None:
    setup = Setup()
    new = await setup.store([row(number) for number in range(250)], allowance=0)
    summaries = [record.alert for record in (setup.memory.records[i].record for i in new)]
    assert [len(summary.items) for summary in summaries if summary] == [100, 100, 50]


async def test_racing_hunts_with_an_overflow_name_every_match_in_some_alert() -> None:
    setup = Setup()
    rows = [row(number) for number in range(40)]
    await asyncio.gather(setup.store(rows, allowance=3), setup.store(list(reversed(rows)), allowance=3))
    records = [stored.record for stored in setup.memory.records.values()]
    named = [item.match_id for record in records if record.alert for item in record.alert.items]
    alone = [record.id for record in records if record.match and not record.summarised_by]
    assert sorted(named + alone) == sorted(record.id for record in records if record.match)


async def test_a_crash_before_the_summary_leaves_every_match_to_go_out_alone() -> None:
    class Crashing(MemoryStore):
        async def create(self, record: Record) -> bool:
            if record.alert is not None:
                raise StoreUnavailable("the store is gone")
            return await super().create(record)

    setup = Setup()
    setup.memory = Crashing()
    setup.intake = Intake(store=setup.memory, clock=setup.clock)
    with pytest.raises(StoreUnavailable):
        await setup.store([row(number) for number in range(4)], allowance=1)
    setup.clock.advance(minutes=15)
    assert len(await setup.memory.due(setup.clock(), 10)) == 4


async def test_a_store_that_fails_is_the_callers_business() -> None:
    class Down(MemoryStore):
        async def exists(self, record_id: str) -> bool:
            raise StoreUnavailable(f"no answer for {record_id}")

    setup = Setup()
    setup.intake = Intake(store=Down(), clock=setup.clock)
    with pytest.raises(StoreUnavailable):
        await setup.store([row(1)])


def test_matches_are_in_the_order_of_the_events_and_unreadable_times_become_the_time_of_finding() -> None:
    clock = Clock()
    rows = [row(3), row(1), row(2, TimeGenerated="yesterday"), row(4, TimeGenerated=None)]
    matches = matches_of(RULE, rows, source=Source.HUNT, workspace="w", found_at=clock())
    assert [match.row["CorrelationId"][-1] for match in matches] == ["1", "3", "2", "4"]
    assert matches[-1].event_time == clock()
