"""The queries of the alert rules and of the analytics rule compile, and find what they are for and nothing else."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from detectors.delivery import log_table
from detectors.heartbeat import Heartbeat
from detectors.kql.engine import Engine, TableSchema
from tests.infra.__main__ import INFRA
from tests.kusto.compiler import Checked, check

QUERIES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((INFRA / "queries").glob("*.kql"))}
SENTINEL = (INFRA / "modules" / "sentinel.bicep").read_text(encoding="utf-8")
ALERTS = (INFRA / "modules" / "alerts.bicep").read_text(encoding="utf-8")
HEARTBEAT_FIELDS = {each.name for each in msgspec.structs.fields(Heartbeat)}
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

# The workspace adds the last ones to every table.
SCHEMA = TableSchema(
    log_table.TABLE,
    "What the detector sends to the workspace.",
    (
        *((each.name, each.type) for each in log_table.COLUMNS),
        ("TenantId", "string"),
        ("Type", "string"),
        ("_ResourceId", "string"),
    ),
)


def heartbeat(minutes: float = 1, **values: Any) -> dict[str, Any]:
    """The row of a heartbeat *minutes* ago that says that all is well, unless *values* say something else."""
    well = {
        "dead_deliveries": 0,
        "rules_failed": 0,
        "lag_seconds": 12.5,
        "inventory_accounts": 3,
        "inventory_stalest_seconds": 240.0,
    }
    finished = NOW - timedelta(minutes=minutes)
    row = log_table.build_heartbeat_row(
        f"heartbeat-{minutes}",
        started_at=finished - timedelta(seconds=20),
        finished_at=finished,
        healthy=True,
        problems=(),
        values=well | values,
    )
    return row | {"TimeGenerated": finished.isoformat()}


def alert(identifier: str = "a-1", **columns: Any) -> dict[str, Any]:
    """The row of an alert."""
    return {
        "TimeGenerated": (NOW - timedelta(minutes=2)).isoformat(),
        "AlertId": identifier,
        "AlertKind": "detection",
        "Updates": 0,
        "Caller": "mallory@contoso.com",
        "Severity": "High",
        **columns,
    }


@pytest.fixture(scope="module")
def compiled() -> dict[str, Checked]:
    return check(QUERIES, {log_table.TABLE: SCHEMA})


def found(name: str, *rows: Mapping[str, Any], ingested: float = 1) -> list[dict[str, Any]]:
    """What a query finds in *rows*, which arrived *ingested* minutes ago."""
    with Engine({log_table.TABLE: SCHEMA}) as engine:
        engine.load(log_table.TABLE, rows, ingested_at=NOW - timedelta(minutes=ingested))
        return engine.run(QUERIES[name], now=NOW).dicts()


def test_the_queries_are_those_of_the_rules() -> None:
    # One line of each rule names its query; sentinel-incidents is the analytics rule.
    named = re.findall(r"    query: loadTextContent\('\.\./queries/([\w-]+)\.kql'\)", ALERTS + SENTINEL)
    assert sorted(named) == sorted(QUERIES)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_compiles_and_both_engines_see_the_same_columns(name: str, compiled: Mapping[str, Checked]) -> None:
    assert compiled[name].errors == ()
    with Engine({log_table.TABLE: SCHEMA}) as engine:
        assert engine.translate(QUERIES[name]).columns == compiled[name].columns


@pytest.mark.parametrize("name", QUERIES)
def test_every_field_of_a_heartbeat_that_a_query_reads_is_one(name: str) -> None:
    assert set(re.findall(r"\bRow\.(\w+)", QUERIES[name])) <= HEARTBEAT_FIELDS


def test_the_analytics_rule_maps_columns_of_its_query(compiled: Mapping[str, Checked]) -> None:
    columns = {name for name, _ in compiled["sentinel-incidents"].columns}
    mapped = re.findall(r"columnName: '(\w+)'", SENTINEL)
    mapped += re.findall(r"alert\w+ColumnName: '(\w+)'", SENTINEL)
    mapped += re.findall(r"\{\{(\w+)\}\}", SENTINEL)
    mapped += re.findall(r"alertProperty: '\w+'\n\s+value: '(\w+)'", SENTINEL)
    custom = re.search(r"customDetails: \{\n(.*?)\n    \}", SENTINEL, re.S)
    assert custom is not None
    details = re.findall(r"^      (\w+): '(\w+)'$", custom[1], re.M)
    assert len(details) == custom[1].count("\n") + 1
    # Microsoft Sentinel takes 20 of them, and 20 letters for a name.
    assert len(details) <= 20
    assert all(len(name) <= 20 for name, _ in details)
    assert len(mapped) > 10
    assert {*mapped, *(column for _, column in details)} <= columns


def test_a_heartbeat_is_counted_and_an_alert_is_none() -> None:
    assert len(found("no-heartbeat", heartbeat(1), heartbeat(6), alert())) == 2
    assert found("no-heartbeat", alert()) == []


def test_dead_deliveries_are_those_of_the_newest_heartbeat() -> None:
    assert len(found("deliveries-dead", heartbeat(6), heartbeat(1, dead_deliveries=2))) == 1
    assert found("deliveries-dead", heartbeat(6, dead_deliveries=2), heartbeat(1)) == []
    assert found("deliveries-dead", heartbeat(1, dead_deliveries=None)) == []
    assert found("deliveries-dead", alert()) == []


def test_a_hunt_fails_when_a_rule_does_or_is_behind() -> None:
    assert len(found("hunts-failing", heartbeat(1, rules_failed=1), heartbeat(6, lag_seconds=1801.0))) == 2
    assert found("hunts-failing", heartbeat(1), heartbeat(6, lag_seconds=1799.0), heartbeat(11, lag_seconds=None)) == []


def test_an_inventory_is_stale_when_an_account_was_not_read_for_an_hour_or_it_never_ran() -> None:
    assert len(found("inventory-stale", heartbeat(1, inventory_stalest_seconds=3700.0))) == 1
    assert len(found("inventory-stale", heartbeat(1, inventory_accounts=None, inventory_stalest_seconds=None))) == 1
    assert found("inventory-stale", heartbeat(1), alert()) == []
    # No account at all: nothing is stale.
    assert found("inventory-stale", heartbeat(1, inventory_accounts=0, inventory_stalest_seconds=None)) == []


def test_an_incident_is_raised_for_each_new_alert_once() -> None:
    rows = found(
        "sentinel-incidents",
        alert("a-1"),
        alert("a-1"),
        alert("a-2", AlertKind="summary"),
        alert("a-3", Updates=1),
        alert("a-4", AlertKind="health"),
        heartbeat(1),
    )
    assert sorted(row["AlertId"] for row in rows) == ["a-1", "a-2"]


def test_an_alert_is_not_raised_again_when_it_arrived_before() -> None:
    assert len(found("sentinel-incidents", alert(), ingested=4)) == 1
    assert found("sentinel-incidents", alert(), ingested=6) == []
    # It was delayed: the time of arrival counts.
    late = alert(TimeGenerated=(NOW - timedelta(hours=20)).isoformat())
    assert len(found("sentinel-incidents", late)) == 1


@pytest.mark.parametrize(
    ("caller", "name", "suffix", "object_id"),
    [
        ("mallory@contoso.com", "mallory", "contoso.com", ""),
        ("11111111-2222-3333-4444-555555555555", "", "", "11111111-2222-3333-4444-555555555555"),
    ],
)
def test_the_account_of_an_incident_is_a_name_or_an_id(caller: str, name: str, suffix: str, object_id: str) -> None:
    [row] = found("sentinel-incidents", alert(Caller=caller))
    assert (row["CallerName"], row["CallerUpnSuffix"], row["CallerObjectId"]) == (name, suffix, object_id)


def test_the_rule_looks_back_as_often_as_it_runs() -> None:
    every = re.search(r"queryFrequency: 'PT(\d+)M'", SENTINEL)
    back = re.search(r"ingestion_time\(\) > ago\((\d+)m\)", QUERIES["sentinel-incidents"])
    assert every is not None
    assert back is not None
    # Less would lose alerts, more would raise them twice.
    assert every[1] == back[1]
