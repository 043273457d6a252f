"""One run of the inventory: list the accounts, visit as many as the time allows, and say how that went.

Those that were visited longest ago come first, across all subscriptions, so that what one run leaves is what the next
one begins with. A subscription that Azure throttles waits alone.
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from detectors.automation import failures
from detectors.automation.texts import label
from detectors.inventory.account_reader import ReadingEnded, Throttled
from detectors.inventory.answers import is_unanswered, status_of, where
from detectors.inventory.gates import Gates
from detectors.inventory.known import Account, Subscription
from detectors.inventory.report import (
    ERROR_CHARACTERS,
    MOST_ERRORS,
    MOST_THROTTLED,
    InventoryReport,
    Stalest,
    remember,
)
from detectors.inventory.repository import Listing, Repository, SnapshotTooLarge
from detectors.inventory.scope import Denied, ScopeUnknown, accounts_of, look_again, visible_subscriptions
from detectors.inventory.snapshot import AccountReference, Snapshot
from detectors.inventory.visits import Intake, Judge, OnNew, Reading, Visit, Visits, refused
from detectors.state.store import Conflict, Store, StoreUnavailable

if TYPE_CHECKING:
    from azure.mgmt.automation.aio import AutomationClient

_log = logging.getLogger(__name__)

VISIT_SECONDS = 60.0
NOTE_SECONDS = 5.0
"""For keeping why a visit failed, which may be that the store does not answer."""
LISTS_FIRST_SECONDS = 10.0
"""How long visits wait for lists that are under way: what is in them may have waited longer. No slow list takes more of
the others' time."""

# Listing subscriptions belongs to none; the client of this one only carries the request.
_NO_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


class Clients(Protocol):
    """:class:`detectors.automation.clients.AutomationClients`."""

    def get(self, subscription_id: str) -> "AutomationClient": ...


class ReadAccount(Protocol):
    """:func:`detectors.inventory.reading.read_account`, with everything given that is the same for all accounts."""

    async def __call__(
        self,
        client: "AutomationClient",
        account: AccountReference,
        listed: Mapping[str, Any],
        previous: Snapshot | None,
        /,
    ) -> Reading: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class InventoryLimits:
    """Time and counts of a run."""

    concurrency: int
    """Accounts that are visited at the same time."""
    time_budget: timedelta
    """No visit starts after it; those that have started may take their own time."""
    alert_limit: int
    """Alerts of one rule that go out one by one in one run."""
    visit_seconds: float = VISIT_SECONDS
    """Of one visit, and of the list of one subscription. Cut off, it goes on with the next run."""


