"""Faults at numbered points: every call to a service is one, and a plan or a seed says which of them fail and how."""

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

_Result = TypeVar("_Result")


class Fault(enum.Enum):
    """What goes wrong at a point."""

    ERROR_BEFORE = "error before effect"
    ERROR_AFTER = "error after effect"
    TIMEOUT = "time-out, the effect may have happened"
    THROTTLE = "throttle"
    CRASH_BEFORE = "crash before effect"
    CRASH_AFTER = "crash after effect"


class Crash(BaseException):
    """The process dies: nothing in the code under test may catch this."""


class Chaos:
    """Counts points and decides which fail.

    *plan* names points and their faults; otherwise each point fails with *probability*, drawn from *seed*. The same
    seed also decides how tasks interleave, so a run is reproduced by its numbers.
    """

    def __init__(self, *, seed: int = 0, plan: dict[int, Fault] | None = None, probability: float = 0.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._plan = plan or {}
        self._probability = probability
        self.points = 0
        self.hit = 0
        self.active = True
        self.trace: list[str] = []

    def fault(self, name: str) -> Fault | None:
        """The fault of the next point, which is called *name*."""
        number = self.points
        self.points += 1
        chosen = self._plan.get(number)
        if chosen is None and self.active and self._probability and self._random.random() < self._probability:
            chosen = self._random.choice(list(Fault))
        if chosen:
            self.hit += 1
            self.trace.append(f"{number} {name}: {chosen.value}")
        return chosen

    async def interleave(self) -> None:
        """Let other tasks go first, as often as the seed says."""
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)

    def maybe(self) -> bool:
        """A coin, for effects that nobody can know of."""
        return self._random.random() < 0.5

    def jitter(self) -> float:
        """0 to 1, for the code under test."""
        return self._random.random()


class Life:
    """One process: once it has crashed, whatever of it still runs dies at its next call."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self.dead = False

    async def call(
        self, name: str, effect: Callable[[], Awaitable[_Result]], error: Callable[[Fault, bool], Exception]
    ) -> _Result:
        """Perform *effect* at a numbered point; *error* gives the service's own exception (fault, effect happened)."""
        await self._chaos.interleave()
        if self.dead:
            raise Crash
        fault = self._chaos.fault(name)
        if fault is None:
            return await effect()
        happens = fault in {Fault.ERROR_AFTER, Fault.CRASH_AFTER} or (fault is Fault.TIMEOUT and self._chaos.maybe())
        if happens:
            await effect()
        if fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}:
            self.dead = True
            raise Crash
        raise error(fault, happens)
