"""The heartbeat in the alerts' table: the same columns, and nothing that could be taken for an alert."""

import gzip
import json
from datetime import datetime, timedelta
from typing import Any

from detectors.delivery.log_table import (
    COLUMNS,
    MAX_COLUMN_BYTES,
    MAX_ROW_BYTES,
    LogTableDestination,
    build_heartbeat_row,
    build_row,
)
from detectors.heartbeat import HeartbeatDestination
from detectors.model import AlertKind
from tests.delivery.receiver import Answer, make_certificate, running, settle
from tests.delivery.test_log_table import make_destination
from tests.factories import build_alert
from tests.heartbeat.samples import NOW

BEAT: dict[str, Any] = {
    "started_at": NOW - timedelta(seconds=40),
    "finished_at": NOW,
    "healthy": False,
    "problems": ["a rule fails"],
    "values": {"lag_seconds": 12.0},
}


def test_a_heartbeat_row_has_exactly_the_columns_and_their_types() -> None:
    row = build_heartbeat_row("beat-1", **BEAT)
    assert list(row) == [column.name for column in COLUMNS]
    for column in COLUMNS:
        value = row[column.name]
        match column.type:
            case "string":
                assert isinstance(value, str)
            case "datetime":
                assert datetime.fromisoformat(value).tzinfo is not None
            case "real":
                assert isinstance(value, float)
            case "int":
                assert value is None or isinstance(value, int)
            case "dynamic":
                assert isinstance(value, list | dict)


def test_a_heartbeat_row_says_how_the_detector_is_and_is_no_alert() -> None:
    row = build_heartbeat_row("beat-1", **BEAT)
    expected = {
        "TimeGenerated": "2026-03-02T03:00:00+00:00",
        "AlertId": "beat-1",
        "AlertKind": "heartbeat",
        "Outcome": "unhealthy",
        "Severity": "Informational",
        "SeverityReasons": ["a rule fails"],
        "DelaySeconds": 40.0,
        "Row": {"lag_seconds": 12.0},
        "Caller": "",
        "TrimmedColumns": [],
    }
    assert {name: row[name] for name in expected} == expected
    assert build_heartbeat_row("beat-1", **BEAT | {"healthy": True})["Outcome"] == "healthy"
    assert row["AlertKind"] not in set(AlertKind)


def test_a_heartbeat_row_has_the_inventory_in_columns_of_its_own() -> None:
    values = {"inventory_accounts": 7, "inventory_stalest_seconds": 301.75}
    row = build_heartbeat_row("beat-1", **BEAT | {"values": values})
    assert (row["InventoryAccounts"], row["InventoryStalestSeconds"], row["Updates"]) == (7, 301, 0)
    assert row["Row"] == values
    without = build_heartbeat_row("beat-1", **BEAT)
    assert (without["InventoryAccounts"], without["InventoryStalestSeconds"]) == (None, None)
    alert = build_row(build_alert())
    assert (alert["InventoryAccounts"], alert["InventoryStalestSeconds"]) == (None, None)


def test_a_heartbeat_row_stays_within_the_limits_of_the_service() -> None:
    row = build_heartbeat_row("beat-1", **BEAT | {"problems": ["🙂" * 100_000] * 9})
    assert len(json.dumps(row["SeverityReasons"], ensure_ascii=False).encode()) <= MAX_COLUMN_BYTES
    assert len(json.dumps(row)) <= MAX_ROW_BYTES
    assert row["TrimmedColumns"] == ["SeverityReasons"]


async def test_the_log_table_takes_heartbeats_on_the_stream_of_the_alerts(tmp_path: Any) -> None:
    with running(*make_certificate(tmp_path)) as receiver:
        receiver.answers.append(Answer(204))
        destination: LogTableDestination = make_destination(receiver)
        assert isinstance(destination, HeartbeatDestination)
        await destination.send_heartbeat("beat-1", **BEAT)
        await destination.close()
        await settle(receiver)
    (request,) = receiver.received
    assert "/streams/Custom-AutomationDetections_CL" in request.path
    assert json.loads(gzip.decompress(request.body)) == [build_heartbeat_row("beat-1", **BEAT)]
