"""A run: which accounts it visits, in which order, for how long, and what it says of that."""

import asyncio
import json
import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import DecodeError, ServiceRequestError

from detectors.inventory import report as reports
from detectors.inventory.inventory import LISTS_FIRST_SECONDS, NOTE_SECONDS
from detectors.inventory.report import ERROR_CHARACTERS, InventoryReport
from detectors.state.store import StoreUnavailable
from tests.inventory.faulty import FaultyStore, Recorder
from tests.inventory.virtual_time import START
from tests.inventory.world import ONE, TWO, World, refusal
from tests.memory_store import MemoryStore
from tests.simulation.faults import Chaos, Fault, Life

THREE = "11111111-2222-3333-4444-555555555553"


@pytest.fixture
def world() -> World:
    return World()


def fleet(world: World, number: int, subscription: str = ONE, **more: Any) -> None:
    for each in range(number):
        world.azure.add(f"{'one' if subscription == ONE else 'two'}-{each:03d}", subscription, **more)


def last(world: World) -> InventoryReport:
    async def read() -> InventoryReport | None:
        return await reports.read_last(MemoryStore(world.place))

    found = world.clock.run(read())
    assert found is not None
    return found


# What a run does and says


def test_a_run_visits_every_account_of_every_subscription_in_use(world: World) -> None:
    fleet(world, 3)
    fleet(world, 2, TWO)
    world.azure.states |= {TWO: "Warned", THREE: "Disabled"}
    report = world.run()
    assert (report.subscriptions, report.accounts, report.visited, report.left, report.failed) == (2, 5, 5, 0, 0)
    assert (report.changed, report.changes, report.new_alerts, report.errors) == (0, 0, 0, ())
    assert sorted(world.azure.names_read()) == ["one-000", "one-001", "one-002", "two-000", "two-001"]
    assert world.azure.calls[f"list {THREE}"] == 0


def test_changes_and_alerts_are_counted(world: World) -> None:
    fleet(world, 3)
    world.run()
    accounts = list(world.azure.accounts.values())
    accounts[0].put("Watcher", "inbox")
    accounts[0].jobs.append("job-1")
    accounts[1].put("Runbook", "other")
    told: list[str] = []

    async def on_new(identifiers: Any) -> None:
        told.extend(identifiers)

    report = world.run(on_new)
    assert (report.visited, report.changed, report.changes, report.new_alerts) == (3, 2, 3, 4)
    assert len(told) == 4
    report = world.run(on_new)
    assert (report.visited, report.changed, report.changes, report.new_alerts) == (3, 0, 0, 0)


