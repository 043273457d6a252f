"""The report of the newest run, kept as a document by runs that may overlap."""

from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from detectors.state.store import Conflict, Store, StoreUnavailable

_WRITES = 3


class Run(Protocol):
    """A msgspec struct that says of a run when it began."""

    @property
    def started_at(self) -> datetime: ...


_Run = TypeVar("_Run", bound=Run)


async def read_newest(store: Store, name: str, kind: type[_Run], what: str) -> _Run | None:
    """The newest *kind* that was kept as *name*, or None; *what* names it, such as ``heartbeat``.

    Raises :class:`StoreUnavailable`, also when a newer version of the detector wrote it.
    """
    document = await store.read_document(name)
    if document is None:
        return None
    try:
        return msgspec.json.decode(document.value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            f"The document {name!r} is not a {what} of this version of the detector ({error}). The next run writes it "
            "anew."
        ) from error


async def keep_newest(store: Store, name: str, run: Run) -> None:
    """Keep *run* as *name*, unless a run that began later has written its own.

    Raises :class:`StoreUnavailable`, and :class:`Conflict` when others write it again and again.
    """
    value = msgspec.json.encode(run)
    for attempt in range(1, _WRITES + 1):
        document = await store.read_document(name)
        if document and _started_at(document.value, type(run), run.started_at) > run.started_at:
            return
        try:
            await store.write_document(name, value, document.version if document else None)
        except Conflict:
            if attempt == _WRITES:
                raise
        else:
            return


def _started_at(value: bytes, kind: type[Run], otherwise: datetime) -> datetime:
    try:
        return msgspec.json.decode(value, type=kind).started_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return otherwise