class _Run:
    """What the workers of one run share."""

    def __init__(self, clock: Callable[[], datetime], budget: timedelta) -> None:
        self._clock = clock
        self.started_at = clock()
        self.deadline = self.started_at + budget
        self.gates: Gates[Account | Subscription] = Gates(clock=clock, end=self.deadline)
        self.subscriptions: dict[str, Subscription] = {}
        self.errors: list[str] = []
        self.more_errors = 0
        self.new_alerts = 0
        self.busy = 0
        self.unanswered = 0
        """Lists that were not answered yet, not even by a refusal."""
        self._held: list[Account] = []
        self._held_until = self.started_at + timedelta(seconds=LISTS_FIRST_SECONDS)
        self.news = asyncio.Event()
        """Set, and replaced by another, whenever there may be something new to do."""

    def wait(self, work: "Account | Subscription") -> None:
        """Let *work* wait for its turn; lists come before visits."""
        oldest = datetime.min.replace(tzinfo=self.started_at.tzinfo)
        if isinstance(work, Subscription):
            self.gates.add(work.id, (-1, oldest, work.id), work)
        else:
            self.gates.add(work.reference.subscription_id, work.rank(oldest), work)

    def hold(self, accounts: Iterable[Account]) -> None:
        """Let *accounts* wait for the lists that are not answered yet, and then for their turn."""
        self._held += accounts

    def take(self) -> "Account | Subscription | None":
        """What to do next, if there is anything to do now."""
        if not self.unanswered or self._clock() >= self._held_until:
            for account in self._held:
                self.wait(account)
            self._held = []
        return self.gates.take()

    def wake_at(self) -> datetime | None:
        """When there may be something to do, if nobody tells of it before; None when there will not."""
        opening = self.gates.next_opening()
        if not self._held:
            return opening
        return min(opening, self._held_until) if opening else self._held_until

    def report_error(self, text: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(label(text, ERROR_CHARACTERS))
        else:
            self.more_errors += 1

    def tell(self) -> None:
        """Wake the workers that wait for something to do."""
        self.news.set()
        self.news = asyncio.Event()


class Inventory:
    """Runs the inventory. Two of them may run at the same time; each change is told once.

    :param subscriptions: ids of those to look at; empty for all that the detector's identity sees.
    :param sections: the names of all sections of a reading.
    :param read_account: raises :class:`detectors.inventory.account_reader.ReadingEnded`.
    :param keep_rows: whether rows are kept for a sender to the workspace.
    """

    def __init__(
        self,
        *,
        subscriptions: Sequence[str],
        clients: Clients,
        read_account: ReadAccount,
        sections: Sequence[str],
        judge: Judge,
        intake: Intake,
        store: Store,
        repository: Repository,
        limits: InventoryLimits,
        keep_rows: bool,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._subscriptions = tuple(dict.fromkeys(each.lower() for each in subscriptions))
        self._clients = clients
        self._read_account = read_account
        self._sections = sections
        self._judge = judge
        self._intake = intake
        self._store = store
        self._repository = repository
        self._limits = limits
        self._keep_rows = keep_rows
        self._clock = clock
        self._sleep = sleep

    async def run(self, on_new: OnNew | None = None) -> InventoryReport:
        """List, visit, and report. *on_new* is told of alerts as soon as they are stored.

        What fails is in the report; the run itself raises nothing for it. The report is logged and kept in the store.
        """
        run = _Run(self._clock, self._limits.time_budget)
        visits = Visits(
            repository=self._repository,
            judge=self._judge,
            intake=self._intake,
            keep_rows=self._keep_rows,
            alert_limit=self._limits.alert_limit,
            clock=self._clock,
            on_new=on_new,
        )
        try:
            before = {listing.subscription_id.lower(): listing for listing in await self._repository.listings()}
        except StoreUnavailable as error:
            # Without it every account would look new, and none vanished.
            run.report_error(f"Nothing was visited, because what was known before could not be read: {error}")
        else:
            await self._find_subscriptions(run, before)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._limits.concurrency):
                    group.create_task(self._work(run, visits))
            await self._keep_listings(run)
        report = self._report(run)
        _log.info("inventory %s", msgspec.json.encode(report).decode())
        try:
            await remember(self._store, report)
        except (StoreUnavailable, Conflict) as error:
            _log.warning("inventory: the report of this run was not kept: %s; the next run keeps its own", error)
        return report

    async def _find_subscriptions(self, run: _Run, before: Mapping[str, Listing]) -> None:
        """Decide which subscriptions this run is about, and queue the lists of their accounts."""
        to_list, silent = await self._scope(run, before)
        for identifier in (*to_list, *silent):
            run.subscriptions[identifier] = Subscription(identifier, before.get(identifier))
        for identifier in to_list:
            run.wait(run.subscriptions[identifier])
        run.unanswered = len(to_list)

    async def _scope(self, run: _Run, before: Mapping[str, Listing]) -> tuple[list[str], list[str]]:
        """(subscriptions to list, those that are known and no longer seen)."""
        if self._subscriptions:
            return list(self._subscriptions), []
        try:
            async with asyncio.timeout(self._limits.visit_seconds):
                visible = await visible_subscriptions(self._clients.get(_NO_SUBSCRIPTION), self._clock)
        except Exception as error:  # noqa: BLE001 - a run over what is known is better than none
            self._failed(run, "The subscriptions could not be listed; those that were seen before are visited", error)
            return sorted(before), []
        active = [each.id for each in visible if each.active]
        unseen = sorted(before.keys() - {each.id for each in visible})
        for identifier in unseen:
            run.report_error(
                f"Subscription {identifier} is not visible to the detector any more: its automation accounts are not "
                "visited. Give its identity Reader there again; if it is to be left out, name the others in "
                "INVENTORY_SUBSCRIPTIONS."
            )
        if not active and not unseen:
            run.report_error(
                "The detector's identity sees no subscription that is in use. Give it Reader on those that hold "
                "automation accounts."
            )
        return active, unseen

    async def _work(self, run: _Run, visits: Visits) -> None:
        """One worker: do what is next until nothing can come any more, or the time is over."""
        while self._clock() < run.deadline:
            work = run.take()
            if work is None:
                wake_at = run.wake_at()
                if wake_at is None and not run.busy:
                    return
                await self._pause(run, wake_at)
                continue
            run.busy += 1
            try:
                if isinstance(work, Subscription):
                    await self._list(run, work)
                else:
                    await self._visit(run, visits, work)
            finally:
                run.busy -= 1
                run.tell()

    async def _pause(self, run: _Run, until: datetime | None) -> None:
        """Sleep *until* then, or until there is news."""
        # The event of now: a task that asked for it when it starts could get the one after the next news.
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(run.news.wait())]
        if until is not None:
            seconds = max((until - self._clock()).total_seconds(), 0.0)
            waits.append(asyncio.ensure_future(self._sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _list(self, run: _Run, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(self._limits.visit_seconds):
                client = self._clients.get(subscription.id)
                found = await accounts_of(client, subscription.id, self._clock)
                if subscription.take_in(found, self._clock()):
                    # Before any visit: one that is deleted before this run ends would else never have been known.
                    await self._write_listing(subscription)
        except Throttled as error:
            run.gates.close(subscription.id, error.retry_after)
            run.wait(subscription)
        except Exception as error:  # noqa: BLE001 - one subscription must not stop the others
            self._failed(run, f"The automation accounts of subscription {subscription.id} are not visited", error)
        else:
            run.hold(subscription.accounts.values())
        if not subscription.answered:
            subscription.answered = True
            run.unanswered -= 1

    async def _visit(self, run: _Run, visits: Visits, account: Account) -> None:
        visit = Visit()
        expected = account.listed.visited_at
        try:
            async with asyncio.timeout(self._limits.visit_seconds):
                await visits.visit(
                    visit,
                    account.reference,
                    functools.partial(self._read, account),
                    expected=expected,
                    known_scope=account.listed.known_scope,
                )
        except Throttled as error:
            run.gates.close(account.reference.subscription_id, error.retry_after)
            account.throttled += 1
        except Exception as error:  # noqa: BLE001 - one account must not stop the others
            account.failed = True
            text = self._failed(run, f"The automation account {account.reference.id} was not visited", error)
            if not isinstance(error, StoreUnavailable):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NOTE_SECONDS):
                        await visits.note_failure(account.reference, text, known_scope=account.listed.known_scope)
        else:
            account.visited = visit.finished
            # Else another run is at it, or was within the time of this one; or it is no longer among the oldest.
            account.done = visit.finished or visit.visited_at in {None, expected} or visit.visited_at >= run.started_at
        account.gone = visit.gone and visit.finished
        account.changes += visit.changes
        run.new_alerts += len(visit.new)
        account.note(visit.visited_at, self._clock() if account.visited or account.failed else None)
        if not account.done and not account.failed:
            run.wait(account)

    async def _read(self, account: Account, previous: Snapshot | None) -> Reading:
        client = self._clients.get(account.reference.subscription_id)
        entry = account.entry
        if entry is None:
            try:
                entry = await look_again(client, account.reference, self._clock)
            except Denied as error:
                reading = refused(previous, self._sections, str(error), self._clock())
                if reading is None:
                    raise
                return reading
        return await self._read_account(client, account.reference, entry, previous)

    async def _keep_listings(self, run: _Run) -> None:
        slots = asyncio.Semaphore(self._limits.concurrency)

        async def keep(subscription: Subscription) -> None:
            async with slots:
                try:
                    async with asyncio.timeout(self._limits.visit_seconds):
                        await self._write_listing(subscription)
                except (StoreUnavailable, TimeoutError) as error:
                    _log.warning(
                        "inventory: when the accounts of subscription %s were visited was not kept: %s; the next run "
                        "finds it out account by account", subscription.id, self._explain(error)[0],
                    )  # fmt: skip

        await asyncio.gather(*(keep(each) for each in run.subscriptions.values() if each.listed))

    async def _write_listing(self, subscription: Subscription) -> None:
        stored = await self._repository.listing(subscription.id)
        accounts = subscription.merged(stored)
        if stored is None or stored.accounts != accounts:
            await self._repository.put_listing(
                Listing(subscription_id=subscription.id, listed_at=self._clock(), accounts=accounts)
            )

    def _failed(self, run: _Run, what: str, error: Exception) -> str:
        """Log *error* and put it in the report; returns what it says there."""
        why, defect = self._explain(error)
        text = label(f"{what}: {why}", ERROR_CHARACTERS)
        run.report_error(text)
        _log.error("inventory: %s The next run tries again.", text, exc_info=error if defect else None)
        return text

    def _explain(self, error: Exception) -> tuple[str, bool]:
        """(a sentence, whether the detector itself is to blame and a traceback helps)."""
        from azure.core.exceptions import AzureError

        if isinstance(error, TimeoutError):
            return f"it took longer than {self._limits.visit_seconds:g} seconds.", False
        if isinstance(error, StoreUnavailable | ReadingEnded | ScopeUnknown | Denied | SnapshotTooLarge):
            return str(error), False
        if status_of(error)[0] is not None or is_unanswered(error) or isinstance(error, failures.Refused):
            return failures.explain(error)[0], False
        if isinstance(error, AzureError):
            # Not with its text, which ends with the answer.
            return f"Azure's answer could not be read ({type(error).__name__} at {where(error)}).", False
        return f"unexpected {type(error).__name__}: {error}. The traceback is in the detector's log.", True

    def _report(self, run: _Run) -> InventoryReport:
        now = self._clock()
        for work in run.gates.left():
            if isinstance(work, Subscription):
                run.report_error(f"The automation accounts of subscription {work.id} were not listed within this run.")
        accounts = [each for some in run.subscriptions.values() for each in some.accounts.values()]
        known = [each for each in accounts if not each.gone]
        return InventoryReport(
            started_at=run.started_at,
            finished_at=now,
            subscriptions=len(run.subscriptions),
            accounts=len(known),
            visited=sum(each.visited for each in accounts),
            changed=sum(each.changes > 0 for each in accounts),
            failed=sum(each.failed for each in known),
            left=sum(not each.done and not each.failed for each in known),
            changes=sum(each.changes for each in accounts),
            new_alerts=run.new_alerts,
            throttled=run.gates.throttled[:MOST_THROTTLED],
            stalest=_stalest(known, now),
            errors=tuple(run.errors),
            more_errors=run.more_errors,
        )


def _stalest(accounts: Sequence[Account], now: datetime) -> Stalest | None:
    oldest = min(accounts, key=lambda each: (each.known_since, each.reference.id), default=None)
    if oldest is None:
        return None
    return Stalest(
        name=label(oldest.reference.name, ERROR_CHARACTERS),
        account_id=label(oldest.reference.id, ERROR_CHARACTERS),
        since=oldest.known_since,
        age_seconds=max((now - oldest.known_since).total_seconds(), 0.0),
    )
