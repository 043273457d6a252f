"""A Store in memory, for tests that are about what uses it. It passes the same contract as the real ones."""

import itertools
from datetime import datetime

from detectors.model import Record
from detectors.state.store import Conflict, Document, Stored


class MemoryStore:
    """Single event loop; every call is atomic because it never awaits."""

    def __init__(self) -> None:
        self.records: dict[str, Stored] = {}
        self.documents: dict[str, Document] = {}
        self._versions = itertools.count(1)

    async def open(self) -> None:
        """Nothing to create."""

    async def close(self) -> None:
        """Nothing to release."""

    async def create(self, record: Record) -> bool:
        if record.id in self.records:
            return False
        self.records[record.id] = Stored(record, str(next(self._versions)))
        return True

    async def exists(self, record_id: str) -> bool:
        return record_id in self.records

    async def read(self, record_id: str) -> Stored | None:
        return self.records.get(record_id)

    async def replace(self, stored: Stored, record: Record) -> Stored:
        current = self.records.get(record.id)
        if current is None or current.version != stored.version:
            raise Conflict(f"record {record.id} was replaced by somebody else; read it again")
        self.records[record.id] = Stored(record, str(next(self._versions)))
        return self.records[record.id]

    async def due(self, now: datetime, limit: int) -> list[str]:
        waiting = [s.record for s in self.records.values() if s.record.due is not None and s.record.due <= now]
        return [record.id for record in sorted(waiting, key=lambda record: record.due or now)][:limit]

    async def read_document(self, name: str) -> Document | None:
        return self.documents.get(name)

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        if len(value) > 32 * 1024:
            raise ValueError(f"document {name} is larger than 32 KiB")
        current = self.documents.get(name)
        if (current.version if current else None) != version:
            raise Conflict(f"document {name} was written by somebody else; read it again")
        self.documents[name] = Document(value, str(next(self._versions)))
        return self.documents[name]
