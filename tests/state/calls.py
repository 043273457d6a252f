"""Puts a crash, or another writer, between any two calls that a store makes to the service."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

from detectors.state.azure_call import Service, reaching
from detectors.state.encoding import utc_now


class Crash(Exception):
    """The process dies here."""


async def crash() -> None:
    """Die."""
    raise Crash


class Clock:
    """The real time, moved by :attr:`ahead`: the emulator stamps its rows with the real one."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class Calls:
    """The ``reach`` of one store: runs *then* once, before a call. ``names`` lists all calls.

    *stop* says before which call: its number (from 1), or a name (the first call of that name).
    """

    def __init__(self, stop: int | str = 0, then: Callable[[], Awaitable[None]] = crash) -> None:
        self.names: list[str] = []
        self.stopped = False
        self._stop = stop
        self._then = then

    def restart(self, stop: int | str) -> None:
        """Count from 1 again, and stop before another call."""
        self.names.clear()
        self.stopped = False
        self._stop = stop

    @contextlib.asynccontextmanager
    async def __call__(self, service: Service, operation: str, *, conditional: bool = False) -> AsyncIterator[None]:
        self.names.append(operation)
        if not self.stopped and self._stop in {operation, len(self.names)}:
            self.stopped = True
            await self._then()
        async with reaching(service, operation, conditional=conditional):
            yield
