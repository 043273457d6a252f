"""The life of one delivery, as pure steps: claimed, then sent, failed, deferred or dead; and when to look again."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from detectors.delivery.destination import DeliveryError
from detectors.model import Delivery, DeliveryState

LEASE = timedelta(minutes=5)
"""Longer than triage and one round of sends can take, both of which have time limits of their own."""
GIVE_UP_AFTER = timedelta(days=1)
DEAD_DUE = datetime(9999, 1, 1, tzinfo=UTC)
"""``due`` of a record with a dead delivery: never reached, but the store's index still lists the record."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_FIRST_RETRY = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(minutes=15)
_LONGEST_RETRY_AFTER = timedelta(hours=1)


def new(now: datetime) -> Delivery:
    """A delivery that is due at once."""
    return Delivery(next_attempt=now, pending_since=now)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Whether a deliverer may claim it now: pending, its time has come, and nobody holds it."""
    return delivery.state is DeliveryState.PENDING and _due(delivery) <= now


def claimed(delivery: Delivery, now: datetime) -> Delivery:
    """Held by one deliverer, who is about to send."""
    return replace(
        delivery,
        attempts=delivery.attempts + 1,
        claimed_until=now + LEASE,
        started_at=now,
        # The holder sends the alert as it is stored with this claim.
        outdated=False,
    )


def sent(before: Delivery, now: datetime, remote_id: str | None) -> Delivery:
    """The outcome of an attempt that arrived; *before* is the delivery before its claim."""
    return replace(
        before,
        state=DeliveryState.SENT,
        attempts=before.attempts + 1,
        next_attempt=None,
        claimed_until=None,
        started_at=None,
        sent_at=now,
        remote_id=remote_id,
        error=None,
    )


def failed(before: Delivery, now: datetime, error: DeliveryError, jitter: float) -> Delivery:
    """The outcome of an attempt that did not arrive, or of which nobody knows.

    Dead when the refusal is for good or a day has passed; else tried again later. What may have arrived keeps its
    mark, so that a repeat says that it may be one.
    """
    attempts = before.attempts + 1
    outcome = replace(
        before,
        attempts=attempts,
        claimed_until=None,
        started_at=(before.started_at or now) if error.may_have_arrived else before.started_at,
        error=str(error),
    )
    if error.permanent or now - (before.pending_since or now) >= GIVE_UP_AFTER:
        return replace(outcome, state=DeliveryState.DEAD, next_attempt=None)
    return replace(outcome, next_attempt=next_attempt(now, attempts, error.retry_after, jitter))


def deferred(before: Delivery, until: datetime) -> Delivery:
    """Not attempted: the destination's rate or its breaker does not let it through before *until*."""
    return replace(before, claimed_until=None, next_attempt=until)


def renewed(delivery: Delivery, now: datetime, *, updates: bool) -> Delivery:
    """*delivery* of an alert that was updated since, without its mark.

    One that arrived is pending again where the destination *updates*, with a new day to arrive. One that waits, or is
    dead, takes the newer alert along by itself. One that is being sent keeps its mark for whoever records the outcome.
    """
    if not delivery.outdated or (delivery.claimed_until is not None and delivery.claimed_until > now):
        return delivery
    if delivery.state is not DeliveryState.SENT or not updates:
        return replace(delivery, outdated=False)
    return replace(
        delivery, state=DeliveryState.PENDING, attempts=0, next_attempt=now, pending_since=now, outdated=False
    )


def revive(delivery: Delivery, now: datetime) -> Delivery:
    """A dead delivery, pending again: attempts and error are kept for its history, a new day begins."""
    if delivery.state is not DeliveryState.DEAD:
        return delivery
    return replace(delivery, state=DeliveryState.PENDING, next_attempt=now, claimed_until=None, pending_since=now)


def next_attempt(now: datetime, attempts: int, retry_after: float | None, jitter: float) -> datetime:
    """When to try again after *attempts* failures: 30 s doubling to 15 min, +-20 % by *jitter* (0 to 1).

    A destination's own ``Retry-After`` (seconds) is honoured up to an hour.
    """
    doublings: int = min(attempts - 1, 10)
    wait = min(_FIRST_RETRY * (1 << doublings), _LONGEST_RETRY) * (0.8 + 0.4 * jitter)
    if retry_after is not None:
        wait = max(wait, min(timedelta(seconds=retry_after), _LONGEST_RETRY_AFTER))
    return now + wait


def next_due(deliveries: Mapping[str, Delivery]) -> datetime | None:
    """When somebody has to look at the record again; None when every delivery is sent, as the alert now is."""
    waiting = [_due(each) for each in deliveries.values() if each.state is DeliveryState.PENDING]
    waiting += [each.sent_at or _NEVER for each in deliveries.values() if _is_outdated(each)]
    if waiting:
        return min(waiting)
    return DEAD_DUE if any(each.state is DeliveryState.DEAD for each in deliveries.values()) else None


def _is_outdated(delivery: Delivery) -> bool:
    return delivery.outdated and delivery.state is DeliveryState.SENT


def _due(delivery: Delivery) -> datetime:
    return max(delivery.next_attempt or _NEVER, delivery.claimed_until or _NEVER)
