"""The condition of the detector: how far each rule has read, what waits to be delivered, and what is wrong with that.

What counts as healthy is decided here once, for the heartbeat and for ``python -m detectors status``.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec

from detectors.delivery.card_text import duration
from detectors.delivery.outbox import DEAD_DUE
from detectors.delivery.text import clip
from detectors.model import DeliveryState, Record
from detectors.rule import Rule
from detectors.sources.hunt import FAILURES_BEFORE_ALERT
from detectors.sources.schedule import HUNT_EVERY, slack
from detectors.sources.windows import Watermark
from detectors.state.encoding import RecordUnreadable
from detectors.state.store import Store, Stored, StoreUnavailable

LONGEST_LAG = timedelta(minutes=30)
LONGEST_WAIT = timedelta(hours=1)

INVENTORY_LAST = "inventory/last"
"""Name of the document in which the inventory keeps the report of its newest run, as JSON."""

LISTED = 1_000
READ = 200
_READS_AT_ONCE = 8
_ERROR_BYTES = 300

_Result = TypeVar("_Result")


class _Stalest(msgspec.Struct):
    since: Annotated[datetime, msgspec.Meta(tz=True)]


class _InventoryReport(msgspec.Struct):
    # Of the report, what is needed here.
    accounts: int
    stalest: _Stalest | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one rule has read one workspace; ``watermark`` is None when it never has."""

    rule_id: str
    rule_name: str
    workspace: str
    watermark: Watermark | None
    frequency_seconds: float = HUNT_EVERY.total_seconds()
    """How often the rule runs."""

    @property
    def waiting_for(self) -> str | None:
        """What the workspace lacks, such as ``the table AzureDiagnostics``; None when the rule runs."""
        return self.watermark.waiting_for if self.watermark else None

    def lag(self, now: datetime) -> timedelta:
        """How far back the rule has read beyond what its frequency explains; nothing while it is suppressed."""
        if self.watermark is None:
            return timedelta(0)
        done = self.watermark.end
        if self.watermark.quiet_until is not None:
            done = max(done, min(self.watermark.quiet_until, now))
        return max(now - done - slack(timedelta(seconds=self.frequency_seconds)), timedelta(0))


class InventoryCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest run of the inventory said of itself."""

    accounts: int
    stalest_since: datetime | None
    """When the account that was not read for the longest time was last read; None when there is none."""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored and has not arrived everywhere.

    Counts are of deliveries (one alert at one destination), by destination, except ``not_started``: alerts whose
    deliveries are not planned yet, because triage has to run first. ``oldest_pending_seconds`` is how long the oldest
    of them has waited. With ``capped`` there was more than was read, and every number is "at least".
    """

    pending: dict[str, int] = msgspec.field(default_factory=dict)
    dead: dict[str, int] = msgspec.field(default_factory=dict)
    not_started: int = 0
    oldest_pending_seconds: float | None = None
    unreadable: int = 0
    """Records that this version cannot read; each is logged with its remedy when a delivery run meets it."""
    capped: bool = False


async def read_progress(store: Store, rules: Iterable[Rule], workspaces: Iterable[str]) -> tuple[Progress, ...]:
    """The watermark of every rule on every workspace. Raises :class:`StoreUnavailable`."""

    async def one(rule: Rule, workspace: str) -> Progress:
        name = f"watermark/{rule.id}/{workspace}"
        document = await store.read_document(name)
        try:
            watermark = msgspec.json.decode(document.value, type=Watermark) if document else None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreUnavailable(
                f"The document {name!r} is no watermark of this version of the detector ({error}). Deploy the version "
                "that wrote it, or delete it: the hunt then begins HUNT_INITIAL_LOOKBACK ago."
            ) from error
        return Progress(
            rule_id=rule.id,
            rule_name=rule.name,
            workspace=workspace,
            watermark=watermark,
            frequency_seconds=rule.query_frequency.total_seconds(),
        )

    rules = tuple(rules)
    return tuple(await _gather(one(rule, workspace) for workspace in workspaces for rule in rules))


async def read_records(store: Store, ids: Iterable[str]) -> tuple[list[Stored], int]:
    """The records of *ids* in their order, and how many this version cannot read. Raises :class:`StoreUnavailable`."""
    unreadable = 0

    async def one(record_id: str) -> Stored | None:
        nonlocal unreadable
        try:
            return await store.read(record_id)
        except RecordUnreadable:
            unreadable += 1
            return None

    found = await _gather(one(record_id) for record_id in ids)
    return [stored for stored in found if stored], unreadable


async def read_inventory(store: Store) -> InventoryCondition | None:
    """The condition of the inventory, or None when it never ran. Raises :class:`StoreUnavailable`."""
    document = await store.read_document(INVENTORY_LAST)
    if document is None:
        return None
    try:
        report = msgspec.json.decode(document.value, type=_InventoryReport)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            f"The document {INVENTORY_LAST!r} is no report of this version of the detector ({error}). The next run of "
            "the inventory writes it anew."
        ) from error
    return InventoryCondition(accounts=report.accounts, stalest_since=report.stalest.since if report.stalest else None)


