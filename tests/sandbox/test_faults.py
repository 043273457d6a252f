import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.automation.aio import AutomationClient
from azure.monitor.ingestion.aio import LogsIngestionClient
from azure.monitor.query import LogsQueryPartialResult, LogsQueryResult
from azure.monitor.query.aio import LogsQueryClient

from sandbox.faults import EmptyOk, Endpoint, Fault, Faults, Html, NoContent, Partial, Reset, Slow, Status, Throttle
from sandbox.server import ACCOUNT, RESOURCE_GROUP, RULE_ID, STREAM, SUBSCRIPTION, WORKSPACE, Sandbox
from tests.sandbox.support import activity, send
from tests.sandbox.test_receivers import CARD, post_card

DAY = timedelta(days=1)
QUERY = "AzureActivity | sort by TimeGenerated asc | project TimeGenerated"


async def test_a_throttled_query_carries_the_documented_code_and_retry_after(
    sandbox: Sandbox, logs: LogsQueryClient
) -> None:
    sandbox.faults.set("logs", Status(429, retry_after=7, times=1))
    with pytest.raises(HttpResponseError) as caught:
        await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY)
    assert caught.value.status_code == 429
    assert caught.value.error is not None
    assert caught.value.error.code == "ThrottledError"
    response: Any = caught.value.response
    assert response.headers["Retry-After"] == "7"
    assert isinstance(await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY), LogsQueryResult)


async def test_the_sdks_own_retry_gets_past_a_fault_that_ends(
    sandbox: Sandbox, credential: ManagedIdentityCredential
) -> None:
    sandbox.faults.set("automation", Status(429, retry_after=0, times=2))
    async with AutomationClient(
        credential, "x", sandbox.url, connection_verify=str(sandbox.ca_bundle), retry_backoff_factor=0
    ) as client:
        assert [account async for account in client.automation_account.list()] == []
    assert [asked.status for asked in sandbox.ledger.requests if asked.endpoint == "automation"] == [429, 429, 200]


async def test_a_fault_without_times_lasts_until_it_is_cleared(sandbox: Sandbox, automation: AutomationClient) -> None:
    sandbox.faults.set("automation", Status(500))
    for _ in range(3):
        with pytest.raises(HttpResponseError, match="A fault set in the sandbox"):
            await automation.automation_account.get(RESOURCE_GROUP, ACCOUNT)
    sandbox.faults.clear("automation")
    assert (await automation.automation_account.get(RESOURCE_GROUP, ACCOUNT)).name == ACCOUNT


async def test_a_partial_result_has_half_of_the_rows_and_the_documented_error(
    sandbox: Sandbox, logs: LogsQueryClient
) -> None:
    sandbox.add_rows(WORKSPACE, [activity(minutes) for minutes in (40, 30, 20, 10)])
    sandbox.faults.set("logs", Partial())
    result = await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY)
    assert isinstance(result, LogsQueryPartialResult)
    assert len(result.partial_data[0].rows) == 2
    assert result.partial_error is not None
    assert result.partial_error.code == "PartialError"


async def test_a_partial_result_can_come_without_any_table(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    sandbox.faults.set("logs", Partial(tables=False))
    result = await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY)
    assert isinstance(result, LogsQueryPartialResult)
    assert result.partial_data is None


@pytest.mark.parametrize("fault", [Html(502), NoContent(), EmptyOk()], ids=["html", "204", "empty"])
async def test_an_answer_without_json_reaches_the_sdk_as_it_would_from_azure(
    sandbox: Sandbox, logs: LogsQueryClient, fault: Fault
) -> None:
    sandbox.faults.set("logs", fault)
    with pytest.raises(json.JSONDecodeError):
        await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY)


async def test_a_reset_closes_the_connection_without_an_answer(sandbox: Sandbox, logs: LogsQueryClient) -> None:
    sandbox.faults.set("logs", Reset(times=1))
    # The SDK takes it for a request that never left, and so would repeat even a POST.
    with pytest.raises(ServiceRequestError, match="disconnected"):
        await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY)
    assert isinstance(await logs.query_workspace(WORKSPACE, QUERY, timespan=DAY), LogsQueryResult)
    assert [asked.status for asked in sandbox.ledger.requests if asked.endpoint == "logs"] == [None, 200]


