"""From what the host sends to stored matches: the library's own decoding, the thread, the detector."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from detectors.settings import SettingsError
from detectors.sources.batches import BatchReport
from detectors.state.sqlite import SqliteStore
from detectors.worker import StreamDetector, binding_setting, positions_of, stream_is_set_up
from sandbox.server import Sandbox
from tests.stream.batch import body, correlation


def decoded(bodies: Sequence[bytes], time: str = "2026-03-02T02:51:39.992") -> list[func.EventHubEvent]:
    """*bodies* as the library hands them to the function."""
    properties = [
        {"EnqueuedTimeUtc": time, "SequenceNumber": 7 + number, "Offset": "4294967296", "PartitionKey": None}
        for number in range(len(bodies))
    ]
    context = {"EventHubName": "insights-activity-logs", "ConsumerGroup": "$Default", "PartitionId": "3"}
    metadata = {
        "SystemPropertiesArray": Datum(json.dumps(properties), "json"),
        "PartitionContext": Datum(json.dumps(context), "json"),
    }
    data = Datum(SimpleNamespace(bytes=list(bodies)), "collection_bytes")
    events = EventHubTriggerConverter.decode(data, trigger_metadata=metadata)
    assert isinstance(events, list)
    return events


@pytest.mark.parametrize("time", ["2026-03-02T02:51:39.992", "2026-03-02T02:51:39.992Z"])
def test_positions_are_read_from_what_the_library_decodes(time: str) -> None:
    first, second = positions_of(decoded([b"a", b"b"], time))
    assert (first.hub, first.partition, first.sequence_number) == ("insights-activity-logs", "3", 7)
    assert second.sequence_number == 8
    assert first.enqueued_at.startswith("2026-03-02T02:51:39.992")


def test_a_position_that_is_not_there_stops_nothing() -> None:
    class Odd:
        @property
        def metadata(self) -> Any:
            raise ValueError("odd")

    (position,) = positions_of([Odd()])
    assert (position.hub, position.partition, position.sequence_number) == ("", "", None)
    assert positions_of([]) == ()


def test_the_stream_is_set_up_by_a_namespace_or_a_connection_string() -> None:
    assert stream_is_set_up({"ACTIVITY_LOG_HUB__fullyQualifiedNamespace": "contoso.servicebus.windows.net"})
    assert stream_is_set_up({"ACTIVITY_LOG_HUB": "Endpoint=sb://contoso.servicebus.windows.net/;x"})
    assert not stream_is_set_up({"ACTIVITY_LOG_HUB": " ", "ACTIVITY_LOG_HUB_NAME": "x"})
    assert binding_setting({"A": "x"}, "A", "b") == "%A%"
    assert binding_setting({"A": ""}, "A", "b") == "b"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, scenario="setup-then-execute") as running:
        yield running


async def test_batches_of_several_threads_are_stored_alerted_and_quarantined(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="detectors.worker")
    path = tmp_path / "state.db"
    environment = sandbox.environment() | {"STATE_PATH": str(path)}
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, environment[name])
    stream = StreamDetector(environment)
    try:
        with ThreadPoolExecutor(4) as pool:
            batches = [decoded([body(number), b"{" * (number + 1)]) for number in range(4)]
            for done in [pool.submit(stream.run, batch) for batch in batches]:
                done.result()
        stream.run(decoded([body(0), body(4)]))
        assert [thread.name for thread in threading.enumerate()].count("stream") == 1
    finally:
        stream.close()
    assert "stream" not in {thread.name for thread in threading.enumerate()}
    assert "stream: 2 messages, 1 records, 1 candidates" in caplog.text
    store = SqliteStore(path)
    await store.open()
    assert store._connection is not None
    ids = [name for (name,) in store._connection.execute("SELECT id FROM records")]
    everything = [found.record for name in ids if (found := await store.read(name))]
    matches = [record for record in everything if record.match]
    assert {record.match.row["CorrelationId"] for record in matches if record.match} == set(map(correlation, range(5)))
    assert all(record.match and record.match.source == "stream" for record in matches)
    health = [record.alert for record in everything if record.alert and record.alert.kind == "health"]
    assert [alert.title for alert in health] == ["The stream put messages into quarantine"], "once an hour"
    assert len(await store.objects("quarantine").list_objects(10)) == 4
    waiting = [record for record in everything if record.due is not None]
    assert all(record.alert and record.alert.kind == "health" for record in waiting), "every match was sent at once"
    await store.close()
    assert sandbox.ledger.counts["teams"] > 0


def test_wrong_settings_fail_every_invocation_with_the_whole_list() -> None:
    stream = StreamDetector({"WORKSPACE_IDS": "nonsense"})
    try:
        for _ in range(2):
            with pytest.raises(SettingsError, match="WORKSPACE_IDS"):
                stream.run(decoded([body(1)]))
    finally:
        stream.close()


def test_a_warning_from_the_loading_of_the_app_is_logged_by_the_first_invocation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = StreamDetector({"WORKSPACE_IDS": "nonsense"}, warning="azure-functions 9.9.9 is not what this app knows")
    try:
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        for _ in range(2):
            with pytest.raises(SettingsError):
                stream.run(decoded([body(1)]))
    finally:
        stream.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["azure-functions 9.9.9 is not what this app knows"]


class Worker(logging.Handler):
    """Runs functions and takes lines as Microsoft's workers do.

    Both ask whose a line is when they are handed it: up to Python 3.12 the storage of the thread, from 3.13 on a
    context variable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.storage = threading.local()
        self.variable: ContextVar[str | None] = ContextVar("variable", default=None)
        self.lines: list[tuple[str, str, str | None, str | None]] = []
        """Thread, text, invocation by the storage, invocation by the variable."""

    def emit(self, record: logging.LogRecord) -> None:
        thread, storage = threading.current_thread().name, getattr(self.storage, "invocation_id", None)
        self.lines.append((thread, record.getMessage(), storage, self.variable.get()))

    def invoke(self, stream: StreamDetector, name: str) -> None:
        self.storage.invocation_id = name
        token = self.variable.set(name)
        try:
            stream.run(decoded([name.encode()]), SimpleNamespace(invocation_id=name, thread_local_storage=self.storage))
        finally:
            self.variable.reset(token)
            self.storage.invocation_id = None


