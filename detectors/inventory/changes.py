"""How two snapshots of an account differ. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from detectors.inventory.encoding import as_stored, encode
from detectors.inventory.snapshot import InventoryObject, Snapshot, in_order

ChangeType = Literal["Added", "Modified", "Removed", "Baseline"]

JOB = "Job"
"""Kind of the changes that are events: a job is added, and never removed."""

_ID_CHARACTERS = 32


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One object that differs between two snapshots, or a job that the newer one found.

    ``id`` is the same for the same change, however often two snapshots are compared and whatever else is in them.
    ``before`` and ``after`` are the object's properties in the older and the newer snapshot. ``changed`` are the names
    of those that differ, in order; ``name`` among them when the object's name does. ``name`` is the newer one.
    """

    id: str
    change_type: ChangeType
    kind: str
    object_id: str
    name: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    changed: tuple[str, ...] = ()


def changes(before: Snapshot | None, after: Snapshot, *, known_scope: bool = False) -> tuple[Change, ...]:
    """What differs between *before* and *after*, in order of kind and id; the jobs of *after* come last.

    Without *before* every object is Baseline: it may have been there for years. With *known_scope* the account itself
    is Added, because its subscription had been listed without it. Objects of a section that *after* could not read
    are those of *before* (see :class:`Snapshot`), so nothing is said of them; those that no snapshot before could
    have held are Baseline when they are read at last.
    """
    jobs = _by_key(after.jobs)
    added = (_added_job(jobs[key]) for key in sorted(jobs))
    # What nearly every visit finds: worth a tenth of the time that comparing one by one takes.
    if before and encode(before.objects) == encode(after.objects):
        return tuple(added)
    return (*_differences(before, after, known_scope=known_scope), *added)


def replay(objects: Iterable[InventoryObject], differences: Iterable[Change]) -> tuple[InventoryObject, ...]:
    """*objects* as they are once *differences* have happened: what :func:`changes` compared them with, in order."""
    state = _by_key(objects)
    for change in differences:
        key = (change.kind, change.object_id)
        if change.kind == JOB:
            continue
        if change.after is None:
            state.pop(key, None)
        else:
            state[key] = InventoryObject(
                kind=change.kind, name=change.name, id=change.object_id, properties=change.after
            )
    return in_order(list(state.values()))


def _differences(before: Snapshot | None, after: Snapshot, *, known_scope: bool) -> Iterator[Change]:
    # As they read back: what JSON cannot hold would else differ from what it is stored as at every visit.
    old = _by_key(as_stored(before).objects if before else ())
    new = _by_key(as_stored(after).objects)
    sequence = before.sequence if before else 0
    first_read = set(after.first_read)
    for key, shown in sorted((old | new).items()):
        was, now = old.get(key), new.get(key)
        change_type: ChangeType = "Modified"
        if was is None:
            unknown = key in first_read if before else not (known_scope and shown.kind == "Account")
            change_type = "Baseline" if unknown else "Added"
        elif now is None:
            change_type = "Removed"
        elif encode(was) == encode(now):
            # Not "==": True equals 1 in Python.
            continue
        yield Change(
            id=_digest(after.account.id, shown.kind, shown.id, sequence, was, now),
            change_type=change_type,
            kind=shown.kind,
            object_id=shown.id,
            name=shown.name,
            before=was.properties if was else None,
            after=now.properties if now else None,
            changed=_changed(was, now) if was and now else (),
        )


def _by_key(objects: Iterable[InventoryObject]) -> dict[tuple[str, str], InventoryObject]:
    return {(each.kind, each.id): each for each in objects}


def _added_job(job: InventoryObject) -> Change:
    # Nothing but its id: a job that is listed again has another status by then and is the same execution.
    return Change(
        id=_digest(JOB, job.id), change_type="Added", kind=JOB, object_id=job.id, name=job.name, after=job.properties
    )


def _changed(was: InventoryObject, now: InventoryObject) -> tuple[str, ...]:
    names = {
        name
        for name in was.properties.keys() | now.properties.keys()
        if (name in was.properties) != (name in now.properties)
        or encode(was.properties[name]) != encode(now.properties[name])
    }
    return tuple(sorted(names | {"name"} if encode(was.name) != encode(now.name) else names))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(encode(parts)).hexdigest()[:_ID_CHARACTERS]
