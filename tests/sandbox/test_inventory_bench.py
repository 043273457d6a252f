"""The bench of the inventory on a small fleet: real processes, clients and state. No times: the machine is shared."""

from pathlib import Path
from typing import Any

import pytest

from bench import inventory
from bench.inventory import InventoryProcess, measure, peak_mb, require_full
from sandbox.fleet import subscription_id
from sandbox.fleet_process import FleetProcess
from sandbox.fleet_server import REFUSED

ACCOUNTS = 6


def test_an_unchanged_fleet_costs_only_lists_and_a_changed_account_a_few_calls_more() -> None:
    results = measure(ACCOUNTS, concurrency=2)
    assert results["inventory_unchanged_other_calls"] == 0
    # The runbook and its text, the watcher and its actions.
    assert results["inventory_changed_extra_calls_per_change"] == 4
    assert results["inventory_vs_latency_bound"] > 1
    assert 20 < results["inventory_rss_mb"] < 1_000
    assert results["inventory_cpu_share"] > 0


def test_a_subscription_that_throttles_is_read_to_the_end_after_what_it_asks_to_wait(tmp_path: Path) -> None:
    with FleetProcess(4, 2) as fleet, InventoryProcess(fleet, tmp_path, 2) as process:
        process.visit(latency=0)
        unchanged = process.visit(latency=0)
        fault = {"kind": "Status", "status": 429, "retry_after": 1, "times": 3}
        fleet.set_fault(fault, subscription=subscription_id(0))
        throttled = process.visit(latency=0)
        by_subscription = fleet.counts()["subscriptions"]
    assert REFUSED not in unchanged.kinds
    assert throttled.kinds[REFUSED] == 3
    assert throttled.wall > 1
    assert by_subscription[subscription_id(1)] < by_subscription[subscription_id(0)]


@pytest.mark.parametrize(
    "report",
    [
        {"accounts": 0, "visited": 0, "errors": []},
        {"accounts": 2, "visited": 1, "errors": []},
        {"accounts": 2, "visited": 2, "errors": ["something"]},
    ],
)
def test_a_visit_that_is_not_complete_is_no_measure(report: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="not a full one"):
        require_full(report)


def test_a_visit_that_does_not_end_is_given_up_and_its_process_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "SECONDS", 0.2)
    with FleetProcess(1) as fleet, InventoryProcess(fleet, tmp_path, 1) as process:
        with pytest.raises(RuntimeError, match=r"within 0\.2 seconds"):
            process.visit(latency=30)
        child = process._process
    assert child.returncode == -9


def test_the_memory_of_a_process_is_its_own() -> None:
    ballast = bytearray(b"x" * 32 * 1024 * 1024)
    assert peak_mb() > len(ballast) / 1024 / 1024
