"""The Store in one SQLite file: the default of ``python -m detectors`` and of the demo.

Every method is one statement in autocommit mode, so SQLite's own atomicity is the whole crash story: a process
killed between two calls, or inside one, leaves either the old row or the new one. WAL lets readers and one writer
of several processes work at the same time; ``synchronous=FULL`` makes a commit survive a power failure too.

One connection, guarded by a thread lock, serves every coroutine of the process: closing the last connection of a
WAL database writes it back in full, so a connection per call would cost two syncs per call. Calls run in a worker
thread, because a commit waits for the disk and may wait :data:`BUSY_SECONDS` for another process.

Trap: WAL needs shared memory, so the file must be on a local disk, never on an SMB or NFS share (Azure Files).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from detectors.model import Record
from detectors.state.encoding import (
    check_aware,
    check_document,
    check_name,
    check_same,
    decode_record,
    encode_record,
)
from detectors.state.objects import Namespace, check_namespace, check_object_name, check_prefix
from detectors.state.store import Conflict, Document, Stored, StoreUnavailable

BUSY_SECONDS = 10.0
"""How long a call waits for another process's write before it raises StoreUnavailable."""

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    due INTEGER,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_due ON records (due, id) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS documents (
    name TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS objects (
    name TEXT PRIMARY KEY NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS inventory_objects (
    name TEXT PRIMARY KEY NOT NULL,
    data BLOB NOT NULL
);
"""

_OBJECT_TABLES: dict[Namespace, str] = {"quarantine": "objects", "inventory": "inventory_objects"}
# A table each, and the first one by the name that it had when there was no other: a file of any earlier version of the
# detector gets what it lacks and keeps what it holds, and that version still opens it.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Result = TypeVar("_Result")


class SqliteStore:
    """A :class:`detectors.state.store.Store` in the file *path*, created by :meth:`open` with mode 0600.

    Raises :class:`StoreUnavailable` from every method when the file cannot be used, is locked for longer than
    :data:`BUSY_SECONDS`, or :meth:`open` was not called.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Create the file, its folder and its tables where missing."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Close the file; wait for calls that are under way."""
        await asyncio.to_thread(self._close)

    async def create(self, record: Record) -> bool:
        """Store *record* unless its id exists; see :meth:`Store.create`."""
        body = encode_record(record)
        row = (record.id, _microseconds(record.due), body)

        def insert(connection: sqlite3.Connection) -> bool:
            cursor = connection.execute(
                "INSERT INTO records (id, version, due, body) VALUES (?, 1, ?, ?) ON CONFLICT (id) DO NOTHING", row
            )
            return cursor.rowcount == 1

        return await self._call("create a record", insert)

    async def exists(self, record_id: str) -> bool:
        """Whether a record of that id is stored."""
        check_name(record_id, "record id")

        def find(connection: sqlite3.Connection) -> bool:
            return connection.execute("SELECT 1 FROM records WHERE id = ?", (record_id,)).fetchone() is not None

        return await self._call("look for a record", find)

    async def read(self, record_id: str) -> Stored | None:
        """The record and its version, or None."""
        check_name(record_id, "record id")

        def select(connection: sqlite3.Connection) -> tuple[bytes, int] | None:
            row: tuple[bytes, int] | None = connection.execute(
                "SELECT body, version FROM records WHERE id = ?", (record_id,)
            ).fetchone()
            return row

        row = await self._call("read a record", select)
        if row is None:
            return None
        body, version = row
        return Stored(decode_record(body, f"Record {record_id!r} in {self._path}"), str(version))

    async def replace(self, stored: Stored, record: Record) -> Stored:
        """Put *record* in the place of *stored*; see :meth:`Store.replace`."""
        check_same(stored, record)
        body = encode_record(record)
        row = (_microseconds(record.due), body, record.id, stored.version)

        def update(connection: sqlite3.Connection) -> bool:
            cursor = connection.execute(
                "UPDATE records SET version = version + 1, due = ?, body = ?"
                " WHERE id = ? AND CAST(version AS TEXT) = ?",
                row,
            )
            return cursor.rowcount == 1

        if not await self._call("replace a record", update):
            raise Conflict(f"Record {record.id!r} was replaced since it was read. Read it again.")
        return Stored(record, str(int(stored.version) + 1))

    async def due(self, now: datetime, limit: int) -> list[str]:
        """Ids of at most *limit* records with ``due <= now``, earliest first."""
        check_aware(now, "now")
        # SQLite reads a negative LIMIT as "no limit".
        row = (_microseconds(now), max(limit, 0))

        def select(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute("SELECT id FROM records WHERE due <= ? ORDER BY due, id LIMIT ?", row)
            return [record_id for (record_id,) in found]

        return await self._call("list the records that are due", select)

    async def read_document(self, name: str) -> Document | None:
        """The document of that name, or None."""
        check_name(name, "document name")

        def select(connection: sqlite3.Connection) -> Document | None:
            row = connection.execute("SELECT value, version FROM documents WHERE name = ?", (name,)).fetchone()
            return None if row is None else Document(bytes(row[0]), str(row[1]))

        return await self._call("read a document", select)

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        """Write *value* if the document still has *version*; see :meth:`Store.write_document`."""
        check_document(name, value)

        def write(connection: sqlite3.Connection) -> bool:
            if version is None:
                cursor = connection.execute(
                    "INSERT INTO documents (name, version, value) VALUES (?, 1, ?) ON CONFLICT (name) DO NOTHING",
                    (name, value),
                )
            else:
                cursor = connection.execute(
                    "UPDATE documents SET version = version + 1, value = ?"
                    " WHERE name = ? AND CAST(version AS TEXT) = ?",
                    (value, name, version),
                )
            return cursor.rowcount == 1

        if not await self._call("write a document", write):
            raise Conflict(f"Document {name!r} was written by somebody else. Read it again.")
        return Document(value, "1" if version is None else str(int(version) + 1))

    def objects(self, namespace: Namespace) -> "SqliteObjects":
        """The objects of *namespace*; see :class:`detectors.state.objects.ObjectStore`."""
        check_namespace(namespace)
        return SqliteObjects(self._call, _OBJECT_TABLES[namespace])

    def _open(self) -> None:
        with self._lock:
            if self._connection is not None:
                return
            connection: sqlite3.Connection | None = None
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # Alerts hold what was found in somebody's tenant: not for every user of the machine.
                self._path.touch(mode=0o600)
                # check_same_thread=False: worker threads take turns under the lock.
                connection = sqlite3.connect(
                    self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                (found,) = connection.execute("PRAGMA user_version").fetchone()
                if found not in {0, SCHEMA_VERSION}:
                    raise self._unavailable("open it", f"its schema is version {found}, not {SCHEMA_VERSION}")
                connection.executescript(f"{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};")
            except (sqlite3.Error, OSError, StoreUnavailable) as error:
                if connection is not None:
                    connection.close()
                if isinstance(error, StoreUnavailable):
                    raise
                raise self._unavailable("open it", str(error)) from error
            self._connection = connection

    def _close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _call(self, operation: str, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        def locked() -> _Result:
            with self._lock:
                if self._connection is None:
                    raise self._unavailable(operation, "it is not open; call open() first")
                try:
                    return work(self._connection)
                except sqlite3.Error as error:
                    raise self._unavailable(operation, str(error)) from error

        return await asyncio.to_thread(locked)

    def _unavailable(self, operation: str, cause: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"SQLite store {self._path}: could not {operation}: {cause}. "
            "Check that the path is a writable file on a local disk, written by this version of the detector."
        )


def _microseconds(value: datetime | None) -> int | None:
    # Integers, because text of different offsets or precision does not sort by time.
    return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)


class _Call(Protocol):
    """How a statement reaches the open file; raises :class:`StoreUnavailable`."""

    async def __call__(self, operation: str, work: Callable[[sqlite3.Connection], _Result]) -> _Result: ...


class SqliteObjects:
    """The objects of one namespace of a :class:`SqliteStore`."""

    def __init__(self, call: _Call, table: str) -> None:
        # *table* is a name of this module's own, and SQL takes no parameter in its place.
        self._call = call
        self._insert = f"INSERT OR REPLACE INTO {table} (name, data) VALUES (?, ?)"  # noqa: S608
        self._select = f"SELECT data FROM {table} WHERE name = ?"  # noqa: S608
        # A range and not LIKE, whose "_" is any character.
        self._list = f"SELECT name FROM {table} WHERE name >= ? AND name < ? ORDER BY name LIMIT ?"  # noqa: S608
        self._delete = f"DELETE FROM {table} WHERE name = ?"  # noqa: S608

    async def put_object(self, name: str, data: bytes) -> None:
        """Store *data* as *name*; see :meth:`detectors.state.objects.Objects.put_object`."""
        check_object_name(name)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(self._insert, (name, data))

        await self._call("write an object", write)

    async def get_object(self, name: str) -> bytes | None:
        """The bytes of *name*, or None."""
        check_object_name(name)

        def select(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(self._select, (name,)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._call("read an object", select)

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        """The first *limit* names that begin with *prefix*, in the order of their characters."""
        check_prefix(prefix)
        # DEL comes after every character of a name; SQLite reads a negative LIMIT as "no limit".
        row = (prefix, f"{prefix}\x7f", max(limit, 0))

        def select(connection: sqlite3.Connection) -> list[str]:
            return [name for (name,) in connection.execute(self._list, row)]

        return await self._call("list the objects", select)

    async def delete_object(self, name: str) -> None:
        """Delete *name* if it is there."""
        check_object_name(name)

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(self._delete, (name,))

        await self._call("delete an object", delete)
