"""A real store, in a file that lasts as long as the test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from detectors.state.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "state.db")
    await opened.open()
    yield opened
    await opened.close()
