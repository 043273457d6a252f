"""Microsoft's storage emulator, for tests: the real HTTP behaviour of Azure Tables, Blobs and Queues on loopback.

Take the fixture into a conftest with ``from tests.azurite import azurite``. Every store in it should use a
``table_prefix`` of its own, because one emulator serves the whole session.

Azurite is laxer than the service: it takes entities beyond 1 MiB and answers a ``/`` in a RowKey with 500. What the
service would refuse has to be enforced, and tested, in the client.
"""

import contextlib
import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import NODE, NODE_MODULES

ACCOUNT = "devstoreaccount1"
# The emulator's key is the same everywhere and published in its documentation; it opens nothing else.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_ATTEMPTS = 300
_PAUSE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Azurite:
    """A running emulator. Endpoints hold the account's name and have no trailing slash."""

    blob_endpoint: str
    queue_endpoint: str
    table_endpoint: str

    @property
    def connection_string(self) -> str:
        """With the account key, as the Functions host and the SDKs take it."""
        return (
            f"DefaultEndpointsProtocol={self.table_endpoint.partition(':')[0]};"
            f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{self._endpoints}"
        )

    def connection_string_with_sas(self, signature: str) -> str:
        """With a shared access signature: an identity that may do less."""
        return f"{self._endpoints}SharedAccessSignature={signature}"

    @property
    def _endpoints(self) -> str:
        return (
            f"BlobEndpoint={self.blob_endpoint};QueueEndpoint={self.queue_endpoint};"
            f"TableEndpoint={self.table_endpoint};"
        )


@contextlib.contextmanager
def running_azurite(folder: Path, *flags: str, scheme: str = "http", host: str = "127.0.0.1") -> Iterator[Azurite]:
    """Start Azurite in *folder* on free ports with further *flags*; stop it at the end.

    Fails with the emulator's own output when it dies early or does not listen in time.
    """
    command = [
        str(NODE),
        str(NODE_MODULES / "azurite" / "dist" / "src" / "azurite.js"),
        "--inMemoryPersistence",
        "--silent",
        "--disableTelemetry",
        # The SDKs send newer API versions than the emulator knows.
        "--skipApiVersionCheck",
        # Port 0: the system picks, so parallel runs cannot collide; the output says which.
        *("--blobPort", "0", "--queuePort", "0", "--tablePort", "0"),
        *flags,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")}
    output = folder / "azurite.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        ports = _listening_ports(process, output)
        urls = (f"{scheme}://{host}:{ports[service]}/{ACCOUNT}" for service in ("Blob", "Queue", "Table"))
        yield Azurite(*urls)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One emulator for the whole session."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def _listening_ports(process: "subprocess.Popen[bytes]", output: Path) -> dict[str, str]:
    for _ in range(_ATTEMPTS):
        text = output.read_text("utf-8", "replace")
        # The line is printed once the socket accepts.
        ports = dict(re.findall(r"Azurite (\w+) service is successfully listening at \S+:(\d+)", text))
        if len(ports) == 3:
            return ports
        # Waiting for the process is the pause: an early death ends it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(timeout=_PAUSE_SECONDS)
            pytest.fail(f"Azurite ended with status {status}. Its output:\n{output.read_text('utf-8', 'replace')}")
    return pytest.fail(f"Azurite does not listen. Is the machine overloaded? Its output so far:\n{text}")
