"""The real query client against a server on loopback: each of its traps ends as rows or as one clear error."""

import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest
from azure.identity.aio import ManagedIdentityCredential
from azure.monitor.query.aio import LogsQueryClient

from detectors.kql.values import json_value
from detectors.sources import logs
from detectors.sources.logs import MissingNameError, QueryError, query
from detectors.sources.windows import Window
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.clock import Clock

WINDOW = Window(datetime(2026, 3, 2, 2, 30, tzinfo=UTC), datetime(2026, 3, 2, 3, 0, tzinfo=UTC))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    clock = Clock()
    with Sandbox.start(tmp_path, clock=clock) as started:
        yield started


@dataclasses.dataclass
class Asker:
    """Runs queries through the real client and remembers how long it was asked to wait."""

    sandbox: Sandbox
    client: LogsQueryClient
    sent: "Sent"
    waits: list[float] = dataclasses.field(default_factory=list)

    async def __call__(
        self, text: str = "AzureActivity", time_left: Callable[[], float] = lambda: 240.0, workspace: str | None = None
    ) -> list[dict[str, Any]]:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        return await query(
            self.client,
            workspace or self.sandbox.workspace,
            text,
            WINDOW,
            server_timeout=120,
            sleep=sleep,
            time_left=time_left,
        )

    @property
    def requests(self) -> int:
        return self.sandbox.ledger.counts["logs"]


