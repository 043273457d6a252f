"""One life of the worker: started as a process of its own, driven through its work, killed or let go."""

import contextlib
import enum
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from tests.clock import Clock
from tests.kill.switch import KILLED_WITHIN, KillSwitch, Plan
from tests.kill.worker import CONTROL

_ROOT = Path(__file__).parents[2]

_SILENCE = 120.0
"""Seconds without a word from the worker after which it counts as hung: a net, not a measure."""

_STEPS = 12
"""More steps of six minutes than any lease, pause and retry of these runs adds up to."""


class WorkerBroken(Exception):
    """The worker hung, failed, or never came to rest: a defect, which no kill excuses."""


class End(enum.Enum):
    """How a life ended."""

    KILLED = "killed"
    QUIET = "nothing was left to do"


def live(
    environment: Mapping[str, str],
    verbs: Sequence[str],
    *,
    switch: KillSwitch,
    plan: Plan | None,
    clock: Clock,
    log: Path,
) -> End:
    """Start a worker, have it do *verbs* and then deliver until nothing is due, killing it as *plan* says.

    *clock* moves by six minutes at each further delivery run. Raises :class:`WorkerBroken` with the end of *log*,
    which takes the worker's output.
    """
    parent, child = socket.socketpair()
    with parent, contextlib.ExitStack() as stack:
        with child, log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.kill.worker"],
                cwd=_ROOT,
                # Nothing else of the parent's: a developer's own settings must not add a destination.
                env={
                    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                    **environment,
                    CONTROL: str(child.fileno()),
                },
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        stack.callback(_end, process)
        switch.arm(process, plan)
        parent.settimeout(_SILENCE)
        lines = stack.enter_context(parent.makefile("r", encoding="ascii", newline="\n"))
        try:
            # A killed worker breaks the conversation anywhere.
            with contextlib.suppress(ConnectionError):
                for answer in _answers(lines, verbs, switch=switch, clock=clock):
                    parent.sendall(f"{answer}\n".encode())
            status = process.wait(_SILENCE)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise WorkerBroken(f"the worker said nothing for {_SILENCE:.0f} s. {_tail(log)}") from error
        except WorkerBroken as error:
            raise WorkerBroken(f"{error} {_tail(log)}") from error
        finally:
            switch.settle()
    if status == -signal.SIGKILL and plan is not None:
        return End.KILLED
    if status != 0:
        raise WorkerBroken(f"the worker ended by itself with status {status}. {_tail(log)}")
    return End.QUIET


def _answers(lines: TextIO, verbs: Sequence[str], *, switch: KillSwitch, clock: Clock) -> Iterator[str]:
    """The answers to the worker's questions (see :mod:`tests.kill.worker`) until it hangs up."""
    ahead = list(verbs)
    steps = 0
    while question := lines.readline().split():
        match question:
            case ["arrived", place]:
                yield str(switch.arrived(place))
            case ["answered", place, number]:
                switch.answered(place, int(number))
                yield "on"
            case ["ready"] | ["left", _] if ahead:
                yield f"{ahead.pop(0)} {clock().isoformat()}"
            case ["left", "0"]:
                # A kill that is on its way comes before the worker can leave.
                switch.settle()
                yield "exit"
            case ["left", count]:
                if steps == _STEPS:
                    raise WorkerBroken(f"{count} records are still due after {steps} delivery runs.")
                steps += 1
                clock.advance(minutes=6)
                yield f"deliver {clock().isoformat()}"
            case _:
                raise WorkerBroken(f"the worker said {' '.join(question)!r}, which is no question.")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(KILLED_WITHIN)


def _tail(log: Path) -> str:
    return "The end of its output:\n" + log.read_text("utf-8", "replace")[-4000:]