async def test_a_fault_of_the_token_endpoint_leaves_a_client_without_a_token(
    sandbox: Sandbox, credential: ManagedIdentityCredential
) -> None:
    sandbox.faults.set("token", Status(400))
    with pytest.raises(ClientAuthenticationError):
        await credential.get_token("https://management.azure.com/.default")


async def test_an_upload_that_fails_is_in_the_ledger_as_not_accepted(
    sandbox: Sandbox, ingestion: LogsIngestionClient
) -> None:
    sandbox.faults.set("ingestion", Status(403, times=1))
    with pytest.raises(HttpResponseError):
        await ingestion.upload(RULE_ID, STREAM, [{"a": 1}])
    await ingestion.upload(RULE_ID, STREAM, [{"a": 1}])
    assert [(entry.status, entry.accepted) for entry in sandbox.ledger.at("ingestion")] == [(403, False), (204, True)]


@pytest.mark.parametrize("endpoint", ["teams", "webhook"])
def test_every_receiver_can_fail(sandbox: Sandbox, endpoint: Endpoint) -> None:
    sandbox.faults.set(endpoint, Html(503, times=1))
    answer = post_card(sandbox, CARD) if endpoint == "teams" else send(sandbox, "POST", "/webhook", body=b"{}")
    assert answer.status == 503
    assert b"<html>" in answer.body


def test_a_slow_endpoint_answers_when_it_is_released(sandbox: Sandbox) -> None:
    slow = Slow()
    sandbox.faults.set("teams", slow)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post_card, sandbox, CARD)
        assert slow.arrived.wait()
        assert not waiting.done()
        slow.release.set()
        assert waiting.result().status == 202


def test_clearing_lets_waiting_requests_go(sandbox: Sandbox) -> None:
    slow = Slow(threading.Event(), times=1)
    sandbox.faults.set("teams", slow)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post_card, sandbox, CARD)
        assert slow.arrived.wait()
        sandbox.faults.clear()
        assert waiting.result().status == 202


def test_closing_the_sandbox_ends_a_request_that_waits(tmp_path_factory: pytest.TempPathFactory) -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as pool:
        with Sandbox.start(tmp_path_factory.mktemp("closing")) as sandbox:
            sandbox.faults.set("teams", slow)
            waiting = pool.submit(post_card, sandbox, CARD)
            assert slow.arrived.wait()
        assert waiting.exception() is not None or waiting.result().status == 202


def test_a_partial_result_is_only_for_logs(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="logs endpoint"):
        sandbox.faults.set("teams", Partial())


def control(sandbox: Sandbox, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    data = None if body is None else json.dumps(body).encode()
    answer = send(sandbox, "GET" if body is None else "POST", f"/sandbox/{path}", body=data, plain=True)
    return answer.status, answer.json()


def test_another_process_sets_and_clears_faults_over_http(sandbox: Sandbox) -> None:
    fault = {"kind": "Status", "status": 429, "retry_after": 5}
    assert control(sandbox, "faults", {"endpoint": "teams", "fault": fault}) == (200, {"faults": {"teams": "Status"}})
    answer = post_card(sandbox, CARD)
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    assert control(sandbox, "faults", {}) == (200, {"faults": {}})
    assert post_card(sandbox, CARD).status == 202


def test_another_process_reads_ledger_and_state_over_http(sandbox: Sandbox) -> None:
    post_card(sandbox, CARD)
    status, ledger = control(sandbox, "ledger")
    assert status == 200
    assert ledger["counts"] == {"teams": 1}
    assert isinstance(ledger["entries"], list)
    assert ledger["entries"][0]["body"] == CARD
    assert control(sandbox, "state")[1]["requests"] == {"teams": 1}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("faults", {"endpoint": "mail", "fault": {"kind": "Reset"}}, "endpoint"),
        ("faults", {"endpoint": "teams", "fault": {"kind": "Flood"}}, "there is no fault 'Flood'"),
        ("faults", {"endpoint": "teams", "fault": {"kind": "Reset", "colour": 1}}, "no field 'colour'"),
        ("faults", {"endpoint": "teams", "fault": {"kind": "Status"}}, "status"),
        ("faults", {"fault": {"kind": "Reset"}}, "name the endpoint"),
        ("advance", {}, "without a scenario"),
    ],
)
def test_a_wrong_order_over_http_is_refused_with_its_cause(
    sandbox: Sandbox, path: str, body: object, said: str
) -> None:
    status, answer = control(sandbox, path, body)
    assert status == 400
    assert said in json.dumps(answer)


