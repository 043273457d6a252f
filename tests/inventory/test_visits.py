"""One visit: what it stores in which order, and what the next one finds wherever it ended."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from detectors.inventory.account_reader import Throttled
from detectors.inventory.reading import Reading
from detectors.inventory.repository import Repository
from detectors.inventory.snapshot import Snapshot
from detectors.inventory.visits import Allowance, OnNew, Visit, Visits, refused, vanished
from detectors.model import AlertKind
from detectors.state.store import StoreUnavailable
from detectors.triage.intake import Intake
from tests.inventory.faulty import FaultyStore, Recorder, faulty_reader
from tests.inventory.virtual_time import START
from tests.inventory.world import CHANGED, WATCHER, World
from tests.memory_store import MemoryStore
from tests.simulation.faults import Chaos, Fault, Life

INTAKE = {"exists", "create", "read", "replace", "read action", "write action"}
"""Calls of the intake, whose order is its own business."""
FAR_OFF = datetime(9999, 1, 1, tzinfo=UTC)


class Bench:
    """Visits of one account, each on its own way to the store."""

    def __init__(self) -> None:
        self.world = World()
        self.account = self.world.azure.add("aa-prod")

    def visits(
        self, life: Life, *, keep_rows: bool = True, alert_limit: int = 100, on_new: OnNew | None = None
    ) -> Visits:
        store = FaultyStore(self.world.place, life)
        return Visits(
            repository=Repository(store, store.objects("inventory")),
            judge=self.world.judge,
            intake=Intake(store=store, clock=self.world.clock),
            keep_rows=keep_rows,
            alert_limit=alert_limit,
            clock=self.world.clock,
            on_new=on_new,
        )

    def reader(self, life: Life) -> Callable[[Snapshot | None], Any]:
        azure = self.world.azure
        read = faulty_reader(life, azure.read_account)

        async def reading(previous: Snapshot | None) -> Reading:
            found: Reading = await read(azure.get(""), self.account.reference, self.account.entry, previous)
            return found

        return reading

    def visit(
        self,
        life: Life | None = None,
        *,
        read: Callable[[Snapshot | None], Any] | None = None,
        expected: datetime | None = FAR_OFF,
        known_scope: bool = False,
        **options: Any,
    ) -> Visit:
        life = life or Life(Chaos())
        visit = Visit()
        self.world.clock.advance(minutes=5)
        self.world.clock.run(
            self.visits(life, **options).visit(
                visit,
                self.account.reference,
                read or self.reader(life),
                expected=expected,
                known_scope=known_scope,
            )
        )
        return visit


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def known(bench: Bench) -> Bench:
    """Visited once."""
    bench.visit()
    return bench


def test_the_first_visit_is_a_base_line_that_tells_only_what_is_suspicious(bench: Bench) -> None:
    bench.account.put("Watcher", "inbox", suspicious=True)
    visit = bench.visit()
    assert (visit.finished, visit.changes, visit.gone) == (True, 0, False)
    assert bench.world.told() == {("Baseline", "Watcher", "inbox"): 1}
    assert {row["ChangeType"] for row in bench.world.rows()} == {"Baseline"}
    assert bench.world.current(bench.account) is not None


def test_an_account_that_is_new_where_others_were_known_is_itself_a_change(bench: Bench) -> None:
    visit = bench.visit(known_scope=True)
    assert visit.changes == 1
    assert bench.world.told() == {("Added", "Account", "aa-prod"): 1}


def test_a_visit_in_which_nothing_changed_writes_one_document(known: Bench) -> None:
    life = Recorder()
    visit = known.visit(life)
    assert life.calls == ["read inventory/account", "get snapshot", "read account", "write inventory/account"]
    assert (visit.finished, visit.changes, visit.new) == (True, 0, [])
    assert visit.visited_at == START + timedelta(minutes=10)


def test_a_change_is_stored_before_it_is_told_and_told_before_it_counts(known: Bench) -> None:
    known.account.put("Watcher", "inbox", scriptName="watch")
    known.account.texts = {"0" * 64: b"Get-Date"}
    life = Recorder()
    visit = known.visit(life)
    steps = ["tell" if call in INTAKE else call for call in life.calls]
    assert [step for step, before in zip(steps, ["", *steps], strict=False) if step != before] == [
        "read inventory/account", "get snapshot", "read account",
        "put snapshot", "put content", "write inventory/account",
        "tell",
        "put rows",
        "write inventory/account",
        "list content", "list snapshot",
    ]  # fmt: skip
    assert (visit.finished, visit.changes, len(visit.new)) == (True, 1, 2)
    assert {rule for rule, _ in known.world.alerts()} == {CHANGED.id, WATCHER.id}
    assert known.world.told() == {("Added", "Watcher", "inbox"): 1}


def test_rows_are_kept_only_for_a_sender(bench: Bench) -> None:
    bench.visit(keep_rows=False)
    bench.account.put("Watcher", "inbox")
    bench.visit(keep_rows=False)
    assert bench.world.rows() == []
    assert bench.world.told() == {("Added", "Watcher", "inbox"): 1}


def test_new_alerts_are_told_as_soon_as_they_are_stored(known: Bench) -> None:
    told: list[str] = []

    async def on_new(identifiers: Any) -> None:
        assert all(each in known.world.place.records for each in identifiers)
        told.extend(identifiers)

    known.account.put("Watcher", "inbox")
    visit = known.visit(on_new=on_new)
    assert told == visit.new
    assert len(told) == 2
    assert known.visit(on_new=on_new).new == []


def test_a_job_is_told_once_however_long_azure_lists_it(known: Bench) -> None:
    known.account.jobs.append("job-1")
    assert known.visit().changes == 1
    assert known.visit().changes == 0
    known.account.jobs.append("job-2")
    assert known.visit().changes == 1
    assert known.world.told() == {("Added", "Job", "job-1"): 1, ("Added", "Job", "job-2"): 1}


def test_rules_are_asked_as_of_the_snapshot_however_late(known: Bench) -> None:
    known.account.put("Watcher", "inbox")
    with pytest.raises(StoreUnavailable):
        known.visit(Life(plan_for(known, "create", Fault.ERROR_BEFORE)))
    known.world.clock.advance(days=3)
    known.world.judge.asked.clear()
    known.visit()
    assert known.world.judge.asked == [START + timedelta(minutes=10)]


def test_what_a_visit_left_pending_is_settled_before_the_account_is_read_again(known: Bench) -> None:
    known.account.put("Watcher", "inbox")
    with pytest.raises(StoreUnavailable):
        known.visit(Life(plan_for(known, "create", Fault.ERROR_BEFORE)))
    assert known.world.alerts() == set()
    known.account.remove("Watcher", "inbox")
    life = Recorder()
    visit = known.visit(life)
    assert life.calls.index("create") < life.calls.index("read account")
    assert visit.changes == 2
    assert known.world.told() == {("Added", "Watcher", "inbox"): 1, ("Removed", "Watcher", "inbox"): 1}


def test_a_throttled_reading_leaves_everything_as_it_was(known: Bench) -> None:
    known.account.put("Watcher", "inbox")
    known.account.throttles = [17]
    before = dict(known.world.place.documents), dict(known.world.place.objects["inventory"])
    with pytest.raises(Throttled) as caught:
        known.visit()
    assert caught.value.retry_after == 17
    assert (dict(known.world.place.documents), dict(known.world.place.objects["inventory"])) == before
    assert known.visit().changes == 1


def test_an_account_that_was_visited_later_than_expected_is_not_read(known: Bench) -> None:
    for expected in (None, START):
        life = Recorder()
        visit = known.visit(life, expected=expected)
        assert life.calls == ["read inventory/account"]
        assert (visit.finished, visit.visited_at) == (False, START + timedelta(minutes=5))
    assert known.visit(expected=START + timedelta(minutes=5)).finished


def test_a_pending_snapshot_is_settled_however_lately_the_account_was_visited(known: Bench) -> None:
    known.account.put("Watcher", "inbox")
    with pytest.raises(StoreUnavailable):
        known.visit(Life(plan_for(known, "create", Fault.ERROR_BEFORE)))
    visit = known.visit(expected=None)
    assert (visit.finished, visit.changes) == (True, 1)


def test_an_account_that_is_deleted_has_all_its_objects_removed_once(known: Bench) -> None:
    known.world.azure.delete(known.account)
    visit = known.visit()
    assert (visit.finished, visit.gone, visit.changes) == (True, True, 2)
    assert known.world.told() == {("Removed", "Account", "aa-prod"): 1, ("Removed", "Runbook", "nightly"): 1}
    visit = known.visit()
    assert (visit.finished, visit.gone, visit.changes) == (True, True, 0)


def test_an_account_that_comes_back_is_added_with_all_that_it_holds(known: Bench) -> None:
    known.world.azure.delete(known.account)
    known.visit()
    known.world.azure.accounts[known.account.reference.id] = known.account
    assert known.visit().changes == 2
    assert known.world.told()["Added", "Account", "aa-prod"] == 1
    assert known.world.told()["Added", "Runbook", "nightly"] == 1


def test_an_account_that_nobody_saw_leaves_nothing(bench: Bench) -> None:
    bench.world.azure.delete(bench.account)
    visit = bench.visit()
    assert (visit.finished, visit.gone, visit.changes) == (True, True, 0)
    assert bench.world.place.documents == {}
    assert bench.world.place.objects["inventory"] == {}


def test_an_older_reading_that_ends_later_says_nothing(known: Bench) -> None:
    """The first visit reads, dawdles, and finds that another has gone further."""
    account, world = known.account, known.world
    slow, fast = Visit(), Visit()
    world.clock.advance(minutes=5)

    async def dawdle(previous: Snapshot | None) -> Reading:
        found: Reading = await known.reader(Life(Chaos()))(previous)
        await asyncio.sleep(30)
        return found

    async def both() -> None:
        visits = known.visits(Life(Chaos()))
        first = asyncio.create_task(visits.visit(slow, account.reference, dawdle, expected=world.clock()))
        await asyncio.sleep(10)
        account.put("Watcher", "inbox")
        other = known.visits(Life(Chaos()))
        await other.visit(fast, account.reference, known.reader(Life(Chaos())), expected=world.clock())
        await first

    world.clock.run(both())
    assert (slow.finished, slow.changes) == (False, 0)
    assert (fast.finished, fast.changes) == (True, 1)
    assert known.visit().changes == 0
    assert world.told() == {("Added", "Watcher", "inbox"): 1}


def test_two_visits_of_one_moment_say_a_change_once(known: Bench) -> None:
    """Whoever begins first wins; the other one ends quietly, or finishes what the first began."""
    for seed in range(40):
        bench = Bench()
        bench.visit()
        bench.account.put("Watcher", "inbox")
        bench.account.jobs.append("job-1")
        first, second = Visit(), Visit()

        async def both(bench: Bench = bench, one: Visit = first, two: Visit = second, seed: int = seed) -> None:
            chaos = Chaos(seed=seed)
            await asyncio.gather(
                *(
                    bench.visits(Life(chaos)).visit(
                        visit, bench.account.reference, bench.reader(Life(chaos)), expected=START + timedelta(days=1)
                    )
                    for visit in (one, two)
                )
            )

        bench.world.clock.advance(minutes=5)
        bench.world.clock.run(both())
        assert bench.visit().changes == 0
        assert bench.world.told() == {("Added", "Watcher", "inbox"): 1, ("Added", "Job", "job-1"): 1}, seed
        assert len(first.new) + len(second.new) == len(bench.world.alerts()) == 3
        assert first.finished or second.finished


def test_a_current_snapshot_that_cannot_be_read_is_a_new_base_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    known = bench
    known.visit(known_scope=True)
    objects = known.world.place.objects["inventory"]
    for name in [name for name in objects if name.startswith("snapshot-")]:
        objects[name] = b"damaged"
    known.account.put("Watcher", "inbox", suspicious=True)
    visit = known.visit()
    assert visit.finished
    assert visit.changes == 0
    assert known.world.told() == {("Added", "Account", "aa-prod"): 1, ("Baseline", "Watcher", "inbox"): 1}
    assert "snapshot-" in caplog.text
    known.account.put("Watcher", "outbox")
    assert known.visit().changes == 1
    current = known.world.current(known.account)
    assert current is not None
    assert current.sequence == 3


def test_a_pending_snapshot_that_cannot_be_read_holds_nothing_up(known: Bench) -> None:
    known.account.put("Watcher", "inbox")
    with pytest.raises(StoreUnavailable):
        known.visit(Life(plan_for(known, "create", Fault.ERROR_BEFORE)))
    objects = known.world.place.objects["inventory"]
    objects[max(name for name in objects if name.startswith("snapshot-"))] = b"damaged"
    assert known.visit().changes == 1
    assert known.world.told() == {("Added", "Watcher", "inbox"): 1}
    assert known.visit().changes == 0


def test_old_snapshots_that_cannot_be_deleted_fail_no_visit(known: Bench, caplog: pytest.LogCaptureFixture) -> None:
    known.account.put("Watcher", "inbox")
    with caplog.at_level(logging.WARNING):
        visit = known.visit(Life(plan_for(known, "list content", Fault.ERROR_BEFORE)))
    assert (visit.finished, visit.changes) == (True, 1)
    assert "old snapshots stay" in caplog.text
    assert known.visit().changes == 0


def test_more_matches_than_go_out_one_by_one_are_named_in_one_alert(known: Bench) -> None:
    for number in range(6):
        known.account.put("Runbook", f"runbook-{number}")
    visit = known.visit(alert_limit=2)
    alerts = [stored.record.alert for stored in MemoryStore(known.world.place).records.values() if stored.record.alert]
    (summary,) = alerts
    assert summary.kind is AlertKind.SUMMARY
    assert len(summary.items) == 4
    assert len(visit.new) == 3
    assert len(known.world.alerts()) == 6


def test_the_limit_of_alerts_is_one_of_all_visits_of_a_run() -> None:
    allowance = Allowance(5)
    assert allowance.reserve(CHANGED, 3) == 3
    assert allowance.reserve(CHANGED, 4) == 2
    assert allowance.reserve(CHANGED, 1) == 0
    assert allowance.reserve(WATCHER, 9) == 5
    allowance.give_back(CHANGED, 1)
    assert allowance.reserve(CHANGED, 4) == 1


def test_matches_that_were_known_already_use_up_no_allowance(known: Bench) -> None:
    known.account.put("Runbook", "one")
    with pytest.raises(StoreUnavailable):
        known.visit(Life(plan_for(known, "put rows", Fault.ERROR_BEFORE)), alert_limit=1)
    known.account.put("Runbook", "two")
    visit = known.visit(alert_limit=1)
    assert len(visit.new) == 1
    assert not [stored for stored in MemoryStore(known.world.place).records.values() if stored.record.alert]


def test_why_a_visit_failed_is_kept_and_forgotten_with_the_next_success(known: Bench) -> None:
    async def error() -> str:
        return (await known.world.repository().state(known.account.reference)).error

    life = Recorder()
    for _ in range(2):
        known.world.clock.run(known.visits(life).note_failure(known.account.reference, "no answer"))
    assert known.world.clock.run(error()) == "no answer"
    assert life.calls.count("write inventory/account") == 1
    known.visit()
    assert known.world.clock.run(error()) == ""


def test_a_failure_that_cannot_be_kept_raises_nothing(known: Bench, caplog: pytest.LogCaptureFixture) -> None:
    life = Life(Chaos(plan={0: Fault.ERROR_BEFORE}))
    known.world.clock.run(known.visits(life).note_failure(known.account.reference, "no answer"))
    assert "was not kept" in caplog.text


def test_an_account_that_may_not_be_read_is_as_before_and_unread(known: Bench) -> None:
    previous = known.world.current(known.account)
    assert previous is not None
    reading = refused(previous, ["watchers", "jobs"], "refused (403)", START)
    assert reading is not None
    own = {each.kind: each for each in reading.snapshot.objects}
    assert own["Account"].properties == {"unread": ["jobs", "watchers"]}
    assert own["Runbook"] in previous.objects
    assert reading.snapshot.unread == {"jobs": "refused (403)", "watchers": "refused (403)"}
    assert refused(None, ["watchers"], "refused (403)", START) is None


def test_what_is_gone_already_is_no_reading(known: Bench) -> None:
    previous = known.world.current(known.account)
    assert previous is not None
    previous = replace(previous, unread={"watchers": "refused (403)"}, never_read=("watchers",), seen_jobs=("job-1",))
    reading = vanished(previous, START)
    assert reading is not None
    # What it holds when it comes back is new, also where it could not be read before it went.
    assert reading.snapshot == replace(
        previous, sequence=2, taken_at=START, objects=(), unread={}, never_read=(), seen_jobs=("job-1",)
    )
    assert vanished(reading.snapshot, START) is None
    assert refused(reading.snapshot, ["watchers"], "refused (403)", START) is None
    assert vanished(None, START) is None


def plan_for(bench: Bench, name: str, fault: Fault) -> Chaos:
    """Chaos that has *fault* at the first call of *name*, whichever number that has."""
    return _First(name, fault)


class _First(Chaos):
    def __init__(self, name: str, fault: Fault) -> None:
        super().__init__()
        self._name = name
        self._fault: Fault | None = fault

    def fault(self, name: str) -> Fault | None:
        if name == self._name and self._fault:
            chosen, self._fault = self._fault, None
            return chosen
        return None
