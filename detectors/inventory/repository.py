"""What the inventory keeps, over documents and objects of the store. Every call may be repeated.

==========================================  ==================================================================
document ``inventory/account/<account>``    :class:`AccountState`: which snapshot counts, which is under way
``snapshot-<account>-<sequence>-<digest>``  a :class:`detectors.inventory.snapshot.Snapshot`
``content-<account>-<sha256>``              the text of a runbook, published or draft
``accounts-<subscription>``                 :class:`Listing`: the accounts of one subscription
``rows-<time>-<account>-<sequence>``        rows that the workspace does not have yet
==========================================  ==================================================================

``<account>`` and ``<subscription>`` are digests of ids where an id itself could not be in a name.

The document is the one that decides, by conditional writes; whatever object a crash left without it is invisible.
What cannot be read (altered, cut, or of another format) counts as not there, is named in the log and is written over
by the next visit: the account is then read as if new, and no account is ever held up.
"""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from detectors.inventory.encoding import (
    Unreadable,
    account_key,
    as_stored,
    content_name,
    content_prefix,
    decode,
    encode,
    key_of,
    pack,
    snapshot_id,
    snapshot_name,
    snapshot_prefix,
    unpack,
)
from detectors.inventory.snapshot import FORMAT, AccountReference, Snapshot
from detectors.state.objects import Objects
from detectors.state.store import Store

KEPT_SNAPSHOTS: Final = 10
"""Of one account, the newest ones; older ones are pruned."""

SNAPSHOT_BYTES: Final = 32 * 1024 * 1024
"""A snapshot or a listing, unpacked: some 60,000 objects, far beyond what an account may hold."""

CONTENT_BYTES: Final = 16 * 1024 * 1024
"""The text of a runbook, unpacked: more than CONTENT_LIMIT_BYTES can be set to."""

ROWS_BYTES: Final = 4 * SNAPSHOT_BYTES
"""The rows of one snapshot, unpacked: a row holds an object before and after, and as much again in columns."""

_STATE_FORMAT: Final = 1
_LISTING_FORMAT: Final = 1
_ERROR_CHARACTERS: Final = 500
_LISTINGS: Final = "accounts-"
_ROWS: Final = "rows-"
_SUBSCRIPTION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_MOST_NAMES: Final = 100_000
"""Of one listing of objects, far beyond what pruning leaves."""

_log = logging.getLogger(__name__)


class SnapshotTooLarge(Exception):
    """An account has more objects than a snapshot may hold. The message names it; nothing was stored."""


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the detector stands with one account.

    ``current`` is the name of the snapshot that the next one is compared with, ``pending`` of one whose changes may
    not all be stored yet; empty for none. ``sequence`` is the highest number that any snapshot was given.
    """

    format: int = _STATE_FORMAT
    account: AccountReference
    sequence: int = 0
    current: str = ""
    pending: str = ""
    visited_at: datetime | None = None
    """When the account was last read, changed or not."""
    known_scope: bool = False
    """Whether its subscription had been listed before the account appeared: then the account itself is new."""
    unread_since: datetime | None = None
    """Since when a section of it cannot be read; None while all can."""
    error: str = ""
    """Why the last visit failed, else empty."""
    version: str | None = None
    """Of the document that this was read from or written to, which the next write has to find; None: there is none.
    Not stored."""


class ListedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a listing. The times are hints for the order of visits: the account's state says what is true."""

    account: AccountReference
    first_listed_at: datetime
    visited_at: datetime | None = None
    attempted_at: datetime | None = None
    """When a visit last ended, in success or not."""
    known_scope: bool = False
    """As in :class:`AccountState`."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts of one subscription, as the last complete listing gave them."""

    format: int = _LISTING_FORMAT
    subscription_id: str
    listed_at: datetime
    accounts: tuple[ListedAccount, ...] = ()


