"""Intake: rows that a rule returned become stored matches. The one door through which every source comes in."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from detectors.model import Alert, AlertKind, Delivery, Evidence, Match, Record, Source, SummaryItem
from detectors.rule import Rule
from detectors.state.encoding import RecordUnreadable
from detectors.state.store import Conflict, Document, Store
from detectors.triage import health, joining, mapped
from detectors.triage.bodies import without_bodies
from detectors.triage.identity import identity_of, match_id
from detectors.triage.stretches import stretch

ITEMS_PER_SUMMARY = 100
"""So many names fit on one Teams card of 20 kB."""

_SUMMARY_GRACE = timedelta(minutes=15)
_WRITES_AT_ONCE = 8
_ROUNDS = 5
"""How often a conditional write is tried anew after somebody else was faster."""

_log = logging.getLogger(__name__)


class Intake:
    """Stores what is new, before anything is triaged or sent."""

    def __init__(
        self, *, store: Store, clock: Callable[[], datetime], new_id: Callable[[], str] = lambda: uuid.uuid4().hex
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    async def store(
        self, rule: Rule, rows: Sequence[dict[str, Any]], *, source: Source, workspace: str | None, allowance: int
    ) -> tuple[str, ...]:
        """Store the actions among *rows* that are new, oldest first.

        The first *allowance* become alerts of their own; the rest is named in summary alerts. Of the first, those
        whose action another source has told of already are joined to that alert (:mod:`detectors.triage.joining`).
        Everything is durable when the call returns. Returns the ids of the alerts, summaries included, that this call
        was the first to store. Raises :class:`detectors.state.store.StoreUnavailable`; the caller then repeats the
        whole call, and what is already stored is recognised.
        """
        now = self._clock()
        matches = matches_of(rule, rows, source=source, workspace=workspace, found_at=now)
        known = await _all(self._store.exists(match.id) for match in matches)
        fresh = [match for match, exists in zip(matches, known, strict=True) if not exists]
        alone, rest = fresh[:allowance], fresh[allowance:]
        created = await _all(self._store_alone(rule, match, now) for match in alone)
        new = [match.id for match, won in zip(alone, created, strict=True) if won]
        for start in range(0, len(rest), ITEMS_PER_SUMMARY):
            new.extend(await self._summarise(rule, rest[start : start + ITEMS_PER_SUMMARY], now))
        return tuple(new)

    async def _store_alone(self, rule: Rule, match: Match, now: datetime) -> bool:
        """Store *match*; whether it is a new alert of its own.

        A match that is joined is stored after the alert has what it says: a crash in between repeats that, and
        without the record of its own it is found again by the next run.
        """
        action = joining.action_of(match.row) if joining.tells_of_one_action(rule) else None
        alert_id = await self._alert_of(action, rule, match, now) if action else None
        if alert_id is None:
            return await self._store.create(Record(id=match.id, due=now, created_at=now, match=match))
        await self._store.create(Record(id=match.id, due=None, created_at=now, match=match, joined_to=alert_id))
        _log.info("match %s of the rule %s tells of the action of alert %s and is joined to it",
                  match.id, rule.name, alert_id)  # fmt: skip
        return False

    async def _alert_of(self, action: joining.Action, rule: Rule, match: Match, now: datetime) -> str | None:
        """Id of the alert that *match* was joined to; None when it is an alert of its own, which is then indexed.

        The index is written before the record: whoever reads it in between finds no alert there and makes one, and
        whoever reads it later cannot miss this one.
        """
        report = joining.report_of(rule, match, action)
        entry = joining.entry_of(match, action, mapped.severity(rule, match.row))
        for _ in range(_ROUNDS):
            document = await self._store.read_document(action.document)
            index = _index_in(document, action.document)
            for candidate in joining.candidates(index, action, match.id):
                if await self._report(candidate, report, now):
                    return candidate.alert_id
            updated = joining.noted(index, entry, now)
            if updated == index:
                return None
            version = document.version if document else None
            try:
                await self._store.write_document(action.document, msgspec.json.encode(updated), version)
            except Conflict:
                continue
            return None
        _log.warning("alert %s is not in the index %s, which others write again and again; what another source finds "
                     "of the same action will be an alert of its own", match.id, action.document)  # fmt: skip
        return None

    async def _report(self, entry: joining.Entry, report: Evidence, now: datetime) -> bool:
        """Add *report* to the alert of *entry*; whether it is there afterwards."""
        for _ in range(_ROUNDS):
            try:
                stored = await self._store.read(entry.alert_id)
            except RecordUnreadable as error:
                _log.warning("alert %s cannot be joined to: %s", entry.alert_id, error)
                return False
            updated = joining.with_report(stored.record, entry, report, now) if stored else None
            if stored is None or updated is None:
                return False
            if updated == stored.record:
                return True
            try:
                await self._store.replace(stored, updated)
            except Conflict:
                continue
            return True
        return False

    async def _summarise(self, rule: Rule, matches: Sequence[Match], now: datetime) -> tuple[str, ...]:
        """Store *matches* so that they wait for one summary alert, then the summary.

        The matches come first and stay due: if the process dies before the summary is stored, each goes out alone
        after the grace period. Once the summary exists, the outbox sees it and closes them.
        """
        # Unique to this call: with an id made from the matches, two racing hunts that each win a part of them would
        # share one summary, and it would name only the part of one.
        summary_id = self._new_id()
        waiting = [
            Record(id=match.id, due=now + _SUMMARY_GRACE, created_at=now, match=match, summarised_by=summary_id)
            for match in matches
        ]
        created = await _all(self._store.create(record) for record in waiting)
        mine = [match for match, won in zip(matches, created, strict=True) if won]
        if not mine:
            return ()
        alert = summary_alert(rule, summary_id, mine, now)
        await self._store.create(Record(id=summary_id, due=now, created_at=now, alert=alert))
        return (summary_id,)

    async def report_failing_rule(
        self, rule: Rule, workspace: str, *, since: datetime, read_until: datetime, error: str
    ) -> None:
        """Store the health alert about a rule that keeps failing; the same failing stretch gives the same alert."""
        now = self._clock()
        alert = health.failing_rule(rule, workspace, since=since, read_until=read_until, error=error, now=now)
        await self._tell(alert)

    async def report_missing(self, workspace: str, missing: str, rules: Sequence[Rule]) -> None:
        """Store the health alert about *rules* that wait for what *workspace* lacks; the same thing, the same alert."""
        now = self._clock()
        alert = health.missing_name(workspace, missing, rules, now=now)
        await self._tell(alert)

    async def report_quarantine(
        self, *, hub: str, partition: str, pieces: int, size: int, reason: str, entry: str, whole: bool
    ) -> None:
        """Store the health alert about what the stream set aside; the same hub and hour give the same alert.

        *pieces* of *size* bytes are in quarantine, first of all in *entry*, for *reason*; *whole* for a batch that
        could not be stored.
        """
        now = self._clock()
        alert = health.quarantined(
            hub=hub,
            partition=partition,
            pieces=pieces,
            size=size,
            reason=reason,
            entry=entry,
            whole=whole,
            now=now,
        )
        await self._tell(alert)

    async def report_stale_inventory(self, stale: health.StaleInventory | None) -> None:
        """Store the health alert about accounts that the inventory does not read in time; None when there are none.

        To be called after every run: the alert is made once for each stretch of time in which there are some.
        """
        now = self._clock()
        since = await stretch(self._store, "health/stale-inventory", now, wrong=stale is not None)
        if stale and since:
            alert = health.stale_inventory(stale, stretch=since, now=now)
            await self._tell(alert)

    async def report_no_inventory(self, reason: str | None) -> None:
        """Store the health alert that no automation account can be listed, for *reason*; None when some can.

        To be called after every run, as :meth:`report_stale_inventory`.
        """
        now = self._clock()
        since = await stretch(self._store, "health/no-inventory", now, wrong=reason is not None)
        if reason is not None and since:
            alert = health.no_inventory(reason, stretch=since, now=now)
            await self._tell(alert)

    async def report_dead_letter(self, record: Record, destination: str, others: Sequence[str]) -> None:
        """Store the health alert about an alert that *destination* will never get, for the *others* to carry."""
        if record.alert is None or not others:
            return
        now = self._clock()
        delivery = record.deliveries[destination]
        alert = health.dead_letter(
            record.alert, destination, error=delivery.error or "", now=now, arrived_at=delivery.sent_at
        )
        deliveries = {name: Delivery() for name in others}
        await self._tell(alert, deliveries)

    async def _tell(self, alert: Alert, deliveries: dict[str, Delivery] | None = None) -> None:
        """Store a health alert; one that is stored already stays as it is."""
        now = alert.created_at
        await self._store.create(Record(id=alert.id, due=now, created_at=now, alert=alert, deliveries=deliveries or {}))


def _index_in(document: Document | None, name: str) -> joining.Index:
    """The index in *document*. One that cannot be read is as good as none: it only spares a second alert."""
    try:
        return joining.read_index(document.value) if document else joining.Index()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("the document %s is no index of alerts of this version and is written anew: %s", name, error)
        return joining.Index()


async def _all(calls: Iterable[Coroutine[Any, Any, bool]]) -> list[bool]:
    """Await *calls*, a few at a time. All have ended when the first error is raised: no write runs on unseen."""
    slots = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def one(call: Coroutine[Any, Any, bool]) -> bool:
        async with slots:
            return await call

    results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [bool(result) for result in results]


def matches_of(
    rule: Rule, rows: Sequence[dict[str, Any]], *, source: Source, workspace: str | None, found_at: datetime
) -> list[Match]:
    """The distinct matches among *rows*, oldest first."""
    matches: dict[str, Match] = {}
    for row in map(without_bodies, rows):
        identity = identity_of(rule, row, found_at)
        identifier = match_id(rule.id, identity)
        matches.setdefault(
            identifier,
            Match(
                id=identifier,
                rule_id=rule.id,
                identity=identity,
                source=source,
                row=row,
                event_time=event_time(row) or found_at,
                found_at=found_at,
                workspace=workspace,
            ),
        )
    return sorted(matches.values(), key=lambda match: match.event_time)


def event_time(row: dict[str, Any]) -> datetime | None:
    """``TimeGenerated`` of the row, or None where the query dropped it."""
    return joining.time_of(row.get("TimeGenerated"))


def summary_alert(rule: Rule, summary_id: str, matches: Sequence[Match], now: datetime) -> Alert:
    """One alert that names every one of *matches*."""
    items = tuple(
        SummaryItem(
            match_id=match.id,
            event_time=match.event_time,
            operation=str(match.row.get("OperationNameValue") or ""),
            caller=mapped.caller(rule, match.row),
            resource=mapped.resource_id(rule, match.row),
        )
        for match in matches
    )
    return Alert(
        id=summary_id,
        kind=AlertKind.SUMMARY,
        rule_id=rule.id,
        rule_name=rule.name,
        rule_version=rule.version,
        severity=rule.severity,
        severity_reasons=(
            f"The rule {rule.name} has severity {rule.severity}; nothing was collected for these matches.",
        ),
        title=f"{len(items)} more matches of {rule.name}",
        description=f"{rule.description} More actions matched in one run than go out one by one; all are named here.",
        tactics=rule.tactics,
        techniques=rule.techniques,
        tags=rule.tags,
        source=matches[0].source,
        workspace=matches[0].workspace,
        event_time=matches[0].event_time,
        found_at=matches[0].found_at,
        created_at=now,
        items=items,
        triage=rule.detector.triage,
        response=rule.detector.response,
        false_positives=rule.detector.false_positives,
        references=rule.detector.references,
        query=rule.query,
    )
