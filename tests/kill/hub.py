"""One partition of an Event Hub on disk: batches in order, and a checkpoint that moves when an invocation returned."""

import dataclasses
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detectors.sources.quarantine import Item, Position
from tests.kill.verdict import Verdict
from tests.stream.exported import exported

HUB = "KILL_HUB"
"""Environment variable with the folder of the hub."""

NAME = "insights-activity-logs"
PARTITION = "0"


class HubMessage(msgspec.Struct, frozen=True):
    """A message of the hub. ``damaged``: it belongs in quarantine; the worker is not told."""

    number: int
    body: bytes
    damaged: bool = False

    @property
    def position(self) -> Position:
        """Where it stands, as the host says it."""
        return Position(hub=NAME, partition=PARTITION, sequence_number=self.number)


class Hub:
    """The hub in *folder*. The parent adds, the worker reads; they are never there at the same time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._checkpoint = folder / "checkpoint"

    def add(self, batch: Sequence[HubMessage]) -> None:
        """Append a batch."""
        number = len(list(self._folder.glob("*.batch")))
        self._path(number).write_bytes(msgspec.json.encode(batch))

    def read(self) -> tuple[HubMessage, ...]:
        """The batch behind the checkpoint; empty at the end of the hub."""
        path = self._path(self._next)
        return msgspec.json.decode(path.read_bytes(), type=tuple[HubMessage, ...]) if path.exists() else ()

    def move_on(self) -> None:
        """Set the checkpoint behind the batch that :meth:`read` gave. In one step: a process dies here too."""
        new = self._checkpoint.with_suffix(".new")
        new.write_text(str(self._next + 1))
        new.replace(self._checkpoint)

    @property
    def _next(self) -> int:
        return int(self._checkpoint.read_text()) if self._checkpoint.exists() else 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.batch"


@dataclasses.dataclass
class Sender:
    """Puts rows of the table into messages, among damaged ones. Sequence numbers go on from round to round."""

    hub: Hub
    choices: random.Random
    sent: int = 0

    def send(self, rows: Sequence[Mapping[str, Any]]) -> list[HubMessage]:
        """Two batches with *rows* and four damaged messages; all the messages."""
        bodies = [(_envelope(exported(dict(row))), False) for row in rows[1:]]
        bodies += [(body, True) for body in self._damaged(exported(dict(rows[0])))]
        self.choices.shuffle(bodies)
        messages = [HubMessage(self.sent + n, body, damaged) for n, (body, damaged) in enumerate(bodies, 1)]
        self.sent += len(messages)
        middle = len(messages) // 2
        for batch in (messages[:middle], messages[middle:]):
            self.hub.add(batch)
        return messages

    def _damaged(self, good: Mapping[str, Any]) -> list[bytes]:
        """Four messages that nobody can read whole. The first holds *good* all the same, which must be found."""
        cut = _envelope(good, {"operationName": "MICROSOFT.COMPUTE/VIRTUALMACHINES/WRITE"})
        end = self.choices.randint(len(_envelope(good)), len(cut) - 3)
        packed = gzip.compress(_envelope({"number": self.sent}), mtime=0)
        return [
            cut[:end],
            b'{"records": [',
            packed[: self.choices.randint(2, len(packed) - 1)],
            b"\xfe" + self.choices.randbytes(self.choices.randint(1, 2000)),
        ]


def compare_quarantine(messages: Sequence[HubMessage], kept: Sequence[Item]) -> Verdict:
    """Every damaged one of *messages* is kept once and as it came, and no other is. *kept* may hold older ones."""
    by_number: dict[int | None, list[bytes]] = defaultdict(list)
    for item in kept:
        by_number[item.position.sequence_number].append(item.data)
    lost: list[str] = []
    unexpected: list[str] = []
    for message in messages:
        pieces = by_number[message.number]
        if not message.damaged and pieces:
            unexpected.append(f"message {message.number} is good and in quarantine")
        if message.damaged and message.body not in pieces:
            lost.append(f"message {message.number} is damaged and not in quarantine as it came")
        elif message.damaged and len(pieces) > 1:
            unexpected.append(f"message {message.number} is in quarantine {len(pieces)} times")
    return Verdict(lost=tuple(lost), unexpected=tuple(unexpected))


def _envelope(*records: Mapping[str, Any]) -> bytes:
    return json.dumps({"records": records}).encode()
