"""A local HTTPS server that answers as told and remembers what it was sent."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from detectors.delivery.http import Poster
from tests.factories import EVENT_TIME


@dataclass(frozen=True)
class Answer:
    """What to answer. With ``hold`` nothing is answered until the server stops."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: bool = False


@dataclass(frozen=True)
class Received:
    """One request; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """The server's address and memory. The next answers come from ``answers``, then 202 for ever.

    ``given_up`` counts the answers that the client did not read to their end, once the server has stopped.
    """

    def __init__(self, url: str, certificate: Path | None, stop: Callable[[], None]) -> None:
        self.url = url
        self.certificate = certificate
        self.answers: list[Answer] = []
        self.received: list[Received] = []
        self.given_up = 0
        self.release = threading.Event()
        self._stop = stop
        self._stopped = False

    def stop(self) -> None:
        """End the server and every connection. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without these two every call costs a delayed ACK, some 45 ms.
    disable_nagle_algorithm = True
    wbufsize = 65536
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.received.append(Received(self.path, headers, body))
        answer = self.receiver.answers.pop(0) if self.receiver.answers else Answer()
        if answer.hold:
            self.receiver.release.wait()
        try:
            self.send_response(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:
            # The client gave up, which is what some tests are about.
            self.receiver.given_up += 1
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: tests read :attr:`Receiver.received`."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that closes its end of a TLS connection first is no error here."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key, as PEM files in *folder*."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "localhost.pem", folder / "localhost.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@contextmanager
def running(certificate: Path | None = None, key: Path | None = None) -> Iterator[Receiver]:
    """A receiver on a free port of this machine; over TLS with *certificate* and *key*."""
    handler = type("_BoundHandler", (_Handler,), {})
    server = _Server(handler)
    scheme = "http"
    if certificate and key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"

    def stop() -> None:
        receiver.release.set()
        server.shutdown()
        # An idle kept-alive connection would hold its thread, and server_close waits for every thread.
        for connection in server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join()

    receiver = Receiver(f"{scheme}://localhost:{server.server_port}", certificate, stop)
    handler.receiver = receiver  # type: ignore[attr-defined]  # a class made here, per server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@asynccontextmanager
async def posting_to(receiver: Receiver, **options: Any) -> AsyncIterator[Poster]:
    """A poster that trusts *receiver*, its clock stopped at ``EVENT_TIME``; both are stopped in the end."""
    poster = Poster(clock=lambda: EVENT_TIME, **{"connection_verify": str(receiver.certificate)} | options)
    try:
        yield poster
    finally:
        await poster.close()
        await settle(receiver)


async def settle(receiver: Receiver) -> None:
    """Stop *receiver* and let this loop see its connections end.

    A TLS connection given up in the middle closes in the background; a test that ended now would leave its socket.
    """
    await asyncio.to_thread(receiver.stop)
    for _ in range(20):
        await asyncio.sleep(0)
