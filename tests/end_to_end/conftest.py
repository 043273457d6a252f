"""The whole detector with its real clients, against the sandbox over TLS."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from detectors import rulebook
from detectors.app import Detector
from detectors.settings import load_settings
from sandbox.scenario import Scenario, load_scenario
from sandbox.server import Sandbox
from tests.clock import Clock

RULES = rulebook.BUILT_IN
Start = Callable[..., AbstractAsyncContextManager[Detector]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> Start:
    """Opens a detector on a sandbox; all of one test share one store, as the instances of an app do.

    With *scenario* only the rules that its file expects run: what a fault does to one query it does to each, and
    some clients wait in real time.
    """

    @contextlib.asynccontextmanager
    async def opened(sandbox: Sandbox, scenario: str | None = None, **settings: str) -> AsyncIterator[Detector]:
        if scenario:
            monkeypatch.setattr(rulebook, "BUILT_IN", _expected_rules(load_scenario(scenario), tmp_path / "rules"))
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


def _expected_rules(scenario: Scenario, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for expectation in scenario.expect:
        name = f"{expectation.rule}.yaml"
        shutil.copyfile(RULES / name, folder / name)
    return folder
