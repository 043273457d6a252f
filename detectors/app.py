"""The composition root: settings, clients, store, rules and destinations become one :class:`Detector`.

The Functions app, the command line, the demo and the tests all run this object. Everything heavy (credentials, the
Automation client, the stores) is imported and created on first use, because a cold start pays for every import.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectors.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from detectors.automation.clients import AutomationClients
    from detectors.delivery.destination import Destination
    from detectors.delivery.followup import FollowUp
    from detectors.delivery.outbox import DeliveryReport, Outbox
    from detectors.inventory.report import InventoryReport
    from detectors.inventory_wiring import InventoryRuns
    from detectors.model import Evidence, Match
    from detectors.rule import Rule
    from detectors.sources.batches import Batches, BatchReport
    from detectors.sources.hunt import Hunt, HuntReport
    from detectors.sources.quarantine import Position, Quarantine
    from detectors.sources.windows import Window
    from detectors.state.azure import AzureStore
    from detectors.state.objects import ObjectStore
    from detectors.state.sqlite import SqliteStore
    from detectors.state.store import Store
    from detectors.triage.intake import Intake

_log = logging.getLogger(__name__)

_FOLLOW_UP = timedelta(seconds=60)
"""Time that triage and sending get beyond the hunt's own budget, before the rest is left to the deliver timer."""


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)


