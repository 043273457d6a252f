"""The detector's Automation clients read, from one host, and wait no longer than they may."""

import subprocess
import sys

import pytest

from detectors.automation.clients import AutomationClients
from detectors.automation.failures import Refused
from detectors.triage.enrichment.case import MAX_LISTED
from detectors.triage.enrichment.gather import gather
from tests.triage.automation_server import (
    ACCOUNT,
    SUBSCRIPTION,
    AutomationServer,
    FakeCredential,
    Reply,
    as_json,
)
from tests.triage.conftest import CaseFor

pytestmark = pytest.mark.usefixtures("settled")

ACCOUNT_NAMES = ("rg-ops", "aa-prod")


def hook(name: str) -> dict[str, object]:
    return {"name": name, "properties": {"runbook": {"name": "nightly"}}}


async def test_pages_of_the_same_host_are_followed(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/webhooks", {"value": [hook("h1")], "nextLink": f"{server.url.upper()}{ACCOUNT}/page2?$skip=1"})
    server.put("/page2", {"value": [hook("h2")]})
    listing = await case_for("/runbooks/nightly").webhooks()
    assert [webhook.name for webhook in listing.items] == ["h1", "h2"]
    assert listing.complete


@pytest.mark.parametrize(
    "host",
    [
        "https://evil.example",
        "https://localhost:1",
        "https://localhost.evil.example",
        "http://localhost",
        "https://[::1",
    ],
)
async def test_a_page_on_another_host_is_refused_before_the_token_is_sent(
    server: AutomationServer, case_for: CaseFor, host: str
) -> None:
    server.put("/webhooks", {"value": [hook("h1")], "nextLink": f"{host}{ACCOUNT}/webhooks?page=2"})
    (evidence,) = await gather(case_for("/runbooks/nightly"), ["webhooks"], piece_timeout=30, deadline=30)
    assert evidence.missing is not None
    assert server.requests == ["/webhooks"]


async def test_a_foreign_host_is_named_in_the_evidence(server: AutomationServer, case_for: CaseFor) -> None:
    server.put("/webhooks", {"value": [], "nextLink": f"https://evil.example{ACCOUNT}/webhooks"})
    (evidence,) = await gather(case_for("/runbooks/nightly"), ["webhooks"], piece_timeout=30, deadline=30)
    assert evidence.missing is not None
    assert evidence.missing.startswith(
        "Azure's answer points to another host (evil.example) than localhost: not followed"
    )


async def test_a_redirect_to_another_host_is_refused(server: AutomationServer, case_for: CaseFor) -> None:
    server.answers["/runbooks/nightly"] = Reply(status=307, headers={"Location": "https://evil.example/x"})
    with pytest.raises(Refused, match=r"evil\.example"):
        await case_for("/runbooks/nightly").runbook()


async def test_a_provider_that_is_not_registered_is_not_registered_by_the_detector(
    server: AutomationServer, case_for: CaseFor
) -> None:
    body = {
        "error": {
            "code": "MissingSubscriptionRegistration",
            "message": "The subscription is not registered to use namespace 'Microsoft.Automation'",
        }
    }
    server.answers["/runbooks/nightly"] = as_json(body, 409)
    (evidence,) = await gather(case_for("/runbooks/nightly"), ["runbook"], piece_timeout=30, deadline=30)
    assert evidence.missing is not None
    assert set(server.methods) == {"GET"}


async def test_an_account_with_endless_pages_is_read_up_to_a_bound(server: AutomationServer, case_for: CaseFor) -> None:
    page = {"value": [hook(f"h{n}") for n in range(MAX_LISTED)], "nextLink": f"{server.url}{ACCOUNT}/webhooks"}
    server.put("/webhooks", page)
    (evidence,) = await gather(case_for("/runbooks/nightly"), ["webhooks"], piece_timeout=30, deadline=30)
    values = [fact.value for fact in evidence.facts]
    assert f"The account has more than {MAX_LISTED} webhooks; the first were read." in values
    assert f"{MAX_LISTED - 20} more are not shown." in values


async def test_one_client_serves_a_subscription(clients: AutomationClients) -> None:
    assert clients.get(SUBSCRIPTION) is clients.get(SUBSCRIPTION.upper())
    assert clients.get(SUBSCRIPTION) is not clients.get("other")


async def test_the_scope_follows_the_cloud_unless_it_is_named(server: AutomationServer) -> None:
    for scope, asked in ((None, f"{server.url}/.default"), ("https://management.azure.com/.default",) * 2):
        credential = FakeCredential()
        made = AutomationClients(
            credential, base_url=f"{server.url}/", scope=scope, connection_verify=str(server.certificate)
        )
        server.put_runbook()
        await made.get(SUBSCRIPTION).runbook.get(*ACCOUNT_NAMES, "nightly")
        await made.close()
        await made.close()
        assert credential.scopes == [asked]
    assert server.tokens == ["Bearer a-token"] * 2


@pytest.mark.parametrize(("retry_after", "attempts"), [("0", 2), ("600", 1)])
async def test_a_throttle_is_retried_unless_the_wait_is_too_long(
    server: AutomationServer, retry_after: str, attempts: int
) -> None:
    made = AutomationClients(
        FakeCredential(), base_url=server.url, connection_verify=str(server.certificate), retry_total=1
    )
    server.answers["/runbooks/nightly"] = as_json({"code": "TooManyRequests"}, 429, Retry_After=retry_after)
    with pytest.raises(Exception, match="TooManyRequests"):
        await made.get(SUBSCRIPTION).runbook.get(*ACCOUNT_NAMES, "nightly")
    await made.close()
    assert server.asked("/runbooks/nightly") == attempts


def test_the_registry_loads_nothing_of_azure() -> None:
    code = (
        "import sys; import detectors.triage.enrichment.gather, detectors.automation.clients; "
        "print([m for m in sys.modules if m.startswith(('azure', 'aiohttp'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
