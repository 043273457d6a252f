"""``make simulate``: crash every point once, fail it in every other way too, then thousands of runs with many faults.

Ends with one line ``points=... crashed=... runs=... violations=...``. Each failing run is printed with what repeats it:
``python -m tests.simulation --scenario NAME --seed N``.
"""

import argparse
import sys
from collections.abc import Iterator

from tests.simulation.faults import Chaos, Fault
from tests.simulation.runs import Run, every_point, random_runs, run
from tests.simulation.scenarios import ALL
from tests.simulation.world import Scenario


def _told(outcome: Run) -> str:
    lines = [f"FAILED {outcome.scenario}, {outcome.how}: {'; '.join(outcome.violations)}"]
    return "\n".join([*lines, *(f"    {step}" for step in outcome.trace)])


def _all_runs(scenarios: tuple[Scenario, ...], seeds: int) -> Iterator[Run]:
    for scenario in scenarios:
        yield from every_point(scenario, Fault)
        yield from random_runs(scenario, range(seeds))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="random runs of each scenario (default: 1000)")
    parser.add_argument("--scenario", choices=[scenario.name for scenario in ALL], help="only this one")
    parser.add_argument("--seed", type=int, help="repeat one random run and show its faults")
    arguments = parser.parse_args()
    scenarios = tuple(each for each in ALL if arguments.scenario in {None, each.name})
    if arguments.seed is not None:
        outcomes = [run(each, Chaos(seed=arguments.seed, probability=1 / 30), "repeated") for each in scenarios]
        for outcome in outcomes:
            print(_told(outcome) if outcome.violations else f"passed {outcome.scenario}", *outcome.trace, sep="\n    ")
        return int(any(outcome.violations for outcome in outcomes))
    runs = violations = points = 0
    crashed: set[tuple[str, str]] = set()
    for outcome in _all_runs(scenarios, arguments.seeds):
        runs += 1
        points += outcome.points
        crashed |= {(outcome.scenario, step.split(" ")[0]) for step in outcome.trace if "crash" in step}
        if outcome.violations:
            violations += 1
            print(_told(outcome))
    print(f"points={points} crashed={len(crashed)} runs={runs} violations={violations}")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