class Detector:
    """The whole detector. :meth:`open` it once, call :meth:`hunt`, :meth:`sweep` and :meth:`deliver` as often as due
    and :meth:`stream` with each batch.

    All methods belong to one event loop. Two detectors, in one process or in two, may run at the same time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._sleep = sleep
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.store: Store
        self._objects: ObjectStore
        self.rules: tuple[Rule, ...] = ()
        self.hunted: tuple[Rule, ...] = ()
        """Those of ``rules`` that ask a workspace."""
        self.destinations: tuple[Destination, ...] = ()
        self._hunt: Hunt
        self._intake: Intake
        self._outbox: Outbox
        self._batches: Batches | None = None
        self._azure: AsyncTokenCredential
        self._inventory: InventoryRuns | None = None

    async def open(self) -> None:
        """Create clients, open the store, load the rules. Raises what the store or a client raises."""
        from detectors.delivery.catalog import build
        from detectors.delivery.http import Poster
        from detectors.delivery.outbox import Outbox
        from detectors.delivery.routing import Router, configuration_of
        from detectors.sources.hunt import Hunt, HuntLimits
        from detectors.triage.alerting import Triage
        from detectors.triage.intake import Intake

        settings = self._settings
        credential = self._azure = self._credential()
        self.store = self._objects = self._open_store(credential)
        await self.store.open()
        self._closing.append(self.store.close)
        self.rules = load_rules(settings.rules_path)
        self.hunted = hunted(self.rules, rows_are_sent=bool(settings.logs_ingestion_endpoint))
        self._intake = intake = Intake(store=self.store, clock=self._clock)
        configuration = configuration_of(settings, self._environment)
        self.destinations = build(
            configuration,
            credential=credential,
            poster=Poster(clock=self._clock, connection_verify=self._verify),
            clock=self._clock,
            cloud=settings.cloud,
            arm_endpoint=settings.arm_endpoint,
            connection_verify=self._verify,
        )
        self._closing += [destination.close for destination in self.destinations]
        self._hunt = Hunt(
            rules=self.hunted,
            workspaces=settings.workspace_ids,
            query=self._query(credential),
            store=self.store,
            intake=intake,
            limits=HuntLimits(
                concurrency=settings.hunt_concurrency,
                overlap=settings.hunt_overlap,
                longest_window=settings.hunt_max_window,
                initial_lookback=settings.hunt_initial_lookback,
                time_budget=settings.hunt_time_budget,
                alert_limit=settings.hunt_alert_limit,
                sweep_lookback=settings.sweep_lookback,
            ),
            clock=self._clock,
        )
        self._outbox = Outbox(
            store=self.store,
            triage=Triage(
                rules=self.rules,
                collect=self._collect(credential),
                clock=self._clock,
                portal=settings.cloud.portal,
                workspace_resource_id=settings.workspace_resource_id,
            ),
            destinations=self.destinations,
            dead_letters=intake,
            clock=self._clock,
            route=Router(configuration).names,
        )

    async def close(self) -> None:
        """Release every connection."""
        while self._closing:
            await self._closing.pop()()

    async def hunt(self) -> "HuntReport":
        """One hunt, with triage and sending of what it finds, and a heartbeat at its end."""
        from detectors.heartbeat import instance_name, send_heartbeat

        report = await self._with_follow_up(self._hunt.run)
        await send_heartbeat(
            report,
            rules=self.hunted,
            store=self.store,
            destinations=self.destinations,
            clock=self._clock,
            instance=instance_name(self._environment),
        )
        return report

    async def sweep(self) -> "HuntReport":
        """One sweep over the last day, with triage and sending of what it finds."""
        return await self._with_follow_up(self._hunt.sweep)

    async def deliver(self) -> "DeliveryReport":
        """Triage and send what is due: what did not fit, failed or crashed before."""
        report = await self._outbox.deliver(budget=self._settings.delivery_time_budget)
        if report.looked_at or report.left:
            _log.info("delivery: looked at %d records, %d left for the next run", report.looked_at, report.left)
        return report

    async def stream(self, bodies: Sequence[bytes], positions: "Sequence[Position]") -> "BatchReport":
        """Judge the messages of one Event Hub batch, *positions* being where each stood.

        When it returns, every match is stored and what could not be handled is in quarantine; triage and sending have
        had STREAM_TIME_BUDGET. Raises :class:`detectors.state.store.StoreUnavailable` when the store took neither.
        """
        async with self._following_up() as follow_up:
            return await self._stream_batches().run(bodies, positions, follow_up.add)

    async def inventory(self) -> "InventoryReport":
        """Read the automation accounts and compare them with what they were, with triage and sending of what is found.

        What fails is in the report; an account that does not fit into INVENTORY_TIME_BUDGET is first in the next run.
        """
        from detectors.inventory_wiring import InventoryRuns

        if self._inventory is None:
            self._inventory = InventoryRuns(
                self._settings,
                credential=self._azure,
                store=self.store,
                objects=self._objects,
                intake=self._intake,
                rules=self.rules,
                clock=self._clock,
                sleep=self._sleep,
            )
            self._closing.append(self._inventory.close)
        async with self._following_up(self._settings.inventory_time_budget + _FOLLOW_UP) as follow_up:
            return await self._inventory.run(follow_up.add)

    async def replay(self, bodies: Sequence[bytes], positions: "Sequence[Position]") -> "BatchReport":
        """:meth:`stream` for bytes that are kept elsewhere: what is damaged is told, and set aside nowhere."""
        async with self._following_up() as follow_up:
            return await self._stream_batches().judge_and_store(bodies, positions, follow_up.add)

    @property
    def quarantine(self) -> "Quarantine":
        """What the stream set aside."""
        from detectors.sources.quarantine import Quarantine

        return Quarantine(self._objects.objects("quarantine"))

    def _stream_batches(self) -> "Batches":
        # DuckDB and the translation of every rule are paid for by the first batch, not by every cold start.
        from detectors.sources.batches import Batches
        from detectors.sources.stream import StreamJudge

        if self._batches is None:
            judge = StreamJudge(self.rules)
            for rule, reason in judge.refused:
                _log.error("the rule %s does not run on the stream, only in the hunt: %s", rule.name, reason)
            self._batches = Batches(
                judge=judge,
                intake=self._intake,
                quarantine=self.quarantine,
                allowance=self._settings.hunt_alert_limit,
                clock=self._clock,
                sleep=self._sleep,
            )
        return self._batches

    def _following_up(self, budget: timedelta | None = None) -> "FollowUp":
        from detectors.delivery.followup import FollowUp

        async def process(record_id: str) -> None:
            try:
                await self._outbox.process(record_id)
            except Exception:  # noqa: BLE001 - see below
                # It is stored and due. Failing the batch for it would hold the partition, for a defect for ever.
                _log.exception("alert %s is left to the deliver timer", record_id)

        deadline = self._clock() + (budget or self._settings.stream_time_budget)
        return FollowUp(process, deadline=deadline, clock=self._clock)

    async def _with_follow_up(self, run: Callable[..., Awaitable["HuntReport"]]) -> "HuntReport":
        from detectors.delivery.followup import FollowUp

        deadline = self._clock() + self._settings.hunt_time_budget + _FOLLOW_UP
        async with FollowUp(self._outbox.process, deadline=deadline, clock=self._clock) as follow_up:
            report = await run(follow_up.add)
        _log.info(
            "hunt: %d queries, %d rows, %d new alerts, %d failed",
            sum(outcome.windows for outcome in report.outcomes),
            sum(outcome.rows for outcome in report.outcomes),
            len(report.new_alerts),
            len(report.errors),
        )
        return report

    @property
    def _verify(self) -> str | bool:
        return self._settings.ca_bundle or True

    def _credential(self) -> "AsyncTokenCredential":
        """One specific credential on Azure; the developer's chain only where no managed identity is offered."""
        from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

        client_id = self._settings.azure_client_id or None
        credential: DefaultAzureCredential | ManagedIdentityCredential
        if "IDENTITY_ENDPOINT" in self._environment:
            # Two retries: a token endpoint that stays away must end this run, not hold it; the next one asks again.
            credential = ManagedIdentityCredential(client_id=client_id, retry_total=2)
        else:
            credential = DefaultAzureCredential(managed_identity_client_id=client_id)
        self._closing.append(credential.close)
        return credential

    def _open_store(self, credential: "AsyncTokenCredential") -> "AzureStore | SqliteStore":
        settings = self._settings
        if settings.state_connection_string or settings.state_table_endpoint:
            from detectors.state.azure import AzureStore

            if settings.state_connection_string:
                return AzureStore.from_connection_string(settings.state_connection_string)
            return AzureStore(
                settings.state_table_endpoint,
                settings.state_blob_endpoint,
                credential,
                connection_verify=self._verify,
            )
        from detectors.state.sqlite import SqliteStore

        return SqliteStore(settings.state_path)

    def _query(self, credential: "AsyncTokenCredential") -> Any:
        from azure.monitor.query.aio import LogsQueryClient

        from detectors.sources.logs import query

        settings = self._settings
        client = LogsQueryClient(
            credential,
            endpoint=settings.logs_endpoint or settings.cloud.logs,
            audience=settings.cloud.logs,
            connection_verify=self._verify,
        )
        self._closing.append(client.close)

        async def run(
            workspace: str, text: str, window: "Window", time_left: Callable[[], float]
        ) -> list[dict[str, Any]]:
            return await query(
                client,
                workspace,
                text,
                window,
                server_timeout=int(settings.hunt_query_timeout.total_seconds()),
                sleep=self._sleep,
                time_left=time_left,
            )

        return run

    def _collect(
        self, credential: "AsyncTokenCredential"
    ) -> Callable[["Match", "Rule"], Awaitable[tuple["Evidence", ...]]]:
        settings = self._settings
        clients: AutomationClients | None = None

        async def collect(match: "Match", rule: "Rule") -> tuple["Evidence", ...]:
            # The Automation client is paid for by the first alert, not by every cold start.
            from detectors.automation.clients import AutomationClients
            from detectors.triage.alerting import display_resource_id
            from detectors.triage.enrichment.case import Case
            from detectors.triage.enrichment.gather import gather
            from detectors.triage.mapped import enrichments
            from detectors.triage.resource import automation_target

            nonlocal clients
            target = automation_target(display_resource_id(rule, match.row))
            names = enrichments(rule, target.kind) if target else ()
            if target is None or not names:
                return ()
            if clients is None:
                clients = AutomationClients(
                    credential,
                    base_url=settings.arm_endpoint or settings.cloud.arm,
                    scope=f"{settings.cloud.arm}/.default",
                    connection_verify=self._verify,
                )
                self._closing.append(clients.close)
            case = Case(
                target,
                clients.get(target.subscription_id),
                cap_bytes=settings.content_limit_bytes,
                clock=self._clock,
            )
            try:
                return await gather(
                    case,
                    names,
                    piece_timeout=settings.enrichment_timeout.total_seconds(),
                    deadline=settings.triage_deadline.total_seconds(),
                )
            finally:
                await case.close()

        return collect


