"""Runs of the simulation: every single point, and many points at once."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Iterator

from detectors.sources.hunt import Hunt
from tests.simulation.faults import Chaos, Fault
from tests.simulation.world import Scenario, World


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: how to repeat it, and what was wrong."""

    scenario: str
    how: str
    points: int
    hit: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]


def run(scenario: Scenario, chaos: Chaos, how: str, hunt_class: type[Hunt] = Hunt) -> Run:
    """One run, deterministic in its arguments."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        world = World(scenario, chaos, hunt_class)
        asyncio.run(world.run())
    finally:
        logging.disable(previous)
    return Run(scenario.name, how, chaos.points, chaos.hit, tuple(world.violations), tuple(chaos.trace))


def every_point(scenario: Scenario, faults: Iterable[Fault], *, step: int = 1, seed: int = 0) -> Iterator[Run]:
    """*scenario* once without a fault, then once for each *step*-th of its points and each of *faults*."""
    clean = run(scenario, Chaos(seed=seed), "no fault")
    yield clean
    for number in range(0, busy_points(scenario, seed), step):
        for fault in faults:
            yield run(scenario, Chaos(seed=seed, plan={number: fault}), f"point {number}, {fault.value}, seed {seed}")


def busy_points(scenario: Scenario, seed: int) -> int:
    """How many points the busy time of a run without faults has."""
    chaos = Chaos(seed=seed)
    asyncio.run(World(scenario, chaos).run_busy())
    return chaos.points


def random_runs(scenario: Scenario, seeds: Iterable[int], hunt_class: type[Hunt] = Hunt) -> Iterator[Run]:
    """*scenario* once for each seed, with one call in thirty failing."""
    for seed in seeds:
        yield run(scenario, Chaos(seed=seed, probability=1 / 30), f"seed {seed}", hunt_class)
