"""Quarantine: what the stream could not handle, whole and with its reason, until somebody replays it.

An entry is written in one step and its name follows from its content, so a batch that comes again (a retry, another
owner of the partition) writes the same entries over, and a crash between two entries leaves no half of one.
"""

import enum
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from detectors.state.objects import Objects

_ENTRY_BYTES = 4 * 1024 * 1024
"""A new entry is begun beyond this: one call to the store has to move it within seconds."""


class Reason(enum.StrEnum):
    """Why an entry was written."""

    DAMAGED = "damaged"
    """Bytes that are no records, or records that no rule could be run on. The rest of their batch was judged."""
    NOT_STORED = "not stored"
    """A whole batch: what it held could not be judged or stored. The bytes themselves may be perfectly good."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message stood: enough to find it in the Event Hub while that keeps it. None is unknown."""

    hub: str = ""
    partition: str = ""
    sequence_number: int | None = None
    enqueued_at: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes as they came, where from, and what was wrong. In JSON, ``data`` is Base64."""

    position: Position
    reason: str
    data: bytes


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the quarantine."""

    kind: Reason
    quarantined_at: datetime
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """The same for the same items, so that writing them again adds nothing."""
        digest = hashlib.sha256(msgspec.json.encode((self.kind, self.items))).hexdigest()
        first = self.items[0].position
        partition = "".join(c for c in first.partition if c.isascii() and c.isalnum())[:20] or "unknown"
        return f"{partition}-{max(first.sequence_number or 0, 0):020d}-{digest[:32]}"


class UnreadableEntry(Exception):
    """An object of the quarantine that is no entry of this version; the message names it."""


class Quarantine:
    """The entries in *objects*."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def put(self, kind: Reason, items: Sequence[Item], now: datetime) -> tuple[str, ...]:
        """Store *items*; durable when it returns. The names of the entries.

        Raises :class:`detectors.state.store.StoreUnavailable`; repeat the whole call then.
        """
        names = []
        for part in _parts(items):
            entry = Entry(kind=kind, quarantined_at=now, items=part)
            await self._objects.put_object(entry.name, msgspec.json.encode(entry))
            names.append(entry.name)
        return tuple(names)

    async def names(self, limit: int) -> list[str]:
        """Names of the first *limit* entries, by partition and sequence number."""
        return await self._objects.list_objects(limit)

    async def get(self, name: str) -> Entry | None:
        """The entry *name*, or None when it is gone. Raises :class:`UnreadableEntry`."""
        data = await self._objects.get_object(name)
        if data is None:
            return None
        try:
            entry = msgspec.json.decode(data, type=Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableEntry(
                f"Quarantine entry {name} is not an entry of this version ({error}); it stays where it is. "
                "Read it with the version that wrote it, or delete it after saving a copy."
            ) from error
        if not entry.items:
            raise UnreadableEntry(f"Quarantine entry {name} holds nothing; delete it.")
        return entry

    async def leave(self, name: str, rest: Sequence[Item], now: datetime) -> tuple[str, ...]:
        """Let *name* go except for *rest*, the items of it that are still damaged. The names of what stays.

        What stays is stored before the entry goes: a crash in between leaves both, and replaying twice is safe.
        """
        kept = await self.put(Reason.DAMAGED, rest, now) if rest else ()
        if name not in kept:
            await self._objects.delete_object(name)
        return kept


def _parts(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    part: list[Item] = []
    size = 0
    for item in items:
        if part and size + len(item.data) > _ENTRY_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append(item)
        size += len(item.data)
    if part:
        yield tuple(part)