def hunted(rules: "Sequence[Rule]", *, rows_are_sent: bool) -> "tuple[Rule, ...]":
    """Those of *rules* that ask a workspace.

    A rule over the inventory's table alone has its answer from the detector's own rows, minutes before the workspace
    has them; one that reads other tables as well needs the workspace, to which the rows must be sent.
    """
    from detectors.kql.traits import inventory_alone, reads_inventory

    return tuple(
        rule for rule in rules if not reads_inventory(rule.query) or (rows_are_sent and not inventory_alone(rule.query))
    )


def load_rules(paths: Sequence[str] = ()) -> "tuple[Rule, ...]":
    """The built-in rules and those in the folders *paths* (``RULES_PATH``).

    A file that does not load is logged and left out, so that it stops none of the others; so is a folder that is not
    there. Nothing is translated here: DuckDB stays out of a cold start.
    """
    from detectors import rulebook

    folders = [Path(path) for path in paths]
    for folder in folders:
        if not folder.is_dir():
            _log.error("RULES_PATH: %s is not a folder; deploy it with the app or correct the setting", folder)
    book = rulebook.load([rulebook.BUILT_IN, *(folder for folder in folders if folder.is_dir())], check_query=False)
    for problem in book.problems:
        _log.error("rule left out: %s", problem)
    if book.notes:
        plain = sum(rule.plain for rule in book.rules)
        _log.info(
            "RULES_PATH: %d rules, %d notes on how they are read; see: python -m detectors rules lint %s",
            plain, len(book.notes), " ".join(map(str, folders)),
        )  # fmt: skip
    return book.rules
