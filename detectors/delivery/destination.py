"""What every destination is: one file with a pure payload builder and one class that sends."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from detectors.model import Alert


class DeliveryError(Exception):
    """A destination did not take the alert.

    ``permanent`` means that sending the same thing again cannot help (a 400, a 410, a payload too large).
    ``retry_after`` is the destination's own wish in seconds. ``may_have_arrived`` means that the request went out and
    its answer was lost or ambiguous (a time-out, a reset, a 5xx), so that a further attempt may be a repeat. The
    message names the destination, the cause and the next step, and never holds a secret, a URL query or a response
    body beyond its first 300 characters.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        may_have_arrived: bool = False,
    ) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        self.permanent = permanent
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Receipt:
    """The destination's answer: ``remote_id`` is its name for what it received, if it gives one."""

    remote_id: str | None = None


@dataclasses.dataclass(frozen=True)
class RateLimit:
    """At most *count* sends in any *seconds*."""

    count: int
    seconds: float


class Destination(Protocol):
    """Where alerts go. ``name`` is unique within the app and is the key of the delivery state."""

    @property
    def name(self) -> str:
        """For example ``teams``, ``log-table``, ``webhook``."""

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        """Send one alert. Raises :class:`DeliveryError`.

        *possible_repeat* is True when an earlier attempt may have arrived without its outcome being recorded: a
        destination that cannot deduplicate says so in what it sends.
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""


@runtime_checkable
class UpdatingDestination(Destination, Protocol):
    """A destination that recognises an alert it has, and takes what was added to it since.

    Only such a destination gets an alert again when evidence was added after it was sent; for any other it would be a
    second alert.
    """

    @property
    def updates(self) -> bool:
        """Whether it does; a destination without this property does not."""


@runtime_checkable
class DigestingDestination(Destination, Protocol):
    """A destination that takes only so many messages, and several alerts in one message.

    When more is due than :attr:`limit` lets through, the outbox sends digests, each of which names every alert in it.
    """

    @property
    def limit(self) -> RateLimit:
        """How many messages, digests included, the destination takes."""

    @property
    def digest_size(self) -> int:
        """How many alerts one digest can name."""

    async def send_digest(self, alerts: Sequence[Alert], *, possible_repeats: frozenset[str]) -> Receipt:
        """Send one message that names every alert of *alerts*, worst first. Raises :class:`DeliveryError`.

        *possible_repeats* are ids of those that an earlier attempt may have brought already.
        """
