"""One visit of an account: read it, keep what is new, tell the rules, and only then call it done.

Written ahead, so that a crash between any two calls loses no change and says none twice. What was read is stored, and
named as pending, before any rule sees it. Whatever ends the visit before the commit, the next visit of that account
begins with the pending snapshot: it makes the same rows of it, with the same identities, and the intake knows those
that it has. A conditional write decides between two runs that visit one account at the same time.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from detectors.inventory.account_reader import AccountGone
from detectors.inventory.changes import changes
from detectors.inventory.repository import AccountState, Repository
from detectors.inventory.rows import row_of
from detectors.inventory.snapshot import AccountReference, Snapshot
from detectors.model import Source
from detectors.rule import Rule
from detectors.state.store import Conflict, StoreUnavailable

_log = logging.getLogger(__name__)

OnNew = Callable[[Sequence[str]], Awaitable[None]]
"""Told the ids of alerts as soon as they are stored. It must not take long: the time limit of a visit runs on."""


class Judge(Protocol):
    """Which rules match which rows of AutomationInventory_CL."""

    def judge(self, rows: Sequence[dict[str, Any]], now: datetime) -> Sequence[tuple[Rule, list[dict[str, Any]]]]: ...


class Intake(Protocol):
    """:class:`detectors.triage.intake.Intake`."""

    async def store(
        self, rule: Rule, rows: Sequence[dict[str, Any]], *, source: Source, workspace: str | None, allowance: int
    ) -> tuple[str, ...]: ...


class Reading(Protocol):
    """:class:`detectors.inventory.reading.Reading`: a snapshot, and the texts that are new in it by their SHA-256."""

    @property
    def snapshot(self) -> Snapshot: ...

    @property
    def contents(self) -> Mapping[str, bytes]: ...


Read = Callable[[Snapshot | None], Awaitable[Reading | None]]
"""Makes a reading of an account from its newest stored snapshot; None when there is nothing to compare.

Raises :class:`detectors.inventory.account_reader.ReadingEnded`: the account is gone, or nothing can be said about it.
"""


class Allowance:
    """How many alerts of each rule may still go out one by one in a run; beyond, one alert names many.

    Visits run side by side, so each reserves what it may use up before it stores anything.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[str, int] = {}

    def reserve(self, rule: Rule, wanted: int) -> int:
        """How many of *wanted* may be alerts of their own. They count as used until they are given back."""
        used = self._used.get(rule.id, 0)
        granted = max(min(wanted, self._limit - used), 0)
        self._used[rule.id] = used + granted
        return granted

    def give_back(self, rule: Rule, unused: int) -> None:
        """Of what was reserved, *unused* made no alert."""
        self._used[rule.id] -= unused


@dataclasses.dataclass(kw_only=True)
class Visit:
    """What one visit did; filled in as it goes, so that one that fails half-way still says what it stored."""

    visited_at: datetime | None = None
    """When the newest state of the account that is stored was read."""
    finished: bool = False
    """Whether the account was read, and everything that follows from it is stored."""
    gone: bool = False
    """Whether the account turned out not to exist any more."""
    changes: int = 0
    """Base line rows are none."""
    new: list[str] = dataclasses.field(default_factory=list)
    """Ids of the alerts that this visit was the first to store."""


