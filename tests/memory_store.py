"""A Store in memory, for tests that are about what uses it. It passes the same contract as the real ones."""

import dataclasses
import itertools
from datetime import datetime

from detectors.model import Record
from detectors.state.encoding import (
    check_aware,
    check_document,
    check_name,
    check_same,
    decode_record,
    encode_record,
)
from detectors.state.objects import Namespace, Objects, check_namespace, check_object_name, check_prefix
from detectors.state.store import Conflict, Document, Stored


@dataclasses.dataclass
class Place:
    """What survives the process: bytes, as in a real store, so that nothing is shared by accident."""

    records: dict[str, tuple[bytes, str]] = dataclasses.field(default_factory=dict)
    documents: dict[str, Document] = dataclasses.field(default_factory=dict)
    objects: dict[Namespace, dict[str, bytes]] = dataclasses.field(
        default_factory=lambda: {"quarantine": {}, "inventory": {}}
    )
    versions: "itertools.count[int]" = dataclasses.field(default_factory=lambda: itertools.count(1))


class MemoryStore:
    """Every call is atomic, because none awaits. Stores on one :class:`Place` are processes on one account."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()

    @property
    def records(self) -> dict[str, Stored]:
        """Everything stored, by id."""
        return {i: Stored(decode_record(body, i), version) for i, (body, version) in self.place.records.items()}

    @property
    def documents(self) -> dict[str, Document]:
        """Every document, by name."""
        return self.place.documents

    async def open(self) -> None:
        """Nothing to create."""

    async def close(self) -> None:
        """Nothing to release."""

    async def create(self, record: Record) -> bool:
        body = encode_record(record)
        if record.id in self.place.records:
            return False
        self._put(record.id, body)
        return True

    async def exists(self, record_id: str) -> bool:
        check_name(record_id, "record id")
        return record_id in self.place.records

    async def read(self, record_id: str) -> Stored | None:
        check_name(record_id, "record id")
        found = self.place.records.get(record_id)
        return Stored(decode_record(found[0], record_id), found[1]) if found else None

    async def replace(self, stored: Stored, record: Record) -> Stored:
        check_same(stored, record)
        body = encode_record(record)
        if self.place.records.get(record.id, (b"", ""))[1] != stored.version:
            raise Conflict(f"Record {record.id!r} was replaced by somebody else. Read it again.")
        return Stored(record, self._put(record.id, body))

    async def due(self, now: datetime, limit: int) -> list[str]:
        check_aware(now, "now")
        waiting = [s.record for s in self.records.values() if s.record.due is not None and s.record.due <= now]
        return [record.id for record in sorted(waiting, key=lambda record: (record.due, record.id))][: max(limit, 0)]

    async def read_document(self, name: str) -> Document | None:
        check_name(name, "document name")
        return self.place.documents.get(name)

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        check_document(name, value)
        current = self.place.documents.get(name)
        if (current.version if current else None) != version:
            raise Conflict(f"Document {name!r} was written by somebody else. Read it again.")
        self.place.documents[name] = Document(value, str(next(self.place.versions)))
        return self.place.documents[name]

    def objects(self, namespace: Namespace) -> Objects:
        check_namespace(namespace)
        return self if namespace == "quarantine" else MemoryObjects(self.place.objects[namespace])

    # Quarantine's are methods of the store itself, so that a test's own store can put faults into them.
    async def put_object(self, name: str, data: bytes) -> None:
        await MemoryObjects(self.place.objects["quarantine"]).put_object(name, data)

    async def get_object(self, name: str) -> bytes | None:
        return await MemoryObjects(self.place.objects["quarantine"]).get_object(name)

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        return await MemoryObjects(self.place.objects["quarantine"]).list_objects(limit, prefix)

    async def delete_object(self, name: str) -> None:
        await MemoryObjects(self.place.objects["quarantine"]).delete_object(name)

    def _put(self, record_id: str, body: bytes) -> str:
        version = str(next(self.place.versions))
        self.place.records[record_id] = (body, version)
        return version


class MemoryObjects:
    """The objects of one namespace, in *kept*."""

    def __init__(self, kept: dict[str, bytes]) -> None:
        self.kept = kept

    async def put_object(self, name: str, data: bytes) -> None:
        check_object_name(name)
        self.kept[name] = bytes(data)

    async def get_object(self, name: str) -> bytes | None:
        check_object_name(name)
        return self.kept.get(name)

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        check_prefix(prefix)
        return sorted(name for name in self.kept if name.startswith(prefix))[: max(limit, 0)]

    async def delete_object(self, name: str) -> None:
        check_object_name(name)
        self.kept.pop(name, None)
