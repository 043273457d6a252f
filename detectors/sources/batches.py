"""One batch of the stream: judged, stored, and what could not be handled set aside.

The Event Hub's checkpoint moves on after a batch whether or not its function failed, so nothing here relies on a second
delivery: when :meth:`Batches.run` returns, every match and every byte that could not be handled is stored. It raises
only when the store takes neither, and then the function's retry policy holds the checkpoint.
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from detectors.model import Source
from detectors.rule import Rule
from detectors.sources.quarantine import Item, Position, Quarantine, Reason
from detectors.state.store import StoreUnavailable

if TYPE_CHECKING:
    from detectors.sources.stream import Judged

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries; what a restart of a storage partition or a throttle takes."""

_STORE_SECONDS = 240.0
_SET_ASIDE_SECONDS = 120.0
"""Time for storing what is found, and for quarantine after it: a function that reaches its time limit (10 minutes in
host.json) loses its batch, because the checkpoint moves on."""


class Judge(Protocol):
    """:class:`detectors.sources.stream.StreamJudge`."""

    def judge(self, bodies: Sequence[bytes], now: datetime | None = None) -> "Judged": ...


class Intake(Protocol):
    """:class:`detectors.triage.intake.Intake`."""

    async def store(
        self, rule: Rule, rows: Sequence[dict[str, Any]], *, source: Source, workspace: str | None, allowance: int
    ) -> tuple[str, ...]: ...

    async def report_quarantine(
        self, *, hub: str, partition: str, pieces: int, size: int, reason: str, entry: str, whole: bool
    ) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What came of a batch. ``quarantined`` are names of entries, ``error`` why the whole batch is among them."""

    bodies: int = 0
    records: int = 0
    candidates: int = 0
    rows: int = 0
    new: tuple[str, ...] = ()
    damaged: tuple[Item, ...] = ()
    quarantined: tuple[str, ...] = ()
    error: str = ""


class Batches:
    """Runs batches one at a time or interleaved, in one event loop."""

    def __init__(
        self,
        *,
        judge: Judge,
        intake: Intake,
        quarantine: Quarantine,
        allowance: int,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._judge = judge
        self._intake = intake
        self._quarantine = quarantine
        self._allowance = allowance
        self._clock = clock
        self._sleep = sleep

    async def run(
        self,
        bodies: Sequence[bytes],
        positions: Sequence[Position],
        on_new: Callable[[Sequence[str]], Awaitable[None]] | None = None,
    ) -> BatchReport:
        """Judge *bodies* and store everything; *positions* has one for each body.

        What could not be handled is in quarantine when it returns. Raises
        :class:`detectors.state.store.StoreUnavailable` when not even that could be stored, after 2 minutes at most.
        """
        try:
            report = await self.judge_and_store(bodies, positions, on_new)
        except Exception as error:  # noqa: BLE001 - whatever it is, the checkpoint moves on and the bytes must not be lost
            cause = str(error) if isinstance(error, StoreUnavailable) else f"{type(error).__name__}: {error}"
            _log.error("a batch of %d messages goes to quarantine: %s", len(bodies), cause, exc_info=error)
            items = tuple(
                Item(position=position, reason=cause[:500], data=body)
                for body, position in zip(bodies, positions, strict=True)
            )
            names = await self._set_aside(Reason.NOT_STORED, items)
            return BatchReport(bodies=len(bodies), quarantined=names, error=cause)
        if not report.damaged:
            return report
        names = await self._set_aside(Reason.DAMAGED, report.damaged)
        return dataclasses.replace(report, quarantined=names)

    async def judge_and_store(
        self,
        bodies: Sequence[bytes],
        positions: Sequence[Position],
        on_new: Callable[[Sequence[str]], Awaitable[None]] | None = None,
    ) -> BatchReport:
        """Judge *bodies* and store the matches; ``damaged`` is told and left to the caller.

        Raises :class:`detectors.state.store.StoreUnavailable` after several tries, or after 4 minutes.
        """
        judged = self._judge.judge(bodies, self._clock())
        new: list[str] = []
        async with _within(_STORE_SECONDS, "what a batch holds"):
            for rule, rows in judged.found:
                store = functools.partial(
                    self._intake.store, rule, rows, source=Source.STREAM, workspace=None, allowance=self._allowance
                )
                stored = await self._insist(store)
                new += stored
                if stored and on_new:
                    await on_new(stored)
        damaged: dict[tuple[int, bytes], Item] = {}
        for each in judged.damaged:
            # Records that cannot be told apart are each kept as the whole message, which is enough once.
            item = Item(position=positions[each.body_index], reason=each.reason[:500], data=bytes(each.data))
            damaged.setdefault((each.body_index, each.data), item)
        return BatchReport(
            bodies=len(bodies),
            records=judged.records,
            candidates=judged.candidates,
            rows=sum(len(rows) for _, rows in judged.found),
            new=tuple(new),
            damaged=tuple(damaged.values()),
        )

    async def _set_aside(self, kind: Reason, items: Sequence[Item]) -> tuple[str, ...]:
        """Quarantine, then the alert: a crash in between brings the batch again, which writes both."""
        async with _within(_SET_ASIDE_SECONDS, "what the stream sets aside"):
            names = await self._insist(lambda: self._quarantine.put(kind, items, self._clock()))
            report = functools.partial(
                self._intake.report_quarantine,
                hub=items[0].position.hub,
                partition=items[0].position.partition,
                pieces=len(items),
                size=sum(len(item.data) for item in items),
                reason=items[0].reason,
                entry=names[0],
                whole=kind is Reason.NOT_STORED,
            )
            await self._insist(report)
        return names

    async def _insist(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """*call* until the store takes it, a bounded number of times. Every call passed here may be repeated."""
        for wait in _WAITS:
            try:
                return await call()
            except StoreUnavailable as error:
                _log.warning("the stream tries again in %.0f s: %s", wait, error)
            await self._sleep(wait)
        return await call()


@contextlib.asynccontextmanager
async def _within(seconds: float, what: str) -> AsyncIterator[None]:
    """A store that does not answer is one that is not there."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StoreUnavailable(
            f"the store did not take {what} within {seconds:.0f} s, and the function has to return before its time "
            "limit. See whether the storage account throttles or its network has changed."
        ) from error