class Visits:
    """The visits of one run, one after the other or side by side. Those of another run may be at the same accounts.

    :param judge: the rules. They are asked as of the time of the snapshot, so that a repeated visit hears the same.
    :param keep_rows: whether rows are kept for a sender to the workspace.
    :param alert_limit: how many alerts of one rule go out one by one in this run.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        judge: Judge,
        intake: Intake,
        keep_rows: bool,
        alert_limit: int,
        clock: Callable[[], datetime],
        on_new: OnNew | None = None,
    ) -> None:
        self._repository = repository
        self._judge = judge
        self._intake = intake
        self._keep_rows = keep_rows
        self._allowance = Allowance(alert_limit)
        self._clock = clock
        self._on_new = on_new

    async def visit(
        self,
        visit: Visit,
        account: AccountReference,
        read: Read,
        *,
        expected: datetime | None = None,
        known_scope: bool = False,
    ) -> None:
        """Visit *account*, and note in *visit* what was done.

        *expected* is when the caller believes it to have been visited: if it was visited later, only that is noted,
        because others may be older. *known_scope* says that its subscription had been listed before without it.

        A visit of another run that was faster ends this one quietly. Raises what *read* raises, with nothing of the
        reading stored; :class:`detectors.inventory.repository.SnapshotTooLarge`; and
        :class:`detectors.state.store.StoreUnavailable`: the next visit goes on where this one ended.
        """
        try:
            state = await self._repository.state(account, known_scope=known_scope)
            visit.visited_at = state.visited_at
            pending = await self._repository.pending(state)
            if not pending and state.visited_at and (expected is None or state.visited_at > expected):
                return
            previous = await self._repository.current(state)
            if pending:
                state = await self._settle(visit, state, previous, pending)
                previous = pending
            try:
                reading = await read(previous)
            except AccountGone:
                visit.gone = True
                reading = vanished(previous, self._clock())
            if reading:
                await self._keep(visit, state, previous, reading)
            visit.finished = True
        except Conflict:
            _log.info("account %s: another run visits it at this moment; this one leaves it to that run", account.id)

    async def note_failure(self, account: AccountReference, error: str, *, known_scope: bool = False) -> None:
        """Keep why a visit of *account* failed with its state, if that is possible; *known_scope* as in the visit."""
        try:
            state = await self._repository.state(account, known_scope=known_scope)
            if state.error != error:
                await self._repository.failed(state, error)
        except (StoreUnavailable, Conflict) as why:
            _log.warning("account %s: why its visit failed was not kept: %s", account.id, why)

    async def _keep(self, visit: Visit, state: AccountState, previous: Snapshot | None, reading: Reading) -> None:
        snapshot = reading.snapshot
        if previous and not changes(previous, snapshot):
            await self._repository.visited(state, snapshot)
            visit.visited_at = snapshot.taken_at
            return
        state, snapshot = await self._repository.begin(state, snapshot, reading.contents)
        await self._settle(visit, state, previous, snapshot)

    async def _settle(
        self, visit: Visit, state: AccountState, before: Snapshot | None, pending: Snapshot
    ) -> AccountState:
        """Tell the rules how *pending* differs from *before*, and make it the current snapshot."""
        # An account whose current snapshot cannot be read any more is no new one.
        found = changes(before, pending, known_scope=state.known_scope and not state.current)
        rows = [row_of(change, before, pending) for change in found]
        for rule, matched in self._judge.judge(rows, pending.taken_at):
            await self._store(visit, rule, matched)
        if self._keep_rows and rows:
            await self._repository.put_rows(pending, rows)
        state = await self._repository.commit(state, pending)
        visit.changes += sum(change.change_type != "Baseline" for change in found)
        visit.visited_at = state.visited_at
        try:
            await self._repository.prune(pending.account)
        except StoreUnavailable as error:
            _log.warning("account %s: old snapshots stay until its next change: %s", pending.account.id, error)
        return state

    async def _store(self, visit: Visit, rule: Rule, matched: Sequence[dict[str, Any]]) -> None:
        granted = self._allowance.reserve(rule, len(matched))
        unused = granted
        try:
            new = await self._intake.store(rule, matched, source=Source.INVENTORY, workspace=None, allowance=granted)
            unused = max(granted - len(new), 0)
        finally:
            self._allowance.give_back(rule, unused)
        visit.new += new
        if new and self._on_new:
            await self._on_new(new)


@dataclasses.dataclass(frozen=True)
class _Inferred:
    """A reading that no section made."""

    snapshot: Snapshot
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def vanished(previous: Snapshot | None, now: datetime) -> Reading | None:
    """The reading of an account that does not exist any more; None when nothing was known of it, or that already."""
    if previous is None or not previous.objects:
        return None
    return _Inferred(
        msgspec.structs.replace(
            previous,
            sequence=previous.sequence + 1,
            taken_at=now,
            objects=(),
            unread={},
            jobs=(),
            never_read=(),
            first_read=(),
        )
    )


def refused(previous: Snapshot | None, sections: Sequence[str], reason: str, now: datetime) -> Reading | None:
    """The reading of an account that exists and that the detector may not read: as before, with every section unread.

    None when nothing was known of it.
    """
    if previous is None or not previous.objects:
        return None
    unread = sorted(sections)
    objects = tuple(
        msgspec.structs.replace(each, properties=each.properties | {"unread": unread})
        if each.kind == "Account"
        else each
        for each in previous.objects
    )
    return _Inferred(
        msgspec.structs.replace(
            previous,
            sequence=previous.sequence + 1,
            taken_at=now,
            objects=objects,
            unread=dict.fromkeys(unread, reason),
            jobs=(),
            first_read=(),
        )
    )
