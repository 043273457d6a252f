"""Which time a run of a rule covers. Pure: the clock and the watermark come in, windows go out."""

import dataclasses
from datetime import datetime, timedelta

import msgspec

_CLOCK_SKEW = timedelta(minutes=10)


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """How far one rule has read one workspace, and how it is doing.

    ``end`` is the end of the last window whose result was complete and whose every match is stored.
    """

    end: datetime
    failures: int = 0
    """Runs that failed since the last one that succeeded."""
    failing_since: datetime | None = None
    error: str | None = None
    waiting_for: str | None = None
    """What the workspace lacks, such as ``the table AzureDiagnostics``; the rule is not run before ``retry_at``."""
    waiting_since: datetime | None = None
    retry_at: datetime | None = None
    waiting_query: str | None = None
    """Fingerprint of the query that was refused: another one is tried at once."""
    quiet_since: datetime | None = None
    """Set with ``quiet_until`` while, and after, the rule is suppressed: what happened in between is not reported."""
    quiet_until: datetime | None = None


@dataclasses.dataclass(frozen=True)
class Window:
    """Rows with ``start <= TimeGenerated <= end``; done, it moves the watermark to ``end``."""

    start: datetime
    end: datetime
    quiet: tuple[datetime, datetime] | None = None
    """Rows whose time lies in between are not reported: the rule was suppressed then."""


def plan(
    watermark: Watermark | None,
    *,
    now: datetime,
    period: timedelta,
    overlap: timedelta,
    longest: timedelta,
    initial: timedelta,
) -> tuple[Window, ...]:
    """The windows of one run, oldest first.

    Each reaches *overlap* back before the window before it, because rows arrive 3 to 20 minutes late, and never
    covers less than *period*, the time that the rule's query is written for. After an outage the gap is covered in
    windows that move the watermark by at most *longest*, so a long gap does not become one query that the service
    cuts off.
    """
    done = watermark.end if watermark else now - initial
    if done > now:
        # A clock that went back. A little is skew between machines; more is a watermark from a wrong clock, and
        # trusting it would leave everything until then unread.
        done = now if done - now <= _CLOCK_SKEW else now - max(period, overlap, initial)
    windows = []
    while True:
        end = min(done + longest, now)
        windows.append(Window(start=min(done - overlap, end - period), end=end))
        if end >= now:
            return tuple(windows)
        done = end


def sweep(*, now: datetime, period: timedelta, lookback: timedelta) -> Window:
    """The window of the hourly sweep for rows that arrived later than any overlap."""
    return Window(start=now - max(period, lookback), end=now)
