"""The servers of the kill loop: the sandbox over TLS and the two stores, all telling the kill switch."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from urllib.parse import urlsplit

import sandbox.server
from detectors.sources.quarantine import Item, Quarantine
from detectors.state.azure import AzureStore
from detectors.state.sqlite import SqliteStore
from sandbox.scenario import Scenario
from sandbox.server import Sandbox
from sandbox.wire import Answer, LoopbackServer, Request, Response
from tests.azurite import Azurite, running_azurite
from tests.kill.proxy import CountingProxy
from tests.kill.switch import KillSwitch

StoreName = Literal["azurite", "sqlite"]

_PLACES = {
    "msi": "token",
    "v1": "logs",
    "subscriptions": "automation",
    "datacollectionrules": "ingestion",
    "workflows": "teams",
    "webhook": "webhook",
}

_LAST_WORD = 60.0
"""Seconds in which the system must have closed the sockets of a killed process; a net, not a measure."""


class DrainableServer(LoopbackServer):
    """A server that can wait for the last word of a client that is gone."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        # Before the base class begins to serve.
        self._changed = threading.Condition()
        super().__init__(answer, context)

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        with self._changed:
            self._changed.notify_all()

    def drain(self) -> None:
        """Return once no connection is open. Raises :class:`RuntimeError` when one never ends."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open, _LAST_WORD):
                raise RuntimeError("a connection of the worker outlives it; does a process that it started hold it?")


class WatchedSandbox(Sandbox):
    """A sandbox whose every request is a point of :attr:`switch`."""

    def __init__(self, folder: Path, scenario: Scenario | None, clock: Callable[[], datetime]) -> None:
        # Before the servers of the base class can be asked.
        self.switch = KillSwitch()
        with mock.patch.object(sandbox.server, "LoopbackServer", DrainableServer):
            super().__init__(folder, scenario, clock)

    def drain(self) -> None:
        """Return once everything that a dead process had sent is in the ledger.

        Otherwise its last message could be noted after the repeat of it that its successor sends.
        """
        for server in (self._tls, self._plain):
            if isinstance(server, DrainableServer):
                server.drain()

    def _answer(self, request: Request) -> Response | None:
        place = _PLACES.get(request.segments[0].lower() if request.segments else "", "other")
        number = self.switch.arrived(place)
        if number is None:
            return None
        response = super()._answer(request)
        self.switch.answered(place, number)
        return response


@contextlib.contextmanager
def state(name: StoreName, folder: Path, switch: KillSwitch) -> Iterator[dict[str, str]]:
    """An empty store, as the settings that a worker finds it by. SQLite is in the worker, which tells by itself."""
    if name == "sqlite":
        yield {"STATE_PATH": str(folder / "state.db")}
        return
    with running_azurite(folder) as azurite, contextlib.ExitStack() as stack:
        blob, table = (
            _behind_proxy(url, stack.enter_context(CountingProxy(_address(url), switch)))
            for url in (azurite.blob_endpoint, azurite.table_endpoint)
        )
        watched = Azurite(blob_endpoint=blob, queue_endpoint=azurite.queue_endpoint, table_endpoint=table)
        yield {"STATE_CONNECTION_STRING": watched.connection_string}


async def quarantined(settings: Mapping[str, str]) -> list[Item]:
    """Everything in quarantine in the store that a worker with *settings* has."""
    store: AzureStore | SqliteStore = (
        SqliteStore(settings["STATE_PATH"])
        if "STATE_PATH" in settings
        else AzureStore.from_connection_string(settings["STATE_CONNECTION_STRING"])
    )
    await store.open()
    try:
        quarantine = Quarantine(store.objects("quarantine"))
        entries = [await quarantine.get(name) for name in await quarantine.names(10_000)]
        return [item for entry in entries if entry for item in entry.items]
    finally:
        await store.close()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} names no host and port")
    return parts.hostname, parts.port


def _behind_proxy(url: str, proxy: CountingProxy) -> str:
    host, port = _address(url)
    return url.replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}")
