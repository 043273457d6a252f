"""How records, keys and documents look at rest: pure functions that both stores share."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from detectors.model import Record
from detectors.state.store import Stored, StoreUnavailable

DOCUMENT_LIMIT = 32 * 1024
"""Bytes that a document may hold: half of what one binary property of an Azure Table takes."""

NAME_LIMIT = 200
"""Characters of a record id or a document name."""

_KEY_LIMIT = 400
# Far below the 1,024 characters that a table key and a blob name take, because a blob name adds a file name.

_NESTING_LIMIT = 100
# Azure's dynamic columns are a handful of levels deep; only a hostile value is deeper.

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSAFE = re.compile(rb"[^A-Za-z0-9-]")


class RecordUnreadable(StoreUnavailable):
    """One stored record cannot be read back (altered, truncated, or of another version); the others can.

    A caller that walks many records logs it and goes on to the next: waiting does not repair it.
    """


def encode_record(record: Record) -> bytes:
    """*record* as JSON in UTF-8.

    Never fails on hostile text: half a surrogate pair (left by software that cuts UTF-16 text in the middle of a
    character) becomes U+FFFD, and what is nested deeper than 100 levels is replaced by a note. A row that could
    not be stored would hold back the watermark for ever, which is what an attacker would want.

    Raises ``ValueError`` for an id that :func:`check_name` refuses and for a ``due`` or ``created_at`` that is not
    aware of its time zone.
    """
    check_name(record.id, "record id")
    check_aware(record.created_at, "created_at")
    if record.due is not None:
        check_aware(record.due, "due")
    try:
        return msgspec.json.encode(record)
    except (UnicodeEncodeError, RecursionError):
        return msgspec.json.encode(storable(record))


def decode_record(data: bytes, where: str) -> Record:
    """The record that :func:`encode_record` wrote; *where* names its place in the error.

    Raises :class:`RecordUnreadable`.
    """
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordUnreadable(
            f"{where} is not a record of this version of the detector ({error}). It was altered, or a newer version "
            "wrote it: deploy that version again, or delete this one record after saving a copy."
        ) from error


def storage_key(name: str) -> str:
    """*name* as a table key, blob folder and nothing else: ASCII letters, digits, ``-`` and ``_`` only.

    Azure forbids ``/ \\ # ?`` and control characters in table keys, and URL libraries fold ``..`` in blob names.
    Every other byte of the UTF-8 text becomes ``_XX``: unlike ``%XX`` no proxy decodes it, and it stays readable.
    A name that would grow beyond 400 characters becomes its SHA-256. Two names never share a key.
    """
    data = name.encode("utf-8", "surrogatepass")
    key = _UNSAFE.sub(lambda match: b"_%02X" % match[0][0], data).decode("ascii")
    if len(key) <= _KEY_LIMIT:
        return key
    # "_sha" cannot come out of the escaping above, where two hexadecimal digits follow each underscore.
    return f"_sha256-{sha256(data)}"


def sha256(data: bytes) -> str:
    """The SHA-256 of *data* in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_name(name: str, what: str) -> None:
    """Raise ``ValueError`` unless *name* has 1 to 200 characters, none of them a control character."""
    if not 0 < len(name) <= NAME_LIMIT:
        raise ValueError(f"A {what} has 1 to {NAME_LIMIT} characters; this one has {len(name)}: {name[:50]!r}")
    if _CONTROL.search(name):
        raise ValueError(f"A {what} must not hold control characters or lone surrogates: {name!r}")


def check_document(name: str, value: bytes) -> None:
    """Raise ``ValueError`` unless *name* and *value* fit a document."""
    check_name(name, "document name")
    if len(value) > DOCUMENT_LIMIT:
        raise ValueError(
            f"Document {name!r} has {len(value)} bytes; at most {DOCUMENT_LIMIT} fit. Store less, or split it by name."
        )


def check_aware(value: datetime, what: str) -> None:
    """Raise ``ValueError`` unless *value* knows its time zone: a naive time would be read as the host's."""
    if value.utcoffset() is None:
        raise ValueError(f"{what} must be aware of its time zone (use UTC), not {value!r}")


def check_same(stored: Stored, record: Record) -> None:
    """Raise ``ValueError`` unless *record* has the id of *stored*."""
    if stored.record.id != record.id:
        raise ValueError(f"Record {record.id!r} cannot take the place of {stored.record.id!r}: replace keeps the id")


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def storable(value: Any, depth: int = 0) -> Any:
    """*value* without what JSON cannot hold: lone surrogates are replaced, nesting beyond a limit is cut."""
    if isinstance(value, str):
        # Two halves that belong together are joined first; only a lone one is replaced.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if depth > _NESTING_LIMIT and isinstance(value, dict | list | tuple):
        return f"(nested deeper than {_NESTING_LIMIT} levels: not stored)"
    if isinstance(value, msgspec.Struct):
        return {name: storable(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {storable(key, depth + 1): storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, depth + 1) for item in value]
    return value
