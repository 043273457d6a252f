"""``status`` says at a glance whether somebody has to do something."""

from datetime import timedelta
from pathlib import Path

import msgspec

from detectors.app import hunted, load_rules
from detectors.condition import Backlog
from detectors.heartbeat import LAST, build_heartbeat
from detectors.state.sqlite import SqliteStore
from tests.cli.conftest import SECRET, Shell
from tests.heartbeat.samples import NOW, WORKSPACE, dead, pending, record, report, sent

HUNTED = hunted(load_rules(), rows_are_sent=False)


def test_a_healthy_detector_exits_with_0_and_shows_every_rule_and_destination(shell: Shell) -> None:
    shell.watermarks(end=NOW - timedelta(minutes=4))
    result = shell.run("status")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("healthy\n")
    for rule in HUNTED:
        (line,) = [line for line in result.out.splitlines() if f" {rule.name}  " in line]
        # A rule that runs every hour or less often is not behind after four minutes.
        behind = ["4", "min"] if rule.query_frequency <= timedelta(minutes=5) else ["0", "s"]
        assert line.split()[-3:] == [*behind, "0"]
        assert WORKSPACE in line
    assert "webhook      0        0" in result.out
    assert str(shell.path) in result.out
    assert SECRET not in result.out


def test_a_rule_that_fails_exits_with_1_and_shows_the_error(shell: Shell) -> None:
    shell.watermarks(failures=3, failing_since=NOW - timedelta(minutes=15), error="the workspace answered 403")
    result = shell.run("status")
    assert result.code == 1
    assert result.out.startswith(f"unhealthy: {len(HUNTED)} problems\n")
    assert "has failed 3 times in a row since 2026-03-02 02:45:00 UTC" in result.out
    assert "the workspace answered 403" in result.out


def test_an_error_that_is_not_yet_a_problem_is_shown_all_the_same(shell: Shell) -> None:
    shell.watermarks(failures=1, error="a throttle")
    result = shell.run("status")
    assert (result.code, result.out.count("a throttle")) == (0, len(HUNTED))


def test_lag_waiting_alerts_and_dead_letters_each_make_it_unhealthy(shell: Shell) -> None:
    shell.watermarks(end=NOW - timedelta(minutes=31))
    assert "31 min behind" in shell.run("status").out
    shell.watermarks()
    shell.store(record(1, age=timedelta(minutes=61), webhook=pending()))
    waiting = shell.run("status")
    assert waiting.code == 1
    assert "an alert has waited 61 min for webhook" in waiting.out
    shell.store(record(2, webhook=dead(), teams=sent()))
    both = shell.run("status", "--json")
    assert both.code == 1
    assert not both.data["healthy"]
    assert len(both.data["problems"]) == 2
    assert (both.data["backlog"]["pending"], both.data["backlog"]["dead"]) == ({"webhook": 1}, {"webhook": 1})


def test_the_last_heartbeat_is_shown_with_its_age(shell: Shell) -> None:
    assert "last heartbeat  never" in shell.run("status").out
    beat = build_heartbeat(report(), watermarks=[], backlog=Backlog(), finished_at=NOW, instance="i-\x1b7")

    async def write(store: SqliteStore) -> None:
        await store.write_document(LAST, msgspec.json.encode(beat), None)

    shell.with_store(write)
    shell.clock.advance(minutes=3)
    result = shell.run("status")
    assert r"2026-03-02 03:00:00 UTC (3 min ago), healthy, by i-\x1b7, version" in result.out


def test_wrong_settings_exit_with_2_and_name_all_of_them(shell: Shell) -> None:
    result = shell.run("status", WORKSPACE_IDS="nonsense", HUNT_OVERLAP="soon")
    assert (result.code, result.out) == (2, "")
    assert "WORKSPACE_IDS" in result.err
    assert "HUNT_OVERLAP" in result.err


def test_a_state_that_cannot_be_read_exits_with_2_and_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    result = shell.run("status", STATE_PATH=str(tmp_path))
    assert (result.code, result.out) == (2, "")
    assert "could not open it" in result.err
    assert "Check that the path is a writable file" in result.err


def test_machines_get_the_error_as_json_too(shell: Shell, tmp_path: Path) -> None:
    result = shell.run("status", "--json", STATE_PATH=str(tmp_path))
    assert result.code == 2
    assert "could not open it" in result.data["error"]
