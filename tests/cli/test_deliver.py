"""``deliver`` sends what is due and says where it is now."""

import logging

import pytest

from detectors.app import Detector
from detectors.delivery.outbox import DeliveryReport
from tests.cli.conftest import Shell
from tests.delivery.receiver import Answer, Receiver
from tests.heartbeat.samples import NOW, pending, record


def test_what_is_due_is_sent_and_told(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=pending(next_attempt=NOW)))
    result = shell.run("deliver")
    assert result.code == 0
    assert result.out == (
        f"1 alert looked at\n{record(1).id}  High  Runbook 1 changed\n  webhook  sent 2026-03-02 03:00:00 UTC\n"
    )
    assert len(receiver.received) == 1


def test_what_does_not_arrive_exits_with_1_and_the_cause(shell: Shell, receiver: Receiver) -> None:
    shell.store(record(1, webhook=pending(next_attempt=NOW)))
    receiver.answers.append(Answer(503))
    result = shell.run("deliver")
    assert result.code == 1
    assert "pending after 3 attempts, next attempt 2026-03-02 03:0" in result.out
    assert "answered 503" in result.out
    assert "WARNING" in result.err, "the log goes to the error stream"


def test_log_lines_are_made_visible_and_the_handler_goes_with_the_command(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deliver(_: Detector) -> DeliveryReport:
        logging.getLogger("detectors.delivery.outbox").info("reached teams: %s", "\x1b[2J\u202e")
        logging.getLogger("azure.identity").warning("no \x1b token")
        return DeliveryReport(looked_at=0, left=0)

    monkeypatch.setattr(Detector, "deliver", deliver)
    before = list(logging.getLogger().handlers)
    assert shell.run("deliver").err == "WARNING azure.identity: no \\x1b token\n"
    verbose = shell.run("deliver", "--verbose").err
    assert "INFO detectors.delivery.outbox: reached teams: \\x1b[2J\\u202e\n" in verbose
    assert logging.getLogger().handlers == before
    assert logging.getLogger("detectors").level == logging.NOTSET


def test_more_than_fits_into_one_run_exits_with_1(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deliver(_: Detector) -> DeliveryReport:
        return DeliveryReport(looked_at=200, left=7)

    monkeypatch.setattr(Detector, "deliver", deliver)
    result = shell.run("deliver")
    assert (result.code, result.out) == (1, "200 alerts looked at, 7 left for the next run\n")


def test_an_endpoint_that_only_its_client_can_refuse_exits_with_2(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Detector) -> None:
        raise ValueError("the endpoint of log-table must begin with https://")

    monkeypatch.setattr(Detector, "open", refuse)
    result = shell.run("deliver")
    assert (result.code, result.out) == (2, "")
    assert "the detector does not start: the endpoint of log-table" in result.err


def test_a_defect_exits_with_2_because_1_would_say_unhealthy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Detector) -> DeliveryReport:
        raise RuntimeError("a \x1b defect")

    monkeypatch.setattr(Detector, "deliver", fail)
    result = shell.run("deliver")
    assert (result.code, result.out) == (2, "")
    assert "Traceback" in result.err
    assert result.err.endswith("RuntimeError: a \\x1b defect\n")
    assert "\x1b" not in result.err
