"""Nothing is lost and nothing is said twice, whatever fails and whenever: the short form of ``make simulate``."""

import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from detectors.rule import Rule
from detectors.sources.hunt import Hunt, RuleOutcome, _Run
from detectors.sources.windows import Watermark, Window
from tests.simulation import runs
from tests.simulation.faults import Chaos, Fault
from tests.simulation.runs import Run
from tests.simulation.scenarios import ALL, MINUTE, START, steady
from tests.simulation.world import Scenario, World, logged_row

ROOT = Path(__file__).parents[2]
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


def failures(outcomes: Iterable[Run]) -> list[str]:
    return [f"{run.scenario}, {run.how}: {run.violations}" for run in outcomes if run.violations]


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_crash_at_any_point_loses_nothing_and_repeats_nothing_unsaid(scenario: Scenario) -> None:
    step = 1 if scenario.name == "steady" else 3
    assert failures(runs.every_point(scenario, CRASHES, step=step)) == []


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_any_fault_at_any_point_loses_nothing(scenario: Scenario) -> None:
    others = [fault for fault in Fault if fault not in CRASHES]
    assert failures(runs.every_point(scenario, others, step=7)) == []


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_many_faults_at_once_lose_nothing(scenario: Scenario) -> None:
    assert failures(runs.random_runs(scenario, range(100))) == []


def test_a_run_is_repeated_by_its_seed() -> None:
    first, again = (runs.run(steady(), Chaos(seed=7, probability=1 / 30), "") for _ in range(2))
    assert first == again
    assert first.hit > 0


def test_a_seed_means_the_same_in_every_process() -> None:
    code = (
        "from tests.simulation.runs import run; from tests.simulation.faults import Chaos; "
        "from tests.simulation.scenarios import ALL; "
        "print([run(each, Chaos(seed=3, probability=1 / 30), '') for each in ALL])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


class WatermarkFirst(Hunt):
    """Broken on purpose: the watermark moves before the matches are stored."""

    async def _read(self, rule: Rule, workspace: str, window: Window, run: _Run, outcome: RuleOutcome) -> RuleOutcome:
        await self._advance(f"watermark/{rule.id}/{workspace}", Watermark(end=window.end))
        return await super()._read(rule, workspace, window, run, outcome)


def test_moving_the_watermark_before_storing_is_caught() -> None:
    caught = failures(runs.random_runs(steady(), range(3), WatermarkFirst))
    assert len(caught) == 3
    assert "passed" in caught[0]


class Forgetful(Hunt):
    """Broken on purpose: what was found is forgotten every now and then."""

    async def _read(self, rule: Rule, workspace: str, window: Window, run: _Run, outcome: RuleOutcome) -> RuleOutcome:
        return outcome


def test_an_alert_that_never_comes_is_caught() -> None:
    assert any("never reached teams" in found for found in failures(runs.random_runs(steady(), range(1), Forgetful)))


async def test_six_hours_without_teams_and_five_hundred_alerts_end_in_digests_within_the_rate_limit() -> None:
    rows = tuple(
        logged_row(
            n, START + timedelta(seconds=40 * n), 4 * MINUTE, CorrelationId=f"{n:08d}-0000-0000-0000-0000000000ff"
        )
        for n in range(500)
    )
    scenario = Scenario(name="teams-down", rows=rows, start=START, busy=timedelta(hours=7), alert_limit=100)
    world = World(scenario, Chaos(seed=1))
    world.outage = ("teams", START + timedelta(hours=6))
    await world.run()
    assert world.violations == []
    teams = world.ledgers["teams"]
    assert len(world.expected(rows)) == 500
    assert world.expected(rows) <= teams.named
    assert min(teams.times) >= START + timedelta(hours=6)
    assert len(teams.times) < 100, "most arrived in digests"
    assert len(world.ledgers["log-table"].sent) == 500, "the others were not held up"
    assert max(world.ledgers["log-table"].times) < START + timedelta(hours=6)
