"""Automation accounts in memory, how Azure answers for them, and inventories that look at them."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.core.utils import case_insensitive_dict
from azure.mgmt.automation.aio import AutomationClient
from azure.mgmt.automation.models import AutomationAccount

from detectors.inventory.account_reader import AccountGone, Throttled
from detectors.inventory.inventory import Inventory, InventoryLimits
from detectors.inventory.reading import Reading
from detectors.inventory.report import InventoryReport
from detectors.inventory.repository import Repository
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order
from detectors.inventory.visits import Judge, OnNew
from detectors.model import Severity
from detectors.rule import DetectorOptions, Rule
from detectors.triage.intake import Intake
from tests.core.samples import RULE
from tests.inventory.virtual_time import VirtualTime
from tests.memory_store import MemoryStore, Place

ONE = "11111111-2222-3333-4444-555555555551"
TWO = "11111111-2222-3333-4444-555555555552"

CHANGED = dataclasses.replace(
    RULE,
    id="5a1c0c5e-0000-4000-8000-00000000000a",
    name="Inventory changed",
    severity=Severity.MEDIUM,
    query="AutomationInventory_CL",
    title_format=None,
    entity_mappings=(),
    custom_details=(),
    detector=DetectorOptions(identity=("ChangeId",)),
)
"""Matches every change, and of a base line what is suspicious."""
WATCHER = dataclasses.replace(CHANGED, id="5a1c0c5e-0000-4000-8000-00000000000b", name="Watcher changed")
"""Matches every change of a watcher too: one change may be a match of more than one rule."""
SECTIONS = ("watchers", "runbooks", "jobs")


class RowJudge:
    """What the two rules find. ``asked`` is when."""

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    def judge(self, rows: Sequence[dict[str, Any]], now: datetime) -> list[tuple[Rule, list[dict[str, Any]]]]:
        self.asked.append(now)
        told = [row for row in rows if row["ChangeType"] != "Baseline" or (row["After"] or {}).get("suspicious")]
        watchers = [row for row in told if row["ObjectType"] == "Watcher"]
        return [(rule, found) for rule, found in ((CHANGED, told), (WATCHER, watchers)) if found]


@dataclasses.dataclass(eq=False)
class FakeAccount:
    """An account as it is now. ``refuses`` answers 403 to everything below it, ``hidden`` leaves it out of the list."""

    reference: AccountReference
    objects: dict[str, InventoryObject] = dataclasses.field(default_factory=dict)
    jobs: list[str] = dataclasses.field(default_factory=list)
    texts: dict[str, bytes] = dataclasses.field(default_factory=dict)
    refuses: bool = False
    hidden: bool = False
    seconds: float = 0.0
    """What reading it takes."""
    throttles: list[float | None] = dataclasses.field(default_factory=list)
    """Retry-After of the next readings."""
    error: Exception | None = None
    """What reading it raises."""

    def put(self, kind: str, name: str, **properties: Any) -> None:
        identifier = f"{self.reference.id}/{kind.lower()}s/{name}"
        self.objects[identifier] = InventoryObject(kind=kind, name=name, id=identifier, properties=properties)

    def remove(self, kind: str, name: str) -> None:
        del self.objects[f"{self.reference.id}/{kind.lower()}s/{name}"]

    @property
    def entry(self) -> dict[str, Any]:
        own = self.reference
        identifier = (
            f"/subscriptions/{own.subscription_id}/resourceGroups/{own.resource_group}"
            f"/providers/Microsoft.Automation/automationAccounts/{own.name}"
        )
        return {"id": identifier, "name": own.name, "location": "westeurope", "properties": {"state": "Ok"}}

    def state(self, previous: Snapshot | None) -> tuple[InventoryObject, ...]:
        """The objects of a complete reading."""
        objects = list(self.objects.values())
        if self.refuses:
            objects = [each for each in previous.objects if each.kind != "Account"] if previous else []
        unread = sorted(SECTIONS) if self.refuses else []
        own = InventoryObject(
            kind="Account", name=self.reference.name, id=self.reference.id, properties={"unread": unread}
        )
        return in_order([*objects, own])


class Azure:
    """Subscriptions and accounts, and how often each was asked for."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.states = {ONE: "Enabled"}
        self.accounts: dict[str, FakeAccount] = {}
        self.listings: dict[str, list[Exception]] = {}
        """What the next lists of accounts raise, by subscription; ``*`` for the list of subscriptions."""
        self.list_seconds: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.read: list[tuple[datetime, str]] = []
        """When which account's reading began, by name."""
        self.reading = self.most_readings = 0

    def add(self, name: str, subscription: str = ONE, **more: Any) -> FakeAccount:
        self.states.setdefault(subscription, "Enabled")
        reference = AccountReference(
            subscription_id=subscription, resource_group="rg-ops", name=name, location="westeurope"
        )
        account = self.accounts[reference.id] = FakeAccount(reference, **more)
        account.put("Runbook", "nightly", state="Published")
        return account

    def delete(self, account: FakeAccount) -> None:
        del self.accounts[account.reference.id]

    def get(self, subscription_id: str) -> AutomationClient:
        return cast("AutomationClient", _Client(self, subscription_id))

    async def read_account(
        self, client: AutomationClient, account: AccountReference, listed: Mapping[str, Any], previous: Snapshot | None
    ) -> Reading:
        """As :func:`detectors.inventory.reading.read_account` does it, without any request."""
        self.calls["read"] += 1
        self.read.append((self.clock(), account.name))
        taken_at = self.clock()
        self.reading += 1
        self.most_readings = max(self.most_readings, self.reading)
        try:
            found = self.accounts.get(account.id)
            if found is None:
                raise AccountGone("gone")
            await asyncio.sleep(found.seconds)
            if found.throttles:
                raise Throttled("Azure throttled the detector (429).", found.throttles.pop(0))
            if found.error:
                raise found.error
            found = self.accounts.get(account.id)
            if found is None:
                raise AccountGone("gone")
        finally:
            self.reading -= 1
        seen = previous.seen_jobs if previous else ()
        jobs = tuple(
            InventoryObject(kind="Job", name=job, id=f"{account.id}/jobs/{job}", properties={"runbook": "nightly"})
            for job in found.jobs
            if job not in seen and not found.refuses
        )
        snapshot = Snapshot(
            account=account,
            sequence=previous.sequence + 1 if previous else 1,
            taken_at=taken_at,
            objects=found.state(previous),
            unread=dict.fromkeys(SECTIONS, "refused (403)") if found.refuses else {},
            jobs=jobs,
            seen_jobs=tuple(found.jobs),
        )
        return Reading(snapshot, dict(found.texts))

    def names_read(self) -> list[str]:
        return [name for _, name in self.read]


