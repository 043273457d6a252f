"""A TCP proxy before the storage emulator, so that its requests are points of the kill switch too."""

import contextlib
import select
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self

from tests.kill.switch import KillSwitch

STORE = "store"
"""The place that requests to the state store are counted at."""


class CountingProxy(socketserver.ThreadingTCPServer):
    """Passes each connection on to *target* and tells *switch* of every request. Use it as a context manager."""

    # Joined by server_close(): nothing outlives the run.
    daemon_threads = False

    def __init__(self, target: tuple[str, int], switch: KillSwitch) -> None:
        self.target = target
        self.switch = switch
        super().__init__(("127.0.0.1", 0), _Connection)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="proxy")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    """HTTP without pipelining takes turns, so a request begins where the client speaks after the server."""

    server: CountingProxy

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError), socket.create_connection(self.server.target) as upstream:
            self._carry(self.request, upstream)

    def _carry(self, client: socket.socket, upstream: socket.socket) -> None:
        for each in (client, upstream):
            # Without this every small request waits for a delayed ACK.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number: int | None = None
        asking = False
        while True:
            ready, _, _ = select.select([client, upstream], [], [])
            # An answer that is there belongs to the request before.
            speaker, listener = (upstream, client) if upstream in ready else (client, upstream)
            data = speaker.recv(65536)
            if not data:
                return
            if speaker is client and not asking:
                asking = True
                number = self.server.switch.arrived(STORE)
                if number is None:
                    return
            elif speaker is upstream and asking and number is not None:
                asking = False
                self.server.switch.answered(STORE, number)
            listener.sendall(data)
