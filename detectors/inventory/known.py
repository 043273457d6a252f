"""What a run knows of accounts and subscriptions: from the listing before it, the list of now, and its own visits."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from detectors.inventory.repository import ListedAccount, Listing
from detectors.inventory.snapshot import AccountReference


@dataclasses.dataclass(eq=False, kw_only=True)
class Account:
    """An account in one run."""

    listed: ListedAccount
    entry: Mapping[str, Any] | None = None
    """What the list says of it, as JSON; None while it is not in the list."""
    throttled: int = 0
    """How often Azure answered 429 to its visit."""
    visited: bool = False
    done: bool = False
    """Whether there is nothing more to do for it in this run: it was visited here, or another run is at it."""
    failed: bool = False
    gone: bool = False
    changes: int = 0

    @property
    def reference(self) -> AccountReference:
        """Which account it is."""
        return self.listed.account

    @property
    def known_since(self) -> datetime:
        """When it was last visited, or first listed: nothing later is known of it."""
        return self.listed.visited_at or self.listed.first_listed_at

    def rank(self, before_all: datetime) -> tuple[int, datetime, str]:
        """The lowest is visited first; *before_all* is earlier than any visit."""
        # By the last attempt, not only the last success: accounts whose visits always fail would else come first in
        # every run, and with enough of them no other is ever visited. In the same way, one that Azure throttles by
        # itself must not have its subscription's gate closed again before the others had their turn.
        tried = max(self.listed.visited_at or before_all, self.listed.attempted_at or before_all)
        return self.throttled, tried, self.reference.id

    def note(self, visited_at: datetime | None, attempted_at: datetime | None) -> None:
        """Remember times of a visit; never an earlier one in the place of a later."""
        self.listed = msgspec.structs.replace(
            self.listed,
            visited_at=_later(self.listed.visited_at, visited_at),
            attempted_at=_later(self.listed.attempted_at, attempted_at),
        )


class Subscription:
    """A subscription in one run; *before* is its stored listing."""

    def __init__(self, identifier: str, before: Listing | None) -> None:
        self.id = identifier
        self.known_before = before is not None
        self.accounts = {each.account.id: Account(listed=each) for each in before.accounts} if before else {}
        self.answered = False
        """Whether Azure has answered this run's question for its accounts, be it by a refusal."""
        self.listed = False
        """Whether this run has its complete list."""

    def take_in(self, found: Mapping[str, tuple[AccountReference, Mapping[str, Any]]], now: datetime) -> bool:
        """Merge the list of *now* into what was known; whether anything in it is new.

        Accounts that are not in the list stay, to be looked at one by one. What was known must be older than the
        list: the other way round, an account that another run saw being created would look deleted.
        """
        self.listed = True
        new = False
        for identifier, (reference, entry) in found.items():
            known = self.accounts.get(identifier)
            if known:
                known.listed, known.entry = msgspec.structs.replace(known.listed, account=reference), entry
            else:
                new = True
                listed = ListedAccount(account=reference, first_listed_at=now, known_scope=self.known_before)
                self.accounts[identifier] = Account(listed=listed, entry=entry)
        return new

    def merged(self, stored: Listing | None) -> tuple[ListedAccount, ...]:
        """What to store: what this run knows, beside what another run has stored meanwhile."""
        accounts = {each.account.id: each for each in stored.accounts} if stored else {}
        for identifier, account in self.accounts.items():
            if account.gone:
                accounts.pop(identifier, None)
            else:
                accounts[identifier] = _merged(account.listed, accounts.get(identifier))
        return tuple(accounts[identifier] for identifier in sorted(accounts))


def _merged(mine: ListedAccount, stored: ListedAccount | None) -> ListedAccount:
    if stored is None:
        return mine
    return msgspec.structs.replace(
        mine,
        first_listed_at=stored.first_listed_at,
        known_scope=stored.known_scope,
        visited_at=_later(mine.visited_at, stored.visited_at),
        attempted_at=_later(mine.attempted_at, stored.attempted_at),
    )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one and other else one or other
