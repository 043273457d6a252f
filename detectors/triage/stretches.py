"""Stretches: since when something about the detector has been wrong, so that one stretch is one alert."""

import logging
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from detectors.state.store import Conflict, Store

_log = logging.getLogger(__name__)

CALM = timedelta(hours=1)
"""What is wrong again within this time was never right: a number that wavers around its limit is one stretch."""

_ROUNDS = 5


class _Stretch(msgspec.Struct, frozen=True, kw_only=True):
    since: Annotated[datetime, msgspec.Meta(tz=True)]
    right_since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


async def stretch(store: Store, name: str, now: datetime, *, wrong: bool) -> datetime | None:
    """Note in the document *name* whether something is *wrong* now; since when it has been, None when it is not.

    Writes only when that changes. Raises :class:`detectors.state.store.StoreUnavailable`; the call may be repeated.
    """
    known: _Stretch | None = None
    for _ in range(_ROUNDS):
        document = await store.read_document(name)
        known = _decoded(name, document.value) if document else None
        if known and known.right_since and now - known.right_since >= CALM:
            known = None
        if not wrong:
            if known is None or known.right_since:
                return None
            after = msgspec.structs.replace(known, right_since=now)
        elif known and known.right_since is None:
            return known.since
        else:
            after = msgspec.structs.replace(known, right_since=None) if known else _Stretch(since=now)
        try:
            await store.write_document(name, msgspec.json.encode(after), document.version if document else None)
        except Conflict:
            continue
        return after.since if wrong else None
    # Others write it at every moment: they see the same, and say it.
    return known.since if known and wrong else None


def _decoded(name: str, value: bytes) -> _Stretch | None:
    try:
        return msgspec.json.decode(value, type=_Stretch)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("the document %s is not of this version and is written anew: %s", name, error)
        return None
