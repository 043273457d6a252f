"""KQL on DuckDB: the same answers as in Log Analytics, and a named refusal for everything else."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.kql import engine as kql
from detectors.kql.engine import Engine, KqlError, TableSchema, load_tables
from detectors.kql.values import parse_datetime

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
ROW = {
    "TimeGenerated": "2026-03-14T11:50:00.1234567Z",
    "Caller": "mallory@contoso.com",
    "Properties_d": {"entity": "/Sub/X", "tags": ["a", 1, None]},
    "_BilledSize": 12,
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    with Engine(clock=lambda: NOW) as engine:
        yield engine


@pytest.fixture
def engine(shared: Engine) -> Engine:
    shared.load("AzureActivity", [ROW])
    return shared


def value(engine: Engine, expression: str) -> Any:
    result = engine.run(f"AzureActivity | project x = {expression}", now=NOW)
    return result.rows[0][0]


def test_the_activity_log_has_the_thirty_seven_documented_columns() -> None:
    columns = dict(load_tables()["AzureActivity"].columns)
    assert len(columns) == 37
    assert {name for name, kind in columns.items() if kind == "datetime"} == {
        "TimeGenerated",
        "EventSubmissionTimestamp",
    }
    assert {name for name, kind in columns.items() if kind == "dynamic"} == {
        "Authorization_d",
        "Claims_d",
        "Properties_d",
    }
    assert set(columns.values()) == {"datetime", "dynamic", "string", "real"}


def test_the_resource_logs_have_the_columns_of_automation_with_their_documented_types() -> None:
    columns = dict(load_tables()["AzureDiagnostics"].columns)
    assert columns["DurationMs"] == "long"
    assert columns["AdditionalFields"] == "dynamic"
    assert {name: columns[name] for name in ("RunbookName_s", "Caller_s", "RunOn_s", "StreamType_s")} == dict.fromkeys(
        ("RunbookName_s", "Caller_s", "RunOn_s", "StreamType_s"), "string"
    )
    assert {name for name, kind in columns.items() if kind == "guid"} == {
        name for name in columns if name.endswith("_g")
    }


def test_the_inventory_table_is_one_that_a_workspace_can_hold() -> None:
    table = load_tables()["AutomationInventory_CL"]
    added_by_the_workspace = {"SourceSystem", "TenantId", "Type"}
    own = [name for name, _ in table.columns if not name.startswith("_") and name not in added_by_the_workspace]
    # Log Analytics: 45 characters, a letter first, and these names are taken.
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,44}", name, re.ASCII) for name in own)
    assert not {name.casefold() for name in own} & {"_resourceid", "id", "_subscriptionid", "title", "uniqueid", "type"}
    assert dict(table.columns)["TimeGenerated"] == "datetime"
    assert {name for name, kind in table.columns if kind == "dynamic"} == {"ChangedProperties", "Before", "After"}


@pytest.mark.parametrize("table", load_tables().values(), ids=lambda table: table.name)
def test_a_table_takes_a_row_with_a_value_in_every_column(engine: Engine, table: TableSchema) -> None:
    samples: dict[str, Any] = {"datetime": NOW, "dynamic": {"a": [1]}, "long": 5, "real": 1.5, "bool": True}
    row = {name: samples.get(kind, f"text of {name}") for name, kind in table.columns}
    engine.load(table.name, [row])
    assert engine.run(table.name).dicts() == [row]


def test_a_table_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "T.yaml"
    path.write_text("name: T\ndescription: d\ncolumns: [{name: a, type: text}]\n", encoding="utf-8")
    with pytest.raises(KqlError, match=r"tables/T.yaml: unknown type 'text'; one of string, datetime"):
        load_tables(tmp_path)
    path.write_text("name: T\n", encoding="utf-8")
    with pytest.raises(KqlError, match=r"tables/T.yaml: KeyError"):
        load_tables(tmp_path)


def test_rows_come_back_in_the_shapes_of_the_logs_api(engine: Engine) -> None:
    result = engine.run("AzureActivity")
    (row,) = result.dicts()
    assert dict(result.columns) == dict(load_tables()["AzureActivity"].columns)
    assert row["TimeGenerated"] == datetime(2026, 3, 14, 11, 50, 0, 123456, tzinfo=UTC)
    assert row["Caller"] == "mallory@contoso.com"
    assert row["Properties_d"] == {"entity": "/Sub/X", "tags": ["a", 1, None]}
    assert row["_BilledSize"] == 12.0
    assert row["EventSubmissionTimestamp"] is None
    assert row["Claims_d"] is None


def test_a_string_is_never_null_as_in_kusto(engine: Engine) -> None:
    assert engine.run("AzureActivity | where CallerIpAddress != 'x' and isempty(Level)").dicts()[0]["Level"] == ""


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ("tostring(Properties_d.entity)", "string", "/Sub/X"),
        ("Properties_d.tags[0]", "dynamic", "a"),
        ("split('a/b', '/')", "dynamic", ["a", "b"]),
        ("dynamic({'a': [1, 2.5, true]})", "dynamic", {"a": [1, 2.5, True]}),
        ("1 + 1", "long", 2),
        ("toint(3)", "int", 3),
        ("1.5", "real", 1.5),
        ("1.0 / 0", "real", "Infinity"),
        ("Caller has 'contoso'", "bool", True),
        ("guid(74be27de-1e4e-49d9-b579-fe0b331d3642)", "guid", "74be27de-1e4e-49d9-b579-fe0b331d3642"),
        ("1d + 90s", "timespan", "1.00:01:30"),
        ("now() - TimeGenerated", "timespan", "00:09:59.8765440"),
        ("now()", "datetime", NOW),
        ("ago(5m)", "datetime", NOW - timedelta(minutes=5)),
        ("startofday(TimeGenerated)", "datetime", datetime(2026, 3, 14, tzinfo=UTC)),
        ("ingestion_time()", "datetime", NOW),
    ],
)
def test_every_type_of_kusto_comes_back_as_its_plain_python_value(
    engine: Engine, expression: str, kind: str, expected: Any
) -> None:
    query = f"AzureActivity | project x = {expression}"
    assert engine.translate(query).columns == (("x", kind),)
    assert value(engine, expression) == expected


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-14T11:50:00Z",
        "2026-03-14T11:50:00",
        "2026-03-14T13:50:00+02:00",
        "2026-03-14 11:50:00.0000000Z",
        datetime(2026, 3, 14, 11, 50),  # noqa: DTZ001 - a naive datetime counts as UTC
        datetime(2026, 3, 14, 5, 50, tzinfo=timezone(timedelta(hours=-6))),
    ],
)
def test_a_datetime_may_be_aware_or_iso_text_in_any_zone(engine: Engine, moment: Any) -> None:
    engine.load("AzureActivity", [{"TimeGenerated": moment}])
    assert engine.run("AzureActivity | project TimeGenerated").rows == [(datetime(2026, 3, 14, 11, 50, tzinfo=UTC),)]


def test_what_is_no_time_is_none_and_nothing_is_raised() -> None:
    wrong: tuple[Any, ...] = ("", "yesterday", "9999-12-31T23:59:59-23:00", 5, None, [], True)
    assert {parse_datetime(value) for value in wrong} == {None}


def test_now_is_the_runs_and_not_the_machines(engine: Engine) -> None:
    query = "AzureActivity | where TimeGenerated > ago(25m)"
    assert len(engine.run(query, now=NOW).rows) == 1
    assert len(engine.run(query, now=NOW + timedelta(hours=1)).rows) == 0
    assert len(engine.run(query).rows) == 1


def test_a_query_that_sets_its_own_clock_keeps_it(engine: Engine) -> None:
    result = engine.run("set query_now = datetime(2020-01-01);\nAzureActivity | project x = now()", now=NOW)
    assert result.rows == [(datetime(2020, 1, 1, tzinfo=UTC),)]


def test_ingestion_time_is_the_loads_or_else_the_runs(engine: Engine) -> None:
    query = "AzureActivity | where TimeGenerated >= ago(30m) | where ingestion_time() > ago(5m)"
    assert len(engine.run(query, now=NOW).rows) == 1
    engine.load("AzureActivity", [ROW], ingested_at=NOW - timedelta(minutes=6))
    assert len(engine.run(query, now=NOW).rows) == 0
    engine.load("AzureActivity", [ROW], ingested_at=NOW - timedelta(minutes=4))
    assert len(engine.run(query, now=NOW).rows) == 1
    # The column behind it shows in no result.
    assert dict(engine.translate(query).columns) == dict(load_tables()["AzureActivity"].columns)


def test_a_query_is_translated_once(engine: Engine) -> None:
    assert engine.translate("AzureActivity | take 1") is engine.translate("AzureActivity | take 1")


def test_engines_of_one_process_share_their_translations(engine: Engine) -> None:
    query = "AzureActivity | where Caller has 'shared' | count"
    with Engine() as other:
        assert other.translate(query) is engine.translate(query)
        other.load("AzureActivity", [{"Caller": "shared"}])
        engine.load("AzureActivity", [])
        assert (other.run(query).rows, engine.run(query).rows) == ([(1,)], [(0,)])


def test_engines_with_other_tables_share_nothing(engine: Engine) -> None:
    query = "AzureActivity | extend x = Caller"
    columns = (("Caller", "long"), ("More", "string"))
    with Engine({"AzureActivity": TableSchema("AzureActivity", "", columns)}) as other:
        for _ in range(2):
            assert other.translate(query).columns == (*columns, ("x", "long"))
            assert ("x", "string") in engine.translate(query).columns
    with (
        Engine({"Other": TableSchema("Other", "", columns)}) as other,
        pytest.raises(KqlError, match="'AzureActivity' in line 1 is not known; it is one of Other"),
    ):
        other.translate(query)
    assert ("x", "string") in engine.translate(query).columns


def test_a_refusal_is_the_same_each_time_and_keeps_nothing_else_out(engine: Engine) -> None:
    messages = []
    for _ in range(2):
        with pytest.raises(KqlError) as caught:
            engine.translate("AzureActivity | where Foo == 1")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert engine.translate("AzureActivity | where Caller == ''").tables == {"AzureActivity"}


def test_no_more_translations_are_kept_than_the_limit() -> None:
    kept = kql._Translations(limit=2)
    made = {text: kql.Translation(text, "", (), frozenset(), {}, None) for text in "abc"}
    kept.put((), "a", made["a"])
    kept.put((), "b", made["b"])
    assert kept.get((), "a") is made["a"]
    kept.put((), "c", made["c"])
    # The one that was not asked for the longest goes.
    assert [kept.get((), text) for text in "abc"] == [made["a"], None, made["c"]]


def test_a_translation_names_the_tables_that_the_query_reads(engine: Engine) -> None:
    assert engine.translate("let t = AzureActivity | take 1; t | count").tables == {"AzureActivity"}
    assert engine.translate("print x = 1").tables == frozenset()


def test_names_in_strings_and_comments_are_not_columns(engine: Engine) -> None:
    query = "AzureActivity // caller ingestion_time() database('x')\n| where Caller !in ('caller', \"level\", @'a\\')"
    assert len(engine.run(query).rows) == 1


@pytest.mark.parametrize(
    ("rows", "essential"),
    [
        ([{}, {"Foo": 1}], "row 2 of AzureActivity has the column 'Foo', which the table does not have"),
        ([{"caller": "x"}], "row 1 of AzureActivity has the column 'caller'"),
        ([{"TimeGenerated": "yesterday"}], "row 1 of AzureActivity: TimeGenerated is not a datetime: 'yesterday'"),
        ([{"_BilledSize": "much"}], "row 1 of AzureActivity: _BilledSize is not a real"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_leaves_the_table_as_it_was(
    engine: Engine, rows: list[dict[str, Any]], essential: str
) -> None:
    with pytest.raises(KqlError) as caught:
        engine.load("AzureActivity", rows)
    assert essential in str(caught.value)
    assert engine.run("AzureActivity | project Caller").rows == [("mallory@contoso.com",)]


def test_an_unknown_table_is_named(engine: Engine) -> None:
    with pytest.raises(
        KqlError, match="table 'Foo' is not known; it is one of AutomationInventory_CL, AzureActivity, "
    ):
        engine.load("Foo", [])


def test_a_load_replaces_the_rows_before_it(engine: Engine) -> None:
    engine.load("AzureActivity", [{"Caller": "a"}, {"Caller": "b"}])
    assert engine.run("AzureActivity | count").rows == [(2,)]
    engine.load("AzureActivity", [])
    assert engine.run("AzureActivity").rows == []


def test_a_hundred_batches_take_no_more_memory_than_one(engine: Engine) -> None:
    for _ in range(100):
        engine.load("AzureActivity", [{"Claims": "x" * 2_000}] * 20)
    ((used,),) = engine._connection.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()
    assert used < 2_000_000


def test_columns_of_every_type_can_be_loaded() -> None:
    columns = (("i", "int"), ("l", "long"), ("b", "bool"), ("t", "timespan"), ("g", "guid"), ("r", "real"))
    with Engine({"T": TableSchema("T", "", columns)}) as engine:
        row = {"i": 1, "l": 2**40, "b": True, "t": timedelta(minutes=5), "g": "g", "r": float("nan")}
        engine.load("T", [row, {}])
        first, second = engine.run("T").rows
    assert first == (1, 2**40, True, "00:05:00", "g", "NaN")
    assert set(second) <= {None, ""}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
    ],
)
def test_duckdb_reaches_no_file_no_network_and_cannot_be_unlocked(engine: Engine, statement: str) -> None:
    import duckdb

    with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)):
        engine._connection.execute(statement)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(st.characters()), children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(caller=st.text(st.characters()), properties=JSON)
def test_no_text_and_no_json_value_breaks_a_load(shared: Engine, caller: str, properties: Any) -> None:
    shared.load("AzureActivity", [{"Caller": caller, "Properties_d": properties}])
    result = shared.run("AzureActivity | where tostring(Properties_d.entity) != 'x' | project Caller")
    (loaded,) = result.rows[0]
    assert [a for a, b in zip(loaded, caller, strict=True) if a != b] == ["\ufffd"] * sum(
        c == "\0" or "\ud800" <= c <= "\udfff" for c in caller
    )


def test_a_value_nested_beyond_reason_is_cut_off_and_loads(engine: Engine) -> None:
    nested: Any = "bottom"
    for _ in range(5_000):
        nested = [nested]
    engine.load("AzureActivity", [{"Properties_d": nested}, {"Properties_d": "[" * 5_000}])
    assert engine.run("AzureActivity | count").rows == [(2,)]


def test_a_value_that_only_the_database_can_read_is_an_error_of_the_query(shared: Engine) -> None:
    shared.load("AzureActivity", [{"Caller": "[1,]"}])
    with pytest.raises(KqlError, match="a value of the result cannot be read"):
        shared.run("AzureActivity | extend Parsed = parse_json(Caller)")
