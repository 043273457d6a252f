"""What a destination did not take is listed with its cause, and sent again when somebody says so."""

import json
from datetime import timedelta
from typing import Any

import pytest

from detectors.app import Detector
from detectors.commands.dead import send_dead
from detectors.model import DeliveryState, Record
from detectors.settings import load_settings
from detectors.state.store import Conflict, Stored
from tests.cli.conftest import Shell
from tests.delivery.receiver import Answer, Receiver
from tests.heartbeat.samples import NOW, dead, pending, record, sent
from tests.memory_store import MemoryStore


def ids(receiver: Receiver) -> list[str]:
    """Alerts that the webhook was sent, in order."""
    return [json.loads(request.body)["data"]["id"] for request in receiver.received]


def state(shell: Shell, number: int, name: str = "webhook") -> DeliveryState:
    return shell.stored(record(number).id).deliveries[name].state


def test_every_dead_delivery_is_listed_with_its_cause_oldest_first(shell: Shell) -> None:
    shell.store(
        record(1, age=timedelta(hours=1), webhook=dead("webhook: answered 410 (Gone)."), teams=pending()),
        record(2, age=timedelta(hours=5), webhook=sent(), teams=dead()),
        record(3, webhook=pending()),
    )
    result = shell.run("dead", "list")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"{record(2).id}  High  Runbook 2 changed"
    assert lines[2:4] == [
        f"{record(1).id}  High  Runbook 1 changed",
        "  webhook  4 attempts: webhook: answered 410 (Gone).",
    ]
    assert lines[4] == "2 dead deliveries"
    only = shell.run("dead", "list", "--destination", "webhook", "--json")
    assert [each["id"] for each in only.data["deliveries"]] == [record(1).id]
    assert not only.data["capped"]


def test_one_dead_alert_is_sent_again_by_the_beginning_of_its_id(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=dead()), record(2, webhook=dead()))
    result = shell.run("dead", "send", "00000001")
    assert (result.code, ids(receiver)) == (0, [record(1).id])
    assert result.out.startswith("1 delivery set pending again, 1 arrived\n")
    assert "webhook  sent 2026-03-02 03:00:00 UTC" in result.out
    assert (state(shell, 1), state(shell, 2)) == (DeliveryState.SENT, DeliveryState.DEAD)


@pytest.mark.parametrize("argv", [("--all",), ("--destination", "webhook")])
def test_all_dead_alerts_are_sent_again_and_nothing_else(
    shell: Shell, receiver: Receiver, argv: tuple[str, ...]
) -> None:
    shell.store(record(1, webhook=dead()), record(2, webhook=dead()), record(3, webhook=sent()))
    result = shell.run("dead", "send", *argv)
    assert result.code == 0
    assert sorted(ids(receiver)) == [record(1).id, record(2).id]
    assert shell.run("dead", "list").out == "0 dead deliveries\n"


def test_attempts_are_kept_and_a_new_day_begins(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, age=timedelta(days=3), webhook=dead()))
    receiver.answers.append(Answer(503))
    result = shell.run("dead", "send", "--all")
    assert result.code == 1, "it has not arrived"
    assert result.out.startswith("1 delivery set pending again, 0 arrived\n")
    assert "answered 503" in result.out
    delivery = shell.stored(record(1).id).deliveries["webhook"]
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 5)
    shell.watermarks()
    assert shell.run("status").code == 0, "a revived alert has not waited for three days"


def test_what_is_refused_again_is_dead_again(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=dead()))
    receiver.answers.append(Answer(410))
    result = shell.run("dead", "send", "--all")
    assert result.code == 1
    assert "dead after 5 attempts" in result.out
    assert record(1).id in shell.run("dead", "list").out


def test_a_destination_that_is_not_set_up_is_named_and_its_letters_stay_dead(shell: Shell) -> None:
    shell.store(record(1, teams=dead(), webhook=sent()))
    result = shell.run("dead", "send", "--all")
    assert result.code == 1
    assert f"{record(1).id}: no destination teams is configured; set it up first" in result.out
    assert state(shell, 1, "teams") is DeliveryState.DEAD


def test_an_alert_without_a_dead_delivery_is_left_alone(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=sent()))
    result = shell.run("dead", "send", record(1).id)
    assert (result.code, ids(receiver)) == (1, [])
    assert "nothing is dead" in result.out


def test_without_a_name_nothing_is_sent(shell: Shell) -> None:
    shell.store(record(1, webhook=dead()))
    for argv in ((), ("--all", record(1).id)):
        result = shell.run("dead", "send", *argv)
        assert (result.code, result.out) == (2, "")
        assert "--all" in result.err
    assert state(shell, 1) is DeliveryState.DEAD


def test_a_wrong_id_among_right_ones_changes_nothing(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=dead()))
    assert shell.run("dead", "send", record(1).id, "ffffffff").code == 2
    assert (state(shell, 1), ids(receiver)) == (DeliveryState.DEAD, [])


class Contested(MemoryStore):
    """Somebody else writes the record first, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def replace(self, stored: Stored, record: Record) -> Stored:
        if self.times:
            self.times -= 1
            await super().replace(stored, stored.record)
            raise Conflict("somebody else wrote first")
        return await super().replace(stored, record)


@pytest.mark.parametrize(("times", "revived"), [(2, 1), (100, 0)])
async def test_a_lost_race_is_decided_anew_and_not_for_ever(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, times: int, revived: int
) -> None:
    store = Contested(times)
    await store.create(record(1, webhook=dead()))
    detector = Detector(load_settings(shell.environment), environment=shell.environment, clock=shell.clock)
    await detector.open()
    own = detector.store
    delivered: list[Any] = []

    async def deliver() -> None:
        delivered.append(True)

    monkeypatch.setattr(detector, "deliver", deliver)
    detector.store = store
    result = await send_dead(detector, (), every=True, now=NOW)
    detector.store = own
    await detector.close()
    assert (len(result.revived), len(delivered)) == (revived, revived)
    assert [reason for reason in result.left if "run the command again" in reason] == list(result.left)
    assert len(result.left) == 1 - revived
