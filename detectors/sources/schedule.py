"""When a rule runs and over which windows. Pure: rule, watermark and time come in, windows go out.

A rule whose rows are matches by themselves reads with overlap and is swept, because identity removes repeats. A rule
that counts (it aggregates, or its trigger is a number of rows) would count a row twice in two overlapping windows,
so it runs as Microsoft Sentinel runs it: over exactly ``queryPeriod``, ending at the run.
"""

import dataclasses
import hashlib
from datetime import datetime, timedelta
from typing import Final

from detectors.kql.traits import aggregates
from detectors.rule import Rule
from detectors.sources.windows import Watermark, Window, plan

HUNT_EVERY: Final = timedelta(minutes=5)
"""The hunt's timer; a rule that wants to run as often runs at each hunt."""
RETRY_AFTER: Final = timedelta(days=1)
"""How long a rule that waits for a table, column or function is left alone."""
MOST_STEPS: Final = 24
"""Windows in which a counting rule makes up for an outage; older ones are passed over and said so."""
_JITTER: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_CLOCK_SKEW: Final = timedelta(minutes=10)


@dataclasses.dataclass(frozen=True)
class Turn:
    """What a rule does in one run. Without ``windows`` it is not its turn."""

    windows: tuple[Window, ...] = ()
    waiting: bool = False
    """Whether it waits for what the workspace lacks."""
    passed_over: int = 0
    """Steps of an outage that are not made up for."""


def turn(
    rule: Rule,
    watermark: Watermark | None,
    *,
    now: datetime,
    overlap: timedelta,
    longest: timedelta,
    initial: timedelta,
    sweep_lookback: timedelta,
) -> Turn:
    """The windows that *rule* reads in the run that began at *now*, oldest first."""
    if watermark is not None:
        if is_waiting(watermark, rule, now):
            return Turn(waiting=True)
        if watermark.quiet_until is not None and now < watermark.quiet_until:
            return Turn()
        if not _is_due(rule, watermark, now):
            return Turn()
        if watermark.quiet_until is not None and watermark.end < watermark.quiet_until <= now:
            # Suppressed time counts as read: Sentinel does not go back for it either.
            watermark = Watermark(
                end=watermark.quiet_until, quiet_since=watermark.quiet_since, quiet_until=watermark.quiet_until
            )
    if counts(rule):
        return _steps(rule, watermark, now)
    if rule.query_frequency > _HOUR:
        # The hourly sweep would make it an hourly rule, so it re-reads as far at its own, rarer runs.
        overlap = max(overlap, sweep_lookback)
    windows = plan(
        watermark,
        now=now,
        period=rule.query_period,
        overlap=overlap,
        longest=max(longest, 2 * rule.query_frequency),
        initial=initial,
    )
    if watermark is not None and watermark.quiet_since is not None and watermark.quiet_until is not None:
        quiet = (watermark.quiet_since, watermark.quiet_until)
        windows = tuple(dataclasses.replace(window, quiet=quiet) for window in windows)
    return Turn(windows)


def counts(rule: Rule) -> bool:
    """Whether what *rule* finds depends on which rows are in the window together."""
    return not rule.takes_any_row or (not rule.detector.identity and aggregates(rule.query))


def is_swept(rule: Rule) -> bool:
    """Whether the hourly sweep reads *rule* again.

    Not one that counts, not one that is suppressed at times (the sweep would report what suppression kept quiet), and
    not one that runs less often than the sweep.
    """
    return not counts(rule) and not rule.suppression and rule.query_frequency <= _HOUR


def is_waiting(watermark: Watermark, rule: Rule, now: datetime) -> bool:
    """Whether *rule* waits for what its workspace lacks and is not yet to be tried again."""
    return (
        watermark.waiting_for is not None
        and watermark.retry_at is not None
        and now < watermark.retry_at
        and watermark.waiting_query == fingerprint(rule.query)
    )


def fingerprint(query: str) -> str:
    """16 hex characters that change with *query*."""
    return hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def slack(every: timedelta) -> timedelta:
    """How much further back than a rule of each hunt a rule that runs *every* so often may have read."""
    return max(every - HUNT_EVERY, timedelta(0))


def _allowance(frequency: timedelta) -> timedelta:
    """A timer is not exact: so much before its time a rule may run, rather than a whole hunt after it."""
    return min(frequency / 10, _JITTER)


def _is_due(rule: Rule, watermark: Watermark, now: datetime) -> bool:
    if watermark.failures or watermark.waiting_for is not None or rule.query_frequency <= HUNT_EVERY:
        return True
    since = now - watermark.end
    return since < -_CLOCK_SKEW or since >= rule.query_frequency - _allowance(rule.query_frequency)


def _steps(rule: Rule, watermark: Watermark | None, now: datetime) -> Turn:
    frequency, period = rule.query_frequency, rule.query_period
    last = watermark.end if watermark is not None and watermark.end <= now else None
    if last is None:
        return Turn((Window(now - period, now),))
    missed = max(int((now - last - _allowance(frequency)) / frequency), 0)
    passed_over = max(missed + 1 - MOST_STEPS, 0)
    ends = [last + frequency * number for number in range(passed_over + 1, missed + 1)] + [now]
    windows = []
    before = last + frequency * passed_over
    for end in ends:
        # A run some seconds late would leave those seconds to nobody where period and frequency are the same.
        windows.append(Window(min(end - period, before), end))
        before = end
    return Turn(tuple(windows), passed_over=passed_over)
