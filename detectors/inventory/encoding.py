"""How what the inventory keeps looks at rest, and by which names: pure functions."""

import hashlib
import zlib
from typing import Any, TypeVar

import msgspec

from detectors.inventory.snapshot import AccountReference, Snapshot
from detectors.state.encoding import storable

_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class Unreadable(Exception):
    """Stored bytes are not what their name says: cut, altered, or of another format. The message says which."""


class _Tag(msgspec.Struct):
    """What every format of every kind has."""

    format: int


def encode(value: Any) -> bytes:
    """*value* as JSON in UTF-8 with its keys in order: equal values give equal bytes.

    Never fails on what somebody named or wrote to make it fail: half a surrogate pair becomes U+FFFD, what is nested
    deeper than 100 levels a note, and a number that JSON lacks null. One such name would otherwise blind the detector
    for all of its account.
    """
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (UnicodeEncodeError, RecursionError):
        return msgspec.json.encode(storable(value), order="deterministic")


def as_stored(snapshot: Snapshot) -> Snapshot:
    """*snapshot* as it reads back: what is made of it now is what is made of it after a crash."""
    return msgspec.json.decode(encode(snapshot), type=Snapshot)


def decode(data: bytes, kind: type[_Kind], form: int) -> _Kind:
    """The *kind*, of the format *form*, that :func:`encode` wrote as *data*. Raises :class:`Unreadable`."""
    try:
        found = msgspec.json.decode(data, type=_Tag).format
        if found != form:
            raise Unreadable(f"it has format {found}, and this version of the detector reads format {form}")
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"it is no {kind.__name__}: {error}") from error


def pack(data: bytes) -> bytes:
    """*data* compressed, with a checksum."""
    return zlib.compress(data)


def unpack(packed: bytes, limit: int) -> bytes:
    """What :func:`pack` compressed, at most *limit* bytes of it. Raises :class:`Unreadable`."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise Unreadable(f"it cannot be unpacked: {error}") from error
    if len(data) > limit:
        raise Unreadable(f"it holds more than {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise Unreadable("it is cut short, or something follows its end")
    return data


def digest_of(data: bytes) -> str:
    """16 hexadecimal characters that change with *data*."""
    return hashlib.sha256(data).hexdigest()[:16]


def account_key(account: AccountReference) -> str:
    """32 hexadecimal characters that stand for *account* in names."""
    return key_of(account.id)


def key_of(text: str) -> str:
    """32 hexadecimal characters that stand for *text* in names."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def snapshot_id(snapshot: Snapshot) -> str:
    """``<account>-<sequence>``: what rows call *snapshot*. Only one of a number ever comes so far that it has rows."""
    return f"{account_key(snapshot.account)}-{snapshot.sequence:08d}"


def snapshot_name(snapshot: Snapshot, data: bytes | None = None) -> str:
    """``snapshot-<account>-<sequence>-<digest>``: the object that holds *snapshot*.

    The digest is over all of it, its time included, so that two readers of one account never write over each other's.
    *data* is its encoding, where that is at hand.
    """
    return f"snapshot-{snapshot_id(snapshot)}-{digest_of(encode(snapshot) if data is None else data)}"


def snapshot_prefix(account: AccountReference) -> str:
    """How the names of all snapshots of *account* begin; the rest of them is in order of sequence."""
    return f"snapshot-{account_key(account)}-"


def content_name(account: AccountReference, sha256: str) -> str:
    """``content-<account>-<sha256>``: the object that holds the text of a runbook."""
    return f"{content_prefix(account)}{sha256}"


def content_prefix(account: AccountReference) -> str:
    """How the names of all texts of *account* begin."""
    return f"content-{account_key(account)}-"
