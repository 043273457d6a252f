"""The whole detector with its real clients, against the sandbox over TLS."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from detectors.app import Detector
from detectors.settings import load_settings
from sandbox.server import Sandbox
from tests.clock import Clock

Start = Callable[..., AbstractAsyncContextManager[Detector]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> Start:
    """Opens a detector on a sandbox; all of one test share one store, as the instances of an app do."""

    @contextlib.asynccontextmanager
    async def opened(sandbox: Sandbox, **settings: str) -> AsyncIterator[Detector]:
        environment = sandbox.environment() | {"STATE_PATH": str(tmp_path / "state.db")} | settings
        # The identity client reads its endpoint from the process's environment and nowhere else.
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, environment[name])
        detector = Detector(load_settings(environment), environment=environment, clock=clock, sleep=clock.sleep)
        try:
            await detector.open()
            yield detector
        finally:
            await detector.close()

    return opened