class TakingTurns:
    """A detector whose batches wait for one another between their lines, so that one thread serves them in turns."""

    opened = None

    def __init__(self, batches: int) -> None:
        self._all_here = asyncio.Barrier(batches)

    async def get(self) -> "TakingTurns":
        return self

    async def stream(self, bodies: Sequence[bytes], positions: Sequence[object]) -> BatchReport:
        name, log = bodies[0].decode(), logging.getLogger("detectors.turns")

        async def in_a_task() -> None:
            log.info("%s in a task", name)
            await self._all_here.wait()
            log.info("%s later in a task", name)

        log.info("%s at first", name)
        await self._all_here.wait()
        log.info("%s in its turn", name)
        await asyncio.create_task(in_a_task())
        await asyncio.to_thread(log.info, "%s in a thread", name)
        await self._all_here.wait()
        logging.getLogger("azure.core").info("%s in a library", name)
        return BatchReport(bodies=len(bodies))


def test_every_line_of_a_batch_belongs_to_its_invocation_while_batches_take_turns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    names, worker, stream = ["one", "two", "three"], Worker(), StreamDetector({})
    monkeypatch.setattr(stream, "_shared", TakingTurns(len(names)))
    logging.getLogger().addHandler(worker)
    try:
        for _ in range(2):
            with ThreadPoolExecutor(len(names)) as pool:
                for done in [pool.submit(worker.invoke, stream, name) for name in names]:
                    done.result()
        logging.getLogger("detectors.turns").info("nobody's")
    finally:
        logging.getLogger().removeHandler(worker)
        stream.close()
    of_batches = [line for line in worker.lines if line[1].split()[0] in names]
    assert len(of_batches) == 2 * len(names) * 6
    assert {thread.rstrip("_0123456789") for thread, *_ in of_batches} == {"stream", "asyncio"}
    assert [line for line in of_batches if {line[2], line[3]} != {line[1].split()[0]}] == []
    order = [text.split()[0] for thread, text, *_ in of_batches if thread == "stream"]
    assert set(order[: len(names)]) == set(names), "the batches did take turns"
    assert ("MainThread", "nobody's", None, None) in worker.lines
