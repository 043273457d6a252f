"""Stores for the tests: each test gets a file, or a set of tables, of its own."""

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from detectors.state.azure import AzureStore
from detectors.state.sqlite import SqliteStore
from detectors.state.store import Store
from tests.azurite import Azurite, azurite
from tests.memory_store import MemoryStore, Place

__all__ = ["azurite", "new_store", "prefix", "store"]

NewStore = Callable[[], Store]


@pytest.fixture
def prefix() -> str:
    """A table prefix that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["sqlite", "azure", "memory"])
async def new_store(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[NewStore]:
    """Makes store objects, not yet open, that share one place; closes them at the end."""
    made: list[Store] = []
    place = Place()
    account: Azurite | None = request.getfixturevalue("azurite") if request.param == "azure" else None

    def make() -> Store:
        store: Store
        if request.param == "memory":
            store = MemoryStore(place)
        elif account is None:
            store = SqliteStore(tmp_path / "state" / "detector.db")
        else:
            store = AzureStore.from_connection_string(account.connection_string, table_prefix=prefix)
        made.append(store)
        return store

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(new_store: NewStore) -> Store:
    """An open store with nothing in it."""
    opened = new_store()
    await opened.open()
    return opened
