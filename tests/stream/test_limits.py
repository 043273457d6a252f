"""A batch ends before the host ends it, whatever the store does, and the batch is not lost by it."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from detectors.model import Record
from detectors.sources.batches import BatchReport
from detectors.sources.quarantine import Reason
from detectors.state.store import StoreUnavailable
from tests.stream.batch import Store, Stream, body, correlation, positions
from tests.stream.virtual_time import run_in_virtual_time

HOST = json.loads((Path(__file__).parents[2] / "host.json").read_text())


class SlowStore(Store):
    """Answers a call after so many seconds; ``never`` are the calls that it takes and does not answer."""

    def __init__(self, seconds: float, never: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.seconds = seconds
        self.never = never

    async def _answer(self, name: str) -> None:
        await asyncio.sleep(1e9 if name in self.never else self.seconds)

    async def create(self, record: Record) -> bool:
        await self._answer("create-alert" if record.alert else "create")
        return await super().create(record)

    async def put_object(self, name: str, data: bytes) -> None:
        await self._answer("put")
        await super().put_object(name, data)


def run(stream: Stream, *messages: bytes) -> tuple[BatchReport | Exception, float]:
    return run_in_virtual_time(stream.batches.run(messages, positions(len(messages))))


def stored(stream: Stream) -> list[tuple[Reason, list[bytes]]]:
    async def read() -> list[tuple[Reason, list[bytes]]]:
        return [(entry.kind, [item.data for item in entry.items]) for entry in await stream.entries()]

    return asyncio.run(read())


class SlowStream(Stream):
    store: SlowStore


def slow(seconds: float, *never: str) -> SlowStream:
    return SlowStream(SlowStore(seconds, never), sleep=asyncio.sleep)


def test_a_store_that_takes_the_batch_and_never_answers_sends_it_to_quarantine_in_time() -> None:
    stream = slow(0.01, "create")
    report, seconds = run(stream, body(1), body(2))
    assert isinstance(report, BatchReport)
    assert "did not take what a batch holds within 240 s" in report.error
    assert 240 <= seconds < 241
    assert stored(stream) == [(Reason.NOT_STORED, [body(1), body(2)])]
    assert stream.reported == [(Reason.NOT_STORED, 2)]


@pytest.mark.parametrize("never", ["put", "create-alert"])
def test_when_quarantine_does_not_answer_either_the_function_fails_before_the_host_ends_it(never: str) -> None:
    stream = slow(0.01, "create", never)
    error, seconds = run(stream, body(1))
    assert isinstance(error, StoreUnavailable)
    assert "did not take what the stream sets aside within 120 s" in str(error)
    assert 360 <= seconds < 361


def test_the_limits_leave_the_host_time_to_spare() -> None:
    hours, minutes, seconds = map(int, HOST["functionTimeout"].split(":"))
    _, longest = run(slow(0.01, "create", "put"), body(1))
    assert longest <= timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds() - 120


def test_a_store_that_refuses_at_once_is_given_the_time_of_a_restart_and_no_more() -> None:
    stream = slow(0)
    stream.store.failures = {"create": 1000}
    report, seconds = run(stream, body(1))
    assert isinstance(report, BatchReport)
    assert report.error == "the store cannot create"
    assert seconds == pytest.approx(15)


def test_a_slow_store_is_waited_for() -> None:
    stream = slow(100)
    report, seconds = run(stream, body(1))
    assert isinstance(report, BatchReport)
    assert (report.error, report.quarantined) == ("", ())
    assert stream.correlations() == {correlation(1)}
    assert seconds < 240


def test_what_was_stored_before_the_time_was_up_is_not_alerted_again_when_it_comes_back() -> None:
    stream = slow(0.01)
    first, _ = run(stream, body(1))
    stream.store.never = ("create",)
    stopped, _ = run(stream, body(1), body(2))
    stream.store.never = ()
    ((_, kept),) = stored(stream)
    again, _ = run(stream, *kept)
    assert isinstance(first, BatchReport)
    assert isinstance(stopped, BatchReport)
    assert isinstance(again, BatchReport)
    assert (len(first.new), stopped.new) == (len(again.new), ())
    assert stream.correlations() == {correlation(1), correlation(2)}
