"""The workbook: its queries compile against the deployed tables and show what the rows hold; its parts fit together."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from detectors.delivery import inventory_table
from detectors.delivery.log_table import COLUMNS, TABLE, Column, build_heartbeat_row, build_row
from detectors.heartbeat import Heartbeat
from detectors.kql.engine import Engine, KqlError, TableSchema
from detectors.model import Severity, Source
from tests.factories import EVENT_TIME, build_alert, build_health, build_summary
from tests.kusto.compiler import Checked, check

WORKBOOK: Final = Path(__file__).parents[2] / "infra" / "workbook.json"
BOOK: Final[dict[str, Any]] = json.loads(WORKBOOK.read_text(encoding="utf-8"))
GRAIN: Final = "{TimeRange:grain}"
NOW: Final = EVENT_TIME + timedelta(hours=1)


def schema(name: str, columns: tuple[Column, ...]) -> TableSchema:
    """The table as the data collection rule fills it."""
    return TableSchema(name, "", tuple((column.name, column.type) for column in columns))


TABLES: Final = {
    TABLE: schema(TABLE, COLUMNS),
    "AutomationInventory_CL": schema("AutomationInventory_CL", inventory_table.COLUMNS),
}
# Of Azure Resource Graph, which fills the list of workspaces.
RESOURCES: Final = TableSchema("resources", "", (("id", "string"), ("type", "string"), ("properties", "dynamic")))
COMPILED_ONLY: Final = {"delay-by-source", "delay-over-time", "gaps"}
"""Their functions are not on the local engine; a test says so as soon as that is no longer true."""


def walk(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every item of the workbook, those of groups included."""
    for item in items:
        yield item
        yield from walk(item["content"].get("items", []))


ITEMS: Final = list(walk(BOOK["items"]))
QUERIES: Final = {item["name"]: item["content"] for item in ITEMS if item["type"] == 3}
PARAMETERS: Final = {
    parameter["name"]: parameter for item in ITEMS if item["type"] == 9 for parameter in item["content"]["parameters"]
}
TABS: Final = [link for item in ITEMS if item["type"] == 11 for link in item["content"]["links"]]


def text_of(name: str) -> str:
    """The query of an item as the portal sends it for a time range whose grain is an hour."""
    return str(QUERIES[name]["query"]).replace(GRAIN, "1h")


def references(value: Any) -> Iterator[str]:
    """Every parameter that *value* names in braces."""
    yield from re.findall(r"\{(\w+)(?::\w+)?\}", json.dumps(value))


def shown_columns(content: Mapping[str, Any]) -> Iterator[str]:
    """Every column of the result that the item's chart, tiles or grid name."""
    chart = content.get("chartSettings", {})
    yield from [chart[key] for key in ("xAxis", "group") if key in chart]
    yield from chart.get("yAxis", [])
    tiles = content.get("tileSettings", {})
    yield from [tiles[key]["columnMatch"] for key in ("titleContent", "leftContent") if key in tiles]
    yield from [formatter["columnMatch"] for formatter in content.get("gridSettings", {}).get("formatters", [])]


@pytest.fixture(scope="session")
def compiled() -> dict[str, Checked]:
    """Every query, and one with a misspelt column, in one go: the compiler takes seconds to start."""
    queries = {name: text_of(name) for name in QUERIES}
    queries["workspaces"] = PARAMETERS["Workspace"]["query"]
    queries["misspelt"] = text_of("newest-alerts").replace("CallerIpAddress", "CallerIpAdress")
    return check(queries, {**TABLES, "resources": RESOURCES})


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine({**TABLES, "resources": RESOURCES}) as made:
        made.load(TABLE, detections())
        made.load("AutomationInventory_CL", changes())
        yield made


def detections() -> list[dict[str, Any]]:
    """Two alerts of one story, one of them updated and one delivered twice; a summary; health; three heartbeats."""
    watcher = build_alert()
    updated = build_alert(updates=1, updated_at=EVENT_TIME + timedelta(minutes=20))
    runbook = build_alert(
        id="0" * 32,
        severity=Severity.LOW,
        rule_name="Runbook modified",
        source=Source.STREAM,
        caller="Mallory@contoso.example",
        event_time=EVENT_TIME + timedelta(minutes=1),
    )
    alerts = [watcher, updated, runbook, runbook, build_summary(3, id="1" * 32), build_health(id="2" * 32)]
    return [build_row(alert) for alert in alerts] + [heartbeat(minute) for minute in (0, 5, 55)]


