"""Which subscriptions and automation accounts there are, as Azure Resource Manager lists and finds them."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from sandbox.accounts import Account


@dataclasses.dataclass(frozen=True)
class Subscription:
    """A subscription that the caller sees. ``state`` is Enabled, Warned, PastDue, Disabled or Deleted."""

    id: str
    display_name: str = "Contoso"
    state: str = "Enabled"


class Directory(Protocol):
    """What the Automation endpoint asks. Ids and names come in any case."""

    def subscriptions(self) -> Sequence[Subscription]:
        """All of them, in a stable order."""

    def accounts(self, subscription: str) -> Sequence[Account]:
        """The accounts of one subscription, in a stable order; what they hold is not looked at."""

    def account(self, subscription: str, resource_group: str, name: str) -> Account | None:
        """One account with everything in it."""


class AccountList:
    """A directory of accounts that stand in a list, which may grow and shrink while it is in use.

    A subscription is there as soon as an account is in it; :meth:`add` names others, and gives one another state.
    """

    def __init__(self) -> None:
        self.listed: list[Account] = []
        self._added: dict[str, Subscription] = {}

    def add(self, subscription: Subscription) -> None:
        """Add a subscription, or put it in the place of the one with its id."""
        self._added[subscription.id.casefold()] = subscription

    def subscriptions(self) -> list[Subscription]:
        """See :class:`Directory`."""
        found = {account.subscription.casefold(): Subscription(account.subscription) for account in tuple(self.listed)}
        return list((found | self._added).values())

    def accounts(self, subscription: str) -> list[Account]:
        """See :class:`Directory`."""
        return [account for account in tuple(self.listed) if _same(account.subscription, subscription)]

    def account(self, subscription: str, resource_group: str, name: str) -> Account | None:
        """See :class:`Directory`."""
        for account in self.accounts(subscription):
            if _same(account.resource_group, resource_group) and _same(account.name, name):
                return account
        return None


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