OTHER = "11111111-2222-3333-4444-000000000002"


async def test_a_fault_within_a_subscription_meets_no_other_one(
    sandbox: Sandbox, automation: AutomationClient, credential: ManagedIdentityCredential
) -> None:
    sandbox.add_account("aa-other", subscription=OTHER)
    sandbox.faults.set("automation", Status(429, retry_after=3, times=2), within=f"/SUBSCRIPTIONS/{SUBSCRIPTION}")
    async with AutomationClient(
        credential, OTHER, sandbox.url, connection_verify=str(sandbox.ca_bundle), retry_total=0
    ) as other:
        for _ in range(2):
            with pytest.raises(HttpResponseError) as caught:
                [account async for account in automation.automation_account.list()]
            response: Any = caught.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
            assert [account.name async for account in other.automation_account.list()] == ["aa-other"]
    assert [account.name async for account in automation.automation_account.list()] == [ACCOUNT]


async def test_a_fault_within_an_account_goes_before_that_of_the_whole_endpoint(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    sandbox.add_account(f"{ACCOUNT}-2")
    sandbox.faults.set("automation", Status(500))
    sandbox.faults.set("automation", Status(403), within=sandbox.account.id)
    statuses = {}
    for name in (ACCOUNT, f"{ACCOUNT}-2"):
        with pytest.raises(HttpResponseError) as caught:
            await automation.automation_account.get(RESOURCE_GROUP, name)
        statuses[name] = caught.value.status_code
    assert statuses == {ACCOUNT: 403, f"{ACCOUNT}-2": 500}
    assert sandbox.faults.active() == {"automation": "Status", f"automation {sandbox.account.id.lower()}": "Status"}
    sandbox.faults.clear("automation")
    assert sandbox.faults.active() == {}


def test_a_bucket_refuses_who_asks_faster_than_it_fills() -> None:
    now = 100.0
    faults = Faults()
    bucket = Throttle(burst=2, per_second=0.5, clock=lambda: now)
    faults.set("automation", bucket)
    assert [faults.take("automation") for _ in range(3)] == [None, None, bucket]
    assert bucket.retry_after == 2
    now += 1
    assert faults.take("automation") is bucket
    assert bucket.retry_after == 1
    now += 1
    assert [faults.take("automation") for _ in range(2)] == [None, bucket]
    now += 3_600
    assert [faults.take("automation") for _ in range(3)] == [None, None, bucket]


async def test_a_throttled_client_is_told_how_long_to_wait(sandbox: Sandbox, automation: AutomationClient) -> None:
    order = {
        "endpoint": "automation",
        "within": f"/subscriptions/{SUBSCRIPTION}",
        "fault": {"kind": "Throttle", "burst": 1, "per_second": 0.001},
    }
    body = json.dumps(order).encode()
    answer = send(sandbox, "POST", "/sandbox/faults", body=body, plain=True)
    assert answer.json() == {"faults": {f"automation /subscriptions/{SUBSCRIPTION}": "Throttle"}}
    await automation.automation_account.get(RESOURCE_GROUP, ACCOUNT)
    with pytest.raises(HttpResponseError) as caught:
        await automation.automation_account.get(RESOURCE_GROUP, ACCOUNT)
    response: Any = caught.value.response
    assert response.status_code == 429
    assert 990 <= int(response.headers["Retry-After"]) <= 1000


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "Throttle", "burst": 0, "per_second": 1}, "burst of 1 or more"),
        ({"kind": "Throttle", "burst": 1, "per_second": 1, "clock": 1}, "no field 'clock'"),
        ({"kind": "Throttle", "burst": 1}, "per_second"),
    ],
)
def test_a_throttle_that_makes_no_sense_is_refused(sandbox: Sandbox, fault: dict[str, Any], said: str) -> None:
    body = json.dumps({"endpoint": "automation", "fault": fault}).encode()
    answer = send(sandbox, "POST", "/sandbox/faults", body=body, plain=True)
    assert (answer.status, said in answer.json()["error"]["message"]) == (400, True)
