"""The Automation API on loopback, and a case that asks it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detectors.automation.clients import AutomationClients
from detectors.triage.enrichment.case import Case
from detectors.triage.resource import automation_target
from tests.clock import Clock
from tests.triage.automation_server import ACCOUNT, AutomationServer, FakeCredential, serve

CaseFor = Callable[..., Case]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AutomationServer]:
    with serve(tmp_path) as running:
        yield running


@pytest.fixture
async def settled(server: AutomationServer) -> AsyncIterator[None]:
    """Ends when every connection is closed: aiohttp does not wait for TLS to say goodbye, the event loop must."""
    yield
    server.release.set()
    selector = getattr(asyncio.get_running_loop(), "_selector")  # noqa: B009 - a private attribute mypy does not know
    # One entry is the loop's own pipe to itself.
    while len(selector.get_map()) > 1:  # noqa: ASYNC110 - nothing signals that a transport is gone
        await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture
async def clients(server: AutomationServer, settled: None) -> AsyncIterator[AutomationClients]:
    made = AutomationClients(
        FakeCredential(),
        base_url=server.url,
        scope="https://management.azure.com/.default",
        connection_verify=str(server.certificate),
        retry_total=0,
    )
    yield made
    await made.close()


@pytest.fixture
def case_for(clients: AutomationClients) -> CaseFor:
    """``case_for("/runbooks/nightly")``: the case of that object of the account."""

    def build(path: str, **options: Any) -> Case:
        target = automation_target(f"{ACCOUNT}{path}")
        assert target is not None
        return Case(target, clients.get(target.subscription_id), **{"clock": Clock(), **options})

    return build