class Sent(SansIOHTTPPolicy[HttpRequest, Any]):
    """Keeps what the client sends."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        self.requests.append(request.http_request)


@pytest.fixture
async def ask(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    environment = sandbox.environment()
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, environment[name])
    sent = Sent()
    async with (
        ManagedIdentityCredential() as credential,
        LogsQueryClient(
            credential,
            endpoint=sandbox.url,
            audience="https://api.loganalytics.io",
            connection_verify=str(sandbox.ca_bundle),
            per_call_policies=[sent],
        ) as client,
    ):
        yield Asker(sandbox, client, sent)


def add(sandbox: Sandbox, minute: int, **columns: Any) -> None:
    row = {"TimeGenerated": f"2026-03-02T02:{minute:02d}:00.1234567Z", "Caller": "dana@example.com"} | columns
    sandbox.add_rows(sandbox.workspace, [row])


async def test_rows_arrive_with_the_types_of_their_columns(sandbox: Sandbox, ask: Asker) -> None:
    add(sandbox, 40, Properties_d={"entity": "/subscriptions/x", "n": [1, 2]}, CorrelationId="c")
    (row,) = await ask()
    assert row["TimeGenerated"] == "2026-03-02T02:40:00.123456Z"
    assert row["Properties_d"] == {"entity": "/subscriptions/x", "n": [1, 2]}
    assert row["Claims_d"] is None


async def test_only_the_window_is_read(sandbox: Sandbox, ask: Asker) -> None:
    add(sandbox, 10, Caller="too early")
    add(sandbox, 30, Caller="first")
    add(sandbox, 59, Caller="last")
    assert sorted(row["Caller"] for row in await ask()) == ["first", "last"]


async def test_numbers_and_booleans_that_come_as_text_are_numbers_and_booleans(sandbox: Sandbox, ask: Asker) -> None:
    add(sandbox, 40)
    (row,) = await ask("AzureActivity | summarize n = count() | extend half = 0.5 * n, many = n > 0")
    assert row == {"n": 1, "half": 0.5, "many": True}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("guid", "None", None),
        ("guid", "63613592-b6f7-4c3d-a390-22ba13102111", "63613592-b6f7-4c3d-a390-22ba13102111"),
        ("dynamic", '{"a": "1"}', {"a": "1"}),
        ("dynamic", "not json", "not json"),
        ("long", "12", 12),
        ("real", "1.286", 1.286),
        ("real", "NaN", "NaN"),
        ("bool", "true", True),
        ("string", "12", "12"),
        ("datetime", "", ""),
        ("int", None, None),
    ],
)
def test_a_value_is_what_its_column_says_it_is(kind: str, value: object, expected: object) -> None:
    assert json_value(kind, value) == expected


async def test_no_data_in_the_workspace_is_no_rows_and_no_error(sandbox: Sandbox, ask: Asker) -> None:
    sandbox.faults.set("logs", faults.NoContent())
    assert await ask() == []
    assert ask.requests == 1


@pytest.mark.parametrize("tables", [True, False])
async def test_a_partial_result_is_an_error_whatever_it_holds(sandbox: Sandbox, ask: Asker, tables: bool) -> None:
    add(sandbox, 40)
    sandbox.faults.set("logs", faults.Partial(tables=tables))
    with pytest.raises(QueryError, match="cut off") as caught:
        await ask()
    assert not caught.value.permanent


@pytest.mark.parametrize(
    "fault",
    [faults.Html(502), faults.EmptyOk(), faults.Status(429), faults.Status(500), faults.Status(504), faults.Reset()],
)
async def test_a_fault_that_passes_is_waited_out(sandbox: Sandbox, ask: Asker, fault: Fault) -> None:
    add(sandbox, 40)
    sandbox.faults.set("logs", dataclasses.replace(fault, times=2))
    assert len(await ask()) == 1
    assert ask.waits == [5.0, 15.0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.Html(502), "answered 502"),
        (faults.EmptyOk(), "answered 200 without JSON"),
        (faults.Status(429), "lower HUNT_CONCURRENCY"),
        (faults.Status(504), "raise HUNT_QUERY_TIMEOUT"),
        (faults.Reset(), "did not answer"),
    ],
)
async def test_a_fault_that_stays_is_one_error_that_says_what_to_do(
    sandbox: Sandbox, ask: Asker, fault: Fault, words: str
) -> None:
    sandbox.faults.set("logs", fault)
    with pytest.raises(QueryError, match=words) as caught:
        await ask()
    assert "the next run tries again" in str(caught.value)
    assert not caught.value.permanent
    assert ask.requests == 3


async def test_a_throttle_is_waited_for_as_long_as_the_service_asks(sandbox: Sandbox, ask: Asker) -> None:
    sandbox.faults.set("logs", faults.Status(429, retry_after=20, times=1))
    assert await ask() == []
    assert ask.waits == [20.0]


async def test_a_throttle_longer_than_a_run_ends_it_at_once(sandbox: Sandbox, ask: Asker) -> None:
    sandbox.faults.set("logs", faults.Status(429, retry_after=900))
    with pytest.raises(QueryError, match="wait 900 s"):
        await ask()
    assert ask.waits == []


async def test_waiting_never_outlasts_the_runs_time(sandbox: Sandbox, ask: Asker) -> None:
    sandbox.faults.set("logs", faults.Status(500))
    with pytest.raises(QueryError, match="tried 1 times"):
        await ask(time_left=lambda: 4.0)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "AZURE_CLIENT_ID"), (403, "Log Analytics Reader"), (404, "WORKSPACE_IDS")]
)
async def test_a_refusal_names_the_remedy_and_is_not_repeated(
    sandbox: Sandbox, ask: Asker, status: int, words: str
) -> None:
    sandbox.faults.set("logs", faults.Status(status))
    with pytest.raises(QueryError, match=words) as caught:
        await ask()
    assert caught.value.permanent
    assert ask.waits == []


async def test_a_query_that_does_not_compile_is_the_rules_fault(ask: Asker) -> None:
    with pytest.raises(QueryError, match="check the rule's KQL") as caught:
        await ask("AzureActivity | wherex Caller")
    assert caught.value.permanent


async def test_an_unknown_workspace_is_named_as_a_setting(ask: Asker) -> None:
    with pytest.raises(QueryError, match="WORKSPACE_IDS"):
        await ask(workspace="99999999-9999-9999-9999-999999999999")


async def test_the_service_is_told_the_time_limit_and_the_window(ask: Asker) -> None:
    await ask()
    (request,) = ask.sent.requests
    assert "wait=120" in request.headers["Prefer"]
    assert json.loads(request.content)["timespan"] == "2026-03-02T02:30:00.000Z/2026-03-02T03:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("NoSuchTable_CL | take 1", "the table NoSuchTable_CL"),
        ("AzureActivity | where RunOn_s != ''", "the column RunOn_s"),
        ("AzureActivity | extend Vip = _IsVip(Caller)", "the function _IsVip"),
    ],
)
async def test_what_the_workspace_lacks_is_named(ask: Asker, text: str, missing: str) -> None:
    with pytest.raises(MissingNameError) as caught:
        await ask(text)
    assert caught.value.missing == missing
    assert missing.rsplit(" ", 1)[1] in str(caught.value)
    assert caught.value.permanent
    assert ask.requests == 1


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("'where' operator: Failed to resolve column or scalar expression named 'A'", "the column A"),
        ("'join' operator: Failed to resolve table expression named 'A b'", "the table A b"),
        ("'extend' operator: Failed to resolve scalar expression named 'A'", "the column A"),
        ("Unknown function: 'A'.", "the function A"),
        ("Failed to resolve the fate of 'A'", None),
    ],
)
def test_the_words_of_the_service_for_what_is_missing(message: str, missing: str | None) -> None:
    class Response:
        headers: dict[str, str] = {}  # noqa: RUF012 - a double of the client's response

        def text(self) -> str:
            inner = {
                "code": "SemanticError",
                "message": "A semantic error occurred.",
                "innererror": {"message": message},
            }
            return json.dumps({"error": {"code": "BadArgumentError", "message": "wrong", "innererror": inner}})

    class Refused:
        status_code = 400
        response = Response()
        message = "wrong"

    found = logs._of_status(Refused())
    assert (found.missing if isinstance(found, MissingNameError) else None) == missing
    assert message in str(found)


async def test_a_syntax_error_is_no_missing_name(ask: Asker) -> None:
    with pytest.raises(QueryError, match="line 1") as caught:
        await ask("AzureActivity | wherex 1")
    assert not isinstance(caught.value, MissingNameError)
