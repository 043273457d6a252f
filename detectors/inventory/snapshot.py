"""What the inventory keeps of an automation account: its objects, as the Automation API listed them."""

import hashlib
from datetime import datetime
from typing import Any

import msgspec

FORMAT = 1
"""Of stored snapshots. A snapshot of another format is no base for comparing: the account is read as if new."""


class AccountReference(msgspec.Struct, frozen=True, kw_only=True):
    """An automation account, in the case in which Azure lists it."""

    subscription_id: str
    resource_group: str
    name: str
    location: str = ""

    @property
    def id(self) -> str:
        """Its resource id in lower case: the key of everything that is kept about it."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Automation/automationAccounts/{self.name}"
        ).lower()


class InventoryObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object of an account.

    ``kind`` is a value of the column ObjectType of AutomationInventory_CL. ``id`` is its resource id in lower case,
    unique in the account. ``properties`` are JSON values by the API's own names, without anything that changes by
    itself and without any secret.
    """

    kind: str
    name: str
    id: str
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of an account. Immutable once stored; ``sequence`` counts the stored snapshots of an account from 1.

    ``objects`` are in order of kind and id. ``unread`` names the sections that could not be read, with the reason;
    their objects are those of the snapshot before. ``jobs`` are the jobs that no snapshot before had: events and no
    state, so no change is made of their absence. ``seen_jobs`` are the ids of all jobs that may be listed again, and
    ``jobs_read_at`` is when jobs were last listed: the next list goes on from there.
    """

    format: int = FORMAT
    account: AccountReference
    sequence: int
    taken_at: datetime
    objects: tuple[InventoryObject, ...] = ()
    unread: dict[str, str] = msgspec.field(default_factory=dict)
    jobs: tuple[InventoryObject, ...] = ()
    seen_jobs: tuple[str, ...] = ()
    jobs_read_at: datetime | None = None
    never_read: tuple[str, ...] = ()
    """Of ``unread``, the sections that no reading so far could read."""
    first_read: tuple[tuple[str, str], ...] = ()
    """(kind, id) of objects that were found now because they could not be read in any snapshot before, such as those of
    a section that was in its ``never_read``. They were there already for all that is known: a base line, no change."""

    @property
    def digest(self) -> str:
        """SHA-256 of the objects, in hexadecimal: the same for the same state of the account, whenever it was read."""
        return hashlib.sha256(msgspec.json.encode(self.objects, order="deterministic")).hexdigest()


def in_order(objects: "tuple[InventoryObject, ...] | list[InventoryObject]") -> tuple[InventoryObject, ...]:
    """*objects* as :attr:`Snapshot.objects` holds them. Of two with one kind and id the last stands."""
    return tuple(each for _, each in sorted({(each.kind, each.id): each for each in objects}.items()))
