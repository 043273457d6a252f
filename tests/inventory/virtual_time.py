"""An event loop whose time passes only when nothing else can happen: hours cost milliseconds, and always the same."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

START = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)

_Result = TypeVar("_Result")


class _Selector(selectors.DefaultSelector):
    """In the place of waiting, time jumps to what is waited for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits for another, and none for a time")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _Selector()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


class VirtualTime:
    """``clock()`` is the time of the loop that :meth:`run` runs; between two runs it stands still.

    ``asyncio.sleep`` and ``asyncio.timeout`` are in this time too. :attr:`sleeps` are what was asked of :meth:`sleep`.
    """

    def __init__(self) -> None:
        self._loop: _Loop | None = None
        self._passed = timedelta(0)
        self.sleeps: list[float] = []

    def __call__(self) -> datetime:
        return START + self._passed + timedelta(seconds=self._loop.time() if self._loop else 0)

    def advance(self, **parts: float) -> None:
        self._passed += timedelta(**parts)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(seconds)

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, _Loop)
            self._loop = loop
            try:
                return runner.run(work)
            finally:
                self._passed += timedelta(seconds=loop.time())
                self._loop = None
