"""A store of which every call is a numbered point that can fail, or end the process."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from detectors.model import Record
from detectors.state.objects import Namespace, Objects
from detectors.state.store import Document, Stored, StoreUnavailable
from tests.memory_store import MemoryStore, Place
from tests.simulation.faults import Chaos, Fault, Life


async def _call(life: Life, name: str, effect: Callable[[], Awaitable[Any]]) -> Any:
    return await life.call(
        name, effect, lambda fault, _: StoreUnavailable(f"the store: {fault.value}; repeat the step")
    )


class FaultyStore(MemoryStore):
    """One process's way to what is stored in *place*."""

    def __init__(self, place: Place, life: Life) -> None:
        super().__init__(place)
        self._life = life
        self._inner = MemoryStore(place)

    async def create(self, record: Record) -> bool:
        return bool(await _call(self._life, "create", lambda: self._inner.create(record)))

    async def exists(self, record_id: str) -> bool:
        return bool(await _call(self._life, "exists", lambda: self._inner.exists(record_id)))

    async def read(self, record_id: str) -> Stored | None:
        found: Stored | None = await _call(self._life, "read", lambda: self._inner.read(record_id))
        return found

    async def replace(self, stored: Stored, record: Record) -> Stored:
        replaced: Stored = await _call(self._life, "replace", lambda: self._inner.replace(stored, record))
        return replaced

    async def due(self, now: datetime, limit: int) -> list[str]:
        ids: list[str] = await _call(self._life, "due", lambda: self._inner.due(now, limit))
        return ids

    async def read_document(self, name: str) -> Document | None:
        found: Document | None = await _call(self._life, f"read {_kind(name)}", lambda: self._inner.read_document(name))
        return found

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        written: Document = await _call(
            self._life, f"write {_kind(name)}", lambda: self._inner.write_document(name, value, version)
        )
        return written

    def objects(self, namespace: Namespace) -> Objects:
        return _FaultyObjects(self._inner.objects(namespace), self._life)


class _FaultyObjects:
    def __init__(self, inner: Objects, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def put_object(self, name: str, data: bytes) -> None:
        await _call(self._life, f"put {_kind(name)}", lambda: self._inner.put_object(name, data))

    async def get_object(self, name: str) -> bytes | None:
        found: bytes | None = await _call(self._life, f"get {_kind(name)}", lambda: self._inner.get_object(name))
        return found

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        names: list[str] = await _call(
            self._life, f"list {_kind(prefix)}", lambda: self._inner.list_objects(limit, prefix)
        )
        return names

    async def delete_object(self, name: str) -> None:
        await _call(self._life, f"delete {_kind(name)}", lambda: self._inner.delete_object(name))


def _kind(name: str) -> str:
    """What is called so: ``inventory/account``, ``snapshot``."""
    return "/".join(name.split("/")[:2]) if name.startswith("inventory/") else name.replace("/", "-").partition("-")[0]


def faulty_reader(life: Life, read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """*read*, which can end the process, or get no answer from Azure."""

    async def reading(*arguments: Any) -> Any:
        return await life.call("read account", lambda: read(*arguments), lambda fault, _: TimeoutError(fault.value))

    return reading


class Recorder(Life):
    """A process that notes its calls, in order."""

    def __init__(self, chaos: Chaos | None = None) -> None:
        super().__init__(chaos or Chaos())
        self.calls: list[str] = []

    async def call(
        self, name: str, effect: Callable[[], Awaitable[Any]], error: Callable[[Fault, bool], Exception]
    ) -> Any:
        self.calls.append(name)
        return await super().call(name, effect, error)
