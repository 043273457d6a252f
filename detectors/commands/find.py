"""Finding an alert by what a person has of its id."""

from detectors.commands.failure import CommandError
from detectors.delivery.outbox import DEAD_DUE
from detectors.model import Record
from detectors.state.store import Store, Stored

SHORTEST_PREFIX = 6
LISTED = 5_000
"""Records that a command looks through. Ids are listed by the store's index, so this bounds time, not correctness."""

_NAMED = 5


async def find(store: Store, text: str) -> Stored:
    """The record whose id is *text*, or begins with it among those that wait or are dead.

    Raises :class:`CommandError` when there is none or more than one, and
    :class:`detectors.state.store.StoreUnavailable`.
    """
    wanted = text.strip()
    if not (SHORTEST_PREFIX <= len(wanted) <= 200 and wanted.isascii() and wanted.isprintable()):
        raise CommandError(
            f"{text!r} is no id of an alert: write the whole id, or at least its first {SHORTEST_PREFIX} characters"
        )
    for spelling in dict.fromkeys((wanted, wanted.lower())):
        if stored := await store.read(spelling):
            return stored
    ids = await store.due(DEAD_DUE, LISTED)
    fitting = [record_id for record_id in ids if record_id.startswith(wanted.lower())]
    if len(fitting) > 1:
        more = f" and {len(fitting) - _NAMED} more" if len(fitting) > _NAMED else ""
        raise CommandError(
            f"{len(fitting)} alerts begin with {wanted}: {', '.join(fitting[:_NAMED])}{more}; write more of the id"
        )
    stored = await store.read(fitting[0]) if fitting else None
    if stored is None:
        limit = f" (of the first {LISTED:,})" if len(ids) >= LISTED else ""
        raise CommandError(
            f"no alert has the id {wanted}, and none of those that wait or are dead{limit} begins with it; an alert "
            "that was sent everywhere is found by its whole id: AlertId in the table, data.id in the webhook"
        )
    return stored


def title_of(record: Record) -> str:
    """The alert's title, or what can be said before triage has made one."""
    return record.alert.title if record.alert else "(not triaged yet)"
