"""The Store in Azure: Tables for what is searched and decided, Blobs for what is large.

========================  ====================================================================================
``detectorRecords``       one entity per record: ``body`` (blob name), ``due``, ``createdAt``, ``writer``
``detectorWork``          one row per unfinished record, in one partition, so that :meth:`due` is one query
``detectorDocuments``     one entity per document
``detector-records``      container of the bodies: ``<id>/<sha256>-<writer>.json``
``detector-quarantine``   container of what the stream set aside (:mod:`detectors.state.objects`)
``detector-inventory``    container of the inventory's snapshots (:mod:`detectors.state.objects`)
========================  ====================================================================================

A write goes blob, work row, entity. The entity's conditional write is the one commit point: whatever a crash left
before it is invisible. The promise to keep is: **an entity with a due time has a work row that is not later**.

* *Touch before commit.* A write that leaves the record due first writes its work row: the earlier of the two times
  and, always, a new etag.
* *Remove after commit.* A write that finishes the record reads the work row's etag before its commit and deletes
  the row after it, on the condition that the etag is still the same.

Interleavings considered (W is the work row, A and B are writers):

1. A crashes after the blob: an unreferenced blob, nothing else. After W: W without need, see 7. After the commit:
   everything is in place; a finished record keeps W without need, see 7.
2. A postpones. W keeps the earlier time; :meth:`due` reads the entity and does not list it too early (see 7).
   A may crash anywhere: W is never later than the entity.
3. A finishes; B reads the finished record and re-activates it before A deletes W. B touched W before its own commit,
   so A's delete fails on the etag. If A's delete comes first, B finds no W and creates it; if it comes between B's
   read of W and B's write, B's conditional write fails and B starts over from what is there.
4. A and B start from the same version, A finishes, B stays due. One commits. If it is B, A deletes nothing. If it is
   A: either B touched W after A read it and the delete fails (7), or before, and nobody needs W.
5. B commits on top of A while A is between commit and delete, and stays due: the same as 3.
6. Two create the same record: both touch W, one inserts the entity, the other's blob is deleted.
7. :meth:`due` reads each listed row's entity. A row that is too early or without need is not listed. It is moved or
   deleted on the condition of the etag it was listed with, and only when untouched for :data:`STALE_AFTER`: a
   younger one may belong to a writer between its touch and its commit, one call of 30 seconds at most.
   A writer that finds after its commit that it was held up longer than half of that (a frozen host) touches again.

Two departures from the obvious, each for a hole in it:

* A blob's name holds a token of its writer beside the digest. With the digest alone a record that returns to an
  earlier content, or two writers with the same content, would share a blob, and the one that deletes it as
  superseded or lost would delete the other's live body.
* The entity holds the same token. The client repeats a request whose answer was lost; when the first one had
  arrived, the repetition is refused as a lost race. The token tells that refusal from a real one.
"""

import asyncio
import contextlib
import functools
import logging
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

from detectors.model import Record
from detectors.state.azure_bodies import Bodies, body_name
from detectors.state.azure_call import Reaching, Refused, blob_options, ensure, reaching, table_options, tables_at
from detectors.state.azure_objects import AzureObjects
from detectors.state.encoding import (
    RecordUnreadable,
    check_aware,
    check_document,
    check_name,
    check_same,
    encode_record,
    sha256,
    storage_key,
    utc_now,
)
from detectors.state.objects import Namespace, check_namespace
from detectors.state.store import Conflict, Document, Stored, StoreUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableClient

STALE_AFTER = timedelta(minutes=10)
"""How long a work row without need is left alone, by the server's time stamp."""

_ATTEMPTS = 40
# Each lost race on one row means that another writer got on, so more than the writers there can be is enough.

_VERIFIED_AT_ONCE = 16

_WORK = "work"
_DOCUMENTS = "documents"

_log = logging.getLogger(__name__)


class _WorkRow(NamedTuple):
    due: datetime
    record_id: str
    etag: str
    touched: datetime


