"""Puts the inventory together from the app's clients and settings, for :mod:`detectors.app` alone."""

import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from detectors.automation.clients import AutomationClients
from detectors.automation.texts import Body
from detectors.delivery.inventory_table import InventoryRows, InventoryTable
from detectors.inventory.account_reader import ContentJudgement
from detectors.inventory.inventory import Inventory, InventoryLimits
from detectors.inventory.judge import InventoryJudge
from detectors.inventory.reading import read_account
from detectors.inventory.report import InventoryReport
from detectors.inventory.repository import Repository
from detectors.inventory.sections import SECTIONS
from detectors.inventory.visits import OnNew
from detectors.rule import Rule
from detectors.settings import Settings
from detectors.state.objects import ObjectStore
from detectors.state.store import Store, StoreUnavailable
from detectors.triage import content, masking
from detectors.triage.health import StaleInventory
from detectors.triage.intake import Intake

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_log = logging.getLogger(__name__)

_SECTION_SECONDS = 20.0
_LINES = 12
_SETS_OF_ROWS = 200
"""Sent to the workspace in one run. Each is one visit with changes; the first visits of many accounts take a while."""


class InventoryRuns:
    """Runs the inventory, reports on it and sends its rows. One for each detector."""

    def __init__(
        self,
        settings: Settings,
        *,
        credential: "AsyncTokenCredential",
        store: Store,
        objects: ObjectStore,
        intake: Intake,
        rules: Sequence[Rule],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._clock = clock
        verify = settings.ca_bundle or True
        # A 429 comes straight back: it closes the gate of its subscription and holds up no other.
        self._clients = AutomationClients(
            credential,
            base_url=settings.arm_endpoint or settings.cloud.arm,
            scope=f"{settings.cloud.arm}/.default",
            connection_verify=verify,
            retry_total=1,
            longest_retry_after=0.0,
        )
        kept = objects.objects("inventory")
        repository = Repository(store, kept)
        self._table: InventoryTable | None = None
        self._rows: InventoryRows | None = None
        if settings.logs_ingestion_endpoint:
            self._table = InventoryTable(
                settings.logs_ingestion_endpoint,
                settings.logs_ingestion_rule_id,
                credential,
                clock=clock,
                stream=settings.inventory_stream,
                scope=f"{settings.cloud.ingestion_audience}/.default",
                connection_verify=verify,
            )
            self._rows = InventoryRows(kept=repository, objects=kept, table=self._table)
        judge = InventoryJudge(rules)
        for rule, reason in judge.refused:
            _log.error("the rule %s does not run on the inventory: %s", rule.name, reason)
        self._inventory = Inventory(
            subscriptions=settings.inventory_subscriptions,
            clients=self._clients,
            read_account=functools.partial(
                read_account,
                mask=masking.mask,
                judge_content=judge_content,
                cap_bytes=settings.content_limit_bytes,
                clock=clock,
                section_timeout=_SECTION_SECONDS,
            ),
            sections=[section.name for section in SECTIONS],
            judge=judge,
            intake=intake,
            store=store,
            repository=repository,
            limits=InventoryLimits(
                concurrency=settings.inventory_concurrency,
                time_budget=settings.inventory_time_budget,
                alert_limit=settings.hunt_alert_limit,
            ),
            keep_rows=self._rows is not None,
            clock=clock,
            sleep=sleep,
        )

    async def run(self, on_new: OnNew | None = None) -> InventoryReport:
        """One run over the accounts. What fails is in the report and in alerts about the detector."""
        report = await self._inventory.run(on_new)
        try:
            await self._intake.report_no_inventory(_nothing_listed(report))
            await self._intake.report_stale_inventory(self._stale(report))
            if self._rows is not None:
                await self._rows.ship(_SETS_OF_ROWS)
        except StoreUnavailable as error:
            _log.error("inventory: the end of this run was not stored; the next run makes up for it: %s", error)
        return report

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._clients.close()
        if self._table is not None:
            await self._table.close()

    def _stale(self, report: InventoryReport) -> StaleInventory | None:
        stalest = report.stalest
        if stalest is None or stalest.age_seconds <= self._settings.inventory_stale_after.total_seconds():
            return None
        return StaleInventory(
            account_id=stalest.account_id,
            since=stalest.since,
            accounts=report.accounts,
            error=report.errors[0] if report.errors else "",
        )


def judge_content(data: bytes, runbook_type: str) -> ContentJudgement:
    """What triage notices in the text of a runbook; suspicious is what ordinary runbooks do not hold."""
    judged = content.to_content(Body(data), title="", language=content.language(runbook_type))
    findings = sorted(judged.findings, key=lambda finding: not finding.rare)
    return ContentJudgement(
        suspicious=any(finding.rare for finding in findings),
        indicators=tuple(sorted({finding.indicator for finding in findings})),
        lines=tuple((finding.line, finding.reason) for finding in findings[:_LINES]),
    )


def _nothing_listed(report: InventoryReport) -> str | None:
    """Why no account could be listed, where that is so: an estate without accounts is no failure."""
    return report.errors[0] if report.errors and not report.accounts else None