class _Client:
    """What the inventory uses of the SDK's client."""

    def __init__(self, azure: Azure, subscription_id: str) -> None:
        self._azure = azure
        self._subscription_id = subscription_id
        self.automation_account = self

    async def list(self) -> AsyncIterator[AutomationAccount]:
        await self._answer(self._subscription_id)
        for account in list(self._azure.accounts.values()):
            if account.reference.subscription_id == self._subscription_id and not account.hidden:
                yield AutomationAccount(account.entry)

    async def get(self, resource_group: str, name: str) -> AutomationAccount:
        self._azure.calls["get"] += 1
        for account in self._azure.accounts.values():
            own = account.reference
            if (own.subscription_id, own.resource_group, own.name) == (self._subscription_id, resource_group, name):
                if account.refuses:
                    raise refusal(403, "AuthorizationFailed")
                return AutomationAccount(account.entry)
        raise refusal(404, "ResourceNotFound")

    async def send_request(self, request: HttpRequest) -> "_Response":
        assert request.url == "/subscriptions?api-version=2022-12-01"
        await self._answer("*")
        entries = [{"subscriptionId": each, "state": state} for each, state in self._azure.states.items()]
        return _Response({"value": entries})

    async def _answer(self, which: str) -> None:
        self._azure.calls[f"list {which}"] += 1
        await asyncio.sleep(self._azure.list_seconds.get(which, 0.0))
        errors = self._azure.listings.get(which, [])
        if errors:
            raise errors.pop(0)


