"""A visit of 2,000 automation accounts in which nothing has changed, against the latency of its calls alone.

The accounts are a fleet in a process of its own that answers each call after 20 ms; the inventory, with the app's own
clients, rules and SQLite state, is another process, so that time and memory are its own. ``python -m bench.inventory
--accounts 200`` is a shorter one.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sandbox.fleet import subscription_id
from sandbox.fleet_process import FleetProcess
from sandbox.fleet_server import LATENCY, LIST

if TYPE_CHECKING:
    from detectors.inventory_wiring import InventoryRuns

ACCOUNTS = 2_000
SUBSCRIPTIONS = 8
CONCURRENCY = 4
"""Half of the default, so that the processor is not what limits: a call costs the inventory about 2 ms of it, and 4
calls in 20 ms leave it idle for most of the time (``inventory_cpu_share`` says for how much)."""
SHARE = 0.01
SECONDS = 1_800
"""Of one visit. Then the inventory's process is killed, and the measure fails."""


@dataclasses.dataclass(frozen=True)
class Visit:
    """One full visit: seconds of the clock and of the processor, peak memory so far, and the calls it made."""

    wall: float
    cpu: float
    rss_mb: float
    report: dict[str, Any]
    kinds: dict[str, int]

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.kinds.values())


class InventoryProcess:
    """The inventory in a process of its own: it makes a visit whenever it is told to."""

    def __init__(self, fleet: FleetProcess, folder: Path, concurrency: int) -> None:
        given = fleet.environment()
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= given | {
            # Not as CA_BUNDLE: azure-core then makes a TLS context, and so a connection, for every single call.
            # Azure's own certificates need no bundle.
            "SSL_CERT_FILE": given["CA_BUNDLE"]
        }
        self._fleet = fleet
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.inventory", "--visits", str(folder / "state.db"), str(concurrency)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It has nothing to tidy up: its state is thrown away.
        self._process.kill()
        self._process.communicate()

    def visit(self, latency: float) -> Visit:
        """One run over every account. Raises :class:`RuntimeError` when it takes too long or leaves an account out."""
        self._fleet.set_latency(latency)
        self._fleet.reset()
        orders, answers = self._process.stdin, self._process.stdout
        if orders is None or answers is None:
            raise RuntimeError("the inventory's process has no pipes")
        orders.write("visit\n")
        orders.flush()
        if not select.select([answers], [], [], SECONDS)[0]:
            raise RuntimeError(f"the visit did not end within {SECONDS} seconds")
        line = answers.readline()
        if not line:
            raise RuntimeError("the inventory's process ended; its error output says why")
        visit = Visit(**json.loads(line), kinds=self._fleet.counts()["kinds"])
        require_full(visit.report)
        return visit


def require_full(report: dict[str, Any]) -> None:
    """Raise :class:`RuntimeError` unless the run that *report* is of read every account, and nothing failed in it."""
    if not report["accounts"] or report["visited"] != report["accounts"] or report["errors"]:
        raise RuntimeError(f"the visit is not a full one: {report}")


def measure(accounts: int = ACCOUNTS, concurrency: int = CONCURRENCY) -> dict[str, float]:
    """One base line, one visit in which nothing has changed, and one after a change in 1 % of the accounts.

    * ``inventory_vs_latency_bound``: time of the unchanged visit over calls x latency / concurrency.
    * ``inventory_rss_mb``: peak memory of the process over all three.
    * ``inventory_unchanged_other_calls``: what the unchanged visit asked for beside lists; 0 is right.
    * ``inventory_changed_extra_calls_per_change``: calls of the last visit beyond those of the unchanged one, for each
      account that had changed.
    * ``inventory_cpu_share``: how much of the unchanged visit a processor was busy for the inventory.

    Raises :class:`RuntimeError` when a visit is not complete.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-inventory-") as folder,
        FleetProcess(accounts, min(SUBSCRIPTIONS, accounts)) as fleet,
        InventoryProcess(fleet, Path(folder), concurrency) as inventory,
    ):
        first = inventory.visit(latency=0)
        if first.report["accounts"] != accounts:
            raise RuntimeError(f"the inventory found {first.report['accounts']} accounts of {accounts}")
        unchanged = inventory.visit(LATENCY)
        names = fleet.change(SHARE)
        changed = inventory.visit(latency=0)
    if unchanged.report["changed"] or changed.report["changed"] != len(names):
        raise RuntimeError(f"changes were found where there are none, or missed: {unchanged.report}, {changed.report}")
    return {
        "inventory_vs_latency_bound": unchanged.wall / (unchanged.calls * LATENCY / concurrency),
        "inventory_rss_mb": changed.rss_mb,
        "inventory_unchanged_other_calls": unchanged.calls - unchanged.kinds[LIST],
        "inventory_changed_extra_calls_per_change": (changed.calls - unchanged.calls) / len(names),
        "inventory_cpu_share": unchanged.cpu / unchanged.wall,
    }


def peak_mb() -> float:
    """The most memory that this process has held at once, in MiB."""
    # ru_maxrss of a new process begins with the memory of the one that started it; the kernel's own figure does not.
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)


@contextlib.asynccontextmanager
async def _inventory(state: str, concurrency: int) -> AsyncIterator["InventoryRuns"]:
    """The inventory as the app has it; what it finds is stored, and neither triaged nor sent."""
    from azure.identity.aio import ManagedIdentityCredential

    from detectors.app import load_rules, utc_now
    from detectors.inventory_wiring import InventoryRuns
    from detectors.settings import load_settings
    from detectors.state.sqlite import SqliteStore
    from detectors.triage.intake import Intake

    settings = load_settings(
        {
            "WORKSPACE_IDS": subscription_id(0),
            "ARM_ENDPOINT": os.environ["ARM_ENDPOINT"],
            "INVENTORY_CONCURRENCY": str(concurrency),
            "INVENTORY_TIME_BUDGET": f"{SECONDS}s",
            # Without a destination the settings are refused; nothing is sent to this one.
            "TEAMS_WEBHOOK_URL": "https://localhost/",
        }
    )
    async with ManagedIdentityCredential() as credential:
        store = SqliteStore(state)
        await store.open()
        inventory = InventoryRuns(
            settings,
            credential=credential,
            store=store,
            objects=store,
            intake=Intake(store=store, clock=utc_now),
            rules=load_rules(),
            clock=utc_now,
            sleep=asyncio.sleep,
        )
        try:
            yield inventory
        finally:
            await inventory.close()
            await store.close()


async def _visits(state: str, concurrency: int) -> None:
    import msgspec

    async with _inventory(state, concurrency) as inventory:
        while await asyncio.to_thread(sys.stdin.readline):
            wall, cpu = time.perf_counter(), time.process_time()
            report = await inventory.run()
            said = {
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "rss_mb": peak_mb(),
                "report": msgspec.to_builtins(report),
            }
            print(json.dumps(said), flush=True)


def main() -> None:
    """Measure and print; or, for the measure itself, make visits."""
    parser = argparse.ArgumentParser(prog="python -m bench.inventory", description=__doc__)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--visits", nargs=2, metavar=("STATE", "CONCURRENCY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.visits:
        asyncio.run(_visits(options.visits[0], int(options.visits[1])))
        return
    for name, value in measure(options.accounts, options.concurrency).items():
        print(f"{name:45} {value:8.3f}")


if __name__ == "__main__":
    main()
