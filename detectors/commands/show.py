"""``show``: one stored alert, whole."""

import dataclasses

from detectors.app import Detector
from detectors.commands.find import find
from detectors.model import Record


@dataclasses.dataclass(frozen=True)
class Shown:
    """A record as it is stored."""

    record: Record


async def show(detector: Detector, text: str) -> Shown:
    """The alert of the id, or the beginning of an id, *text*.

    Raises :class:`detectors.commands.failure.CommandError` and :class:`detectors.state.store.StoreUnavailable`.
    """
    return Shown((await find(detector.store, text)).record)
