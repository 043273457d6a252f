"""Decode real batches with the library as it is and with :mod:`detectors.fast_dates`, in this interpreter.

``python decode_both_ways.py`` prints one JSON object: the library's version, why nothing was replaced ("" where it
was), the events that differ and the times that still took the library's own way. It is a script of its own because the
library for Python 3.13 is another one than that of the interpreter that tests it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import azure.functions
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from detectors import fast_dates

USUAL = (*fast_dates.KNOWN, "2026-03-02T02:51:39.992", "2026-03-02T02:51:39.992Z", "0001-01-01T00:00:00")
"""Times that need no ``strptime``."""
UNUSUAL = (None, "", "2026-3-2T2:51:39.992", "2026-03-02t02:51:39z", "03/02/2026 02:51:39Z", "03/02/2026T02:51:39.5")
"""Times, and none, that the library takes and :func:`detectors.fast_dates.read` leaves to it."""


class Library(EventHubTriggerConverter, binding=None):
    """The library's converter as it is, counting what it reads itself."""

    read: ClassVar[list[Any]]

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> Any:
        cls.read.append(datetime_str)
        return super()._parse_datetime(datetime_str)


def converter() -> type[Library]:
    """A converter of its own for each caller, so that what is replaced in it is replaced nowhere else."""

    class Converter(Library, binding=None):
        read: ClassVar[list[Any]] = []

    return Converter


def batch(bodies: Sequence[bytes], times: Sequence[str | None]) -> tuple[Datum, dict[str, Datum]]:
    """What the worker hands to the converter for MANY and BINARY: the bodies, and the metadata of the trigger."""
    properties = [
        {
            "x-opt-sequence-number": number,
            "x-opt-offset": str(4294967296 + number),
            "x-opt-enqueued-time": time,
            "EnqueuedTimeUtc": time,
            "SequenceNumber": number,
            "Offset": str(4294967296 + number),
            "PartitionKey": None,
        }
        for number, time in enumerate(times, start=7)
    ]
    context = {"EventHubName": "insights-activity-logs", "ConsumerGroup": "$Default", "PartitionId": "3"}
    metadata = {
        "SystemPropertiesArray": Datum(json.dumps(properties), "json"),
        "PartitionContext": Datum(json.dumps(context), "json"),
    }
    return Datum(SimpleNamespace(bytes=list(bodies)), "collection_bytes"), metadata


def decode(by: type[EventHubTriggerConverter], times: Sequence[str | None]) -> list[tuple[Any, ...]]:
    """Everything that a function can read of each event; every body is another one."""
    bodies = [b"\xff\x00%d" % number for number in range(len(times))]
    data, metadata = batch(bodies, times)
    events = by.decode(data, trigger_metadata=metadata)
    assert isinstance(events, list)
    return [
        (
            event.get_body(), event.sequence_number, event.enqueued_time, str(event.enqueued_time), event.offset,
            event.partition_key, event.metadata, event.iothub_metadata,
        )
        for event in events
    ]  # fmt: skip


def compare() -> dict[str, Any]:
    plain, fast = converter(), converter()
    reason = fast_dates.install(fast)
    before = decode(plain, [*USUAL, *UNUSUAL])
    fast.read.clear()  # What the check at installation read.
    after = decode(fast, [*USUAL, *UNUSUAL])
    return {
        "version": azure.functions.__version__,
        "reason": reason,
        "events": len(before),
        "differing": [str(pair) for pair in zip(before, after, strict=True) if pair[0] != pair[1]],
        "read_by_library": fast.read,
        "read_by_library_before": len(plain.read),
    }


if __name__ == "__main__":
    print(json.dumps(compare()))
