"""What a cold start pays for importing the app, against the four packages that any such app imports."""

import subprocess
import sys

RUNS = 15
APP = "import function_app"
PEERS = "import azure.functions, azure.identity, azure.monitor.query, azure.data.tables"


def seconds(statement: str) -> float:
    """Time of *statement* in an interpreter that has imported nothing else."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def measure() -> dict[str, float]:
    """``import_ratio``: importing function_app over importing the four packages, minimum of interleaved runs."""
    seconds(APP), seconds(PEERS)  # the first of each writes the bytecode
    pairs = [(seconds(APP), seconds(PEERS)) for _ in range(RUNS)]
    return {"import_ratio": min(app for app, _ in pairs) / min(peers for _, peers in pairs)}
