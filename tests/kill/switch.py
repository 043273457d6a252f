"""The kill switch: counts what the worker asks for, at every server, and kills it at one of those points."""

import dataclasses
import enum
import subprocess
import threading
from collections import Counter

KILLED_WITHIN = 60.0
"""Seconds in which the system must have taken a killed process away; only a broken machine needs more."""


class Moment(enum.Enum):
    """When, seen from one request, the process dies."""

    BEFORE = "before it is handled"
    """The request was sent and nobody acted on it."""
    AFTER = "after it was handled"
    """The server has acted on it, and the process never hears of it."""
    LATER = "some milliseconds after its answer"
    """Wherever the process then is: the one moment that no server can see."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """To kill at request *number* (from 1) at *place*; *delay* in seconds is for :attr:`Moment.LATER`."""

    place: str
    number: int
    moment: Moment
    delay: float = 0.0


class KillSwitch:
    """Shared by the threads of all servers. One process at a time is watched, see :meth:`arm`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._plan: Plan | None = None
        self._timer: threading.Timer | None = None
        self.counts: Counter[str] = Counter()
        """Requests of the present process by place."""

    def arm(self, process: "subprocess.Popen[bytes]", plan: Plan | None) -> None:
        """Watch *process*, which has not asked for anything yet; without a *plan* it lives."""
        with self._lock:
            self._process, self._plan, self._timer = process, plan, None
            self.counts = Counter()

    def arrived(self, place: str) -> int | None:
        """A request has come in. Its number, or None when the process died of it: then do nothing about it."""
        with self._lock:
            self.counts[place] += 1
            number = self.counts[place]
            if not self._planned(place, number, Moment.BEFORE):
                return number
            self._kill()
            return None

    def answered(self, place: str, number: int) -> None:
        """Request *number* was handled, and its answer is about to be sent."""
        with self._lock:
            if self._planned(place, number, Moment.AFTER):
                self._kill()
            elif self._plan and self._planned(place, number, Moment.LATER):
                self._timer = threading.Timer(self._plan.delay, self._kill)
                self._timer.start()

    def settle(self) -> None:
        """Return once no kill is under way."""
        with self._lock:
            timer = self._timer
        if timer:
            timer.join()

    def _planned(self, place: str, number: int, moment: Moment) -> bool:
        plan = self._plan
        return plan is not None and (plan.place, plan.number, plan.moment) == (place, number, moment)

    def _kill(self) -> None:
        if self._process is None:
            raise RuntimeError("a kill is planned and no process is watched; call arm() first")
        self._process.kill()
        # Only once it is gone may its request be dropped or answered: it must not see either.
        self._process.wait(KILLED_WITHIN)