def test_the_report_is_kept_and_logged_as_one_line_of_json(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fleet(world, 2)
    with caplog.at_level(logging.INFO, "detectors.inventory.inventory"):
        report = world.run()
    assert last(world) == report
    (line,) = [each.getMessage() for each in caplog.records if each.getMessage().startswith("inventory {")]
    assert json.loads(line.removeprefix("inventory ")) == json.loads(msgspec.json.encode(report))
    assert "\n" not in line


def test_an_older_run_that_ends_later_does_not_replace_the_report_of_a_newer_one(world: World) -> None:
    newer = InventoryReport(started_at=START + timedelta(minutes=5), finished_at=START + timedelta(minutes=6))
    older = InventoryReport(started_at=START, finished_at=START + timedelta(minutes=7))

    async def write() -> None:
        for report in (newer, older):
            await reports.remember(MemoryStore(world.place), report)

    world.clock.run(write())
    assert last(world) == newer


def test_a_report_of_another_version_is_said_to_be_unreadable_and_written_over(world: World) -> None:
    world.clock.run(MemoryStore(world.place).write_document(reports.LAST, b'{"started_at": 5}', None))
    with pytest.raises(StoreUnavailable, match="not a report of this version"):
        last(world)
    assert last_after_run(world).accounts == 0


def last_after_run(world: World) -> InventoryReport:
    world.run()
    return last(world)


def test_a_report_fits_into_a_document_however_much_went_wrong(world: World) -> None:
    """A document takes 32 KiB; names are as long as Azure allows, and of letters that take four bytes."""
    for number in range(120):
        subscription = f"11111111-2222-3333-4444-{number:012d}"
        world.azure.add(f"{number:03d}" + "\U0001f600" * 80, subscription, error=ValueError("\U0001f600" * 500))
        world.azure.listings[subscription] = [refusal(429, headers={"Retry-After": "1"})]
    report = world.run()
    assert report.failed == 120
    assert (len(report.errors), report.more_errors) == (20, 100)
    assert all(len(each) <= ERROR_CHARACTERS for each in report.errors)
    assert len(report.throttled) == 100
    assert last(world) == report


# Which accounts there are


def test_only_chosen_subscriptions_are_looked_at(world: World) -> None:
    fleet(world, 1)
    fleet(world, 1, TWO)
    report = world.run(subscriptions=[TWO.upper(), TWO])
    assert (report.subscriptions, report.visited) == (1, 1)
    assert world.azure.names_read() == ["two-000"]
    assert world.azure.calls["list *"] == 0


def test_a_new_account_in_a_known_subscription_is_a_change_and_in_a_new_one_it_is_none(world: World) -> None:
    fleet(world, 1)
    world.run()
    world.azure.add("one-new").put("Watcher", "there-already")
    fleet(world, 1, TWO)
    assert world.run().changes == 1
    assert world.told() == {("Added", "Account", "one-new"): 1}


def test_a_subscription_without_accounts_is_known_too(world: World) -> None:
    world.run()
    world.azure.add("first")
    assert world.run().changes == 1
    assert world.told() == {("Added", "Account", "first"): 1}


def test_a_subscription_whose_first_list_fails_is_not_known_by_that(world: World) -> None:
    fleet(world, 1)
    world.azure.listings[ONE] = [refusal(500)]
    assert world.run().accounts == 0
    report = world.run()
    assert (report.accounts, report.changes) == (1, 0)
    assert world.told() == {}


def test_a_subscription_in_which_nothing_is_and_nothing_happens_costs_no_write(world: World) -> None:
    world.run()
    life = Recorder()
    world.run(store=FaultyStore(world.place, life))
    assert [call for call in life.calls if call.startswith("put")] == []
    assert "get accounts" in life.calls


def test_a_vanished_account_is_removed_once_and_then_forgotten(world: World) -> None:
    fleet(world, 2)
    world.run()
    world.azure.delete(next(iter(world.azure.accounts.values())))
    report = world.run()
    assert (report.accounts, report.visited, report.changes) == (1, 2, 2)
    assert world.told() == {("Removed", "Account", "one-000"): 1, ("Removed", "Runbook", "nightly"): 1}
    assert world.azure.calls["get"] == 1
    report = world.run()
    assert (report.accounts, report.visited, report.changes) == (1, 1, 0)
    assert world.azure.calls["get"] == 1


def test_an_account_that_comes_back_is_added_again(world: World) -> None:
    fleet(world, 1)
    (account,) = world.azure.accounts.values()
    world.run()
    world.azure.delete(account)
    world.run()
    world.azure.accounts[account.reference.id] = account
    assert world.run().changes == 2
    assert world.told()["Added", "Account", "one-000"] == 1
    assert world.run().changes == 0


def test_an_account_that_the_list_forgets_is_looked_at_before_it_counts_as_gone(world: World) -> None:
    fleet(world, 2)
    world.run()
    account = next(iter(world.azure.accounts.values()))
    account.hidden = True
    account.put("Watcher", "inbox")
    report = world.run()
    assert (report.accounts, report.visited, report.changes) == (2, 2, 1)
    assert world.told() == {("Added", "Watcher", "inbox"): 1}


def test_an_account_that_may_not_be_read_any_more_is_changed_and_not_gone(world: World) -> None:
    """Azure lists only what may be read: the account is missing from the list, and a question after it is refused."""
    fleet(world, 2)
    world.run()
    account = next(iter(world.azure.accounts.values()))
    account.hidden = account.refuses = True
    for changes in (1, 0):
        report = world.run()
        assert (report.accounts, report.visited, report.failed, report.changes) == (2, 2, 0, changes)
    assert world.told() == {("Modified", "Account", "one-000"): 1}
    current = world.current(account)
    assert current is not None
    assert set(current.unread) == {"watchers", "runbooks", "jobs"}
    assert "403" in current.unread["jobs"]
    account.hidden = account.refuses = False
    account.put("Watcher", "meanwhile")
    assert world.run().changes == 2
    assert world.told()["Added", "Watcher", "meanwhile"] == 1


def test_an_account_in_the_list_that_refuses_everything_is_visited(world: World) -> None:
    fleet(world, 1)
    world.run()
    next(iter(world.azure.accounts.values())).refuses = True
    report = world.run()
    assert (report.visited, report.failed, report.changes) == (1, 0, 1)
    assert world.told() == {("Modified", "Account", "one-000"): 1}


def test_an_account_of_which_nothing_was_ever_read_and_that_refuses_is_a_failure(world: World) -> None:
    fleet(world, 1)
    account = next(iter(world.azure.accounts.values()))
    account.error = ValueError("a defect")
    world.run()
    account.hidden = account.refuses = True
    report = world.run()
    assert (report.accounts, report.failed) == (1, 1)
    assert "may not read" in report.errors[0]


def test_an_account_that_goes_between_list_and_visit_is_removed(world: World) -> None:
    fleet(world, 1)
    world.run()
    (account,) = world.azure.accounts.values()
    account.seconds = 10

    async def run() -> InventoryReport:
        running = asyncio.create_task(world.inventory().run())
        await asyncio.sleep(5)
        world.azure.delete(account)
        return await running

    world.clock.advance(minutes=5)
    assert world.clock.run(run()).changes == 2
    assert world.told()["Removed", "Account", "one-000"] == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refusal(403, "AuthorizationFailed"), "403 AuthorizationFailed"),
        (refusal(500), "500"),
        (ServiceRequestError("no route"), "Azure could not be reached"),
        (DecodeError("JSON is invalid: a-secret"), "could not be read (DecodeError at "),
        (TimeoutError(), "longer than 60 seconds"),
    ],
    ids=["refused", "broken", "unreachable", "unreadable", "late"],
)
def test_a_list_that_fails_keeps_its_accounts_known(
    world: World, error: Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet(world, 2)
    fleet(world, 2, TWO)
    world.run()
    world.azure.read.clear()
    world.azure.listings[ONE] = [error]
    report = world.run()
    assert (report.accounts, report.visited, report.left, report.failed, report.changes) == (4, 2, 2, 0, 0)
    (said,) = report.errors
    assert ONE in said
    assert says in said
    assert "a-secret" not in said + caplog.text
    assert report.stalest
    assert report.stalest.name == "one-000"
    assert world.azure.names_read() == ["two-000", "two-001"]
    report = world.run()
    assert (report.visited, report.changes, report.errors) == (4, 0, ())


def test_a_subscription_that_is_not_seen_any_more_keeps_its_accounts_known(world: World) -> None:
    fleet(world, 2)
    fleet(world, 1, TWO)
    world.run()
    del world.azure.states[ONE]
    report = world.run()
    assert (report.accounts, report.visited, report.left, report.changes) == (3, 1, 2, 0)
    (said,) = report.errors
    assert f"Subscription {ONE} is not visible" in said
    assert report.stalest
    assert (report.stalest.name, report.stalest.age_seconds) == ("one-000", 300)
    world.azure.states[ONE] = "Enabled"
    report = world.run()
    assert (report.visited, report.changes, report.errors) == (3, 0, ())


def test_a_subscription_that_is_not_in_use_any_more_is_neither_visited_nor_missed(world: World) -> None:
    fleet(world, 2)
    fleet(world, 1, TWO)
    world.run()
    world.azure.states[ONE] = "Disabled"
    report = world.run()
    assert (report.accounts, report.visited, report.left, report.errors, report.changes) == (1, 1, 0, (), 0)
    world.azure.states[ONE] = "PastDue"
    assert world.run().visited == 3


@pytest.mark.parametrize(
    "error", [refusal(500), refusal(429, headers={"Retry-After": "3"}), ServiceRequestError("no route")]
)
def test_without_the_list_of_subscriptions_those_that_are_known_are_visited(world: World, error: Exception) -> None:
    fleet(world, 2)
    world.run()
    world.azure.listings["*"] = [error]
    report = world.run()
    assert (report.accounts, report.visited, report.left) == (2, 2, 0)
    (said,) = report.errors
    assert said.startswith("The subscriptions could not be listed")


def test_an_identity_that_sees_nothing_is_an_error(world: World) -> None:
    world.azure.states.clear()
    report = world.run()
    assert (report.subscriptions, report.stalest) == (0, None)
    assert "sees no subscription" in report.errors[0]


# Time


def test_what_was_visited_longest_ago_comes_first_across_subscriptions(world: World) -> None:
    for name, subscription in (("a", ONE), ("b", TWO), ("c", ONE), ("d", TWO)):
        world.azure.add(name, subscription)
    world.run(subscriptions=[TWO])
    world.run(subscriptions=[ONE])
    world.azure.add("e", ONE)
    world.azure.read.clear()
    world.run(concurrency=1)
    assert world.azure.names_read() == ["e", "b", "d", "a", "c"]


@pytest.mark.parametrize(("seconds", "first", "begins"), [(5, "two-000", 5), (40, "one-000", LISTS_FIRST_SECONDS)])
def test_visits_wait_for_the_lists_of_all_subscriptions_but_not_for_long(
    world: World, seconds: float, first: str, begins: float
) -> None:
    """What the slow list holds was never visited, so it comes first; but not if the list takes for ever."""
    fleet(world, 4)
    fleet(world, 4, TWO)
    world.run(subscriptions=[ONE])
    world.azure.read.clear()
    world.azure.list_seconds[TWO] = seconds
    report = world.run(concurrency=3)
    assert (report.visited, report.left) == (8, 0)
    assert world.azure.read[0] == (report.started_at + timedelta(seconds=begins), first)
    assert report.finished_at - report.started_at == timedelta(seconds=seconds)


def test_what_the_budget_leaves_is_what_the_next_run_begins_with(world: World) -> None:
    fleet(world, 30, seconds=50)
    fleet(world, 30, TWO, seconds=50)
    rounds = []
    for _ in range(6):
        before = len(world.azure.read)
        report = world.run(concurrency=2)
        names = world.azure.names_read()[before:]
        # Five turns of 50 s begin within 240 s.
        assert (report.visited, report.left, report.failed) == (10, 50, 0)
        rounds += names
    assert len(set(rounds)) == 60
    before = len(world.azure.read)
    report = world.run(concurrency=2)
    assert world.azure.names_read()[before:] == rounds[:10]
    assert report.stalest
    assert report.stalest.name == rounds[10]


def test_no_visit_begins_after_the_budget_and_what_has_begun_is_finished(world: World) -> None:
    fleet(world, 20, seconds=50)
    world.clock.advance(minutes=5)
    started = world.clock()
    report = world.clock.run(world.inventory(concurrency=1).run())
    assert max(time for time, _ in world.azure.read) - started < timedelta(minutes=4)
    assert report.visited == 5
    assert report.finished_at - started == timedelta(seconds=250)


def test_a_visit_has_a_time_limit_and_is_not_first_again(world: World) -> None:
    """More accounts hang than are visited at once: whoever tried them first in every run would visit no other."""
    fleet(world, 12, seconds=1_000)
    fleet(world, 12, TWO, seconds=1)
    first = world.run(concurrency=2)
    assert (first.visited, first.failed, first.left) == (0, 8, 16)
    assert first.errors[0].endswith("/one-000 was not visited: it took longer than 60 seconds.")
    assert first.finished_at - first.started_at == timedelta(minutes=4)
    second = world.run(concurrency=2)
    assert (second.visited, second.failed) == (12, 8)
    assert second.stalest
    assert second.stalest.name == "one-000"


def test_what_takes_too_long_is_cut_off_and_goes_on_with_the_next_run(world: World) -> None:
    """The intake hangs: the snapshot is pending by then."""
    fleet(world, 1)
    world.run()
    next(iter(world.azure.accounts.values())).put("Watcher", "inbox")

    class Hanging(MemoryStore):
        async def create(self, record: Any) -> bool:
            await asyncio.sleep(3_600)
            return False

    report = world.run(store=Hanging(world.place))
    assert (report.visited, report.failed, report.new_alerts) == (0, 1, 0)
    next(iter(world.azure.accounts.values())).remove("Watcher", "inbox")
    report = world.run()
    assert (report.visited, report.changes) == (1, 2)
    assert world.told() == {("Added", "Watcher", "inbox"): 1, ("Removed", "Watcher", "inbox"): 1}


def test_a_store_that_hangs_ends_no_later_than_the_limits_say(world: World) -> None:
    fleet(world, 2)
    world.run()

    class Hanging(MemoryStore):
        async def read_document(self, name: str) -> Any:
            if name.startswith("inventory/account"):
                await asyncio.sleep(3_600)
            return await super().read_document(name)

    report = world.run(store=Hanging(world.place))
    assert (report.visited, report.failed) == (0, 2)
    assert report.finished_at - report.started_at == timedelta(seconds=60 + NOTE_SECONDS)


def test_the_stalest_account_is_one_that_was_never_visited_since_it_was_listed(world: World) -> None:
    fleet(world, 2)
    account = next(iter(world.azure.accounts.values()))
    account.error = ValueError("a defect")
    listed = world.run().started_at
    for runs in range(2, 4):
        report = world.run()
        assert report.stalest
        assert (report.stalest.name, report.stalest.since) == ("one-000", listed)
        assert report.stalest.account_id == account.reference.id
        assert report.stalest.age_seconds == (runs - 1) * 300
    account.error = None
    report = world.run()
    assert report.stalest
    assert report.stalest.age_seconds == 0


def test_as_many_visits_as_the_setting_says_are_under_way_and_no_task_waits_for_each_account(world: World) -> None:
    fleet(world, 300, seconds=1)
    most = 0

    async def watch() -> InventoryReport:
        nonlocal most
        running = asyncio.create_task(world.inventory(concurrency=7).run())
        while not running.done():
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0.1)
        return running.result()

    world.clock.advance(minutes=5)
    report = world.clock.run(watch())
    assert (report.visited, world.azure.most_readings) == (300, 7)
    assert most < 30
    assert report.finished_at - report.started_at == timedelta(seconds=43)


