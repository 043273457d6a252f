"""Whose turn it is: what waits, lowest rank first, past the gates of the subscriptions that Azure throttles.

A 429 of Azure Resource Manager is about one subscription. So each has a gate of its own: while it is closed, what waits
behind it is passed over, and everything else goes on at its own pace.
"""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

DEFAULT_WAIT = 30.0
"""Seconds that a gate stays closed after a 429 that does not say for how long."""
SHORTEST_WAIT = 1.0
"""Seconds; a ``Retry-After`` of 0 would else have the same request sent again and again."""

_Item = TypeVar("_Item")


class Gates(Generic[_Item]):
    """What waits, behind one gate for each subscription. Ids of subscriptions are told apart without their case.

    :param clock: the time, with a time zone.
    :param end: when the run gives up. A gate that is closed until then or longer does not open any more.
    """

    def __init__(self, *, clock: Callable[[], datetime], end: datetime) -> None:
        self._clock = clock
        self._end = end
        self._closed: dict[str, datetime] = {}
        self._waiting: dict[str, list[tuple[Any, int, _Item]]] = {}
        # Two of one rank go in the order in which they came, and are never compared.
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    @property
    def throttled(self) -> tuple[str, ...]:
        """Every subscription whose gate was closed, open again or not, in the order of their ids."""
        return tuple(sorted(self._closed))

    def add(self, subscription_id: str, rank: Any, item: _Item) -> None:
        """Let *item* wait. Ranks are compared with each other; the lowest goes first."""
        heapq.heappush(self._waiting.setdefault(subscription_id.casefold(), []), (rank, next(self._numbers), item))

    def take(self) -> _Item | None:
        """What goes next, taken out; None when nothing waits or every gate that it waits behind is closed."""
        now = self._clock()
        heads = [
            (waiting[0], subscription)
            for subscription, waiting in self._waiting.items()
            if waiting and self._opening(subscription) <= now
        ]
        if not heads:
            return None
        return heapq.heappop(self._waiting[min(heads)[1]])[2]

    def close(self, subscription_id: str, seconds: float | None) -> None:
        """Close the gate for *seconds*, what ``Retry-After`` said; None when it said nothing.

        A gate that is closed for longer already stays so.
        """
        wait = DEFAULT_WAIT if seconds is None else max(seconds, SHORTEST_WAIT)
        # A wait that no clock can add is one until the end.
        left = max((self._end - self._clock()).total_seconds(), 0.0)
        until = self._clock() + timedelta(seconds=min(wait, left))
        self._closed[subscription_id.casefold()] = max(until, self._opening(subscription_id.casefold()))

    def next_opening(self) -> datetime | None:
        """When the first of the gates opens that something waits behind; None when none does before the end."""
        openings = [self._opening(subscription) for subscription, waiting in self._waiting.items() if waiting]
        return min((opening for opening in openings if opening < self._end), default=None)

    def left(self) -> list[_Item]:
        """What still waits, in no order."""
        return [item for waiting in self._waiting.values() for _, _, item in waiting]

    def _opening(self, subscription: str) -> datetime:
        return self._closed.get(subscription, datetime.min.replace(tzinfo=self._end.tzinfo))
