"""What a Functions worker keeps between invocations: one detector for the timers and one for the stream.

The stream has an event loop and clients of its own, in one background thread. Its function is a plain ``def``, because
judging a batch is work for the processor: as a coroutine it would hold up the worker's event loop, and every timer with
it. A ``def`` runs in a thread of the worker's pool, where the timers' clients, which belong to the worker's loop, may
not be touched. One thread also keeps the local query engine, which belongs to one thread, in its place, whichever
thread of the pool an invocation gets.
"""

import asyncio
import functools
import json
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from detectors.app import Detector
from detectors.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from detectors.sources.batches import BatchReport
    from detectors.sources.quarantine import Position

_log = logging.getLogger(__name__)

CONNECTION: Final = "ACTIVITY_LOG_HUB"
_NAMESPACE: Final = f"{CONNECTION}__fullyQualifiedNamespace"
_Result = TypeVar("_Result")


class Event(Protocol):
    """What is read of an ``azure.functions.EventHubEvent``."""

    def get_body(self) -> bytes: ...


class Invocation(Protocol):
    """What is read of an ``azure.functions.Context``."""

    @property
    def invocation_id(self) -> str: ...

    @property
    def thread_local_storage(self) -> Any: ...


_batch: ContextVar[Invocation | None] = ContextVar("batch", default=None)
"""The invocation that a task of the background thread, or a thread that it asks for help, works for."""


@functools.cache
def _name_lines() -> None:
    """Make the worker find the invocation of every line that is logged for a batch.

    The host drops a line that belongs to no invocation. Up to Python 3.12 the worker looks into the storage of the
    thread that logs, and one thread serves several batches here, in turns; so the id is put there for each line, before
    any handler sees it. From 3.13 on the worker keeps the id in a context variable, which a task inherits from the
    thread that hands it over, and this changes nothing.
    """
    make = logging.getLogRecordFactory()

    def make_named(*args: Any, **kwargs: Any) -> logging.LogRecord:
        if (invocation := _batch.get()) is not None:
            invocation.thread_local_storage.invocation_id = invocation.invocation_id
        return make(*args, **kwargs)

    logging.setLogRecordFactory(make_named)


def stream_is_set_up(environment: Mapping[str, str]) -> bool:
    """Whether the app has an Event Hub to listen to: a namespace for its identity, or a connection string."""
    return any(environment.get(name, "").strip() for name in (_NAMESPACE, CONNECTION))


def binding_setting(environment: Mapping[str, str], name: str, default: str) -> str:
    """*name* as a binding refers to it, or *default*: the host refuses an app that refers to an absent setting."""
    return f"%{name}%" if environment.get(name, "").strip() else default


class SharedDetector:
    """The one detector of a Functions worker, created by the first invocation that needs it.

    Settings are validated when the app is loaded. Wrong ones are logged at once and fail every invocation with the
    whole list: an app that did not index at all would look like an app without functions, and nobody would be told.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock: asyncio.Lock | None = None
        self.opened: Detector | None = None
        """The open detector, once an invocation has needed it."""
        try:
            self._settings: Settings | SettingsError = load_settings(environment)
        except SettingsError as error:
            _log.critical("%s", error)
            self._settings = error

    async def get(self) -> Detector:
        """The open detector. Raises :class:`SettingsError`, or what opening it raised; the next call tries again."""
        if isinstance(self._settings, SettingsError):
            raise self._settings
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if self.opened is None:
                detector = Detector(self._settings, environment=self._environment)
                try:
                    await detector.open()
                except BaseException:
                    await detector.close()
                    raise
                self.opened = detector
            return self.opened


class StreamDetector:
    """Hands batches to one detector in a background thread. Safe to call from several threads.

    *warning* is logged by the first invocation: the host drops what is logged while an app is loaded.
    """

    def __init__(self, environment: Mapping[str, str], *, warning: str = "") -> None:
        self._shared = SharedDetector(environment)
        self._warning = warning
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, events: Sequence[Event], invocation: Invocation | None = None) -> None:
        """Judge *events*; everything they hold is stored when it returns. *invocation* is whose lines it logs.

        Raises what opening the detector raises, and :class:`detectors.state.store.StoreUnavailable` when the store
        took nothing: the function's retry policy then brings the batch again.
        """
        with self._starting:
            warning, self._warning = self._warning, ""
        if warning:
            _log.warning("%s", warning)
        bodies = [bytes(event.get_body()) for event in events]
        report = self._call(self._run(bodies, positions_of(events), invocation))
        _log.info(
            "stream: %d messages, %d records, %d candidates, %d rows, %d new alerts, %d damaged, %d quarantine entries",
            report.bodies, report.records, report.candidates, report.rows, len(report.new), len(report.damaged),
            len(report.quarantined),
        )  # fmt: skip

    def close(self) -> None:
        """Close the detector and end the thread. For tests: a worker ends with its process."""
        with self._starting:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        if self._shared.opened is not None:
            asyncio.run_coroutine_threadsafe(self._shared.opened.close(), loop).result()
            self._shared.opened = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _run(
        self, bodies: Sequence[bytes], positions: "Sequence[Position]", invocation: Invocation | None
    ) -> "BatchReport":
        _batch.set(invocation)
        return await (await self._shared.get()).stream(bodies, positions)

    def _call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        with self._starting:
            if self._loop is None:
                _name_lines()
                self._loop = asyncio.new_event_loop()
                # A daemon: a worker that ends does not wait for a batch, which comes again without its checkpoint.
                self._thread = threading.Thread(target=self._loop.run_forever, name="stream", daemon=True)
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()


def positions_of(events: Sequence[Any]) -> "tuple[Position, ...]":
    """Where each of *events* stood. Never fails: a position is a help to the reader, the bytes are what counts."""
    from detectors.sources.quarantine import Position

    context = _partition_context(events[0]) if events else {}
    hub, partition = (str(context.get(key) or "") for key in ("EventHubName", "PartitionId"))
    found = []
    for event in events:
        number = getattr(event, "sequence_number", None)
        time = getattr(event, "enqueued_time", None)
        found.append(
            Position(
                hub=hub,
                partition=partition,
                sequence_number=number if isinstance(number, int) else None,
                # As it came: the host's times have no zone, or one, and are UTC either way.
                enqueued_at=time.isoformat() if time is not None else "",
            )
        )
    return tuple(found)


def _partition_context(event: Any) -> Mapping[str, Any]:
    try:
        context = (event.metadata or {}).get("PartitionContext")
        context = json.loads(context) if isinstance(context, str | bytes) else context
    except Exception:  # noqa: BLE001 - the library decodes here, and what it raises for odd metadata is not documented
        return {}
    return context if isinstance(context, Mapping) else {}