# Throttling


def throttled_run(world: World, retry_after: float | None) -> tuple[InventoryReport, dict[str, list[datetime]]]:
    """A run over two subscriptions, of which the first answers one reading with 429; when its readings began."""
    fleet(world, 24, seconds=2)
    fleet(world, 24, TWO, seconds=2)
    world.run()
    world.azure.read.clear()
    world.clock.sleeps.clear()
    if retry_after is not None:
        world.azure.accounts[next(iter(world.azure.accounts))].throttles = [retry_after]
    report = world.run()
    began: dict[str, list[datetime]] = {"one": [], "two": []}
    for time, name in world.azure.read:
        began[name[:3]].append(time)
    return report, began


def test_a_throttled_subscription_waits_and_no_other_does() -> None:
    undisturbed, usual = throttled_run(World(), None)
    world = World()
    report, began = throttled_run(world, 40)
    assert (undisturbed.visited, undisturbed.throttled) == (48, ())
    assert (report.visited, report.left, report.failed, report.throttled) == (48, 0, 0, (ONE,))
    assert report.errors == ()
    # The others are all visited, each at least as early as without the throttling.
    assert len(began["two"]) == 24
    assert all(now <= then for now, then in zip(began["two"], usual["two"], strict=True))
    # Nothing is asked of the throttled one while its gate is closed, and then all that is left.
    closed = report.started_at + timedelta(seconds=2)
    during = [time for time in began["one"] if closed < time < closed + timedelta(seconds=40)]
    assert during == []
    assert len(began["one"]) == 25
    assert min(time for time in began["one"] if time > closed) == closed + timedelta(seconds=40)


