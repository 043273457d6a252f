"""Whatever fails at whichever call: every change is told once, nothing is lost, and the rows replay what happened."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from detectors.inventory.changes import Change, replay
from detectors.inventory.snapshot import InventoryObject
from tests.inventory.faulty import FaultyStore, faulty_reader
from tests.inventory.world import CHANGED, ONE, TWO, WATCHER, World
from tests.simulation.faults import Chaos, Fault, Life

# A process that dies leaves calls behind that it had not begun.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine '(Intake|FaultyStore).* was never awaited:RuntimeWarning")

Step = Callable[[World], None]


def appear(world: World) -> None:
    """Two accounts, one of them with something suspicious."""
    world.azure.add("aa-prod").put("Watcher", "old", suspicious=True)
    world.azure.add("aa-test", TWO)


def attack(world: World) -> None:
    """A watcher, a job and the text of a runbook; and an account where others were known."""
    prod = account(world, "aa-prod")
    prod.put("Watcher", "inbox", scriptName="watch")
    prod.put("RunbookContent", "watch", sha256="0" * 64)
    prod.texts = {"0" * 64: b"Get-Date"}
    prod.jobs.append("job-1")
    world.azure.add("aa-new")


def tidy_up(world: World) -> None:
    """One thing changes, one goes, and one account with it."""
    prod = account(world, "aa-prod")
    prod.put("Watcher", "inbox", scriptName="other")
    prod.remove("Runbook", "nightly")
    prod.texts = {}
    world.azure.delete(account(world, "aa-test"))


STEPS: tuple[Step, ...] = (appear, attack, tidy_up)


def account(world: World, name: str) -> Any:
    return next(each for each in world.azure.accounts.values() if each.reference.name == name)


def attempt(world: World, chaos: Chaos) -> None:
    """One run of a process that may die of *chaos*."""
    life = Life(chaos)
    world.clock.advance(minutes=5)
    inventory = world.inventory(
        store=FaultyStore(world.place, life),
        read_account=faulty_reader(life, world.azure.read_account),
        concurrency=2,
    )
    try:
        world.clock.run(inventory.run())
    except BaseException:
        if not life.dead:
            raise


def undisturbed(steps: int) -> World:
    """The world after so many steps in which nothing failed; each had a run, and another in which nothing was new."""
    if steps == 0:
        world = World()
        world.azure.states[TWO] = "Enabled"
        return world
    if steps not in _UNDISTURBED:
        world = undisturbed(steps - 1)
        STEPS[steps - 1](world)
        for _ in range(2):
            attempt(world, Chaos())
        _UNDISTURBED[steps] = world
    return copy.deepcopy(_UNDISTURBED[steps])


_UNDISTURBED: dict[int, World] = {}


def disturbed(step: int, chaos: Chaos) -> World:
    """The world after *step* (from 0) and one run, in which *chaos* has its way."""
    world = undisturbed(step)
    STEPS[step](world)
    attempt(world, chaos)
    return world


def points(step: int) -> int:
    chaos = Chaos()
    disturbed(step, chaos)
    return chaos.points


def check_told(world: World, undisturbed: World, chaos: Chaos | None = None) -> None:
    """Each change is a match of each rule as often as without faults. Its id may be another: a number is used once."""
    trace = chaos.trace if chaos else ()
    assert world.told(CHANGED) == undisturbed.told(CHANGED), trace
    assert world.told(WATCHER) == undisturbed.told(WATCHER), trace
    assert len(world.alerts()) == len(undisturbed.alerts()), trace


def check_rows(world: World) -> None:
    """The rows of each account, in order, turn nothing into what it is now; and each is there once."""
    rows = world.rows()
    assert len({row["ChangeId"] for row in rows}) == len(rows)
    for reference in {row["AccountId"] for row in rows}:
        found: tuple[InventoryObject, ...] = ()
        of_account = [row for row in rows if row["AccountId"] == reference]
        found = replay(found, [change(row) for row in of_account])
        now = world.azure.accounts.get(reference)
        assert found == (now.state(None) if now else ()), reference


def change(row: dict[str, Any]) -> Change:
    return Change(
        id=row["ChangeId"],
        change_type=row["ChangeType"],
        kind=row["ObjectType"],
        object_id=row["ObjectId"],
        name=row["ObjectName"],
        before=row["Before"],
        after=row["After"],
    )


def test_undisturbed_every_change_is_told() -> None:
    world = undisturbed(len(STEPS))
    assert world.told() == {
        ("Baseline", "Watcher", "old"): 1,
        ("Added", "Watcher", "inbox"): 1,
        ("Added", "RunbookContent", "watch"): 1,
        ("Added", "Job", "job-1"): 1,
        ("Added", "Account", "aa-new"): 1,
        ("Modified", "Watcher", "inbox"): 1,
        ("Removed", "Account", "aa-test"): 1,
        ("Removed", "Runbook", "nightly"): 2,
    }
    check_rows(world)


@pytest.mark.parametrize(
    "fault", [Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.CRASH_BEFORE, Fault.CRASH_AFTER], ids=str
)
@pytest.mark.parametrize("step", range(len(STEPS)), ids=[step.__name__ for step in STEPS])
def test_a_fault_at_any_call_changes_nothing_of_what_is_told(step: int, fault: Fault) -> None:
    expected = undisturbed(step + 1)
    count = points(step)
    assert count > 30
    for point in range(count):
        chaos = Chaos(plan={point: fault})
        world = disturbed(step, chaos)
        assert chaos.hit == 1
        attempt(world, Chaos())
        check_told(world, expected, chaos)
        check_rows(world)


@pytest.mark.parametrize("fault", [Fault.ERROR_BEFORE, Fault.CRASH_AFTER], ids=str)
@pytest.mark.parametrize("step", range(len(STEPS) - 1), ids=[step.__name__ for step in STEPS[:-1]])
def test_a_fault_while_things_go_on_loses_nothing_that_was_read(step: int, fault: Fault) -> None:
    """No run comes between the fault and the next change, so the two may be told as one; but all of it is told."""
    for point in range(points(step)):
        chaos = Chaos(plan={point: fault})
        world = disturbed(step, chaos)
        assert chaos.hit == 1
        STEPS[step + 1](world)
        for _ in range(2):
            attempt(world, Chaos())
        check_rows(world)
        assert {identifier for _, identifier in world.alerts()} == {
            row["ChangeId"]
            for row in world.rows()
            if row["ChangeType"] != "Baseline" or (row["After"] or {}).get("suspicious")
        }, chaos.trace


@pytest.mark.parametrize("probability", [0.0, 0.05], ids=["undisturbed", "with faults"])
@pytest.mark.parametrize("seed", range(20))
def test_two_detectors_at_the_same_time_tell_each_change_once(seed: int, probability: float) -> None:
    world = undisturbed(0)
    new = 0
    for number, step in enumerate(STEPS):
        step(world)
        world.clock.advance(minutes=5)
        chaos = Chaos(seed=seed * 10 + number, probability=probability)
        lives = [Life(chaos), Life(chaos)]

        async def both(lives: list[Life] = lives) -> list[Any]:
            runs = (
                world.inventory(
                    store=FaultyStore(world.place, life), read_account=faulty_reader(life, world.azure.read_account)
                ).run()
                for life in lives
            )
            return await asyncio.gather(*runs, return_exceptions=True)

        for end, life in zip(world.clock.run(both()), lives, strict=True):
            if isinstance(end, BaseException):
                assert life.dead
            else:
                new += end.new_alerts
                assert probability or end.failed == 0
        for _ in range(2):
            attempt(world, Chaos())
    check_told(world, undisturbed(len(STEPS)))
    check_rows(world)
    assert probability or new == len(world.alerts())


def test_the_accounts_of_two_subscriptions_are_in_the_scenario() -> None:
    world = World()
    appear(world)
    assert {each.reference.subscription_id for each in world.azure.accounts.values()} == {ONE, TWO}