class Repository:
    """Everything the inventory keeps. Raises :class:`detectors.state.store.StoreUnavailable` from every method.

    *objects* are those of the namespace ``inventory``.
    """

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store = store
        self._objects = objects

    async def state(self, account: AccountReference, *, known_scope: bool = False) -> AccountState:
        """The state of *account*; a new one, with *known_scope*, where none is stored or it cannot be read."""
        name = _state_name(account)
        document = await self._store.read_document(name)
        if document is not None:
            try:
                found = decode(document.value, AccountState, _STATE_FORMAT)
                return msgspec.structs.replace(found, account=account, version=document.version)
            except Unreadable as error:
                _warn(f"document {name}", error)
        # Snapshots may be there although no document names them. A number that is given out twice could make one
        # change of two, and the newest snapshot would look like the oldest.
        names = await self._objects.list_objects(_MOST_NAMES, snapshot_prefix(account))
        return AccountState(
            account=account,
            sequence=max(map(_sequence_in, names), default=0),
            known_scope=known_scope,
            version=None if document is None else document.version,
        )

    async def current(self, state: AccountState) -> Snapshot | None:
        """The snapshot to compare with, or None: the account is read as if new."""
        return await self.snapshot(state.current) if state.current else None

    async def pending(self, state: AccountState) -> Snapshot | None:
        """The snapshot that a visit began with and did not commit, or None."""
        return await self.snapshot(state.pending) if state.pending else None

    async def begin(
        self, state: AccountState, snapshot: Snapshot, contents: Mapping[str, bytes] | None = None
    ) -> tuple[AccountState, Snapshot]:
        """Store *snapshot* and the texts in *contents* (by SHA-256), and make it the pending one.

        Returns the snapshot as it reads back, with its number: make changes and rows of that one, so that they are
        the same after a crash. Raises :class:`detectors.state.store.Conflict` when somebody else visits the account,
        and :class:`SnapshotTooLarge`.
        """
        number = state.sequence + 1
        snapshot = as_stored(msgspec.structs.replace(snapshot, account=state.account, sequence=number))
        data = encode(snapshot)
        if len(data) > SNAPSHOT_BYTES:
            raise SnapshotTooLarge(
                f"The snapshot of {snapshot.account.id} has {len(data)} bytes and {len(snapshot.objects)} objects; "
                f"at most {SNAPSHOT_BYTES} bytes are kept, so its changes are not seen. Find out what fills it."
            )
        name = snapshot_name(snapshot, data)
        await self._objects.put_object(name, pack(data))
        # After the snapshot that names them: prune() lists the texts first and then reads the snapshots, so that it
        # finds the snapshot of every new text that it sees.
        for sha256, content in (contents or {}).items():
            await self._objects.put_object(content_name(snapshot.account, sha256), pack(content))
        return await self._write(msgspec.structs.replace(state, sequence=number, pending=name)), snapshot

    async def commit(self, state: AccountState, snapshot: Snapshot) -> AccountState:
        """Make the pending *snapshot* the current one, because everything that follows from it is stored.

        ``ValueError`` when another one is pending, or none. Raises :class:`detectors.state.store.Conflict`.
        """
        name = snapshot_name(snapshot)
        if state.pending != name:
            raise ValueError(
                f"{state.account.id}: begin() comes before commit(); pending is {state.pending!r}, not {name}"
            )
        return await self._write(msgspec.structs.replace(_after(state, snapshot), current=name, pending=""))

    async def visited(self, state: AccountState, snapshot: Snapshot) -> AccountState:
        """Note that *snapshot* was read and nothing had changed. Raises :class:`detectors.state.store.Conflict`."""
        return await self._write(_after(state, snapshot))

    async def failed(self, state: AccountState, error: str) -> AccountState:
        """Note why the last visit failed. Raises :class:`detectors.state.store.Conflict`."""
        return await self._write(msgspec.structs.replace(state, error=error[:_ERROR_CHARACTERS]))

    async def snapshot(self, name: str) -> Snapshot | None:
        """The snapshot *name*, or None when it is not there or cannot be read."""
        try:
            return decode(await self._unpacked(name, SNAPSHOT_BYTES, name.rpartition("-")[2]), Snapshot, FORMAT)
        except Unreadable as error:
            _warn(f"object {name}", error)
            return None

    async def content(self, account: AccountReference, sha256: str) -> bytes | None:
        """The text of a runbook of *account*, or None when it is not there (pruned, say) or cannot be read."""
        name = content_name(account, sha256)
        try:
            return await self._unpacked(name, CONTENT_BYTES, sha256)
        except Unreadable as error:
            _warn(f"object {name}", error)
            return None

    async def prune(self, account: AccountReference) -> int:
        """Delete snapshots of *account* beyond the newest ones, and every text that those left do not name.

        The current and the pending snapshot always stay. Returns how many objects went. One thing may go that a
        visit at the same moment needs again: a text that only a deleted snapshot named. Then :meth:`content` is None.
        """
        contents = await self._objects.list_objects(_MOST_NAMES, content_prefix(account))
        names = await self._objects.list_objects(_MOST_NAMES, snapshot_prefix(account))
        if len(names) <= KEPT_SNAPSHOTS:
            return 0
        state = await self.state(account)
        kept = {*names[-KEPT_SNAPSHOTS:], state.current, state.pending}.intersection(names)
        doomed = [name for name in names if name not in kept]
        named: set[str] = set()
        for name in sorted(kept):
            snapshot = await self.snapshot(name)
            if snapshot is None:
                # What it names is not known; once it is old enough to go itself, its texts go too.
                break
            named.update(content_name(account, sha256) for sha256 in _texts_of(snapshot))
        else:
            doomed += [name for name in contents if name not in named]
        for name in doomed:
            await self._objects.delete_object(name)
        return len(doomed)

    async def listing(self, subscription_id: str) -> Listing | None:
        """The last complete listing of a subscription, or None."""
        return await self._listing(_listing_name(subscription_id))

    async def listings(self) -> list[Listing]:
        """The last complete listing of every subscription that was ever listed, in the order of their ids."""
        names = await self._objects.list_objects(_MOST_NAMES, _LISTINGS)
        found = [await self._listing(name) for name in names]
        return [listing for listing in found if listing]

    async def put_listing(self, listing: Listing) -> None:
        """Keep *listing* in the place of the last one of its subscription."""
        await self._objects.put_object(_listing_name(listing.subscription_id), pack(encode(listing)))

    async def put_rows(self, snapshot: Snapshot, rows: Sequence[Mapping[str, Any]]) -> str:
        """Keep *rows*, made of the changes in *snapshot*, until they are sent; the same snapshot's once. Their name."""
        time = snapshot.taken_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{_ROWS}{time}-{snapshot_id(snapshot)}"
        await self._objects.put_object(name, pack(encode(rows)))
        return name

    async def unsent(self, limit: int) -> list[str]:
        """Names of at most *limit* sets of rows that are kept, oldest first."""
        return await self._objects.list_objects(limit, _ROWS)

    async def rows(self, name: str) -> list[dict[str, Any]] | None:
        """The rows kept as *name*, or None when they are not there or cannot be read: call :meth:`sent` then too."""
        try:
            return msgspec.json.decode(await self._unpacked(name, ROWS_BYTES), type=list[dict[str, Any]])
        except (Unreadable, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _warn(f"object {name}", error)
            return None

    async def sent(self, name: str) -> None:
        """Forget the rows kept as *name*."""
        await self._objects.delete_object(name)

    async def _listing(self, name: str) -> Listing | None:
        packed = await self._objects.get_object(name)
        if packed is None:
            return None
        try:
            return decode(unpack(packed, SNAPSHOT_BYTES), Listing, _LISTING_FORMAT)
        except Unreadable as error:
            _warn(f"object {name}", error)
            return None

    async def _write(self, state: AccountState) -> AccountState:
        value = encode(msgspec.structs.replace(state, version=None))
        document = await self._store.write_document(_state_name(state.account), value, state.version)
        return msgspec.structs.replace(state, version=document.version)

    async def _unpacked(self, name: str, limit: int, digest: str = "") -> bytes:
        """What the object *name* holds, whose SHA-256 begins with *digest*. Raises :class:`Unreadable`."""
        try:
            packed = await self._objects.get_object(name)
        except ValueError as error:
            # A name out of a document that somebody altered.
            raise Unreadable(str(error)) from error
        if packed is None:
            raise Unreadable("it is gone")
        data = unpack(packed, limit)
        if not hashlib.sha256(data).hexdigest().startswith(digest):
            raise Unreadable("it does not match the digest in its name")
        return data


def _after(state: AccountState, snapshot: Snapshot) -> AccountState:
    """*state* once the account was read into *snapshot*; unchanged by one that is older, of a visit finished late."""
    if state.visited_at is not None and snapshot.taken_at < state.visited_at:
        return state
    return msgspec.structs.replace(
        state,
        visited_at=snapshot.taken_at,
        unread_since=(state.unread_since or snapshot.taken_at) if snapshot.unread else None,
        error="",
    )


def _texts_of(snapshot: Snapshot) -> set[str]:
    return {str(each.properties.get("sha256")) for each in snapshot.objects if each.kind == "RunbookContent"}


def _sequence_in(name: str) -> int:
    number = name.split("-")[2]
    return int(number) if number.isdecimal() else 0


def _state_name(account: AccountReference) -> str:
    return f"inventory/account/{account_key(account)}"


def _listing_name(subscription_id: str) -> str:
    key = subscription_id.lower()
    return f"{_LISTINGS}{key if _SUBSCRIPTION.fullmatch(key) else key_of(key)}"


def _warn(what: str, error: Exception) -> None:
    _log.warning("inventory: the %s counts as not there: %s", what, error)