def test_workers_sleep_until_the_gate_opens_and_do_not_ask_again_and_again() -> None:
    world = World()
    report, _ = throttled_run(world, 60)
    assert report.visited == 48
    # Each of the four workers once, and again when another has finished its last visit before the gate opens.
    asleep = [each for each in world.clock.sleeps if each != LISTS_FIRST_SECONDS]
    assert 1 <= len(asleep) <= 8
    assert max(asleep) <= 60


@pytest.mark.parametrize(("said", "waits"), [(None, 30), (0, 1), (12.5, 12.5)])
def test_how_long_a_throttled_account_waits(world: World, said: float | None, waits: float) -> None:
    world.azure.add("aa-prod", throttles=[said])
    report = world.run()
    assert (report.visited, report.throttled) == (1, (ONE,))
    assert report.finished_at - report.started_at == timedelta(seconds=waits)


def test_a_wait_beyond_the_budget_leaves_the_accounts_and_ends_the_run(world: World) -> None:
    fleet(world, 5, throttles=[3_600.0])
    fleet(world, 5, TWO)
    report = world.run(concurrency=1)
    assert (report.visited, report.left, report.failed, report.errors) == (5, 5, 0, ())
    assert report.finished_at == report.started_at
    assert world.clock.sleeps == []
    for account in world.azure.accounts.values():
        account.throttles.clear()
    assert world.run().left == 0


