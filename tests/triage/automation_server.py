"""A local HTTPS server that plays the Automation API: it answers as told and counts what it was asked."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken

from sandbox.certificate import write_certificate

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ACCOUNT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-ops/providers/Microsoft.Automation/automationAccounts/aa-prod"
)
ARM_NOT_FOUND = {
    "error": {
        "code": "ResourceNotFound",
        "message": "The Resource 'Microsoft.Automation/automationAccounts/aa-prod' under resource group 'rg-ops' was "
        "not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    }
}
OLD_NOT_FOUND = {"code": "NotFound", "message": "Runbook not found."}


@dataclass(frozen=True)
class Reply:
    """What to answer; ``hold`` waits until the server closes."""

    body: bytes = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False


def as_json(body: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(body).encode(), status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def as_text(body: str | bytes, content_type: str | None = "text/powershell") -> Reply:
    return Reply(body.encode() if isinstance(body, str) else body, content_type=content_type)


class AutomationServer:
    """``answers`` maps a path below the account (``/runbooks/x``) to its reply; anything else is the ARM 404."""

    def __init__(self, url: str, certificate: Path) -> None:
        self.url = url
        self.certificate = certificate
        self.answers: dict[str, Reply] = {}
        self.requests: list[str] = []
        """Paths below the account as they came over the wire, in order."""
        self.methods: list[str] = []
        self.tokens: list[str | None] = []
        self.release = threading.Event()

    def asked(self, path: str) -> int:
        """How often *path* was asked for."""
        return self.requests.count(path)

    def put(self, path: str, body: Any) -> None:
        self.answers[path] = as_json(body)

    def put_runbook(
        self, name: str = "nightly", *, state: str = "Published", kind: str = "PowerShell", **more: Any
    ) -> None:
        properties = {"runbookType": kind, "state": state, "lastModifiedBy": "eve@contoso.example", **more}
        self.put(f"/runbooks/{name}", {"id": f"{ACCOUNT}/runbooks/{name}", "name": name, "properties": properties})

    def put_job(self, job: str = "j1", runbook: str | None = "nightly", **more: Any) -> None:
        properties = {"jobId": job, "runbook": {"name": runbook} if runbook else None, "status": "Completed", **more}
        self.put(f"/jobs/{job}", {"id": f"{ACCOUNT}/jobs/{job}", "name": job, "properties": properties})


class FakeCredential:
    """Hands out one token and remembers for which scopes."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken("a-token", 4_102_444_800)

    async def close(self) -> None:
        """Nothing to release."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without these two every call costs a delayed ACK, some 45 ms.
    disable_nagle_algorithm = True
    wbufsize = 65536
    memory: AutomationServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        below = path[len(ACCOUNT) :] if path.casefold().startswith(ACCOUNT.casefold()) else path
        self.memory.requests.append(below)
        self.memory.methods.append(self.command)
        self.memory.tokens.append(self.headers.get("Authorization"))
        reply = self.memory.answers.get(below, as_json(ARM_NOT_FOUND, 404))
        if reply.hold:
            self.memory.release.wait()
        self.send_response(reply.status)
        if reply.content_type:
            self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Tests read ``requests``, not the terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that stops reading is what these tests are about."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[AutomationServer]:
    """The running server; its certificate is written into *folder*."""
    written = write_certificate(folder)
    server = _Server(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(written.certificate, written.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    memory = AutomationServer(f"https://localhost:{server.server_port}", written.certificate)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"memory": memory})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
