"""One alert's view of an automation account: its target, the client, and lookups that are made once."""

import asyncio
import dataclasses
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from detectors.automation.failures import Missing
from detectors.automation.texts import DEFAULT_CAP, label
from detectors.triage.resource import AutomationTarget, is_safe_name

if TYPE_CHECKING:
    from azure.mgmt.automation.aio import AutomationClient
    from azure.mgmt.automation.models import Job, JobSchedule, Runbook, Schedule, Watcher, Webhook

T = TypeVar("T")

MAX_LISTED = 1_000


@dataclasses.dataclass(frozen=True)
class Listing(Generic[T]):
    """At most :data:`MAX_LISTED` objects of an account; ``complete`` is False when there are more."""

    items: tuple[T, ...]
    complete: bool = True


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Case:
    """What collectors share. Each API object is read once per case, however many of them wait for it.

    :param target: what the match is about.
    :param client: the Automation client of the target's subscription.
    :param cap_bytes: how much of a script or output is read.
    :param optional_timeout: seconds for a question that the service may not know (watcher actions).
    :param clock: the time now, UTC.

    Lookups raise what the SDK raises, and :class:`Missing` when the target does not lead to the object.
    """

    def __init__(
        self,
        target: AutomationTarget,
        client: "AutomationClient",
        *,
        cap_bytes: int = DEFAULT_CAP,
        optional_timeout: float = 3.0,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.target = target
        self.client = client
        self.cap_bytes = cap_bytes
        self.optional_timeout = optional_timeout
        self.clock = clock
        self._lookups: dict[str, asyncio.Task[Any]] = {}

    @property
    def account(self) -> tuple[str, str]:
        """(resource group, account): the first two arguments of every SDK call."""
        return self.target.resource_group, self.target.account

    async def close(self) -> None:
        """Cancel lookups that nobody waits for any more. Those that are done stay known."""
        unfinished = {key: task for key, task in self._lookups.items() if not task.done()}
        for key, task in unfinished.items():
            task.cancel()
            del self._lookups[key]
        await asyncio.gather(*unfinished.values(), return_exceptions=True)

    async def job(self) -> "Job":
        """The target's job."""
        self._must_be("job")
        return await self._once("job", lambda: self.client.job.get(*self.account, self.target.name))

    async def watcher(self) -> "Watcher":
        """The target's watcher."""
        self._must_be("watcher")
        return await self._once("watcher", lambda: self.client.watcher.get(*self.account, self.target.name))

    async def webhook(self) -> "Webhook":
        """The target's webhook."""
        self._must_be("webhook")
        return await self._once("webhook", lambda: self.client.webhook.get(*self.account, self.target.name))

    async def job_schedule(self) -> "JobSchedule":
        """The target's link of a runbook to a schedule."""
        self._must_be("jobSchedule")
        return await self._once("job_schedule", lambda: self.client.job_schedule.get(*self.account, self.target.name))

    async def schedule(self, name: str) -> "Schedule":
        """The schedule of that name."""
        safe = _safe(name, "schedule")
        return await self._once(f"schedule/{safe.casefold()}", lambda: self.client.schedule.get(*self.account, safe))

    async def runbook(self) -> "Runbook":
        """The runbook that the target leads to."""
        name = await self.runbook_name()
        return await self._once("runbook", lambda: self.client.runbook.get(*self.account, name))

    async def watchers(self) -> "Listing[Watcher]":
        """Every watcher of the account."""
        return await self._once(
            "watchers", lambda: _listing(self.client.watcher.list_by_automation_account(*self.account))
        )

    async def webhooks(self) -> "Listing[Webhook]":
        """Every webhook of the account."""
        return await self._once(
            "webhooks", lambda: _listing(self.client.webhook.list_by_automation_account(*self.account))
        )

    async def job_schedules(self) -> "Listing[JobSchedule]":
        """Every link of a runbook to a schedule in the account."""
        return await self._once(
            "job_schedules", lambda: _listing(self.client.job_schedule.list_by_automation_account(*self.account))
        )

    async def runbook_name(self) -> str:
        """The runbook that the target is, runs or starts, as the service spells it where it was asked.

        Raises :class:`Missing` for a target that leads to no runbook. A schedule may start several: the first by
        name counts here, the schedules evidence lists all.
        """
        kind, name = self.target.kind, self.target.name
        found: object = None
        match kind:
            case "runbook":
                return name
            case "job":
                job = await self.job()
                found = job.runbook.name if job.runbook else None
            case "watcher":
                found = (await self.watcher()).script_name
            case "webhook":
                webhook = await self.webhook()
                found = webhook.runbook.name if webhook.runbook else None
            case "jobSchedule":
                link = await self.job_schedule()
                found = link.runbook.name if link.runbook else None
            case "schedule":
                links = (await self.job_schedules()).items
                found = min(
                    (
                        link.runbook.name
                        for link in links
                        if link.runbook and link.runbook.name and link.schedule and same(link.schedule.name, name)
                    ),
                    default=None,
                )
            case _:
                what = "the automation account" if kind == "account" else f"the {label(kind, 60)} '{label(name, 100)}'"
                raise Missing(f"The event is about {what}, which leads to no single runbook.")
        if not found:
            raise Missing(f"The {kind} '{label(name, 100)}' names no runbook, so there is none to look at.")
        return _safe(str(found), "runbook")

    def _must_be(self, kind: str) -> None:
        if self.target.kind != kind:
            raise Missing(f"The event is about a {label(self.target.kind, 60)}, not about a {kind}.")

    async def _once(self, key: str, lookup: Callable[[], Awaitable[T]]) -> T:
        task: asyncio.Task[T] | None = self._lookups.get(key)
        if task is None:
            task = self._lookups[key] = asyncio.create_task(_run(lookup))
            # A failure that nobody waits for any more is no news: whoever needed it has timed out and said so.
            task.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
        # The shield keeps the lookup alive for the others when this waiter is cancelled.
        return await asyncio.shield(task)


def same(one: object, other: object) -> bool:
    """Whether two names of Azure objects are the same: case does not count."""
    return bool(one) and bool(other) and str(one).casefold() == str(other).casefold()


def _safe(name: str, kind: str) -> str:
    if not is_safe_name(name):
        raise Missing(f"The {kind} is called {label(ascii(name), 200)}, which cannot be part of a request.")
    return name


async def _run(lookup: Callable[[], Awaitable[T]]) -> T:
    return await lookup()


async def _listing(pages: AsyncIterable[T]) -> Listing[T]:
    items: list[T] = []
    async for item in pages:
        if len(items) == MAX_LISTED:
            return Listing(tuple(items), complete=False)
        items.append(item)
    return Listing(tuple(items))
