"""Hunt reports, stored records and a destination for the tests of heartbeat and command line."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from detectors.delivery.attempts import next_due
from detectors.delivery.destination import Receipt
from detectors.model import Alert, Delivery, DeliveryState, Match, Record, Source
from detectors.sources.hunt import HuntReport, RuleOutcome
from detectors.sources.windows import Watermark
from detectors.state.store import Store
from tests.core.samples import RULE, row
from tests.factories import build_alert

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
WORKSPACE = "63613592-b6f7-4c3d-a390-22ba13102111"


def report(*outcomes: RuleOutcome) -> HuntReport:
    """A hunt that began 40 s before :data:`NOW`."""
    return HuntReport(
        started_at=NOW - timedelta(seconds=40),
        outcomes=outcomes or (RuleOutcome(rule_id=RULE.id, workspace=WORKSPACE),),
    )


async def put_watermark(store: Store, *, rule_id: str = RULE.id, workspace: str = WORKSPACE, **values: Any) -> None:
    """Store the watermark of a rule; read until :data:`NOW` unless told otherwise."""
    name = f"watermark/{rule_id}/{workspace}"
    before = await store.read_document(name)
    value = msgspec.json.encode(Watermark(**{"end": NOW} | values))
    await store.write_document(name, value, before.version if before else None)


def record(number: int = 1, *, age: timedelta = timedelta(minutes=2), **deliveries: Delivery) -> Record:
    """An alert stored *age* ago with *deliveries*, whose names have ``_`` for ``-``; without any, a match alone."""
    identifier = f"{number:08x}" + "a" * 24
    created = NOW - age
    named = {name.replace("_", "-"): delivery for name, delivery in deliveries.items()}
    match = Match(
        id=identifier,
        rule_id=RULE.id,
        identity={"CorrelationId": "c"},
        source=Source.HUNT,
        row=row(number),
        event_time=created,
        found_at=created,
    )
    return Record(
        id=identifier,
        due=next_due(named) if named else created,
        created_at=created,
        match=match,
        alert=build_alert(id=identifier, title=f"Runbook {number} changed") if named else None,
        deliveries=named,
    )


def pending(**changes: Any) -> Delivery:
    """Waiting for its third attempt."""
    values: dict[str, Any] = {"attempts": 2, "next_attempt": NOW + timedelta(minutes=1), "error": "teams: 429"}
    return Delivery(**values | changes)


def sent() -> Delivery:
    """Arrived."""
    return Delivery(state=DeliveryState.SENT, attempts=1, sent_at=NOW)


def dead(error: str = "webhook: https://e.example answered 400 (Bad Request).") -> Delivery:
    """Given up after four attempts."""
    return Delivery(state=DeliveryState.DEAD, attempts=4, error=error)


class HeartbeatTaker:
    """A destination that keeps heartbeats, and does what it is told before it takes one."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.name = "log-table"
        self.failure = failure
        self.beats: list[dict[str, Any]] = []

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        raise AssertionError("a heartbeat is no alert")

    async def send_heartbeat(
        self,
        identifier: str,
        *,
        started_at: datetime,
        finished_at: datetime,
        healthy: bool,
        problems: Sequence[str],
        values: Mapping[str, Any],
    ) -> None:
        if self.failure:
            raise self.failure
        self.beats.append({"identifier": identifier, "healthy": healthy, "problems": problems, "values": values})

    async def close(self) -> None:
        """Nothing to release."""
