"""What two snapshots differ in is said once, completely, and replays the one into the other."""

import itertools
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from detectors.inventory.changes import Change, changes, replay
from detectors.inventory.encoding import as_stored
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order

START = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
ACCOUNT = AccountReference(
    subscription_id="11111111-2222-3333-4444-555555555555", resource_group="rg-ops", name="aa-prod"
)
SECTIONS = {"watchers": ("Watcher",), "runbooks": ("Runbook", "RunbookContent"), "webhooks": ("Webhook",)}
KINDS = ("Account", *(kind for kinds in SECTIONS.values() for kind in kinds))


def snapshot(sequence: int, *objects: InventoryObject, **changed: Any) -> Snapshot:
    taken_at = START + timedelta(minutes=5 * sequence)
    return Snapshot(account=ACCOUNT, sequence=sequence, taken_at=taken_at, objects=in_order(objects), **changed)


def an_object(kind: str = "Watcher", name: str = "nightly", /, **properties: Any) -> InventoryObject:
    object_id = f"{ACCOUNT.id}/{kind.lower()}s/{name.lower()}"
    return InventoryObject(kind=kind, name=name, id=object_id, properties=properties)


# What JSON, sorting and comparing are known to trip over.
TEXTS = ("", "a", "A", "\u00e4", "a\u0308", "\u0130", "\u20ac", "\U0001f600", '"\\', "\x00", " ", "\x7f")
SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 0.1, 1e308, 2**53 + 1, 2**63, 2**70, *TEXTS)
NESTED: tuple[Any, ...] = (
    *SCALARS,
    [],
    {},
    [[]],
    [None],
    [1, 0],
    [0, 1],
    {"": 1},
    {"b": 1, "a": [True]},
    {"a": {"A": 1.0}},
)
VALUES = strategies.sampled_from(NESTED) | strategies.lists(strategies.sampled_from(NESTED), max_size=2)
PROPERTIES = strategies.dictionaries(strategies.sampled_from(("a", "b", "name", "unread", *TEXTS)), VALUES, max_size=3)
LISTED = strategies.lists(
    strategies.tuples(strategies.sampled_from(KINDS), strategies.sampled_from("aAbBc"), PROPERTIES), max_size=5
)


@strategies.composite
def histories(draw: strategies.DrawFn) -> list[Snapshot]:
    """Snapshots of an account, one after the other, as a reading makes them: what is unread is carried over."""
    history: list[Snapshot] = []
    objects: tuple[InventoryObject, ...] = ()
    for sequence in range(1, draw(strategies.integers(2, 5)) + 1):
        unread = draw(strategies.sets(strategies.sampled_from(sorted(SECTIONS)))) if history else set()
        kept = {kind for section in unread for kind in SECTIONS[section]}
        # Few names, so that the same object is there again, in another case at times.
        found = [an_object(kind, name, **properties) for kind, name, properties in draw(LISTED)]
        if draw(strategies.booleans()):
            # Most objects of an account are the same the next time.
            found = [*objects, *found]
        objects = in_order(
            [each for each in found if each.kind not in kept] + [each for each in objects if each.kind in kept]
        )
        history.append(snapshot(sequence, *objects, unread=dict.fromkeys(unread, "403")))
    return history


def steps(history: Sequence[Snapshot]) -> list[tuple[Change, ...]]:
    before: list[Snapshot | None] = [None, *history[:-1]]
    return [changes(one, other) for one, other in zip(before, history, strict=True)]


@hypothesis.given(histories())
def test_the_changes_of_each_step_replay_nothing_into_the_last_state_exactly(history: list[Snapshot]) -> None:
    state: tuple[InventoryObject, ...] = ()
    for found, reached in zip(steps(history), history, strict=True):
        state = replay(state, found)
        assert exactly(state) == exactly(reached.objects)


@hypothesis.given(histories())
def test_the_first_state_becomes_the_last_through_the_steps_between(history: list[Snapshot]) -> None:
    state = history[0].objects
    for found in steps(history)[1:]:
        state = replay(state, found)
    assert exactly(state) == exactly(history[-1].objects)
    assert exactly(replay(history[0].objects, changes(history[0], history[-1]))) == exactly(history[-1].objects)


def exactly(objects: Sequence[InventoryObject]) -> str:
    # Not the objects: 1, 1.0 and True are equal in Python.
    return json.dumps([[each.kind, each.id, each.name, each.properties] for each in objects], sort_keys=True)


@hypothesis.given(histories())
def test_every_change_of_a_history_has_an_id_of_its_own(history: list[Snapshot]) -> None:
    ids = [change.id for found in steps(history) for change in found]
    assert len(ids) == len(set(ids))
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in ids)


@hypothesis.given(histories(), strategies.randoms(use_true_random=False))
def test_changes_are_the_same_when_compared_again_in_any_order_and_as_they_read_back(
    history: list[Snapshot], chance: random.Random
) -> None:
    def shuffled(one: Snapshot) -> Snapshot:
        objects = [msgspec.structs.replace(each, properties=mixed(each.properties)) for each in one.objects]
        chance.shuffle(objects)
        return msgspec.structs.replace(one, objects=tuple(objects))

    def mixed(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, mixed(item)) for key, item in value.items()]
            chance.shuffle(items)
            return dict(items)
        return [mixed(item) for item in value] if isinstance(value, list) else value

    said = steps(history)
    assert steps(history) == said
    assert steps([shuffled(each) for each in history]) == said
    assert steps([as_stored(each) for each in history]) == said


