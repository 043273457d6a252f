"""A fleet in a process of its own, and the hands to drive it from another one."""

import http.client
import json
import secrets
import select
import subprocess
import sys
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_START_SECONDS = 30
_STOP_SECONDS = 5


class FleetError(Exception):
    """The fleet's process did not start, or did not do what it was told. The message says why."""


class FleetProcess:
    """A running fleet. Use it as a context manager; whatever happens to this process, the fleet's ends with it."""

    def __init__(self, accounts: int, subscriptions: int = 1) -> None:
        # In hexadecimal: an argument that begins with a hyphen would be taken for an option.
        self._header = secrets.token_hex(24)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own module
            [
                *(sys.executable, "-m", "sandbox.fleet_server"),
                *("--accounts", str(accounts), "--subscriptions", str(subscriptions)),
                *("--identity-header", self._header),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            where = self._where()
        except BaseException:
            self.close()
            raise
        self.url, self._control, self.ca_bundle = where["url"], where["control"], where["ca_bundle"]

    def _where(self) -> dict[str, str]:
        output = self._process.stdout
        if output is None or not select.select([output], [], [], _START_SECONDS)[0]:
            raise FleetError(f"the fleet was not ready within {_START_SECONDS} seconds")
        line = output.readline()
        if not line:
            raise FleetError("the fleet's process ended at once; its error output says why")
        where: dict[str, str] = json.loads(line)
        return where

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process; kill it if it does not. Idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def environment(self) -> dict[str, str]:
        """What a client in another process needs to find the fleet and to sign in."""
        return {
            "IDENTITY_ENDPOINT": f"{self._control}/msi/token",
            "IDENTITY_HEADER": self._header,
            "ARM_ENDPOINT": self.url,
            "CA_BUNDLE": self.ca_bundle,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests since :meth:`reset`: ``{"kinds": {"list": 7, ...}, "subscriptions": {id: 7, ...}}``."""
        counts: dict[str, dict[str, int]] = self._ask("GET", "counts")
        return counts

    def reset(self) -> None:
        """Count from zero again."""
        self._ask("POST", "counts", {})

    def change(self, share: float) -> list[str]:
        """See :meth:`sandbox.fleet.Fleet.change`."""
        changed: list[str] = self._ask("POST", "change", {"share": share})["changed"]
        return changed

    def set_latency(self, seconds: float) -> None:
        """Seconds from the arrival of a request to its answer; 0 answers at once."""
        self._ask("POST", "latency", {"seconds": seconds})

    def set_fault(self, fault: dict[str, Any] | None, *, subscription: str = "") -> None:
        """A fault such as ``{"kind": "Status", "status": 429, "retry_after": 2, "times": 5}``; None ends all."""
        within = f"/subscriptions/{subscription}" if subscription else ""
        self._ask("POST", "faults", {"endpoint": "automation", "fault": fault, "within": within})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self._control).port or 0, timeout=30)
        try:
            connection.request(method, f"/sandbox/{path}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise FleetError(f"the fleet answered {response.status} to {path}: {answer['error']['message']}")
        return answer