def heartbeat(minute: int) -> dict[str, Any]:
    """Of *minute* minutes after the event; the one at 5 is unhealthy."""
    finished_at = EVENT_TIME + timedelta(minutes=minute)
    healthy = minute != 5
    return build_heartbeat_row(
        f"beat-{minute}",
        started_at=finished_at - timedelta(seconds=30),
        finished_at=finished_at,
        healthy=healthy,
        problems=[] if healthy else ["the rule fails", "an alert waits"],
        values={
            "lag_seconds": 30.5 + minute,
            "pending_deliveries": minute,
            "dead_deliveries": 1,
            "rules_run": 45,
            "rules_failed": 0 if healthy else 2,
            "rules_waiting": 5,
            "inventory_accounts": 3,
            "inventory_stalest_seconds": 240.7,
            "version": "0.1.0",
        },
    )


def changes() -> list[dict[str, Any]]:
    """A watcher that appeared, sent twice, and a runbook of the first visit."""
    common = {
        "AccountName": "aa-prod",
        "AccountId": "/subscriptions/s/aa-prod",
        "TimeGenerated": EVENT_TIME.isoformat(),
    }
    added = {
        **common,
        "ChangeId": "a",
        "ChangeType": "Added",
        "ObjectType": "Watcher",
        "ObjectName": "nightly",
        "RunbookName": "nightly",
        "RunOn": "workers",
        "After": {"scriptRunOn": "workers"},
    }
    first = {**common, "ChangeId": "b", "ChangeType": "Baseline", "ObjectType": "Runbook", "ObjectName": "nightly"}
    return [inventory_table.build_row(row) for row in (added, added, first)]


def rows_of(engine: Engine, name: str) -> list[dict[str, Any]]:
    return engine.run(text_of(name), now=NOW).dicts()


def test_it_is_a_notebook_with_queries_in_every_tab() -> None:
    assert BOOK["version"] == "Notebook/1.0"
    groups = {item["name"]: item for item in ITEMS if item["type"] == 12}
    assert {tab["subTarget"] for tab in TABS} == {"alerts", "inventory", "health"} == groups.keys()
    for name, group in groups.items():
        assert any(item["type"] == 3 for item in group["content"]["items"])
        shown = {"parameterName": TABS[0]["cellValue"], "comparison": "isEqualTo", "value": name}
        assert group["conditionalVisibility"] == shown


def test_names_and_ids_are_unique() -> None:
    names = [item["name"] for item in ITEMS]
    assert len(names) == len(set(names))
    identifiers = [each["id"] for each in (*PARAMETERS.values(), *TABS)]
    assert len(identifiers) == len(set(identifiers))


def test_every_parameter_that_is_named_exists() -> None:
    for name, content in QUERIES.items():
        assert content["timeContextFromParameter"] in PARAMETERS, name
        assert content["crossComponentResources"] == ["{Workspace}"], name
        assert set(references(content["query"])) <= PARAMETERS.keys(), name
        assert set(references(content["crossComponentResources"])) <= PARAMETERS.keys(), name


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_compiles_and_its_result_has_the_columns_that_are_shown(
    name: str, compiled: Mapping[str, Checked]
) -> None:
    assert compiled[name].errors == ()
    result = [column for column, _ in compiled[name].columns]
    assert set(shown_columns(QUERIES[name])) <= set(result)


def test_the_list_of_workspaces_compiles(compiled: Mapping[str, Checked]) -> None:
    assert compiled["workspaces"] == Checked((), (("id", "string"),))


def test_a_misspelt_column_is_reported(compiled: Mapping[str, Checked]) -> None:
    assert any("CallerIpAdress" in error for error in compiled["misspelt"].errors)


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - COMPILED_ONLY))
def test_every_query_gives_rows_on_the_local_engine(name: str, engine: Engine, compiled: Mapping[str, Checked]) -> None:
    result = engine.run(text_of(name), now=NOW)
    assert result.columns == compiled[name].columns
    assert result.rows


