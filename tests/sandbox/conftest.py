from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.automation.aio import AutomationClient
from azure.monitor.ingestion.aio import LogsIngestionClient
from azure.monitor.query.aio import LogsQueryClient

from sandbox.server import SUBSCRIPTION, Sandbox
from tests.sandbox.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, clock=clock) as started:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, started.environment()[name])
        yield started


@pytest.fixture
async def credential(sandbox: Sandbox) -> AsyncIterator[ManagedIdentityCredential]:
    assert sandbox.environment()["IDENTITY_ENDPOINT"]
    async with ManagedIdentityCredential() as credential:
        yield credential


@pytest.fixture
async def logs(sandbox: Sandbox, credential: ManagedIdentityCredential) -> AsyncIterator[LogsQueryClient]:
    async with LogsQueryClient(
        credential, endpoint=sandbox.url, connection_verify=str(sandbox.ca_bundle), retry_total=0
    ) as client:
        yield client


@pytest.fixture
async def automation(sandbox: Sandbox, credential: ManagedIdentityCredential) -> AsyncIterator[AutomationClient]:
    async with AutomationClient(
        credential, SUBSCRIPTION, sandbox.url, connection_verify=str(sandbox.ca_bundle), retry_total=0
    ) as client:
        yield client


@pytest.fixture
async def ingestion(sandbox: Sandbox, credential: ManagedIdentityCredential) -> AsyncIterator[LogsIngestionClient]:
    async with LogsIngestionClient(
        sandbox.environment()["LOGS_INGESTION_ENDPOINT"],
        credential,
        connection_verify=str(sandbox.ca_bundle),
        retry_total=0,
    ) as client:
        yield client
