"""A batch runner on a store in memory, and messages for it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from detectors.app import load_rules
from detectors.model import Record
from detectors.rule import Rule
from detectors.sources.batches import Batches
from detectors.sources.quarantine import Entry, Position, Quarantine, Reason
from detectors.sources.stream import StreamJudge
from detectors.state.store import StoreUnavailable
from detectors.triage.intake import Intake
from tests.clock import Clock
from tests.memory_store import MemoryStore

RULES: tuple[Rule, ...] = tuple(rule for rule in load_rules() if rule.detector.stream)
JUDGE = StreamJudge(RULES)


def record(number: int) -> dict[str, Any]:
    """An export record of a created watcher, an action of its own for each *number*."""
    return {
        "time": f"2026-03-02T02:50:{number % 60:02d}.1234567Z",
        "resourceId": (
            "/SUBSCRIPTIONS/11111111-2222-3333-4444-555555555555/RESOURCEGROUPS/RG-OPS/PROVIDERS"
            f"/MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/AA-PROD/WATCHERS/W{number}"
        ),
        "operationName": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE",
        "category": "Administrative",
        "resultType": "Success",
        "resultSignature": "Succeeded.Created",
        "durationMs": 12,
        "callerIpAddress": "203.0.113.7",
        "correlationId": f"00000000-0000-4000-8000-{number:012d}",
        "identity": {
            "claims": {"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "dana@contoso.com"},
        },
        "level": "Information",
        "properties": {"statusCode": "Created", "eventCategory": "Administrative"},
    }


def body(*numbers: int) -> bytes:
    """One message with the records of *numbers*."""
    return json.dumps({"records": [record(number) for number in numbers]}).encode()


def positions(count: int) -> tuple[Position, ...]:
    return tuple(Position(hub="hub", partition="3", sequence_number=number) for number in range(count))


class Store(MemoryStore):
    """Fails the next calls of some methods, as often as each is told to; ``die`` is what a crash leaves undone."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, int] = {}
        self.die: str = ""
        self.calls: list[str] = []

    def _fail(self, name: str) -> None:
        self.calls.append(name)
        if self.die == name:
            raise KeyboardInterrupt
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise StoreUnavailable(f"the store cannot {name}")

    async def create(self, record: Record) -> bool:
        self._fail("create-alert" if record.alert else "create")
        return await super().create(record)

    async def put_object(self, name: str, data: bytes) -> None:
        self._fail("put")
        await super().put_object(name, data)

    async def delete_object(self, name: str) -> None:
        self._fail("delete")
        await super().delete_object(name)


class Stream:
    """Batches with the real judge, intake and quarantine; the alert of the quarantine is a record of its own."""

    def __init__(self, store: Store | None = None, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        self.clock = Clock()
        self.store = store or Store()
        self.quarantine = Quarantine(self.store)
        self.reported: list[tuple[Reason, int]] = []
        self.batches = Batches(
            judge=JUDGE,
            intake=_Intake(self),
            quarantine=self.quarantine,
            allowance=100,
            clock=self.clock,
            sleep=sleep or self.clock.sleep,
        )

    def correlations(self) -> set[str]:
        """The actions that some rule's match is stored of."""
        return {
            stored.record.match.row["CorrelationId"] for stored in self.store.records.values() if stored.record.match
        }

    async def entries(self) -> list[Entry]:
        found = [await self.quarantine.get(name) for name in await self.quarantine.names(1000)]
        return [entry for entry in found if entry]


class _Intake(Intake):
    """Notes each report of the quarantine, and fails where the store is told to."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(store=stream.store, clock=stream.clock)
        self._stream = stream

    async def report_quarantine(self, *, pieces: int, whole: bool, **facts: Any) -> None:
        self._stream.store._fail("report")
        await super().report_quarantine(pieces=pieces, whole=whole, **facts)
        self._stream.reported.append((Reason.NOT_STORED if whole else Reason.DAMAGED, pieces))


def correlation(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"