def test_a_throttled_list_is_asked_for_again_when_its_gate_opens(world: World) -> None:
    fleet(world, 2)
    fleet(world, 2, TWO, seconds=1)
    world.azure.listings[ONE] = [refusal(429, headers={"Retry-After": "25"}), refusal(429)]
    report = world.run()
    assert (report.visited, report.throttled, report.errors) == (4, (ONE,), ())
    assert world.azure.calls[f"list {ONE}"] == 3
    assert report.finished_at - report.started_at == timedelta(seconds=55)
    assert [name for time, name in world.azure.read if time < report.started_at + timedelta(seconds=3)] == [
        "two-000",
        "two-001",
    ]


def test_a_list_that_stays_throttled_is_an_error_and_its_accounts_are_left(world: World) -> None:
    fleet(world, 2)
    world.run()
    world.azure.listings[ONE] = [refusal(429, headers={"Retry-After": "9999"})]
    report = world.run()
    assert (report.accounts, report.visited, report.left, report.throttled) == (2, 0, 2, (ONE,))
    assert "were not listed within this run" in report.errors[0]


def test_one_account_that_is_always_throttled_holds_up_no_other_for_long(world: World) -> None:
    fleet(world, 6)
    next(iter(world.azure.accounts.values())).throttles = [20.0] * 100
    report = world.run(concurrency=1)
    assert (report.visited, report.left) == (5, 1)
    assert world.azure.names_read()[1:6] == [f"one-{number:03d}" for number in range(1, 6)]