@hypothesis.given(histories())
def test_the_other_direction_is_the_inverse(history: list[Snapshot]) -> None:
    opposite = {"Added": "Removed", "Removed": "Added", "Modified": "Modified"}
    for one, other in itertools.pairwise(history):
        there, back = changes(one, other), changes(other, one)
        assert [(c.kind, c.object_id, opposite[c.change_type], c.after, c.before, c.changed) for c in there] == [
            (c.kind, c.object_id, c.change_type, c.before, c.after, c.changed) for c in back
        ]
        assert exactly(replay(replay(one.objects, there), back)) == exactly(one.objects)
        assert not {c.id for c in there} & {c.id for c in back}


@hypothesis.given(histories())
def test_nothing_is_said_of_objects_of_an_unread_section(history: list[Snapshot]) -> None:
    for found, reached in zip(steps(history)[1:], history[1:], strict=True):
        unread = {kind for section in reached.unread for kind in SECTIONS[section]}
        assert not unread & {change.kind for change in found}


@hypothesis.given(histories())
def test_each_change_says_what_differs_and_an_equal_object_is_no_change(history: list[Snapshot]) -> None:
    for one, other, found in zip(history, history[1:], steps(history)[1:], strict=False):
        old, new = ({(o.kind, o.id): exactly([o]) for o in each.objects} for each in (one, other))
        assert [(c.kind, c.object_id) for c in found] == sorted(
            key for key in old.keys() | new.keys() if old.get(key) != new.get(key)
        )
        for change in found:
            if change.change_type == "Modified":
                assert change.changed
                assert set(change.changed) - {"name"} == apart(change.before, change.after) - {"name"}
            else:
                assert change.changed == ()


def apart(one: dict[str, Any] | None, other: dict[str, Any] | None) -> set[str]:
    def shown(properties: dict[str, Any] | None, name: str) -> str:
        return json.dumps([properties[name]], sort_keys=True) if properties and name in properties else ""

    return {name for name in {**(one or {}), **(other or {})} if shown(one, name) != shown(other, name)}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, 1.0), (0.0, -0.0), (None, ""), ("1", 1), ([True], [1]), ({"a": [0]}, {"a": [False]})],
)
def test_what_python_calls_equal_and_json_does_not_is_a_change(one: Any, other: Any) -> None:
    before, after = snapshot(1, an_object("Watcher", "w", a=one)), snapshot(2, an_object("Watcher", "w", a=other))
    for found in (changes(before, after), changes(after, before)):
        assert [(change.change_type, change.changed) for change in found] == [("Modified", ("a",))]


def test_null_is_not_absent() -> None:
    before, after = snapshot(1, an_object("Watcher", "w", a=None)), snapshot(2, an_object("Watcher", "w"))
    for found in (changes(before, after), changes(after, before)):
        assert [(change.change_type, change.changed) for change in found] == [("Modified", ("a",))]


def test_an_object_whose_name_changed_its_case_is_modified_and_keeps_its_properties() -> None:
    before, after = snapshot(1, an_object("Watcher", "Nightly", a=1)), snapshot(2, an_object("Watcher", "nightly", a=1))
    (change,) = changes(before, after)
    assert (change.change_type, change.changed, change.name) == ("Modified", ("name",), "nightly")
    assert change.before == change.after == {"a": 1}
    assert replay(before.objects, [change]) == after.objects


def test_the_same_change_a_second_time_is_another_one() -> None:
    stopped, running = an_object(status="Stopped"), an_object(status="Running")
    history = [snapshot(number, stopped if number % 2 else running) for number in range(1, 6)]
    found = [change for step in steps(history)[1:] for change in step]
    assert [change.changed for change in found] == [("status",)] * 4
    assert len({change.id for change in found}) == 4


def test_a_change_does_not_depend_on_the_newer_snapshots_number_time_or_other_objects() -> None:
    before = snapshot(4, an_object(a=1))
    (alone,) = changes(before, snapshot(5, an_object(a=2)))
    among = changes(before, snapshot(9, an_object(a=2), an_object("Webhook", "hook"), unread={"modules": "403"}))
    assert alone in among


def test_another_account_number_or_state_makes_another_change() -> None:
    elsewhere = msgspec.structs.replace(ACCOUNT, name="aa-test")

    def change(sequence: int, before: int, after: int, account: AccountReference = ACCOUNT) -> str:
        pair = snapshot(sequence, an_object(a=before)), snapshot(sequence + 1, an_object(a=after))
        (only,) = changes(*(msgspec.structs.replace(each, account=account) for each in pair))
        return only.id

    assert change(1, 1, 2) == change(1, 1, 2)
    assert len({change(1, 1, 2), change(2, 1, 2), change(1, 1, 3), change(1, 3, 2), change(1, 1, 2, elsewhere)}) == 5


