"""The app in Microsoft's own worker library for Python 3.13, wherever a 3.13 is on the machine."""

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path

from sandbox.server import Sandbox
from tests.functions.find_python313 import find

ROOT = Path(__file__).parents[2]
WORKER = ROOT / ".venv313" / "bin" / "python"


def test_the_worker_of_python_313_indexes_and_runs_the_functions(tmp_path: Path) -> None:
    if find() is None:
        assert not WORKER.exists()
        return
    assert WORKER.exists(), "a Python 3.13 is on this machine, so `make tools` builds .venv313 with it"
    with Sandbox.start(tmp_path, scenario="setup-then-execute") as sandbox:
        sandbox.play_all()
        environment = os.environ | sandbox.environment() | {"STATE_PATH": str(tmp_path / "state.db")}
        environment["ACTIVITY_LOG_HUB__fullyQualifiedNamespace"] = "contoso.servicebus.windows.net"
        result = subprocess.run(
            [WORKER, ROOT / "tests" / "functions" / "run_in_worker.py", ROOT, "hunt", "stream", "deliver", "sweep"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["indexed"] == ["deliver", "hunt", "inventory", "stream", "sweep"]
        assert told["outcomes"] == [["hunt", "ok"], ["stream", "ok"], ["deliver", "ok"], ["sweep", "ok"]]
        assert set(told["lines"]) == {str(told["outcomes"].index(["stream", "ok"]))}
        assert sandbox.ledger.counts["teams"] > 0
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as state:
        assert state.execute("SELECT count(*) FROM objects").fetchone() == (1,), "the damaged message is kept"
        bodies = b"".join(body for (body,) in state.execute("SELECT body FROM records"))
    assert b"00000000-0000-4000-8000-000000000001" in bodies, "the good one was matched"
