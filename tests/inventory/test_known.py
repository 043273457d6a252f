"""What a run knows of accounts: the listing before it, the list of now, and what another run has stored meanwhile."""

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from detectors.inventory.known import Subscription
from detectors.inventory.repository import ListedAccount, Listing
from detectors.inventory.snapshot import AccountReference
from tests.inventory.virtual_time import START

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def reference(name: str, location: str = "westeurope") -> AccountReference:
    return AccountReference(subscription_id=SUBSCRIPTION, resource_group="rg-ops", name=name, location=location)


def listed(name: str, **more: Any) -> ListedAccount:
    return ListedAccount(account=reference(name), **{"first_listed_at": at(0), **more})


def listing(*accounts: ListedAccount) -> Listing:
    return Listing(subscription_id=SUBSCRIPTION, listed_at=at(0), accounts=accounts)


def found(*references: AccountReference) -> dict[str, tuple[AccountReference, dict[str, Any]]]:
    return {each.id: (each, {"name": each.name}) for each in references}


def test_a_list_is_merged_into_what_was_known() -> None:
    subscription = Subscription(SUBSCRIPTION, listing(listed("a", visited_at=at(1)), listed("b", known_scope=True)))
    assert subscription.take_in(found(reference("A", "northeurope"), reference("c")), at(5))
    accounts = {each.reference.name: each for each in subscription.accounts.values()}
    assert accounts["A"].listed == replace(listed("a", visited_at=at(1)), account=reference("A", "northeurope"))
    assert accounts["A"].entry == {"name": "A"}
    assert (accounts["b"].listed, accounts["b"].entry) == (listed("b", known_scope=True), None)
    assert accounts["c"].listed == listed("c", first_listed_at=at(5), known_scope=True)


def test_a_list_with_nothing_new_says_so() -> None:
    subscription = Subscription(SUBSCRIPTION, listing(listed("a"), listed("b")))
    assert not subscription.take_in(found(reference("a")), at(5))
    assert subscription.listed


def test_the_first_list_of_a_subscription_makes_no_account_a_new_one() -> None:
    subscription = Subscription(SUBSCRIPTION, None)
    assert subscription.take_in(found(reference("a")), at(5))
    assert subscription.merged(None) == (listed("a", first_listed_at=at(5)),)


def test_what_another_run_has_stored_meanwhile_stays() -> None:
    subscription = Subscription(SUBSCRIPTION, listing(listed("a")))
    subscription.take_in(found(reference("a"), reference("c")), at(5))
    stored = listing(
        listed("a", visited_at=at(4), attempted_at=at(9)),
        listed("b", first_listed_at=at(3), known_scope=True),
        listed("c", first_listed_at=at(4), visited_at=at(8)),
    )
    account = subscription.accounts[reference("a").id]
    account.note(at(6), at(7))
    subscription.accounts[reference("c").id].note(at(6), None)
    assert subscription.merged(stored) == (
        listed("a", visited_at=at(6), attempted_at=at(9)),
        listed("b", first_listed_at=at(3), known_scope=True),
        # Whoever saw it first says when that was, and whether its subscription was known by then.
        listed("c", first_listed_at=at(4), visited_at=at(8)),
    )


def test_an_account_that_is_gone_is_not_kept_whoever_had_it() -> None:
    subscription = Subscription(SUBSCRIPTION, listing(listed("a"), listed("b")))
    subscription.accounts[reference("a").id].gone = True
    assert subscription.merged(listing(listed("a"), listed("b"))) == (listed("b"),)
    assert subscription.merged(None) == (listed("b"),)


def test_times_never_go_back() -> None:
    account = Subscription(SUBSCRIPTION, listing(listed("a", visited_at=at(5)))).accounts[reference("a").id]
    account.note(at(3), at(4))
    assert (account.listed.visited_at, account.listed.attempted_at) == (at(5), at(4))
    account.note(None, None)
    assert (account.listed.visited_at, account.listed.attempted_at) == (at(5), at(4))
    assert account.known_since == at(5)


def test_the_last_attempt_decides_whose_turn_it_is_and_throttling_before_that() -> None:
    before = listing(
        listed("never"),
        listed("old", visited_at=at(1), attempted_at=at(2)),
        listed("failing", visited_at=at(0), attempted_at=at(9)),
        listed("throttled"),
    )
    subscription = Subscription(SUBSCRIPTION, before)
    subscription.accounts[reference("throttled").id].throttled = 1
    order = sorted(subscription.accounts.values(), key=lambda each: each.rank(at(-1_000)))
    assert [each.reference.name for each in order] == ["never", "old", "failing", "throttled"]