async def collect_backlog(store: Store, now: datetime, *, listed: int = LISTED, reads: int = READ) -> Backlog:
    """What waits and what is dead, from at most *listed* ids and *reads* records. Raises :class:`StoreUnavailable`."""
    ids = await store.due(DEAD_DUE, listed)
    # Earliest first: what waits is at the beginning and what is dead at the end, so both ends are looked at.
    half = reads // 2
    chosen = ids if len(ids) <= reads else [*ids[:half], *ids[half - reads :]]
    records, unreadable = await read_records(store, chosen)
    return count_backlog(
        (stored.record for stored in records),
        now,
        unreadable=unreadable,
        capped=len(ids) >= listed or len(chosen) < len(ids),
    )


def count_backlog(records: Iterable[Record], now: datetime, *, unreadable: int = 0, capped: bool = False) -> Backlog:
    """The backlog that *records* are."""
    pending: dict[str, int] = {}
    dead: dict[str, int] = {}
    not_started = 0
    since: list[datetime] = []
    for record in records:
        if record.due is not None and not record.deliveries:
            not_started += 1
            since.append(record.created_at)
        for name, delivery in record.deliveries.items():
            if delivery.state is DeliveryState.PENDING:
                pending[name] = pending.get(name, 0) + 1
                since.append(delivery.pending_since or record.created_at)
            elif delivery.state is DeliveryState.DEAD:
                dead[name] = dead.get(name, 0) + 1
    return Backlog(
        pending=dict(sorted(pending.items())),
        dead=dict(sorted(dead.items())),
        not_started=not_started,
        oldest_pending_seconds=seconds_of(now - min(since)) if since else None,
        unreadable=unreadable,
        capped=capped,
    )


def problems_of(progress: Sequence[Progress], backlog: Backlog | None, now: datetime) -> tuple[str, ...]:
    """Why the detector is not healthy; empty when it is. Each sentence names the thing, the cause and the next step."""
    problems = [problem for each in progress if (problem := _problem_of_rule(each, now))]
    if backlog is None:
        return tuple(problems)
    if (backlog.oldest_pending_seconds or 0.0) > LONGEST_WAIT.total_seconds():
        where = ", ".join(backlog.pending) or "triage"
        problems.append(
            f"an alert has waited {duration(timedelta(seconds=backlog.oldest_pending_seconds or 0.0))} for {where} "
            f"(limit {duration(LONGEST_WAIT)}); look for the cause in the log, or run: python -m detectors deliver"
        )
    problems.extend(
        f"{count} alert{'s' if count > 1 else ''} did not reach {name} and will not be tried again; see: "
        f"python -m detectors dead list --destination {name}"
        for name, count in backlog.dead.items()
    )
    if backlog.unreadable:
        problems.append(
            f"{backlog.unreadable} stored record{'s' if backlog.unreadable > 1 else ''} cannot be read by this "
            "version; run: python -m detectors deliver, which names each and its remedy"
        )
    return tuple(problems)


def waits_of(progress: Sequence[Progress]) -> tuple[str, ...]:
    """What rules wait for, a sentence for each workspace and thing: ``5 rules wait for the table AzureDiagnostics``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in progress:
        if each.waiting_for:
            groups.setdefault((each.workspace, each.waiting_for), []).append(each.rule_name)
    return tuple(
        f"{'1 rule waits' if len(names) == 1 else f'{len(names)} rules wait'} for {missing}, which workspace "
        f"{workspace} lacks; tried again daily: {', '.join(sorted(names))}"
        for (workspace, missing), names in sorted(groups.items())
    )


def _problem_of_rule(progress: Progress, now: datetime) -> str | None:
    watermark = progress.watermark
    what = f"the rule '{progress.rule_name}' on workspace {progress.workspace}"
    if watermark is None:
        return f"{what} was never run; check that the hunt timer runs, or run: python -m detectors hunt"
    if watermark.failures >= FAILURES_BEFORE_ALERT:
        since = f" since {moment(watermark.failing_since)}" if watermark.failing_since else ""
        cause = clip(watermark.error or "the cause was not kept", _ERROR_BYTES)
        return f"{what} has failed {watermark.failures} times in a row{since}; do what the cause says: {cause}"
    if watermark.waiting_for is not None:
        # Said by an alert of its own, once; the detector is well, the workspace lacks something.
        return None
    lag = progress.lag(now)
    if lag > LONGEST_LAG:
        cause = f", last error: {clip(watermark.error, _ERROR_BYTES)}" if watermark.error else ""
        return (
            f"{what} is {duration(lag)} behind (limit {duration(LONGEST_LAG)}){cause}; "
            "check that the hunt timer runs, or run: python -m detectors hunt"
        )
    return None


async def _gather(calls: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    slots = asyncio.Semaphore(_READS_AT_ONCE)

    async def one(call: Coroutine[Any, Any, _Result]) -> _Result:
        async with slots:
            return await call

    # All have ended when the first error is raised: no read runs on in a store that is about to be closed.
    results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    found: list[_Result] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


def moment(when: datetime) -> str:
    """``2026-05-04 03:02:01 UTC``; *when* is in UTC, as everywhere in the detector."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def seconds_of(delta: timedelta) -> float:
    """Never negative: two machines' clocks may disagree a little."""
    return max(round(delta.total_seconds(), 3), 0.0)
