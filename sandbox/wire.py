"""HTTP on loopback: requests and responses as plain values, and the servers that carry them.

What the endpoints decide is a pure function from :class:`Request` to :class:`Response`; everything about sockets,
TLS and threads is here.
"""

import contextlib
import dataclasses
import gzip
import http.server
import logging
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_log = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"


@dataclasses.dataclass(frozen=True)
class Request:
    """One request, read completely. ``headers`` has lower-case names, ``query`` the last value of each key."""

    method: str
    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path, split at its slashes and then percent-decoded: a name may hold an encoded slash."""
        return tuple(unquote(segment) for segment in self.path.split("/") if segment)

    def content(self) -> bytes:
        """The body without its content encoding. Raises :class:`ValueError` when it is not the gzip it claims to be."""
        if self.headers.get("content-encoding", "").lower() != "gzip":
            return self.body
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"the body is no gzip: {error}") from error

    def decoded(self) -> Any:
        """The body as JSON, else as text: for a person who reads the ledger."""
        try:
            content = self.content()
        except ValueError:
            content = self.body
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return content.decode("utf-8", "replace")


@dataclasses.dataclass(frozen=True)
class Response:
    """One answer. ``content_type`` None sends no such header."""

    status: int
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def json_response(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """*value* as JSON."""
    return Response(status, msgspec.json.encode(value), JSON, headers or {})


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The error shape that Azure Resource Manager, Logs Query and Logs Ingestion share."""
    return json_response(status, {"error": {"code": code, "message": message}}, headers)


Answer = Callable[[Request], Response | None]
"""Answers one request; None closes the connection without an answer."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: "LoopbackServer"
    protocol_version = "HTTP/1.1"
    # With Nagle on or an unbuffered writer every call costs a delayed ACK, about 45 ms.
    disable_nagle_algorithm = True
    wbufsize = 65536

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            # Here and not in accept(): a client that stalls its handshake must hold up nobody else.
            self.request.do_handshake()
        super().setup()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        try:
            response = self.server.answer(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client and the log both get to know
            _log.exception("The sandbox failed on %s %s.", request.method, request.path)
            response = error_response(500, "SandboxDefect", f"The sandbox failed: {error!r}")
        if response is None:
            self.close_connection = True
            with contextlib.suppress(OSError):  # the client may have gone first
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
            return
        self.send_response(response.status)
        if response.content_type is not None and response.body:
            self.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names http.server looks up

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        """Say nothing: the ledger holds every request."""


class LoopbackServer(http.server.ThreadingHTTPServer):
    """Serves *answer* on a free port of 127.0.0.1, over TLS when a *context* is given, in its own thread."""

    # Threads are joined by close(), after their connections were shut: nothing outlives the sandbox.
    daemon_threads = False
    block_on_close = True

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="sandbox", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """A client that leaves is its own business; what is no request of HTTP is logged whole."""
        if not isinstance(sys.exception(), OSError):  # ssl.SSLError is one too
            _log.error("The sandbox could not read a request.", exc_info=True)

    def close(self) -> None:
        """Stop, and wait until every connection is closed. Idempotent."""
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # already closed by its client
                    # Not SSLSocket.shutdown: it drops the TLS object that the reading thread is using.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.server_close()


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server context for the two PEM files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