# Failures


def test_one_account_that_fails_stops_no_other_and_says_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fleet(world, 4)
    accounts = list(world.azure.accounts.values())
    accounts[0].error = KeyError("a defect")
    accounts[1].error = ServiceRequestError("no route")
    accounts[2].error = DecodeError("JSON is invalid: a-secret")
    with caplog.at_level(logging.ERROR):
        report = world.run()
    assert (report.visited, report.failed, report.left) == (1, 3, 0)
    said = {name: text for name in ("one-000", "one-001", "one-002") for text in report.errors if name in text}
    assert "unexpected KeyError: 'a defect'" in said["one-000"]
    assert "Azure could not be reached" in said["one-001"]
    assert "could not be read (DecodeError at " in said["one-002"]
    # A traceback where the detector itself is to blame, and never the text of an answer.
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False]
    assert "a-secret" not in caplog.text + "".join(report.errors)

    async def error(number: int) -> str:
        return (await world.repository().state(accounts[number].reference)).error

    assert world.clock.run(error(0)) == said["one-000"]
    accounts[0].error = None
    world.run()
    assert world.clock.run(error(0)) == ""


def test_without_what_was_known_nothing_is_visited(world: World) -> None:
    fleet(world, 2)
    report = world.run(store=FaultyStore(world.place, Life(Chaos(plan={0: Fault.ERROR_BEFORE}))))
    assert (report.accounts, report.visited, report.stalest) == (0, 0, None)
    assert "could not be read" in report.errors[0]
    assert world.azure.calls.total() == 0
    assert world.run().visited == 2


def test_a_store_that_fails_fails_visits_and_not_the_run(world: World) -> None:
    fleet(world, 3)
    world.run()

    class Broken(MemoryStore):
        async def read_document(self, name: str) -> Any:
            raise StoreUnavailable("the table does not answer")

    report = world.run(store=Broken(world.place))
    assert (report.visited, report.failed) == (0, 3)
    assert all("the table does not answer" in each for each in report.errors)
    assert world.run().visited == 3


