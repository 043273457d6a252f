"""An event loop whose time passes by itself where everything waits: minutes cost nothing, and no test is late."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Selector(selectors.DefaultSelector):
    """Says at once that nothing came in, and moves the time on by as much as it was told to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits for what will never come")
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0. For coroutines that wait for nothing outside of the loop: no thread, no socket."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_in_virtual_time(work: Coroutine[Any, Any, _Result]) -> tuple[_Result | Exception, float]:
    """What *work* returns or raises, and how many seconds it took."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        try:
            result: _Result | Exception = runner.run(work)
        except Exception as error:  # noqa: BLE001 - the caller asks when it came too
            result = error
        return result, runner.get_loop().time()
