"""``python -m detectors`` as a process of its own, against the sandbox over TLS."""

import json
import os
import subprocess
import sys
from pathlib import Path

from detectors.heartbeat import Heartbeat
from sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]


def detectors(
    *argv: str, environment: dict[str, str] | None = None, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "detectors", *argv],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding} | (environment or {}),
        capture_output=True,
        encoding=encoding,
        check=False,
    )


def test_help_lists_every_command_and_the_exit_codes() -> None:
    result = detectors("--help")
    assert result.returncode == 0
    for word in ("status", "hunt", "sweep", "deliver", "show", "dead", "resolve", "settings", "2  cannot tell"):
        assert word in result.stdout


def test_a_wrong_command_exits_with_2() -> None:
    result = detectors("frobnicate")
    assert (result.returncode, result.stdout) == (2, "")
    assert "invalid choice" in result.stderr


def test_hunt_then_status_against_the_sandbox(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path, "setup-then-execute") as sandbox:
        sandbox.play_all()
        environment = sandbox.environment() | {"STATE_PATH": str(tmp_path / "state.db")}

        before = detectors("status", environment=environment)
        assert before.returncode == 1
        assert "was never run" in before.stdout

        hunted = detectors("hunt", "--json", environment=environment)
        assert (hunted.returncode, hunted.stderr) == (0, "")
        alerts = json.loads(hunted.stdout)["alerts"]
        assert alerts
        assert {arrival["state"] for alert in alerts for arrival in alert["arrivals"]} == {"sent"}

        after = detectors("status", environment=environment, encoding="ascii")
        assert (after.returncode, after.stderr) == (0, "")
        assert after.stdout.startswith("healthy\n")
        assert "healthy, by" in after.stdout

        shown = detectors("show", alerts[0]["id"], environment=environment)
        assert shown.returncode == 0
        assert "169.254.169.254" in shown.stdout

        rows = [row for entry in sandbox.ledger.at("ingestion") for row in entry.body]
        (beat,) = [row for row in rows if row["AlertKind"] == "heartbeat"]
        assert beat["Outcome"] == "healthy"
        assert set(beat["Row"]) == set(Heartbeat.__struct_fields__)


def test_the_inventory_finds_against_the_sandbox_what_no_log_tells(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path, "watcher-without-log") as sandbox:
        environment = sandbox.environment() | {"STATE_PATH": str(tmp_path / "state.db")}
        first = detectors("inventory", environment=environment)
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout.startswith("1 account in 1 subscription: 1 read, 0 failed, 0 left for the next run\n")
        assert "0 changes in 0 accounts, 0 new alerts" in first.stdout

        sandbox.play_all()
        second = detectors("inventory", "--json", environment=environment)
        assert (second.returncode, second.stderr) == (0, "")
        report = json.loads(second.stdout)
        assert (report["visited"], report["changed"], report["errors"]) == (1, 1, [])
        assert report["new_alerts"] > 0

        titles = [
            row["AlertTitle"] for entry in sandbox.ledger.at("ingestion") for row in entry.body if "AlertId" in row
        ]
        assert "Watcher task Watch-BackupShare added on aa-Operations-Prod" in titles
