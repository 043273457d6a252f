"""What the sandbox's receivers were sent, in order, and how often each endpoint was asked."""

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Received:
    """One request at Teams, the webhook or Logs Ingestion, or one write at Sentinel.

    ``body`` is decoded: gzip undone, JSON parsed, else text. ``size`` is the body's length in bytes after gzip was
    undone. ``status`` is the sandbox's answer, None when the connection was closed instead. ``failed_action`` is why
    the message was lost although its sender saw success (Teams answers before it posts the card).
    """

    number: int
    endpoint: str
    time: datetime
    path: str
    headers: Mapping[str, str]
    body: Any
    size: int
    status: int | None
    failed_action: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the sender was told that it worked."""
        return self.status is not None and 200 <= self.status < 300


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request at any endpoint, with the status it was answered with (None: connection closed)."""

    endpoint: str
    method: str
    path: str
    status: int | None


class Ledger:
    """Everything received. Reading returns copies, so a test may look while clients still send."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Received] = []
        self._asked: list[Asked] = []

    def receive(self, **fields: Any) -> None:
        """Append one entry; its ``number`` counts from 1 over all receivers."""
        with self._lock:
            self._entries.append(Received(number=len(self._entries) + 1, **fields))

    def ask(self, asked: Asked) -> None:
        """Count one request."""
        with self._lock:
            self._asked.append(asked)

    @property
    def entries(self) -> tuple[Received, ...]:
        """Everything received, in order."""
        with self._lock:
            return tuple(self._entries)

    def at(self, endpoint: str) -> tuple[Received, ...]:
        """What one receiver got, in order."""
        return tuple(entry for entry in self.entries if entry.endpoint == endpoint)

    @property
    def requests(self) -> tuple[Asked, ...]:
        """Every request at every endpoint, in order of answer."""
        with self._lock:
            return tuple(self._asked)

    @property
    def counts(self) -> Counter[str]:
        """Requests per endpoint."""
        return Counter(asked.endpoint for asked in self.requests)
