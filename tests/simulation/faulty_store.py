"""A store of which every call is a numbered point that can fail, or end the process."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from detectors.model import Record
from detectors.state.store import Document, Stored, StoreUnavailable
from tests.memory_store import MemoryStore
from tests.simulation.faults import Life


class FaultyStore:
    """One process's way to what *inner* keeps."""

    def __init__(self, inner: MemoryStore, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def _call(self, name: str, effect: Callable[[], Awaitable[Any]]) -> Any:
        return await self._life.call(
            f"store {name}", effect, lambda fault, _: StoreUnavailable(f"the store: {fault.value}; repeat the step")
        )

    async def open(self) -> None:
        """Nothing to create."""

    async def close(self) -> None:
        """Nothing to release."""

    async def create(self, record: Record) -> bool:
        return bool(await self._call("create", lambda: self._inner.create(record)))

    async def exists(self, record_id: str) -> bool:
        return bool(await self._call("exists", lambda: self._inner.exists(record_id)))

    async def read(self, record_id: str) -> Stored | None:
        found: Stored | None = await self._call("read", lambda: self._inner.read(record_id))
        return found

    async def replace(self, stored: Stored, record: Record) -> Stored:
        replaced: Stored = await self._call("replace", lambda: self._inner.replace(stored, record))
        return replaced

    async def due(self, now: datetime, limit: int) -> list[str]:
        ids: list[str] = await self._call("due", lambda: self._inner.due(now, limit))
        return ids

    async def read_document(self, name: str) -> Document | None:
        document: Document | None = await self._call("read document", lambda: self._inner.read_document(name))
        return document

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        document: Document = await self._call("write document", lambda: self._write(name, value, version))
        return document

    async def _write(self, name: str, value: bytes, version: str | None) -> Document:
        return await self._inner.write_document(name, value, version)