def test_a_run_that_dies_after_its_visits_loses_no_account(world: World) -> None:
    """An account is visited, the run dies, and the account is deleted: only the listing tells that it was there."""
    fleet(world, 1)
    world.run()
    new = world.azure.add("one-new")
    life = Recorder()
    with pytest.raises(BaseException):  # noqa: B017, PT011 - a crash, alone or in a group
        world.run(store=FaultyStore(world.place, _dying_at_the_second(life, "put accounts")))
    assert world.told() == {("Added", "Account", "one-new"): 1}
    world.azure.delete(new)
    world.run()
    assert world.told()["Removed", "Account", "one-new"] == 1


def _dying_at_the_second(life: Life, name: str) -> Life:
    seen = 0

    class Dying(Chaos):
        def fault(self, point: str) -> Fault | None:
            nonlocal seen
            seen += point == name
            return Fault.CRASH_BEFORE if point == name and seen == 2 else None

    return Life(Dying())


def test_times_that_were_not_kept_are_found_out_account_by_account(world: World) -> None:
    """The end of a run is lost: the next one does not begin with those that were visited in it."""
    fleet(world, 20, seconds=50)
    report = world.run(concurrency=2)
    first = set(world.azure.names_read())
    assert report.visited == len(first) == 10

    class Forgetful(MemoryStore):
        def objects(self, namespace: Any) -> Any:
            inner = super().objects(namespace)

            async def put_object(name: str, data: bytes) -> None:
                if name.startswith("accounts-"):
                    raise StoreUnavailable("the container does not answer")
                await type(inner).put_object(inner, name, data)

            inner.put_object = put_object  # type: ignore[method-assign]
            return inner

    world.azure.read.clear()
    world.run(concurrency=2, store=Forgetful(world.place))
    second = set(world.azure.names_read())
    assert not first & second
    world.azure.read.clear()
    report = world.run(concurrency=2)
    assert set(world.azure.names_read()) == first
    assert report.left == 10


# Two runs at the same time


def test_what_another_run_has_visited_meanwhile_is_not_read_again(world: World) -> None:
    fleet(world, 10)
    world.run()
    world.azure.read.clear()
    world.azure.list_seconds[ONE] = 30

    async def both() -> tuple[InventoryReport, InventoryReport]:
        slow = asyncio.create_task(world.inventory().run())
        await asyncio.sleep(10)
        world.azure.list_seconds.clear()
        fast = await world.inventory().run()
        return await slow, fast

    world.clock.advance(minutes=5)
    slow, fast = world.clock.run(both())
    assert (fast.visited, slow.visited, slow.left, slow.failed) == (10, 0, 0, 0)
    assert len(world.azure.read) == 10
    assert slow.stalest
    assert slow.stalest.age_seconds == 20


def test_an_account_that_another_run_is_at_is_left_to_that_run(world: World) -> None:
    fleet(world, 1, seconds=5)
    world.run()
    world.azure.read.clear()
    next(iter(world.azure.accounts.values())).put("Watcher", "inbox")

    class Slow(MemoryStore):
        async def create(self, record: Any) -> bool:
            await asyncio.sleep(20)
            return await super().create(record)

    async def both() -> tuple[InventoryReport, InventoryReport]:
        first = asyncio.create_task(world.inventory(store=Slow(world.place)).run())
        await asyncio.sleep(1)
        return await world.inventory().run(), await first

    world.clock.advance(minutes=5)
    second, first = world.clock.run(both())
    assert (first.visited, first.changes, first.new_alerts) == (1, 1, 2)
    assert (second.visited, second.failed, second.left, second.changes) == (0, 0, 0, 0)
    assert len(world.azure.read) == 2
    assert world.told() == {("Added", "Watcher", "inbox"): 1}


def test_an_account_that_another_run_saw_being_created_is_not_taken_for_gone(world: World) -> None:
    """The slow run has its list, without the account, before the other one has kept that there is one."""
    fleet(world, 1, seconds=55)
    world.run()

    async def both() -> None:
        slow = asyncio.create_task(world.inventory().run())
        await asyncio.sleep(50)
        world.azure.add("one-new")
        await world.inventory().run()
        await slow

    world.clock.advance(minutes=5)
    world.clock.run(both())
    assert world.told() == {("Added", "Account", "one-new"): 1}
    report = world.run()
    assert (report.accounts, report.visited, report.changes) == (2, 2, 0)
    assert world.azure.calls["get"] == 0
    assert world.told() == {("Added", "Account", "one-new"): 1}
