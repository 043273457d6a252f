"""Whatever moment the process is killed at, no alert is lost, and a repeat says that it may be one."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from detectors.delivery.teams import build_card, build_digest
from sandbox import faults
from sandbox.ledger import Received
from sandbox.wire import Request
from tests.clock import Clock
from tests.factories import build_alert
from tests.kill.loop import run, run_plans
from tests.kill.servers import StoreName, WatchedSandbox
from tests.kill.switch import KillSwitch, Moment, Plan
from tests.kill.verdict import RECEIVERS, Message, Verdict, compare, read

ID = "5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6"
OTHER = "0123456789ab41c3b6e4f1a2d3c4b5a6"


@pytest.mark.parametrize(("store", "kills"), [("azurite", 8), ("sqlite", 4)])
def test_kill_9_at_random_points_loses_no_alert_and_repeats_none_unsaid(
    store: StoreName, kills: int, tmp_path: Path
) -> None:
    outcome = run(tmp_path, store, kills=kills, seed=20)
    assert outcome.verdict.problems == ()
    assert outcome.kills == kills
    assert outcome.places.total() == kills


# Of this seed, the first batch holds nothing but damaged messages.
SEED = 14
DEATHS_OF_THE_STREAM = [
    Plan("object", 1, Moment.AFTER),  # The quarantine holds the first batch, and no alert says so.
    Plan("checkpoint", 1, Moment.BEFORE),  # The invocation returned, and the batch comes again.
    Plan("record", 2, Moment.AFTER),  # After that alert a match of the second batch is stored, and not yet triaged.
]


def test_kill_9_of_the_stream_alerts_each_action_once_and_keeps_each_damaged_message(tmp_path: Path) -> None:
    outcome = run_plans(tmp_path, "sqlite", "stream", "stream", DEATHS_OF_THE_STREAM, seed=SEED)
    assert outcome.verdict == Verdict(), "nothing was under way to a receiver, so nothing is repeated either"
    assert outcome.places.total() == len(DEATHS_OF_THE_STREAM)


def once(*ids: str) -> dict[str, list[Message]]:
    return {receiver: [Message(each) for each in ids] for receiver in RECEIVERS}


def test_what_came_once_everywhere_is_in_order() -> None:
    verdict = compare({ID: 0, OTHER: 3}, once(ID, OTHER))
    assert verdict.problems == ()
    assert (verdict.marked, verdict.by_id) == (0, 0)


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_an_alert_that_one_receiver_never_got_is_lost(receiver: str) -> None:
    verdict = compare({ID: 2, OTHER: 0}, once(ID, OTHER) | {receiver: [Message(OTHER)]})
    assert verdict.problems == verdict.lost == (f"alert {ID} never reached {receiver}",)


def test_a_repeat_in_teams_must_say_so_and_elsewhere_the_id_says_it() -> None:
    marked = compare({ID: 1}, once(ID) | {"teams": [Message(ID), Message(ID, marked=True)]})
    assert (marked.problems, marked.marked) == ((), 1)
    silent = compare({ID: 2}, once(ID) | {"teams": [Message(ID, marked=True), Message(ID), Message(ID, marked=True)]})
    assert silent.problems == silent.unmarked == (f"a repeat of alert {ID} in Teams does not say so",)
    elsewhere = compare({ID: 1}, once(ID) | {"webhook": [Message(ID)] * 2, "ingestion": [Message(ID)] * 2})
    assert (elsewhere.problems, elsewhere.by_id) == ((), 2)


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_more_repeats_than_kills_and_alerts_that_nobody_caused_are_wrong(receiver: str) -> None:
    again = compare({ID: 1}, once(ID) | {receiver: [Message(ID, marked=True)] * 3})
    assert again.problems == (f"{receiver} got alert {ID} 3 times after 1 kills",)
    strange = compare({ID: 1}, once(ID) | {receiver: [Message(ID), Message(OTHER)]})
    assert strange.problems == (f"{receiver} got an alert {OTHER} that no action asked for",)


def received(
    endpoint: str,
    body: Any,
    *,
    status: int | None = 202,
    headers: Mapping[str, str] | None = None,
    failed_action: str | None = None,
) -> Received:
    return Received(
        number=1,
        endpoint=endpoint,
        time=datetime(2026, 3, 2, tzinfo=UTC),
        path="/",
        headers=headers or {},
        body=body,
        size=0,
        status=status,
        failed_action=failed_action,
    )


def test_cards_and_digests_are_read_by_the_beginning_of_the_id_and_each_by_its_own_mark() -> None:
    one, other = build_alert(id=ID), build_alert(id=OTHER)
    sent = [
        build_card(one),
        build_card(one, possible_repeat=True),
        build_digest([one, other], possible_repeats=frozenset({OTHER})),
    ]
    messages = read([received("teams", body) for body in sent], {ID, OTHER})["teams"]
    assert messages[:2] == [Message(ID), Message(ID, marked=True)]
    assert sorted(messages[2:], key=lambda message: message.marked) == [Message(ID), Message(OTHER, marked=True)]
    assert read([received("teams", sent[0])], set())["teams"] == [Message(ID[:12])]


def test_what_was_refused_or_vanished_after_its_answer_has_not_arrived() -> None:
    card = build_card(build_alert(id=ID))
    vain = [
        received("teams", card, status=503),
        received("teams", card, status=None),
        received("teams", card, failed_action="too large"),
    ]
    assert read(vain, {ID}) == {receiver: [] for receiver in RECEIVERS}


def test_rows_and_webhooks_are_read_by_their_ids() -> None:
    rows = [{"AlertId": ID, "AlertKind": "detection"}, {"AlertId": OTHER, "AlertKind": "heartbeat"}]
    entries = [
        received("ingestion", rows),
        received("webhook", {"data": {"id": ID}}, headers={"webhook-id": ID}),
        received("webhook", {"data": {"id": ID}}, headers={"webhook-id": OTHER}),
    ]
    messages = read(entries, {ID})
    assert messages["ingestion"] == [Message(ID)]
    assert messages["webhook"] == [Message(ID), Message(f"{ID} under webhook-id {OTHER}")]


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    """A process that waits for its input to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_request_before_whose_handling_the_process_dies_is_not_handled(
    process: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    with WatchedSandbox.start(tmp_path, None, Clock()) as sandbox:
        sandbox.switch.arm(process, Plan("teams", 2, Moment.BEFORE))
        request = Request("POST", "/workflows/6f1a")
        first, second = sandbox._answer(request), sandbox._answer(request)
        assert first is not None
        assert second is None
        assert process.returncode == -9
        assert sandbox.ledger.counts["teams"] == 1


@pytest.mark.parametrize("moment", [Moment.AFTER, Moment.LATER])
def test_a_request_after_whose_handling_the_process_dies_is_handled(
    moment: Moment, process: "subprocess.Popen[bytes]"
) -> None:
    switch = KillSwitch()
    switch.arm(process, Plan("store", 1, moment))
    assert switch.arrived("logs") == 1
    assert switch.arrived("store") == 1
    assert process.poll() is None
    switch.answered("logs", 1)
    switch.answered("store", 1)
    switch.settle()
    assert process.returncode == -9


def test_what_a_dead_process_had_sent_is_noted_before_its_successor_starts(tmp_path: Path) -> None:
    with WatchedSandbox.start(tmp_path, None, Clock()) as sandbox:
        hold = faults.Slow()
        sandbox.faults.set("teams", hold)
        port = sandbox._plain.port
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /workflows/6f1a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            assert hold.arrived.wait(60)
        drained = threading.Thread(target=sandbox.drain)
        drained.start()
        assert sandbox.ledger.counts["teams"] == 0
        assert drained.is_alive()
        hold.release.set()
        drained.join()
        assert sandbox.ledger.counts["teams"] == 1
