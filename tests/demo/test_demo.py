"""``make demo`` end to end, as a person runs it: the real detector and the sandbox, in a process of its own."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.cells import cell_len

from sandbox.activity import rows_of
from sandbox.scenario import actions_of, load_scenario
from tests.demo.test_html import Page

ROOT = Path(__file__).parents[2]
SCENARIOS = ("setup-then-execute", "quiet-day", "watcher-without-log")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR"}}
    # A proxy that answers nothing: loopback must not be sent through it.
    environment |= {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        [sys.executable, "-m", "sandbox.demo", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_demo_finds_the_attack_leaves_the_quiet_day_alone_and_says_so(tmp_path: Path) -> None:
    finished = run("--output", str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    said = finished.stdout
    for line in (
        "Scenario setup-then-execute",
        "Step 1 of 7: A guest account creates a runbook",
        "From      203.0.113.77",
        "Read these lines first",
        "169.254.169.254/metadata/identity/oauth2/token",
        "hybrid worker group hwg-batch-prod",
        "Scenario quiet-day",
        "No alert.",
        "Scenario watcher-without-log",
        "Everything was as expected.",
        "make demo LOG=activity.json",
        "make test",
    ):
        assert line in said
    # A long path goes over several lines.
    assert str(tmp_path / "alerts.html") in "".join(line.strip() for line in said.splitlines())
    assert "DIFFERS" not in said
    assert "\x1b" not in said
    assert max(cell_len(line) for line in said.splitlines()) <= 80

    page = Page((tmp_path / "alerts.html").read_text(encoding="utf-8"))
    assert page.problems == []
    expected = sum(entry.count for name in SCENARIOS for entry in load_scenario(name).expect)
    assert len(page.all("article")) == expected


def test_a_persons_own_log_is_searched_from_its_first_to_its_last_event(tmp_path: Path) -> None:
    scenario = load_scenario("setup-then-execute")
    expected = sum(entry.count for entry in scenario.expect)
    steps = len(scenario.steps)
    rows = [
        row
        for number in range(steps)
        # Two weeks apart and long ago: everything between the first and the last event is looked at.
        for action in actions_of(scenario, number, datetime(2024, 3, 1 if number == 0 else 15, 2, tzinfo=UTC))
        for row in rows_of(action, scenario.workspace)
    ]
    log = tmp_path / "activity.json"
    log.write_text("\n".join([*map(json.dumps, rows), "{broken", '{"other": 1}']), encoding="utf-8")
    finished = run("--output", str(tmp_path / "out"), "--log", str(log))
    assert (finished.returncode, finished.stderr) == (0, "")
    said = " ".join(finished.stdout.split())
    for part in (
        f"{len(rows)} records, from 2024-03-01 02:00:00 UTC to 2024-03-15",
        "2 records were left out:",
        f"record {len(rows) + 1}: line {len(rows) + 1}: not JSON",
        "the demo's Azure does not know your accounts",
        "Azure Automation runbook created or modified",
        f"{expected} of {expected} {expected} of {expected} {expected} of {expected}",
        "Done: every alert arrived at the demo's receivers.",
    ):
        assert part in said
    assert "deleted" not in said
    page = Page((tmp_path / "out" / "alerts.html").read_text(encoding="utf-8"))
    assert len(page.all("article")) == expected


def test_a_log_without_anything_of_interest_gives_no_alert_and_no_error(tmp_path: Path) -> None:
    record = {
        "time": "2026-05-04T03:02:01Z",
        "operationName": "MICROSOFT.COMPUTE/VIRTUALMACHINES/START/ACTION",
        "resultType": "Success",
        "resourceId": "/subscriptions/2c9e4f60-1d83-4b7a-a1f5-6e0b8d3c7f22/resourceGroups/rg",
    }
    log = tmp_path / "activity.json"
    log.write_text(json.dumps(record), encoding="utf-8")
    finished = run("--output", str(tmp_path / "out"), "--log", str(log))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "1 record, " in finished.stdout
    assert "No rule found anything" in finished.stdout


def test_an_expectation_that_is_not_met_is_named_and_fails_the_demo(tmp_path: Path) -> None:
    scenario = tmp_path / "wrong.yaml"
    scenario.write_text(
        """
name: wrong
description: Expects what does not happen.
workspace: 5f0d1c7e-8a4b-4a3b-9c55-3d2f7e1b0a11
subscription: 2c9e4f60-1d83-4b7a-a1f5-6e0b8d3c7f22
resource_group: rg
automation_account: aa
steps:
  - title: A runbook is written
    at: 0m
    activity:
      - operation: Microsoft.Automation/automationAccounts/runbooks/write
        resource: runbooks/Nightly
        caller: anna@contoso.example
        ip: 203.0.113.7
expect:
  - {rule: serverless-script-execution, resource: /jobs/x, count: 1}
""",
        encoding="utf-8",
    )
    finished = run("--output", str(tmp_path / "out"), "--scenario", str(scenario))
    assert finished.returncode == 1
    said = " ".join(finished.stdout.split())
    assert "serverless-script-execution on /jobs/x: expected 1, got 0" in said
    assert "expected 0, got 1" in said
