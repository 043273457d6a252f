"""The process that is killed: the real detector, told by the parent what to do and what time it is.

Each line on the control socket is one question, each answer one line: ``left N`` (how many records still have
something due, ``ready`` at the start) is answered with a verb and the time, or ``exit``.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from detectors import rulebook
from detectors.app import Detector
from detectors.settings import load_settings
from detectors.state.sqlite import SqliteStore
from tests.kill.hub import HUB, Hub

CONTROL = "KILL_CONTROL_FD"
"""Environment variable with the number of the control socket."""

RULES = "KILL_RULES"
"""Environment variable with the folder of the rules that run, in the place of the built-in ones."""

_STEPS = {"create a record": "record", "write an object": "object"}
"""Calls to SQLite that are places of their own too, for plans that mean one step and not the n-th call."""

_EVER = timedelta(days=7)
"""Later than any retry, earlier than the ``due`` of what is dead."""


class Control:
    """The worker's end of the control socket; used by its event loop and by the threads of its store."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rw", encoding="ascii", newline="\n")
        self._lock = threading.Lock()
        self.now = datetime.min.replace(tzinfo=UTC)

    def ask(self, question: str) -> str:
        """One question, one answer. Raises :class:`EOFError` when the parent is gone."""
        with self._lock:
            self._lines.write(f"{question}\n")
            self._lines.flush()
            answer = self._lines.readline()
        if not answer:
            raise EOFError("the parent has closed the control socket; it ended, so this process does too")
        return answer.strip()

    def clock(self) -> datetime:
        """The time that the parent gave last."""
        return self.now

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()


@contextlib.contextmanager
def told_of_sqlite(control: Control) -> Iterator[None]:
    """Make each call to SQLite a point of the parent's kill switch: it has no server that could tell."""
    call = SqliteStore._call

    async def told(store: SqliteStore, operation: str, work: Callable[[Any], Any]) -> Any:
        places = ("store", _STEPS[operation]) if operation in _STEPS else ("store",)
        numbers = [await asyncio.to_thread(control.ask, f"arrived {place}") for place in places]
        result = await call(store, operation, work)
        for place, number in zip(places, numbers, strict=True):
            await asyncio.to_thread(control.ask, f"answered {place} {number}")
        return result

    with mock.patch.object(SqliteStore, "_call", told):
        yield


async def work(control: Control) -> None:
    """Do as the parent says until it says ``exit``."""
    question = "ready"
    detector: Detector | None = None
    try:
        while (answer := control.ask(question)) != "exit":
            verb, _, moment = answer.partition(" ")
            control.now = datetime.fromisoformat(moment)
            if detector is None:
                # After the first answer, so that opening the store can be died of too.
                detector = Detector(load_settings(os.environ), environment=os.environ, clock=control.clock)
                await detector.open()
            await _do(detector, verb, control)
            question = f"left {len(await detector.store.due(control.now + _EVER, 100))}"
    finally:
        if detector is not None:
            await detector.close()


async def _do(detector: Detector, verb: str, control: Control) -> None:
    match verb:
        case "hunt":
            await detector.hunt()
        case "sweep":
            await detector.sweep()
        case "deliver":
            await detector.deliver()
        case "both":
            # The Functions host runs its timers side by side in one process.
            await asyncio.gather(detector.hunt(), detector.deliver())
        case "stream":
            await _stream(detector, control)
        case "beside":
            await asyncio.gather(_stream(detector, control), detector.hunt(), detector.deliver())
        case _:
            known = "hunt, sweep, deliver, both, stream and beside"
            raise ValueError(f"the parent asked for {verb!r}; this worker knows {known}")


async def _stream(detector: Detector, control: Control) -> None:
    """Do as the Functions host does: one invocation for each batch, and the checkpoint when it has returned."""
    hub = Hub(Path(os.environ[HUB]))
    while batch := hub.read():
        await detector.stream([message.body for message in batch], [message.position for message in batch])
        number = await asyncio.to_thread(control.ask, "arrived checkpoint")
        hub.move_on()
        await asyncio.to_thread(control.ask, f"answered checkpoint {number}")


def main() -> None:
    """Run as ``python -m tests.kill.worker``, by :mod:`tests.kill.life` only."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    rules = mock.patch.object(rulebook, "BUILT_IN", Path(os.environ[RULES]))
    with contextlib.closing(Control(int(os.environ[CONTROL]))) as control, told_of_sqlite(control), rules:
        asyncio.run(work(control))


if __name__ == "__main__":
    main()
