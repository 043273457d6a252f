"""``python -m sandbox.fleet_server``: a fleet of automation accounts, served by one event loop in a process of its own.

The sandbox's ordinary server has a thread for each connection, which is too slow for a bench: dozens of connections,
each call with a latency like Azure's. This one serves the same bodies. :class:`FleetProcess` starts and drives it.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from sandbox.certificate import write_certificate
from sandbox.endpoints.automation import AutomationEndpoint
from sandbox.endpoints.control import set_fault
from sandbox.endpoints.token import TokenEndpoint
from sandbox.faults import Faults, Html, Status, Throttle, response_of
from sandbox.fleet import Fleet
from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response, json_response, tls_context

LATENCY = 0.020
"""Seconds from the arrival of a request to its answer, as long as nothing else is told."""
LIST, GET, CONTENT, WATCHER_ACTIONS, REFUSED = "list", "get", "content", "watcherActions", "refused"

_CONTENTS = frozenset({"content", "runbookcontent", "output"})


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    share: float


class _Latency(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float


class FleetServer:
    """Answers for a fleet, and counts what it was asked by kind and subscription."""

    def __init__(self, fleet: Fleet, identity_header: str) -> None:
        issuer = TokenIssuer()
        self._fleet = fleet
        self._token = TokenEndpoint(issuer, identity_header)
        self._automation = AutomationEndpoint(fleet, issuer)
        self._faults = Faults()
        self._latency = LATENCY
        self._counts: collections.Counter[str] = collections.Counter()
        self._by_subscription: collections.Counter[str] = collections.Counter()

    async def serve(self, folder: Path, stop: asyncio.Event, ready: Callable[[dict[str, str]], None]) -> None:
        """Serve until *stop* is set. *folder* takes the certificate; *ready* is told where to connect."""
        certificate = write_certificate(folder)
        secure = tls_context(str(certificate.certificate), str(certificate.key))
        async with _served(self._arm, secure) as port, _served(self._control) as control:
            self._automation.url = f"https://localhost:{port}"
            ready(
                {
                    "url": self._automation.url,
                    "control": f"http://127.0.0.1:{control}",
                    "ca_bundle": str(certificate.certificate),
                }
            )
            await stop.wait()

    async def _arm(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._latency
        response = self._answer(request)
        # What answering took is part of the latency, as it is at Azure. Without one there is nothing to wait for.
        if (left := due - loop.time()) > 0:
            await asyncio.sleep(left)
        return response

    def _answer(self, request: Request) -> Response:
        fault = self._faults.take("automation", request.path)
        segments = [segment.lower() for segment in request.segments]
        self._counts[REFUSED if fault else kind_of(segments)] += 1
        if len(segments) > 1:
            self._by_subscription[segments[1]] += 1
        match fault:
            case None:
                return self._automation.answer(request)
            case Status() | Throttle() | Html():
                return response_of("automation", fault)
            case _:
                return error_response(500, "SandboxDefect", f"A fleet has no {type(fault).__name__}.")

    async def _control(self, request: Request) -> Response:
        try:
            match (request.method, *request.segments):
                case ("GET", "msi", "token"):
                    return self._token.answer(request)
                case ("GET", "sandbox", "counts"):
                    return json_response(200, {"kinds": self._counts, "subscriptions": self._by_subscription})
                case ("POST", "sandbox", "counts"):
                    self._counts.clear()
                    self._by_subscription.clear()
                    return json_response(200, {})
                case ("POST", "sandbox", "change"):
                    share = msgspec.json.decode(request.body, type=_Change).share
                    return json_response(200, {"changed": self._fleet.change(share)})
                case ("POST", "sandbox", "latency"):
                    self._latency = msgspec.json.decode(request.body, type=_Latency).seconds
                    return json_response(200, {})
                case ("POST", "sandbox", "faults"):
                    set_fault(self._faults, request.body)
                    return json_response(200, {"faults": self._faults.active()})
        except (msgspec.DecodeError, ValueError) as error:
            return error_response(400, "BadRequest", str(error))
        return error_response(
            404,
            "NotFound",
            "There are GET /msi/token, GET and POST /sandbox/counts, POST /sandbox/change, latency and faults.",
        )


def kind_of(segments: list[str]) -> str:
    """What a request asks for, from its path in lower case: list, get, content or watcherActions."""
    below = segments[8:]
    if "watcheractions" in below:
        return WATCHER_ACTIONS
    if below and below[-1] in _CONTENTS:
        return CONTENT
    if below and below[-1] == "draft":
        return GET
    # A list ends in a resource type, and everything else in the name of one resource.
    return GET if len(segments) >= 8 and len(below) % 2 == 0 else LIST


@contextlib.asynccontextmanager
async def _served(
    answer: Callable[[Request], Awaitable[Response]], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve *answer* on a free port of 127.0.0.1, which is given, over TLS when there is a *context*."""

    async def handle(request: web.BaseRequest) -> web.Response:
        response = await answer(
            Request(
                method=request.method,
                path=request.rel_url.raw_path,
                query=dict(request.query),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read() if request.can_read_body else b"",
            )
        )
        headers = dict(response.headers)
        if response.content_type is not None:
            headers["Content-Type"] = response.content_type
        return web.Response(status=response.status, body=response.body, headers=headers)

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, shutdown_timeout=1).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # A parent that dies closes the pipe: nothing is left behind, however it ended.
    loop.add_reader(sys.stdin, stop.set)
    server = FleetServer(Fleet(options.accounts, options.subscriptions), options.identity_header)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        await server.serve(Path(folder), stop, lambda said: print(json.dumps(said), flush=True))


def main(arguments: list[str] | None = None) -> int:
    """Serve until standard input is closed, or until interrupted. Prints one line of JSON: where to connect."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.fleet_server", description=__doc__)
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--subscriptions", type=int, default=1)
    parser.add_argument("--identity-header", required=True, help="what /msi/token wants to see in X-IDENTITY-HEADER")
    asyncio.run(_serve(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
