"""The stream's judge against parsing the same bytes, and against a Python rule engine."""

import concurrent.futures
import dataclasses
import gc
import itertools
import json
import multiprocessing
import random
import resource
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from detectors import rulebook
from detectors.kql.preselection import preselect
from detectors.rule import Rule
from detectors.sources.activity_log import to_row
from detectors.sources.stream import StreamJudge

RECORDS = 10
SHARE = 0.02
NOW = datetime(2026, 3, 14, 2, 10, tzinfo=UTC)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
OTHERS = ("Microsoft.Compute/virtualMachines/write", "Microsoft.Storage/storageAccounts/listKeys/action",
          "Microsoft.Network/networkSecurityGroups/write", "Microsoft.Resources/deployments/write")  # fmt: skip


def record(number: int, operation: str) -> dict[str, Any]:
    """One record of about 2.8 KB as an export has it."""
    resource_id = f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/RG{number % 50}/PROVIDERS/X/Y/N{number}"
    moment = (NOW - timedelta(seconds=number % 600)).isoformat().replace("+00:00", ".1234567Z")
    claims = {
        f"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/claim{i}": f"value-{number}-{i}" for i in range(12)
    }
    return {
        "time": moment, "resourceId": resource_id, "operationName": operation.upper(), "category": "Administrative",
        "resultType": "Success", "resultSignature": "Succeeded.", "durationMs": "0", "callerIpAddress": "203.0.113.7",
        "correlationId": f"22222222-2222-3333-4444-{number:012d}", "level": "Information", "location": "global",
        "identity": {
            "authorization": {"scope": resource_id, "action": operation, "evidence": {"role": "Contributor"}},
            "claims": {**claims, "upn": "operator@contoso.com", "appid": "33333333-2222-3333-4444-555555555555"},
        },
        "properties": {"entity": resource_id, "message": operation, "hierarchy": SUBSCRIPTION,
                       "statusCode": "OK", "requestbody": json.dumps({"tags": {"t": "x" * 900}})},
    }  # fmt: skip


def bodies(count: int, operations: Sequence[str], *, seed: int = 7) -> list[bytes]:
    """*count* messages; a share of their records have one of *operations*, each as likely as the others."""
    chance = random.Random(seed)  # noqa: S311 - sample data
    return [
        json.dumps(
            {"records": [record(message * RECORDS + i, chance.choice(operations if chance.random() < SHARE else OTHERS))
                         for i in range(RECORDS)]}
        ).encode()
        for message in range(count)
    ]  # fmt: skip


def best(call: Callable[[], object], runs: int) -> float:
    gc.collect()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def predicate(rule: Rule) -> Callable[[dict[str, Any]], bool]:
    """A rule as a Python rule engine has it: a function of the event."""
    chosen = preselect(rule.query)
    operations = chosen.operations

    def matches(event: dict[str, Any]) -> bool:
        operation = event["OperationNameValue"].lower()
        if event["ActivityStatusValue"].lower() not in {"success", "succeeded"}:
            return False
        if operations is not None:
            return operation in operations
        return operation.startswith(chosen.prefixes) and operation not in chosen.excluded

    return matches


def python_engine(rules: Sequence[Rule], messages: Sequence[bytes]) -> int:
    """The same decisions as a Python rule engine makes them: every record is parsed and brought into one shape, since
    names, outcome and operation come in several, and every rule's predicate is called on it."""
    predicates = [predicate(rule) for rule in rules]
    return sum(
        matches(event)
        for message in messages
        for event in map(to_row, json.loads(message)["records"])
        for matches in predicates
    )


def sixty(rules: Sequence[Rule]) -> list[Rule]:
    """60 rules: the built-in ones over and over, each with an id and a text of its own."""
    found = itertools.islice(itertools.cycle(rules), 60)
    return [
        dataclasses.replace(rule, id=f"{rule.id[:-2]}{n:02d}", query=f"{rule.query}\n// {n}")
        if n >= len(rules)
        else rule
        for n, rule in enumerate(found)
    ]


def memory(records: int, batch: int = 100) -> tuple[float, float]:
    """Resident MB of this process at its largest, after a tenth of *records* and after all of them."""
    rules = [rule for rule in rulebook.load([rulebook.BUILT_IN]).rules if rule.detector.stream]
    judge = StreamJudge(rules)
    messages = bodies(batch, watched(rules))
    peaks = []
    for share in (0.1, 0.9):
        for _ in range(round(records * share / (batch * RECORDS))):
            judge.judge(messages, NOW)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[0], peaks[1]


def watched(rules: Sequence[Rule]) -> list[str]:
    """Every operation that some rule names whole."""
    return sorted({name for rule in rules for name in preselect(rule.query).operations or ()})


def measure() -> dict[str, float]:
    """Ratios of rates within one run, best of several; memory in a process of its own, after a million records."""
    rules = [rule for rule in rulebook.load([rulebook.BUILT_IN]).rules if rule.detector.stream]
    operations = watched(rules)
    judge = StreamJudge(rules)
    results: dict[str, float] = {}
    for size, runs in ((100, 9), (1000, 5)):
        messages = bodies(size, operations)
        judged = best(lambda messages=messages: judge.judge(messages, NOW), runs)  # type: ignore[misc]
        parsed = best(lambda messages=messages: [orjson.loads(m) for m in messages], runs)  # type: ignore[misc]
        results[f"stream_vs_orjson_{size}"] = parsed / judged
    results["stream_us_per_record"] = judged / (len(messages) * RECORDS) * 1e6
    results["stream_vs_python_engine"] = best(lambda: python_engine(rules, messages), 2) / judged
    few, many = StreamJudge(rules[:5]), StreamJudge(sixty(rules))
    with_many = best(lambda: many.judge(messages, NOW), 5)
    # Each with 2 % of candidates; then on the same records, where five rules have fewer.
    own = bodies(1000, watched(rules[:5]))
    results["stream_60_vs_5_rules"] = best(lambda: few.judge(own, NOW), 5) / with_many
    results["stream_60_vs_5_rules_same_records"] = best(lambda: few.judge(messages, NOW), 5) / with_many
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        tenth, whole = process.submit(memory, 1_000_000).result()
    results["stream_rss_mb"] = whole
    results["stream_rss_growth_mb"] = whole - tenth
    return results
