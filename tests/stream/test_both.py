"""The attack of the demo, told by the Event Hub first and by Log Analytics later: each action alerts once."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from detectors.kql.engine import Engine
from detectors.model import Source
from detectors.rule import Rule
from detectors.sources.activity_log import TABLE, to_row
from detectors.triage.intake import Intake
from sandbox.activity import rows_of
from sandbox.scenario import Scenario, actions_of, load_scenario
from tests.stream.batch import RULES, Stream, positions
from tests.stream.exported import exported

FILES = {Path(rule.path).stem: rule for rule in RULES}


def played(scenario: Scenario) -> list[dict[str, Any]]:
    start = Stream().clock.now
    steps = range(len(scenario.steps))
    actions = [action for number in steps for action in actions_of(scenario, number, start)]
    return [row for action in actions for row in rows_of(action, scenario.workspace)]


def hunted(rule: Rule, rows: list[dict[str, Any]], engine: Engine) -> list[dict[str, Any]]:
    """What the service answers *rule*, as JSON values."""
    engine.load(TABLE, [to_row(row) for row in rows])
    text = json.dumps(engine.run(rule.query).dicts(), default=datetime.isoformat)
    found: list[dict[str, Any]] = json.loads(text)
    return found


@pytest.mark.parametrize("name", ["setup-then-execute", "quiet-day"])
async def test_what_the_stream_told_the_hunt_does_not_tell_again(name: str) -> None:
    scenario = load_scenario(name)
    rows = played(scenario)
    bodies = [
        json.dumps({"records": [exported(row) for row in rows[at : at + 4]]}).encode() for at in range(0, len(rows), 4)
    ]
    stream = Stream()
    told = (await stream.batches.run(bodies, positions(len(bodies)))).new
    wanted = [entry for entry in scenario.expect if entry.rule in FILES]
    assert len(told) == sum(entry.count for entry in wanted)
    intake = Intake(store=stream.store, clock=stream.clock)
    matched = 0
    with Engine() as engine:
        for name_of_file in sorted({entry.rule for entry in wanted}):
            found = hunted(FILES[name_of_file], rows, engine)
            matched += len(found)
            new = await intake.store(FILES[name_of_file], found, source=Source.HUNT, workspace="w", allowance=100)
            assert new == (), name_of_file
    assert matched == len(told)