@pytest.mark.parametrize("name", sorted(COMPILED_ONLY))
def test_what_is_only_compiled_cannot_run_on_the_local_engine(name: str, engine: Engine) -> None:
    with pytest.raises(KqlError):
        engine.translate(text_of(name))


def test_every_field_of_a_heartbeat_that_is_read_exists() -> None:
    read = {field for name in QUERIES for field in re.findall(r"\bRow\.(\w+)", text_of(name))}
    assert {"lag_seconds", "dead_deliveries", "rules_failed"} <= read
    assert read <= {field.name for field in msgspec.structs.fields(Heartbeat)}


def test_an_alert_that_came_twice_or_was_updated_counts_once_and_heartbeats_do_not(engine: Engine) -> None:
    assert rows_of(engine, "alerts-by-severity") == [
        {"Severity": "High", "Alerts": 2},
        {"Severity": "Low", "Alerts": 1},
    ]
    newest = rows_of(engine, "newest-alerts")
    assert sorted((row["AlertTitle"], row["Updates"]) for row in newest) == [
        ("3 runbooks written", 0),
        ("Watcher created on aa-prod", 0),
        ("Watcher created on aa-prod", 1),
    ]


def test_a_story_is_one_actor_on_one_account_in_a_day_however_the_name_is_written(engine: Engine) -> None:
    (story,) = rows_of(engine, "stories")
    assert (story["Severity"], story["Actor"], story["Alerts"]) == ("High", "mallory@contoso.example", 2)
    assert sorted(story["Rules"]) == ["Runbook modified", "Watcher task created"]


def test_changes_count_once_and_a_first_visit_is_no_change(engine: Engine) -> None:
    (watcher,) = rows_of(engine, "changes-by-type")
    assert (watcher["ObjectType"], watcher["Added"], watcher["Removed"]) == ("Watcher", 1, 0)
    assert [row["ObjectName"] for row in rows_of(engine, "newest-changes")] == ["nightly"]
    assert rows_of(engine, "known-objects") == [{"ObjectType": "Runbook", "Objects": 1, "Accounts": 1}]
    assert [row["RunOn"] for row in rows_of(engine, "hybrid-runs")] == ["workers"]


@pytest.mark.parametrize(
    ("now", "state"),
    [(NOW, "healthy"), (NOW + timedelta(minutes=11), "silent")],
)
def test_the_last_heartbeat_is_shown_and_one_that_is_too_old_is_silence(
    now: datetime, state: str, engine: Engine
) -> None:
    (last,) = engine.run(text_of("last-heartbeat"), now=now).dicts()
    assert (last["State"], last["LagSeconds"], last["DeadDeliveries"]) == (state, 85.5, 1)
    assert (last["RulesRun"], last["InventoryAccounts"], last["InventoryStalestSeconds"]) == (45, 3, 240)


def test_a_workspace_without_a_heartbeat_shows_none() -> None:
    with Engine({**TABLES, "resources": RESOURCES}) as empty:
        assert empty.run(text_of("last-heartbeat"), now=NOW).rows == []


def test_the_problems_and_the_numbers_of_the_heartbeats_are_shown(engine: Engine) -> None:
    problems = rows_of(engine, "problems")
    assert sorted(row["Problem"] for row in problems) == ["an alert waits", "the rule fails"]
    assert [row["LagSeconds"] for row in rows_of(engine, "lag")] == [35.5, 85.5]
    assert [row["Pending"] for row in rows_of(engine, "deliveries")] == [5, 55]
    assert [row["Failed"] for row in rows_of(engine, "failed-rules")] == [2, 0]
    assert [row["StalestMinutes"] for row in rows_of(engine, "inventory-age")] == [4.0, 4.0]


def test_the_detectors_own_alerts_stand_apart(engine: Engine) -> None:
    (health,) = rows_of(engine, "health-alerts")
    assert health["AlertTitle"] == build_health().title
