"""What ``azure.functions`` spends on decoding a batch of the Event Hub trigger, beside judging the same batch."""

import json
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace

import azure.functions as func
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from bench.stream import NOW, OTHERS, best, bodies, record
from detectors import fast_dates, rulebook
from detectors.kql.preselection import preselect
from detectors.sources.stream import StreamJudge

MESSAGES = 100
ROUNDS = 5
Decoder = Callable[..., func.EventHubEvent | list[func.EventHubEvent]]


class Library(EventHubTriggerConverter, binding=None):
    """The converter as the library has it."""


class Fast(EventHubTriggerConverter, binding=None):
    """The converter as the app has it."""


def properties(number: int) -> dict[str, object]:
    """The system properties of one message: the host sends its time without a zone."""
    time = (NOW - timedelta(milliseconds=997 * number)).replace(tzinfo=None).isoformat(timespec="milliseconds")
    offset = str(4294967296 + 29_000 * number)
    return {
        "x-opt-sequence-number": number, "x-opt-offset": offset, "x-opt-enqueued-time": time,
        "EnqueuedTimeUtc": time, "SequenceNumber": number, "Offset": offset, "PartitionKey": None,
    }  # fmt: skip


def arrived(messages: Sequence[bytes]) -> tuple[Datum, dict[str, Datum]]:
    """*messages* and their metadata as the worker hands them to a converter for MANY and BINARY."""
    context = {"EventHubName": "insights-activity-logs", "ConsumerGroup": "$Default", "PartitionId": "3"}
    metadata = {
        "SystemPropertiesArray": Datum(json.dumps([properties(number) for number in range(len(messages))]), "json"),
        "PartitionContext": Datum(json.dumps(context), "json"),
    }
    return Datum(SimpleNamespace(bytes=list(messages)), "collection_bytes"), metadata


def decoding(decoder: Decoder, messages: Sequence[bytes]) -> Callable[[], object]:
    """Decodes *messages*, each time anew. Raises RuntimeError where that does not give their bytes."""
    data, metadata = arrived(messages)

    def decode() -> Sequence[func.EventHubEvent]:
        events = decoder(data, trigger_metadata=metadata)
        return events if isinstance(events, list) else [events]

    if [event.get_body() for event in decode()] != messages:
        raise RuntimeError(f"{decoder} does not decode a batch")
    return decode


def measure() -> dict[str, float]:
    """Microseconds per message, and ratios of times within one run; best of several, in turns.

    ``_vs_judging`` is decoding by judging of the same batch of 100 messages: with 10 records each, and with one.
    Raises RuntimeError where the library is not one that :mod:`detectors.fast_dates` knows.
    """
    if reason := fast_dates.install(Fast):
        raise RuntimeError(reason)
    rules = [rule for rule in rulebook.load([rulebook.BUILT_IN]).rules if rule.detector.stream]
    operations = sorted({name for rule in rules for name in preselect(rule.query).operations or ()})
    judge = StreamJudge(rules)
    full = bodies(MESSAGES, operations)
    single = [
        json.dumps({"records": [record(number, OTHERS[0] if number % 50 else operations[number])]}).encode()
        for number in range(MESSAGES)
    ]
    calls: dict[str, Callable[[], object]] = {
        "library": decoding(Library.decode, full),
        "fast": decoding(Fast.decode, full),
        "judging": lambda: judge.judge(full, NOW),
        "judging_single": lambda: judge.judge(single, NOW),
    }
    # In turns, so that a machine that is busy for a while is busy for all of them.
    times = dict.fromkeys(calls, math.inf)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name] = min(times[name], best(call, 3))
    return {
        "functions_decoding_us_per_message": times["library"] / MESSAGES * 1e6,
        "functions_decoding_fast_us_per_message": times["fast"] / MESSAGES * 1e6,
        "functions_decoding_speedup": times["library"] / times["fast"],
        "functions_decoding_vs_judging": times["library"] / times["judging"],
        "functions_decoding_fast_vs_judging": times["fast"] / times["judging"],
        "functions_decoding_vs_judging_single": times["library"] / times["judging_single"],
        "functions_decoding_fast_vs_judging_single": times["fast"] / times["judging_single"],
    }
