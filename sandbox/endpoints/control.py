"""The control plane: drives the sandbox from another process. Loopback only, without authentication.

``GET /sandbox/state``, ``GET /sandbox/ledger``, ``POST /sandbox/faults``, ``POST /sandbox/advance``.
"""

import dataclasses
from typing import Any, Protocol

import msgspec

from sandbox.faults import Endpoint, Faults, parse_fault
from sandbox.ledger import Ledger
from sandbox.wire import Request, Response, error_response, json_response


class Controlled(Protocol):
    """What the control plane needs of a sandbox."""

    @property
    def faults(self) -> Faults:
        """The faults."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    def state(self) -> dict[str, Any]:
        """What there is, as JSON values."""

    def advance(self, steps: int | None) -> tuple[str, ...]:
        """Play that many further steps of the scenario (None: all), and give their titles."""


class _SetFault(msgspec.Struct, forbid_unknown_fields=True):
    """``fault`` is ``{"kind": "Status", "status": 429, ...}``, or null to clear; ``endpoint`` null clears all.

    ``within`` is the path below which the fault is met.
    """

    endpoint: Endpoint | None = None
    fault: dict[str, Any] | None = None
    within: str = ""


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    """``steps`` null plays all that are left."""

    steps: int | None = 1


class ControlEndpoint:
    """Answers below ``/sandbox``."""

    def __init__(self, sandbox: Controlled) -> None:
        self._sandbox = sandbox

    def answer(self, request: Request) -> Response:
        """Do what is asked, or say in a 400 what was wrong with it."""
        try:
            match (request.method, *request.segments[1:]):
                case ("GET", "state"):
                    return json_response(200, self._sandbox.state())
                case ("GET", "ledger"):
                    ledger = self._sandbox.ledger
                    entries = [dataclasses.asdict(entry) for entry in ledger.entries]
                    return json_response(200, {"entries": entries, "counts": dict(ledger.counts)})
                case ("POST", "faults"):
                    set_fault(self._sandbox.faults, request.body)
                    return json_response(200, {"faults": self._sandbox.faults.active()})
                case ("POST", "advance"):
                    order = msgspec.json.decode(request.body or b"{}", type=_Advance)
                    return json_response(200, {"played": self._sandbox.advance(order.steps)})
        except (msgspec.DecodeError, ValueError) as error:
            return error_response(400, "BadRequest", str(error))
        return error_response(
            404, "NotFound", "There are GET /sandbox/state and ledger, POST /sandbox/faults and advance."
        )


def set_fault(faults: Faults, body: bytes) -> None:
    """Set or clear what *body* says, see :class:`_SetFault`. Raises :class:`ValueError` for what makes no sense."""
    order = msgspec.json.decode(body, type=_SetFault)
    if order.fault is None:
        faults.clear(order.endpoint)
        return
    if order.endpoint is None:
        raise ValueError("name the endpoint that the fault is for")
    values = dict(order.fault)
    faults.set(order.endpoint, parse_fault(str(values.pop("kind", "")), values), within=order.within)
