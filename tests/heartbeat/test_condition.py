"""What counts as healthy, and how much is looked at to know it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from detectors.condition import Backlog, Progress, collect_backlog, problems_of, read_progress
from detectors.sources.windows import Watermark
from detectors.state.sqlite import SqliteStore
from detectors.state.store import Stored, StoreUnavailable
from tests.core.samples import RULE
from tests.heartbeat.samples import NOW, WORKSPACE, dead, pending, put_watermark, record, sent
from tests.memory_store import MemoryStore


def progress(**watermark: Any) -> Progress:
    read = Watermark(**{"end": NOW} | watermark) if watermark else None
    return Progress(rule_id=RULE.id, rule_name=RULE.name, workspace=WORKSPACE, watermark=read)


def test_nothing_is_wrong_with_a_detector_that_reads_and_delivers() -> None:
    backlog = Backlog(pending={"teams": 3}, oldest_pending_seconds=3_500, not_started=1)
    healthy = progress(end=NOW - timedelta(minutes=29), failures=2, error="a throttle")
    assert problems_of([healthy], backlog, NOW) == ()


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (progress(), ("'Runbook changed'", WORKSPACE, "never run", "python -m detectors hunt")),
        (progress(failures=3, error="answered 403"), ("failed 3 times", "answered 403")),
        (progress(end=NOW - timedelta(minutes=31)), ("31 min behind", "python -m detectors hunt")),
    ],
    ids=["never run", "failing", "behind"],
)
def test_a_rule_that_sees_nothing_is_a_problem_that_names_it_and_the_next_step(
    condition: Progress, words: tuple[str, ...]
) -> None:
    (problem,) = problems_of([condition], Backlog(), NOW)
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize(
    ("backlog", "words"),
    [
        (Backlog(pending={"teams": 1}, oldest_pending_seconds=7_200), ("2 h", "teams", "python -m detectors deliver")),
        (Backlog(not_started=1, oldest_pending_seconds=7_200), ("2 h", "triage")),
        (Backlog(dead={"webhook": 2}), ("2 alerts", "python -m detectors dead list --destination webhook")),
        (Backlog(unreadable=1), ("1 stored record cannot be read",)),
    ],
    ids=["waiting", "not triaged", "dead", "unreadable"],
)
def test_an_alert_that_does_not_arrive_is_a_problem_that_says_where(backlog: Backlog, words: tuple[str, ...]) -> None:
    (problem,) = problems_of([], backlog, NOW)
    assert all(word in problem for word in words), problem


async def test_the_progress_of_every_rule_on_every_workspace_is_read(store: SqliteStore) -> None:
    await put_watermark(store, failures=1, error="a throttle")
    one, other = await read_progress(store, [RULE], [WORKSPACE, "another"])
    assert one.watermark == Watermark(end=NOW, failures=1, error="a throttle")
    assert (other.workspace, other.watermark) == ("another", None)


async def test_a_watermark_of_another_version_is_named_with_its_remedy(store: SqliteStore) -> None:
    await store.write_document(f"watermark/{RULE.id}/{WORKSPACE}", b'{"until": 1}', None)
    with pytest.raises(StoreUnavailable, match=f"watermark/{RULE.id}.*HUNT_INITIAL_LOOKBACK"):
        await read_progress(store, [RULE], [WORKSPACE])


async def test_the_backlog_counts_deliveries_by_destination_and_the_oldest_wait(store: SqliteStore) -> None:
    for stored in (
        record(1, age=timedelta(hours=3), teams=sent(), webhook=dead()),
        record(2, age=timedelta(minutes=20), teams=pending(), webhook=sent()),
        record(3, age=timedelta(minutes=9), teams=pending(), log_table=pending()),
        record(4, age=timedelta(minutes=1)),
        record(5, age=timedelta(hours=9), teams=sent()),
    ):
        await store.create(stored)
    backlog = await collect_backlog(store, NOW)
    assert backlog == Backlog(
        pending={"log-table": 1, "teams": 2}, dead={"webhook": 1}, not_started=1, oldest_pending_seconds=1200.0
    )


async def test_a_revived_delivery_waits_from_its_revival_on(store: SqliteStore) -> None:
    revived = pending(pending_since=NOW - timedelta(minutes=5))
    await store.create(record(1, age=timedelta(days=3), teams=revived))
    assert (await collect_backlog(store, NOW)).oldest_pending_seconds == 300.0


class Counting(MemoryStore):
    reads = 0

    async def read(self, record_id: str) -> Stored | None:
        self.reads += 1
        return await super().read(record_id)


async def test_a_large_backlog_is_looked_at_from_both_ends_and_said_to_be_capped() -> None:
    store = Counting()
    for number in range(30):
        await store.create(record(number, age=timedelta(minutes=30 - number), teams=pending()))
    await store.create(record(99, teams=dead()))
    backlog = await collect_backlog(store, NOW, reads=10)
    assert store.reads == 10
    assert (backlog.pending, backlog.dead, backlog.capped) == ({"teams": 9}, {"teams": 1}, True)
    assert (await collect_backlog(store, NOW, listed=31)).capped, "as many as can be listed: there may be more"
    assert not (await collect_backlog(store, NOW)).capped


async def test_a_record_that_cannot_be_read_is_counted_and_hides_none_of_the_others(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.create(record(1, teams=pending()))
    await store.create(record(2, teams=pending()))
    connection = store._connection
    assert connection is not None
    connection.execute("UPDATE records SET body = X'7B7D' WHERE id = ?", (record(1).id,))
    backlog = await collect_backlog(store, NOW)
    assert (backlog.unreadable, backlog.pending) == (1, {"teams": 1})


async def test_a_store_that_does_not_answer_is_no_empty_backlog(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await collect_backlog(SqliteStore(tmp_path / "never-opened.db"), NOW)
