"""Gates: what waits goes lowest rank first, and past the subscriptions that are throttled."""

from datetime import timedelta

import pytest

from detectors.inventory.gates import Gates
from tests.clock import Clock

END = timedelta(minutes=4)


def gates(clock: Clock) -> Gates[str]:
    return Gates(clock=clock, end=clock() + END)


def drained(waiting: Gates[str]) -> list[str]:
    taken = []
    while (item := waiting.take()) is not None:
        taken.append(item)
    return taken


def test_the_lowest_rank_goes_first_across_subscriptions() -> None:
    waiting = gates(Clock())
    for subscription, rank, item in (("s1", 3, "c"), ("s2", 1, "a"), ("s1", 2, "b"), ("s2", 4, "d")):
        waiting.add(subscription, rank, item)
    assert len(waiting) == 4
    assert drained(waiting) == ["a", "b", "c", "d"]
    assert len(waiting) == 0


def test_of_one_rank_the_first_that_came_goes_first_and_items_are_never_compared() -> None:
    waiting: Gates[dict[str, int]] = Gates(clock=Clock(), end=Clock()() + END)
    for number in range(5):
        waiting.add("s1", 1, {"number": number})
    taken = [waiting.take() for _ in range(5)]
    assert taken == [{"number": number} for number in range(5)]


def test_a_closed_gate_holds_back_its_own_subscription_only() -> None:
    clock = Clock()
    waiting = gates(clock)
    for number in range(3):
        waiting.add("s1", number, f"one-{number}")
        waiting.add("s2", 10 + number, f"two-{number}")
    waiting.close("s1", 20)
    assert drained(waiting) == ["two-0", "two-1", "two-2"]
    assert waiting.next_opening() == clock() + timedelta(seconds=20)
    clock.advance(seconds=19.9)
    assert waiting.take() is None
    clock.advance(seconds=0.1)
    assert drained(waiting) == ["one-0", "one-1", "one-2"]


def test_ids_of_subscriptions_are_one_in_any_case() -> None:
    waiting = gates(Clock())
    waiting.add("ABC", 1, "item")
    waiting.close("abc", 20)
    assert waiting.take() is None
    assert waiting.throttled == ("abc",)


@pytest.mark.parametrize(
    ("said", "waited"),
    [(None, 30), (0, 1), (0.25, 1), (17, 17), (10_000, 240), (1e300, 240), (float("inf"), 240)],
    ids=["nothing", "zero", "a quarter", "seventeen", "hours", "ages", "for ever"],
)
def test_how_long_a_gate_stays_closed(said: float | None, waited: float) -> None:
    clock = Clock()
    waiting = gates(clock)
    waiting.add("s1", 1, "item")
    waiting.close("s1", said)
    clock.advance(seconds=waited - 0.001)
    assert waiting.take() is None
    clock.advance(seconds=0.001)
    assert waiting.take() == "item"


def test_an_answer_that_asks_for_less_does_not_open_a_gate_earlier() -> None:
    clock = Clock()
    waiting = gates(clock)
    waiting.add("s1", 1, "item")
    waiting.close("s1", 60)
    waiting.close("s1", 5)
    assert waiting.next_opening() == clock() + timedelta(seconds=60)
    waiting.close("s1", 90)
    assert waiting.next_opening() == clock() + timedelta(seconds=90)


def test_a_gate_that_is_closed_until_the_end_does_not_open() -> None:
    clock = Clock()
    waiting = gates(clock)
    waiting.add("s1", 1, "item")
    waiting.close("s1", 3_600)
    assert waiting.next_opening() is None
    assert waiting.left() == ["item"]


def test_a_gate_behind_which_nothing_waits_wakes_nobody() -> None:
    clock = Clock()
    waiting = gates(clock)
    waiting.add("s1", 1, "item")
    waiting.close("s2", 5)
    waiting.close("s1", 50)
    assert waiting.next_opening() == clock() + timedelta(seconds=50)


def test_after_the_end_a_gate_closes_no_further() -> None:
    clock = Clock()
    waiting = gates(clock)
    waiting.add("s1", 1, "item")
    clock.advance(minutes=5)
    waiting.close("s1", 60)
    assert waiting.next_opening() is None
    assert waiting.throttled == ("s1",)


def test_every_subscription_that_was_throttled_is_told_once() -> None:
    waiting = gates(Clock())
    for subscription in ("s2", "s1", "s2"):
        waiting.close(subscription, 5)
    assert waiting.throttled == ("s1", "s2")
