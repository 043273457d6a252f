from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.monitor.query import LogsQueryResult
from azure.monitor.query.aio import LogsQueryClient

from sandbox.server import WORKSPACE, Sandbox
from tests.sandbox.support import NOW, WORKSPACE_SCOPE, Clock, activity, send, token_for

DAY = timedelta(days=1)


async def ask(
    logs: LogsQueryClient, query: str, timespan: Any = DAY, workspace: str = WORKSPACE, **options: Any
) -> list[list[Any]]:
    result = await logs.query_workspace(workspace, query, timespan=timespan, **options)
    assert isinstance(result, LogsQueryResult)
    return [list(row) for row in result.tables[0].rows]


async def test_a_query_runs_as_kql_over_the_rows(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    sandbox.add_rows(WORKSPACE, [activity(10), activity(5, "OTHER/WRITE"), activity(2)])
    assert await ask(logs, "AzureActivity | where OperationNameValue has 'jobs' | count") == [[2]]


async def test_a_result_has_the_services_column_types(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    sandbox.add_rows(WORKSPACE, [activity(10)])
    query = "AzureActivity | extend N = 3, Yes = true | project TimeGenerated, Properties_d, N, Yes, _BilledSize"
    result = await logs.query_workspace(WORKSPACE, query, timespan=DAY)
    assert isinstance(result, LogsQueryResult)
    [table] = result.tables
    assert table.name == "PrimaryResult"
    assert table.columns == ["TimeGenerated", "Properties_d", "N", "Yes", "_BilledSize"]
    assert [str(kind) for kind in table.columns_types] == ["datetime", "dynamic", "long", "bool", "real"]
    assert list(table.rows[0]) == [
        NOW - timedelta(minutes=10),
        '{"entity":"/subscriptions/S","count":2}',
        3,
        True,
        # A table's own numbers are text, as in the published example.
        "1536.5",
    ]


def test_datetimes_are_written_with_seven_digits(sandbox: Sandbox) -> None:
    sandbox.add_rows(WORKSPACE, [activity(10)])
    answer = send(
        sandbox,
        "POST",
        f"/v1/workspaces/{WORKSPACE}/query",
        body=b'{"query": "AzureActivity | project TimeGenerated, EventSubmissionTimestamp"}',
        headers={
            "Authorization": f"Bearer {token_for(sandbox, WORKSPACE_SCOPE)}",
            "Content-Type": "application/json",
        },
    )
    assert answer.json()["tables"][0]["rows"] == [["2026-03-02T09:20:00.0000000Z", None]]


@pytest.mark.parametrize(
    ("timespan", "seen"),
    [
        (None, 3),
        (timedelta(minutes=15), 2),
        ((NOW - timedelta(minutes=30), NOW - timedelta(minutes=7)), 2),
        ((NOW - timedelta(minutes=30), timedelta(minutes=15)), 1),
        (timedelta(0), 3),  # the SDK sends null for it, which the service takes for "unbounded"
    ],
)
async def test_the_timespan_intersects_with_the_time_of_the_rows(
    sandbox: Sandbox, logs: LogsQueryClient, timespan: Any, seen: int
) -> None:
    sandbox.add_rows(WORKSPACE, [activity(20), activity(10), activity(5)])
    assert await ask(logs, "AzureActivity | count", timespan) == [[seen]]


async def test_the_time_of_a_query_is_the_sandboxs_clock(sandbox: Sandbox, logs: LogsQueryClient, clock: Clock) -> None:
    sandbox.add_rows(WORKSPACE, [activity(10)])
    query = "AzureActivity | where TimeGenerated > ago(15m) | count"
    assert await ask(logs, query) == [[1]]
    clock.advance(minutes=6)
    assert await ask(logs, query) == [[0]]


async def test_a_row_is_unseen_until_it_has_been_ingested(
    sandbox: Sandbox, logs: LogsQueryClient, clock: Clock
) -> None:
    sandbox.add_rows(WORKSPACE, [activity(1)], ingested_at=NOW + timedelta(minutes=3))
    assert await ask(logs, "AzureActivity | count") == [[0]]
    clock.advance(minutes=3)
    assert await ask(logs, "AzureActivity | count") == [[1]]


async def test_a_query_can_span_workspaces(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    other = "1b6f7f3a-52a5-4d9e-9c38-6a1f3c0de009"
    sandbox.add_rows(WORKSPACE, [activity(10)])
    sandbox.add_rows(other, [activity(9)])
    rows = await ask(
        logs, "AzureActivity | sort by TimeGenerated asc | project TenantId", additional_workspaces=[other]
    )
    assert rows == [[WORKSPACE], [other]]
    assert await ask(logs, "AzureActivity | count", workspace=other.upper()) == [[1]]


async def test_a_resource_query_sees_the_rows_below_the_resource(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    row = activity(5)
    sandbox.add_rows(WORKSPACE, [row, {**row, "_ResourceId": "/subscriptions/s/resourcegroups/gg/providers/x/y/z"}])
    result = await logs.query_resource("/subscriptions/S/resourceGroups/G", "AzureActivity | count", timespan=DAY)
    assert isinstance(result, LogsQueryResult)
    assert result.tables[0].rows[0][0] == 1


@pytest.mark.parametrize(
    ("query", "codes", "said"),
    [
        ("AzureActivity | wherex 1", ["SyntaxError"], "line 1"),
        (
            "NoSuchTable | count",
            ["SemanticError", "SEM0100"],
            "'where' operator: Failed to resolve table or column expression named 'NoSuchTable'",
        ),
        (
            "AzureActivity\n| where NoSuchColumn == 1",
            ["SemanticError", "SEM0100"],
            "Failed to resolve scalar expression named 'NoSuchColumn'",
        ),
        (
            "AzureActivity\n| extend Vip = _IsVip(Caller)",
            ["SemanticError", "SEM0260"],
            "Unknown function: '_IsVip'",
        ),
        ("AzureActivity\n| evaluate autocluster()", ["SemanticError", "SEM0000"], "evaluate"),
    ],
)
async def test_a_wrong_query_is_refused_with_the_documented_error(
    logs: LogsQueryClient, query: str, codes: list[str], said: str
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await ask(logs, query)
    assert caught.value.status_code == 400
    assert caught.value.error is not None
    assert caught.value.error.code == "BadArgumentError"
    inner: Any = caught.value.error.innererror
    found = []
    while inner:
        found.append(inner["code"])
        message = inner["message"]
        inner = inner.get("innererror")
    assert found == codes
    assert said in message


async def test_an_unknown_workspace_is_not_found(logs: LogsQueryClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await ask(logs, "AzureActivity | count", workspace="00000000-0000-0000-0000-000000000001")
    assert caught.value.status_code == 404


async def test_a_workspace_without_rows_gives_an_empty_table(logs: LogsQueryClient) -> None:
    assert await ask(logs, "AzureActivity | project Caller") == []


def test_a_workspace_without_rows_can_answer_no_content(sandbox: Sandbox) -> None:
    sandbox.logs.empty_workspace_is_no_content = True
    answer = send(
        sandbox,
        "POST",
        f"/v1/workspaces/{WORKSPACE}/query",
        body=b'{"query": "AzureActivity"}',
        headers={"Authorization": f"Bearer {token_for(sandbox, WORKSPACE_SCOPE)}"},
    )
    assert (answer.status, answer.body) == (204, b"")


def test_a_body_that_is_no_json_is_answered_with_nothing(sandbox: Sandbox) -> None:
    answer = send(
        sandbox,
        "POST",
        f"/v1/workspaces/{WORKSPACE}/query",
        body=b"AzureActivity",
        headers={"Authorization": f"Bearer {token_for(sandbox, WORKSPACE_SCOPE)}"},
    )
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"TimeGenerated": "yesterday"}, "row 1 of AzureActivity: TimeGenerated is 'yesterday'"),
        ({"Caller": "x"}, "row 1 of AzureActivity: TimeGenerated is None"),
        ({"TimeGenerated": datetime(2026, 3, 2, tzinfo=UTC), "Colour": "red"}, "the column 'Colour'"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(sandbox: Sandbox, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sandbox.add_rows(WORKSPACE, [row])
    assert sandbox.state()["rows"][WORKSPACE]["all"] == 0
