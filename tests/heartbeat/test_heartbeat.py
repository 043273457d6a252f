"""Every hunt says that it ran and how the detector is, and no failure of that saying reaches the hunt."""

import asyncio
import json
import logging
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from detectors.condition import INVENTORY_LAST, Backlog, Progress
from detectors.delivery.destination import DeliveryError, Destination
from detectors.heartbeat import (
    LAST,
    SEND_SECONDS,
    STATE_SECONDS,
    VERSION,
    Heartbeat,
    build_heartbeat,
    instance_name,
    read_last,
    send_heartbeat,
)
from detectors.inventory.report import InventoryReport, Stalest, remember
from detectors.sources.hunt import HuntReport, RuleOutcome
from detectors.sources.windows import Watermark
from detectors.state.sqlite import SqliteStore
from detectors.state.store import Document, StoreUnavailable
from tests.clock import Clock
from tests.core.samples import RULE
from tests.core.test_outbox import Recorder
from tests.heartbeat.samples import NOW, WORKSPACE, HeartbeatTaker, dead, pending, put_watermark, record, report
from tests.memory_store import MemoryStore

ROOT = Path(__file__).parents[2]


def at(minutes: float, *, workspace: str = WORKSPACE) -> Progress:
    watermark = Watermark(end=NOW - timedelta(minutes=minutes))
    return Progress(rule_id=RULE.id, rule_name=RULE.name, workspace=workspace, watermark=watermark)


async def beat(
    store: MemoryStore | SqliteStore, *destinations: Destination, of: HuntReport | None = None, **options: Any
) -> Heartbeat:
    return await send_heartbeat(
        of or report(), rules=[RULE], store=store, destinations=destinations, clock=Clock(NOW), **options
    )


def test_a_heartbeat_holds_what_the_hunt_did_and_what_it_left() -> None:
    outcomes = (
        RuleOutcome(rule_id=RULE.id, workspace="one", rows=5, new=("a", "b"), windows=2, remaining=1),
        RuleOutcome(rule_id=RULE.id, workspace="two", rows=1, windows=1, error="answered 403"),
    )
    backlog = Backlog(pending={"teams": 2, "webhook": 1}, dead={"webhook": 1}, oldest_pending_seconds=90, capped=True)
    built = build_heartbeat(
        report(*outcomes), watermarks=[at(0), at(10)], backlog=backlog, finished_at=NOW, instance="i-1"
    )
    expected = {
        "duration_seconds": 40.0,
        "healthy": False,
        "rules_run": 2,
        "rules_failed": 1,
        "queries": 3,
        "rows": 6,
        "new_alerts": 2,
        "remaining_windows": 1,
        "lag_seconds": 600.0,
        "pending_deliveries": 3,
        "not_started_alerts": 0,
        "oldest_pending_seconds": 90,
        "dead_deliveries": 1,
        "backlog_capped": True,
        "instance": "i-1",
        "version": VERSION,
    }
    assert {name: getattr(built, name) for name in expected} == expected
    (problem,) = built.problems
    assert "did not reach webhook" in problem


async def put_report(store: MemoryStore | SqliteStore, value: bytes) -> None:
    await store.write_document(INVENTORY_LAST, value, None)


async def test_a_heartbeat_says_how_old_the_inventorys_stalest_account_is_now(store: SqliteStore) -> None:
    before = await beat(store)
    assert (before.inventory_accounts, before.inventory_stalest_seconds) == (None, None)
    # As the inventory writes it, ten minutes ago: no run came since.
    stalest = Stalest(name="aa-prod", account_id="/a", since=NOW - timedelta(minutes=25), age_seconds=900.0)
    at_end = NOW - timedelta(minutes=10)
    written = InventoryReport(started_at=at_end, finished_at=at_end, accounts=12, visited=3, left=9, stalest=stalest)
    await remember(store, written)
    taker = HeartbeatTaker()
    after = await beat(store, taker)
    assert (after.inventory_accounts, after.inventory_stalest_seconds) == (12, 1_500.0)
    (got,) = taker.beats
    assert (got["values"]["inventory_accounts"], got["values"]["inventory_stalest_seconds"]) == (12, 1_500.0)


async def test_an_inventory_without_accounts_has_no_stalest(store: SqliteStore) -> None:
    await put_report(store, b'{"accounts": 0, "stalest": null, "later": 1}')
    sent = await beat(store)
    assert (sent.inventory_accounts, sent.inventory_stalest_seconds) == (0, None)


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"{}", b'{"accounts": 1, "stalest": {"since": "2026-03-02T03:00:00"}}']
)
async def test_a_report_of_the_inventory_that_cannot_be_read_is_said_and_fails_no_hunt(
    store: SqliteStore, value: bytes
) -> None:
    await put_watermark(store)
    await put_report(store, value)
    sent = await beat(store)
    assert (sent.healthy, sent.inventory_accounts) == (False, None)
    (problem,) = sent.problems
    assert "the inventory's last report could not be read" in problem
    assert "The next run of the inventory writes it anew" in problem


def test_two_runs_and_two_instances_have_heartbeats_of_their_own() -> None:
    def identifier(of: HuntReport, instance: str) -> str:
        return build_heartbeat(of, watermarks=[], backlog=Backlog(), finished_at=NOW, instance=instance).id

    later = HuntReport(started_at=NOW, outcomes=())
    ids = [identifier(report(), "a"), identifier(report(), "b"), identifier(later, "a")]
    assert len(set(ids)) == 3
    assert identifier(report(), "a") == ids[0]


