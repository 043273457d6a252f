"""``status``: the detector's health at a glance."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from detectors.app import Detector
from detectors.condition import Backlog, Progress, collect_backlog, problems_of, read_progress
from detectors.heartbeat import Heartbeat, read_last

_LOOKED_AT = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """How far each rule has read, what waits, and why that is not healthy (``problems``; empty when it is)."""

    now: datetime
    healthy: bool
    problems: tuple[str, ...]
    progress: tuple[Progress, ...]
    backlog: Backlog
    last_heartbeat: Heartbeat | None
    destinations: tuple[str, ...]


async def status(detector: Detector, *, workspaces: Sequence[str], now: datetime) -> Status:
    """Read the state of *detector*. Raises :class:`detectors.state.store.StoreUnavailable`."""
    progress = await read_progress(detector.store, detector.hunted, workspaces)
    backlog = await collect_backlog(detector.store, now, listed=_LOOKED_AT, reads=_LOOKED_AT)
    problems = problems_of(progress, backlog, now)
    return Status(
        now=now,
        healthy=not problems,
        problems=problems,
        progress=progress,
        backlog=backlog,
        last_heartbeat=await read_last(detector.store),
        destinations=tuple(destination.name for destination in detector.destinations),
    )