class AzureStore:
    """A :class:`detectors.state.store.Store` in one storage account.

    *credential* is an asynchronous token credential (its identity needs the roles Storage Table Data Contributor
    and Storage Blob Data Contributor; the SDK insists on https endpoints) or an account key. *connection_verify*
    is True or the path of a CA bundle. *table_prefix* (letters and digits, starting with a letter) separates
    several detectors in one account; a container's name is its lower-case form plus ``-records`` or a namespace.
    *clock* tells how long a work row was left alone; *reach* is the one way to the service, where tests put faults.

    Close the credential yourself: it may serve other clients too.
    """

    def __init__(
        self,
        table_endpoint: str,
        blob_endpoint: str,
        credential: "AsyncTokenCredential | AzureNamedKeyCredential | AzureSasCredential",
        *,
        connection_verify: bool | str = True,
        table_prefix: str = "detector",
        clock: Callable[[], datetime] = utc_now,
        reach: Reaching = reaching,
    ) -> None:
        from azure.data.tables.aio import TableServiceClient
        from azure.storage.blob.aio import BlobServiceClient

        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,50}", table_prefix):
            raise ValueError(f"table_prefix is 1 to 51 letters and digits, a letter first; not {table_prefix!r}")
        tables = TableServiceClient(
            endpoint=table_endpoint, credential=credential, connection_verify=connection_verify, **table_options()
        )
        blobs = BlobServiceClient(
            account_url=blob_endpoint, credential=credential, connection_verify=connection_verify, **blob_options()
        )
        self._clock = clock
        self._reaching = reach
        self._table_service = tables
        self._tables = tables_at(tables.url)
        self._records = tables.get_table_client(f"{table_prefix}Records")
        self._work = tables.get_table_client(f"{table_prefix}Work")
        self._documents = tables.get_table_client(f"{table_prefix}Documents")
        self._bodies = Bodies(blobs, f"{table_prefix.lower()}-records", reach)
        self._namespaces = {
            namespace: AzureObjects(blobs, f"{table_prefix.lower()}-{namespace}", reach)
            for namespace in get_args(Namespace)
        }

    @classmethod
    def from_connection_string(
        cls,
        text: str,
        *,
        table_prefix: str = "detector",
        clock: Callable[[], datetime] = utc_now,
        reach: Reaching = reaching,
    ) -> Self:
        """A store of the account that *text* names; ``UseDevelopmentStorage=true`` is Azurite on its own ports."""
        from azure.data.tables.aio import TableServiceClient
        from azure.storage.blob.aio import BlobServiceClient

        # The SDK reads the text; the real clients are then made in one place, with this module's options.
        tables = TableServiceClient.from_connection_string(text)
        blobs = BlobServiceClient.from_connection_string(text)
        return cls(
            tables.url.partition("?")[0],
            blobs.url.partition("?")[0],
            tables.credential,
            table_prefix=table_prefix,
            clock=clock,
            reach=reach,
        )

    async def open(self) -> None:
        """Create the three tables and the container where missing.

        An identity that may not create them is fine as long as they exist.
        """
        for table in (self._records, self._work, self._documents):
            operation = f"create table {table.table_name}"
            probe = functools.partial(table.get_entity, _WORK, _WORK)
            await ensure(self._reaching, self._tables, operation, table.create_table, probe)
        await self._bodies.open()

    async def close(self) -> None:
        """Close the connections of both clients."""
        await self._table_service.close()
        await self._bodies.close()

    async def create(self, record: Record) -> bool:
        """Store *record* unless its id exists; see :meth:`Store.create`."""
        body = encode_record(record)
        # Overlapping windows make most creates repetitions: one small read spares them the body and the work row.
        if await self.exists(record.id):
            return False
        return await self._commit(record, body, None) is not None

    async def exists(self, record_id: str) -> bool:
        """Whether a record of that id is stored: one point read without the body."""
        check_name(record_id, "record id")
        return await self._entity(self._records, *_record_key(record_id), select=["RowKey"]) is not None

    async def read(self, record_id: str) -> Stored | None:
        """The record and its version, or None."""
        check_name(record_id, "record id")
        missing = ""
        for _ in range(_ATTEMPTS):
            entity = await self._entity(self._records, *_record_key(record_id))
            if entity is None:
                return None
            name = str(entity["body"])
            if name == missing:
                break
            data = await self._bodies.download(name)
            if data is not None:
                return Stored(self._bodies.decode(name, data), _version(name, entity.metadata["etag"]))
            # Replaced between the two reads, and its body deleted: the entity names another one now.
            missing = name
        raise RecordUnreadable(
            f"Record {record_id!r} names the {self._bodies.where(missing)}, which is not there. Restore it (soft "
            f"delete), or delete the record's entity {_record_key(record_id)} from table {self._records.table_name}."
        )

    async def replace(self, stored: Stored, record: Record) -> Stored:
        """Put *record* in the place of *stored*; see :meth:`Store.replace`."""
        check_same(stored, record)
        superseded, _, etag = stored.version.partition(" ")
        replaced = await self._commit(record, encode_record(record), etag)
        if replaced is None:
            raise Conflict(f"Record {record.id!r} was replaced or removed since it was read. Read it again.")
        await self._bodies.discard(superseded)
        return replaced

    async def due(self, now: datetime, limit: int) -> list[str]:
        """Ids of at most *limit* records with ``due <= now``, earliest first.

        Tables cannot sort, so this reads the work rows of everything that is due (1,000 per request), then the
        entities of those it lists.
        """
        check_aware(now, "now")
        rows = sorted(await self._due_rows(now)) if limit > 0 else []
        ids: list[str] = []
        size = min(limit, _VERIFIED_AT_ONCE)
        while rows and len(ids) < limit:
            batch, rows = rows[:size], rows[size:]
            answers = await asyncio.gather(*(self._is_due(row, now) for row in batch), return_exceptions=True)
            for row, answer in zip(batch, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                if answer:
                    ids.append(row.record_id)
        return ids[:limit]

    async def read_document(self, name: str) -> Document | None:
        """The document of that name, or None."""
        check_name(name, "document name")
        entity = await self._entity(self._documents, _DOCUMENTS, storage_key(name))
        return None if entity is None else Document(bytes(entity["value"]), str(entity.metadata["etag"]))

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        """Write *value* if the document still has *version*; see :meth:`Store.write_document`."""
        check_document(name, value)
        entity = _entity_of(_DOCUMENTS, storage_key(name), uuid.uuid4().hex, name=name, value=value)
        etag = await self._put(self._documents, entity, version)
        if etag is None:
            raise Conflict(f"Document {name!r} was written by somebody else. Read it again.")
        return Document(value, etag)

    def objects(self, namespace: Namespace) -> AzureObjects:
        """The objects of *namespace*; see :class:`detectors.state.objects.ObjectStore`."""
        check_namespace(namespace)
        return self._namespaces[namespace]

    async def _commit(self, record: Record, body: bytes, etag: str | None) -> Stored | None:
        """Write *record* if its entity still has *etag* (None: does not exist); None when another write won."""
        writer = uuid.uuid4().hex
        name = body_name(record.id, body, writer)
        await self._bodies.upload(name, body)
        unneeded = await self._index(record.id, record.due)
        touched = self._clock()
        columns: dict[str, Any] = {"id": record.id, "body": name, "createdAt": record.created_at}
        if record.due is not None:
            columns["due"] = record.due
        committed = await self._put(self._records, _entity_of(*_record_key(record.id), writer, **columns), etag)
        if committed is None:
            await self._bodies.discard(name)
            return None
        if record.due is not None and self._clock() - touched > STALE_AFTER / 2:
            await self._index(record.id, record.due)
        if unneeded is not None:
            await self._unindex(unneeded)
        return Stored(record, _version(name, committed))

    async def _index(self, record_id: str, due: datetime | None) -> _WorkRow | None:
        """Touch the work row so that it is not later than *due*; for None, read it: the row to remove after."""
        key = storage_key(record_id)
        for _ in range(_ATTEMPTS):
            entity = await self._entity(self._work, _WORK, key)
            row = None if entity is None else _work_row(entity)
            if due is None:
                return row
            earliest = due if row is None else min(row.due, due)
            touched = _entity_of(_WORK, key, uuid.uuid4().hex, id=record_id, due=earliest)
            if await self._put(self._work, touched, None if row is None else row.etag) is not None:
                return None
        raise StoreUnavailable(
            f"{self._tables.name} at {self._tables.endpoint}: the work row of record {record_id!r} changed "
            f"{_ATTEMPTS} times while it was being written. Repeat the step; if this lasts, too many instances run."
        )

    async def _unindex(self, row: _WorkRow) -> None:
        """Remove *row* unless it was touched since. The commit is done: a failure leaves work for :meth:`due`."""
        try:
            await self._remove(row)
        except StoreUnavailable as error:
            _log.warning("A work row that is not needed any more stays for now: %s", error)

    async def _remove(self, row: _WorkRow) -> None:
        from azure.core import MatchConditions

        with contextlib.suppress(Refused):
            async with self._reaching(self._tables, "delete a work row", conditional=True):
                await self._work.delete_entity(
                    _WORK, storage_key(row.record_id), etag=row.etag, match_condition=MatchConditions.IfNotModified
                )

    async def _due_rows(self, now: datetime) -> list[_WorkRow]:
        rows: list[_WorkRow] = []
        pages = self._work.query_entities(
            "PartitionKey eq @partition and due le @now",
            parameters={"partition": _WORK, "now": now},
            results_per_page=1000,
        ).by_page()
        while True:
            async with self._reaching(self._tables, "list the work rows that are due"):
                page = await anext(pages, None)
                if page is None:
                    return rows
                rows += [_work_row(entity) async for entity in page]

    async def _is_due(self, row: _WorkRow, now: datetime) -> bool:
        entity = await self._entity(self._records, *_record_key(row.record_id), select=["due"])
        due = None if entity is None else entity.get("due")
        if due is not None and due <= now:
            return True
        if self._clock() - row.touched > STALE_AFTER:
            if due is None:
                await self._remove(row)
            else:
                columns = {"id": row.record_id, "due": due}
                entity = _entity_of(_WORK, storage_key(row.record_id), uuid.uuid4().hex, **columns)
                await self._put(self._work, entity, row.etag)
        return False

    async def _entity(self, table: "TableClient", *key: str, select: list[str] | None = None) -> Any:
        partition, row = key
        try:
            async with self._reaching(self._tables, f"read from table {table.table_name}", conditional=True):
                return await table.get_entity(partition, row, select=select)
        except Refused:
            return None

    async def _put(self, table: "TableClient", entity: dict[str, Any], etag: str | None) -> str | None:
        """Insert *entity*, or replace the one that has *etag*. Its new etag, or None when another write won."""
        from azure.core import MatchConditions
        from azure.data.tables import UpdateMode

        try:
            async with self._reaching(self._tables, f"write to table {table.table_name}", conditional=True):
                if etag is None:
                    written = await table.create_entity(entity)
                else:
                    written = await table.update_entity(
                        entity, UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
                    )
                return str(written["etag"])
        except Refused:
            # The client may have repeated a request that had arrived: then what is there is ours. (When a third
            # writer has already built on it, this reports a lost race; the caller reads again and finds both.)
            found = await self._entity(table, entity["PartitionKey"], entity["RowKey"])
            if found is not None and found["writer"] == entity["writer"]:
                return str(found.metadata["etag"])
            return None


def _record_key(record_id: str) -> tuple[str, str]:
    # 256 partitions, so that records spread over the service's servers.
    return sha256(record_id.encode("utf-8"))[:2], storage_key(record_id)


def _entity_of(partition: str, row: str, writer: str, **columns: Any) -> dict[str, Any]:
    return {"PartitionKey": partition, "RowKey": row, "writer": writer, **columns}


def _work_row(entity: Any) -> _WorkRow:
    metadata = entity.metadata
    return _WorkRow(entity["due"], str(entity["id"]), str(metadata["etag"]), metadata["timestamp"])


def _version(body: str, etag: str) -> str:
    # The body's name travels along, so that replacing needs no read to know which blob it supersedes.
    return f"{body} {etag}"