def test_the_lag_is_unknown_while_a_rule_was_never_run_and_never_negative() -> None:
    never = Progress(rule_id="r", rule_name="r", workspace="w", watermark=None)
    built = build_heartbeat(report(), watermarks=[at(1), never], backlog=Backlog(), finished_at=NOW)
    assert (built.lag_seconds, built.healthy) == (None, False)
    ahead = build_heartbeat(report(), watermarks=[at(-1)], backlog=Backlog(), finished_at=NOW)
    assert (ahead.lag_seconds, ahead.healthy) == (0.0, True)


def test_many_problems_are_counted_so_that_the_heartbeat_stays_small() -> None:
    error = "\x1b[2J" + "x" * 100_000
    failing = [
        Progress(
            rule_id="r", rule_name=f"r{number}", workspace="w", watermark=Watermark(end=NOW, failures=9, error=error)
        )
        for number in range(500)
    ]
    built = build_heartbeat(report(), watermarks=failing, backlog=Backlog(), finished_at=NOW)
    assert len(built.problems) == 21
    assert built.problems[-1] == "480 more; run: python -m detectors status"
    assert sum(map(len, built.problems)) < 12_000
    assert "\x1b" not in "".join(built.problems)


async def test_every_hunt_sends_one_heartbeat_logs_it_as_json_and_keeps_it(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await put_watermark(store)
    await store.create(record(1, teams=pending()))
    taker = HeartbeatTaker()
    with caplog.at_level(logging.INFO, "detectors.heartbeat"):
        sent = await beat(store, taker, Recorder("teams"), instance="i-1")
    (got,) = taker.beats
    assert (got["identifier"], got["healthy"]) == (sent.id, True)
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert line.startswith("heartbeat {")
    assert "\n" not in line
    assert json.loads(line.removeprefix("heartbeat ")) == got["values"]
    assert (got["values"]["pending_deliveries"], got["values"]["lag_seconds"]) == (1, 0.0)
    assert await read_last(store) == sent


async def test_the_store_keeps_the_newest_heartbeat_whoever_writes_last(store: SqliteStore) -> None:
    newest = await beat(store, of=HuntReport(started_at=NOW + timedelta(minutes=5), outcomes=()))
    await beat(store)
    assert await read_last(store) == newest


async def test_two_instances_that_write_at_once_both_end(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    first, other = await asyncio.gather(beat(store, instance="a"), beat(store, instance="b"))
    assert (await read_last(store)) in {first, other}
    assert "did not reach" not in caplog.text


async def test_a_heartbeat_of_another_version_is_replaced_by_the_next_hunt(store: SqliteStore) -> None:
    await store.write_document(LAST, b'{"new": true}', None)
    with pytest.raises(StoreUnavailable, match="The next run writes it anew"):
        await read_last(store)
    sent = await beat(store)
    assert await read_last(store) == sent


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (DeliveryError("log-table: https://e.example answered 403 (Forbidden)."), "answered 403"),
        (RuntimeError("a defect"), "a defect"),
    ],
    ids=["refused", "defect"],
)
async def test_a_heartbeat_that_does_not_arrive_is_logged_with_what_happens_next(
    store: SqliteStore, caplog: pytest.LogCaptureFixture, failure: Exception, words: str
) -> None:
    sent = await beat(store, HeartbeatTaker(failure))
    assert words in caplog.text
    assert "the next hunt sends its own" in caplog.text
    assert await read_last(store) == sent, "what works is done all the same"


class Stuck(HeartbeatTaker):
    async def send_heartbeat(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()


async def test_a_destination_that_never_answers_holds_up_nothing(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await beat(store, Stuck(), send_seconds=0.01)
    assert "log-table did not answer within" in caplog.text
    assert STATE_SECONDS + SEND_SECONDS <= 15


class Broken(MemoryStore):
    """A store in which listing does what it is told to."""

    def __init__(self, do: Callable[[], Any]) -> None:
        super().__init__()
        self.do = do

    async def due(self, *_: Any) -> list[str]:
        return list(await self.do())

    async def write_document(self, *_: Any) -> Document:
        raise StoreUnavailable("the store is down")


async def unavailable() -> list[str]:
    raise StoreUnavailable("Table storage answered 503")


async def defect() -> list[str]:
    raise RuntimeError("a defect")


@pytest.mark.parametrize(
    ("do", "cause"),
    [
        (unavailable, "Table storage answered 503"),
        (asyncio.Event().wait, "the store did not answer within"),
        (defect, "RuntimeError"),
    ],
    ids=["unavailable", "silent", "defect"],
)
async def test_what_cannot_be_read_is_unknown_and_the_heartbeat_still_goes_out_unhealthy(
    do: Callable[[], Any], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    taker = HeartbeatTaker()
    sent = await beat(Broken(do), taker, state_seconds=0.01)
    assert len(taker.beats) == 1
    assert not sent.healthy
    assert (sent.pending_deliveries, sent.dead_deliveries, sent.oldest_pending_seconds) == (None, None, None)
    assert f"the backlog could not be read: {cause}" in sent.problems[0]
    assert "it did not reach the store: the store is down" in caplog.text


async def test_a_dead_delivery_makes_the_heartbeat_unhealthy(store: SqliteStore) -> None:
    await put_watermark(store)
    await store.create(record(1, webhook=dead()))
    taker = HeartbeatTaker()
    await beat(store, taker)
    (got,) = taker.beats
    assert not got["healthy"]
    assert "dead list --destination webhook" in got["problems"][0]


def test_the_instance_is_what_azure_functions_calls_it_else_the_machine() -> None:
    assert instance_name({"WEBSITE_INSTANCE_ID": "abc", "CONTAINER_NAME": "def"}) == "abc"
    assert instance_name({"CONTAINER_NAME": "d" * 100}) == "d" * 64
    assert instance_name({})


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
