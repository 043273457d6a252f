"""The app in Microsoft's own worker library for Python 3.13, wherever a 3.13 is on the machine."""

import json
import os
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
        result = subprocess.run(
            [WORKER, ROOT / "tests" / "functions" / "run_in_worker.py", ROOT, "hunt", "deliver", "sweep"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["indexed"] == ["deliver", "hunt", "sweep"]
        assert told["outcomes"] == [["hunt", "ok"], ["deliver", "ok"], ["sweep", "ok"]]
        assert sandbox.ledger.counts["teams"] > 0
