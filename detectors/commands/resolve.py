"""``resolve``: say at the destinations that keep incidents that one is over."""

import dataclasses
import re
from typing import Protocol, runtime_checkable

from detectors.app import Detector
from detectors.commands.failure import CommandError
from detectors.commands.find import find
from detectors.delivery.destination import DeliveryError, Destination

_KEY = re.compile(r"[0-9a-f]{32}")


@runtime_checkable
class ResolvingDestination(Destination, Protocol):
    """A destination that keeps one incident for each story and can close it."""

    async def resolve(self, key: str) -> object:
        """Close the incident of the story *key*. Raises :class:`DeliveryError`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolution:
    """Where the story ``key`` was resolved, where that is not possible, and where it failed and why."""

    key: str
    alert: str | None
    """Title of the alert by which it was found; None when the key itself was given."""
    resolved: tuple[str, ...]
    cannot: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    """(destination, cause)."""


async def resolve(detector: Detector, text: str) -> Resolution:
    """Resolve the story that *text* is the key of, or that the alert of the id *text* belongs to.

    Raises :class:`CommandError` and :class:`detectors.state.store.StoreUnavailable`.
    """
    key, title = await _key_of(detector, text)
    resolved: list[str] = []
    cannot: list[str] = []
    failed: list[tuple[str, str]] = []
    for destination in detector.destinations:
        if not isinstance(destination, ResolvingDestination):
            cannot.append(destination.name)
            continue
        try:
            await destination.resolve(key)
        except DeliveryError as error:
            failed.append((destination.name, str(error)))
        else:
            resolved.append(destination.name)
    return Resolution(key=key, alert=title, resolved=tuple(resolved), cannot=tuple(cannot), failed=tuple(failed))


async def _key_of(detector: Detector, text: str) -> tuple[str, str | None]:
    key = text.strip().lower()
    # A story's key looks like an alert's id, so whether it is one is asked first.
    if _KEY.fullmatch(key) and not await detector.store.exists(key):
        return key, None
    record = (await find(detector.store, text)).record
    if record.alert is None:
        raise CommandError(f"{record.id} is not triaged yet, so nothing was sent that could be resolved")
    return record.alert.story or record.alert.id, record.alert.title
