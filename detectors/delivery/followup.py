"""Triage and sending at once, side by side with the hunt that is still querying."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self


class FollowUp:
    """Processes records as a hunt reports them, a few at a time, until the deadline.

    What is not started by then stays due in the store, and the deliver timer picks it up.
    """

    def __init__(
        self,
        process: Callable[[str], Awaitable[object]],
        *,
        deadline: datetime,
        clock: Callable[[], datetime],
        workers: int = 4,
    ) -> None:
        self._process = process
        self._deadline = deadline
        self._clock = clock
        self._workers = workers
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def add(self, record_ids: Sequence[str]) -> None:
        """Queue records that are stored and due."""
        for record_id in record_ids:
            self._queue.put_nowait(record_id)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what was queued; nothing new is started after the deadline."""
        for _ in self._tasks:
            self._queue.put_nowait(None)
        await asyncio.gather(*self._tasks)

    async def _work(self) -> None:
        while (record_id := await self._queue.get()) is not None:
            if self._clock() < self._deadline:
                await self._process(record_id)
