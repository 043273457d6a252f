import ssl
import urllib.request

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential

from sandbox.server import Sandbox
from tests.sandbox.support import ARM, WORKSPACE_SCOPE, send, token_for

AUDIENCE_TESTS = [
    ("POST", "/v1/workspaces/x/query", ARM, 403, "InvalidAuthenticationToken"),
    ("GET", "/subscriptions/s/providers/x?api-version=2024-10-23", WORKSPACE_SCOPE, 401, "wrong audience"),
    ("POST", "/dataCollectionRules/d/streams/s?api-version=2023-01-01", ARM, 401, "https://monitor.azure.com"),
]


async def test_the_real_credential_gets_a_token_from_the_environment(credential: ManagedIdentityCredential) -> None:
    token = await credential.get_token("https://management.azure.com/.default")
    assert token.token.startswith("sandbox.")


async def test_one_token_is_fetched_for_each_resource(sandbox: Sandbox, credential: ManagedIdentityCredential) -> None:
    for scope in ("https://management.azure.com/.default", "https://monitor.azure.com/.default"):
        for _ in range(2):
            await credential.get_token(scope)
    assert sandbox.ledger.counts["token"] == 2


async def test_a_wrong_identity_header_gets_no_token(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with ManagedIdentityCredential() as credential:
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token("https://management.azure.com/.default")
    assert [asked.status for asked in sandbox.ledger.requests] == [401]


@pytest.mark.parametrize("case", AUDIENCE_TESTS, ids=["logs", "automation", "ingestion"])
def test_an_endpoint_refuses_the_token_of_another_service(
    sandbox: Sandbox, case: tuple[str, str, str, int, str]
) -> None:
    method, path, resource, status, said = case
    answer = send(sandbox, method, path, headers={"Authorization": f"Bearer {token_for(sandbox, resource)}"})
    assert answer.status == status
    assert said in answer.body.decode()


@pytest.mark.parametrize(("method", "path"), [test[:2] for test in AUDIENCE_TESTS])
def test_an_endpoint_refuses_a_request_without_a_token(sandbox: Sandbox, method: str, path: str) -> None:
    answer = send(sandbox, method, path)
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "AuthenticationFailed"


def test_a_token_of_another_run_is_refused(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Sandbox.start(tmp_path_factory.mktemp("other")) as other:
        token = token_for(other, ARM)
    answer = send(
        sandbox,
        "GET",
        "/subscriptions/s/providers/x?api-version=2024-10-23",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (answer.status, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_a_client_that_does_not_trust_the_certificate_does_not_connect(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="certificate") as caught:
        urllib.request.urlopen(f"{sandbox.url}/sandbox/state", context=ssl.create_default_context())  # noqa: S310 - our own https URL
    assert isinstance(caught.value.__context__, ssl.SSLCertVerificationError)