def test_the_first_snapshot_is_a_base_line() -> None:
    found = changes(None, snapshot(1, an_object("Account", "aa-prod"), an_object(), an_object("Webhook")))
    assert [(c.change_type, c.kind) for c in found] == [
        ("Baseline", "Account"),
        ("Baseline", "Watcher"),
        ("Baseline", "Webhook"),
    ]
    assert all(c.before is None and c.after is not None for c in found)


def test_an_account_that_is_new_where_others_were_listed_before_is_added_and_its_objects_are_a_base_line() -> None:
    found = changes(None, snapshot(1, an_object("Account", "aa-prod"), an_object()), known_scope=True)
    assert [(c.change_type, c.kind) for c in found] == [("Added", "Account"), ("Baseline", "Watcher")]
    later = changes(
        snapshot(1, an_object("Account", "aa-prod")),
        snapshot(2, an_object("Account", "aa-prod"), an_object()),
        known_scope=True,
    )
    assert [(c.change_type, c.kind) for c in later] == [("Added", "Watcher")]


def test_a_base_line_read_anew_has_the_ids_of_the_first_one() -> None:
    # Otherwise a lost snapshot would raise every alert of the base line again.
    first, anew = snapshot(1, an_object(a=1)), snapshot(57, an_object(a=1))
    assert [c.id for c in changes(None, first)] == [c.id for c in changes(None, anew)]


def test_what_could_never_be_read_before_is_a_base_line_when_it_is_read_at_last() -> None:
    account, watcher, hook = an_object("Account", "aa-prod"), an_object(a=1), an_object("Webhook", "hook")
    unread = snapshot(1, account, unread={"watchers": "403"}, never_read=("watchers",))
    read = snapshot(2, account, watcher, hook, first_read=((watcher.kind, watcher.id),))
    found = changes(unread, read)
    assert [(c.change_type, c.kind) for c in found] == [("Baseline", "Watcher"), ("Added", "Webhook")]
    assert replay(unread.objects, found) == read.objects


def test_a_section_that_was_read_before_it_became_unread_shows_what_was_added_meanwhile() -> None:
    old, new = an_object("Watcher", "old"), an_object("Watcher", "new")
    history = [snapshot(1, old), snapshot(2, old, unread={"watchers": "503"}), snapshot(3, old, new)]
    first, second, third = steps(history)
    assert [c.change_type for c in first] == ["Baseline"]
    assert second == ()
    assert [(c.change_type, c.name) for c in third] == [("Added", "new")]


def test_a_vanished_account_is_all_removed_and_one_that_returns_is_all_added() -> None:
    full, empty = snapshot(1, an_object("Account", "aa-prod"), an_object()), snapshot(2)
    assert [c.change_type for c in changes(full, empty)] == ["Removed", "Removed"]
    assert all(c.after is None and c.before is not None for c in changes(full, empty))
    assert [c.change_type for c in changes(empty, snapshot(3, *full.objects))] == ["Added", "Added"]


def test_a_job_is_added_once_whatever_it_says_by_then_and_is_no_state() -> None:
    running, done = an_object("Job", "j-1", status="Running"), an_object("Job", "j-1", status="Completed")
    one = snapshot(1, an_object(), jobs=(running, running))
    (baseline, added) = changes(None, one)
    assert (baseline.change_type, baseline.kind) == ("Baseline", "Watcher")
    assert (added.change_type, added.kind, added.before, added.after) == ("Added", "Job", None, {"status": "Running"})
    (again,) = changes(one, snapshot(2, an_object(), jobs=(done,)))
    assert again.id == added.id
    assert replay((), (baseline, added)) == one.objects
    assert changes(one, snapshot(2, an_object())) == (), "that no job is new is no change"


def test_jobs_come_last_each_with_an_id_of_its_own() -> None:
    jobs = tuple(an_object("Job", name) for name in ("j-2", "j-1"))
    found = changes(snapshot(1), snapshot(2, an_object("Watcher"), jobs=jobs))
    assert [(c.kind, c.name) for c in found] == [("Watcher", "nightly"), ("Job", "j-1"), ("Job", "j-2")]
    assert len({c.id for c in found}) == 3


@pytest.mark.parametrize("hostile", ["\ud800", "a\udfffb", float("nan"), float("inf"), {"\udc00": ["\ud83d"]}])
def test_what_json_cannot_hold_is_compared_with_what_it_was_stored_as(hostile: Any) -> None:
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels else hostile

    read = snapshot(2, an_object(a=hostile, deep=nested(300)), an_object("Watcher", "na\ud800me"))
    kept = as_stored(msgspec.structs.replace(read, sequence=1))
    assert as_stored(kept) == kept
    assert changes(kept, read) == ()
    assert [c.id for c in changes(None, read)] == [c.id for c in changes(None, kept)]


def test_of_two_objects_with_one_id_the_last_stands_as_in_a_snapshot() -> None:
    twice = Snapshot(account=ACCOUNT, sequence=2, taken_at=START, objects=(an_object(a=1), an_object(a=2)))
    (change,) = changes(snapshot(1), twice)
    assert change.after == {"a": 2}