@dataclasses.dataclass
class _Response:
    body: Any
    status_code: int = 200

    def json(self) -> Any:
        return self.body


def refusal(status: int, code: str = "Code", headers: Mapping[str, str] | None = None) -> HttpResponseError:
    """What the SDK raises for a refusal."""

    class _Request:
        url = "https://management.azure.com/"

    class _Refusal:
        def __init__(self) -> None:
            self.status_code = status
            self.headers = case_insensitive_dict(headers or {})
            self.request = _Request()
            self.reason = code
            self.content_type = "application/json"

        def text(self, _: str | None = None) -> str:
            return f'{{"error": {{"code": "{code}", "message": "Azure says no."}}}}'

    return HttpResponseError(response=cast("Any", _Refusal()))


class World:
    """One Azure, what survives of the detectors that look at it, and their clock."""

    def __init__(self) -> None:
        self.clock = VirtualTime()
        self.azure = Azure(self.clock)
        self.place = Place()
        self.judge = RowJudge()

    def inventory(
        self,
        *,
        store: MemoryStore | None = None,
        subscriptions: Sequence[str] = (),
        concurrency: int = 4,
        minutes: float = 4,
        alert_limit: int = 1_000,
        read_account: Any = None,
        judge: Judge | None = None,
        keep_rows: bool = True,
    ) -> Inventory:
        store = store or MemoryStore(self.place)
        return Inventory(
            subscriptions=subscriptions,
            clients=self.azure,
            read_account=read_account or self.azure.read_account,
            sections=SECTIONS,
            judge=judge or self.judge,
            intake=Intake(store=store, clock=self.clock),
            store=store,
            repository=Repository(store, store.objects("inventory")),
            limits=InventoryLimits(
                concurrency=concurrency, time_budget=timedelta(minutes=minutes), alert_limit=alert_limit
            ),
            keep_rows=keep_rows,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def run(self, on_new: OnNew | None = None, **options: Any) -> InventoryReport:
        """One run, five minutes after the one before."""
        self.clock.advance(minutes=5)
        return self.clock.run(self.inventory(**options).run(on_new))

    def repository(self) -> Repository:
        store = MemoryStore(self.place)
        return Repository(store, store.objects("inventory"))

    def alerts(self) -> set[tuple[str, str]]:
        """(rule, change) of every match that is stored. A match that is stored twice would have two records."""
        found = [
            (record.match.rule_id, str(record.match.row["ChangeId"]))
            for stored in MemoryStore(self.place).records.values()
            if (record := stored.record).match is not None
        ]
        assert len(found) == len(set(found))
        return set(found)

    def told(self, rule: Rule = CHANGED) -> Counter[tuple[str, str, str]]:
        """(type of change, kind, name) of everything that *rule* matched."""
        return Counter(
            (record.match.row["ChangeType"], record.match.row["ObjectType"], record.match.row["ObjectName"])
            for stored in MemoryStore(self.place).records.values()
            if (record := stored.record).match is not None and record.match.rule_id == rule.id
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every row that is kept for the workspace, oldest first."""

        async def collect() -> list[dict[str, Any]]:
            repository = self.repository()
            return [row for name in await repository.unsent(10_000) for row in await repository.rows(name) or ()]

        return self.clock.run(collect())

    def current(self, account: FakeAccount) -> Snapshot | None:
        """The account's newest committed snapshot."""

        async def find() -> Snapshot | None:
            repository = self.repository()
            return await repository.current(await repository.state(account.reference))

        return self.clock.run(find())
