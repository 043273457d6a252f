"""The command line on a state of its own, with a clock that stands still."""

import asyncio
import dataclasses
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detectors.app import load_rules
from detectors.cli import main
from detectors.model import Record
from detectors.state.sqlite import SqliteStore
from tests.clock import Clock
from tests.delivery.receiver import Receiver, running
from tests.heartbeat.samples import NOW, WORKSPACE, put_watermark

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkw"


@dataclasses.dataclass(frozen=True)
class Result:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The output of ``--json``."""
        return json.loads(self.out)


class Shell:
    """Runs commands as a shell does, on the state in *folder*."""

    def __init__(self, folder: Path, webhook: str) -> None:
        self.path = folder / "state.db"
        self.clock = Clock(NOW)
        self.environment = {
            "WORKSPACE_IDS": WORKSPACE,
            "WEBHOOK_URL": webhook,
            "WEBHOOK_SECRET": SECRET,
            "STATE_PATH": str(self.path),
        }

    def run(self, *argv: str, **settings: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        code = main(argv, self.environment | settings, out, err=err, clock=self.clock)
        return Result(code, out.getvalue(), err.getvalue())

    def with_store(self, work: Callable[[SqliteStore], Awaitable[Any]]) -> Any:
        """Do *work* on the state between two commands."""

        async def opened() -> Any:
            store = SqliteStore(self.path)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(opened())

    def store(self, *records: Record) -> None:
        async def create(store: SqliteStore) -> None:
            for record in records:
                assert await store.create(record)

        self.with_store(create)

    def stored(self, record_id: str) -> Record:
        async def read(store: SqliteStore) -> Record:
            found = await store.read(record_id)
            assert found
            return found.record

        record: Record = self.with_store(read)
        return record

    def watermarks(self, **values: Any) -> None:
        """Every rule has read its workspace, as *values* say."""

        async def put(store: SqliteStore) -> None:
            for rule in load_rules():
                await put_watermark(store, rule_id=rule.id, **values)

        self.with_store(put)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The webhook."""
    with running() as running_receiver:
        yield running_receiver


@pytest.fixture
def shell(tmp_path: Path, receiver: Receiver) -> Shell:
    return Shell(tmp_path, f"{receiver.url}/hook")
