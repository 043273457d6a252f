"""``make bench``: every measure as a ratio within one run, printed and written to ``.bench/results.json``."""

import json
import platform
import sys
from pathlib import Path

from bench import functions, imports, inventory, stream

MEASURES = (imports.measure, stream.measure, functions.measure, inventory.measure)


def main() -> None:
    results: dict[str, float] = {}
    for measure in MEASURES:
        results |= measure()
    folder = Path(".bench")
    folder.mkdir(exist_ok=True)
    machine = {"python": sys.version.split()[0], "machine": platform.machine(), "system": platform.system()}
    (folder / "results.json").write_text(json.dumps({"results": results, "machine": machine}, indent=2) + "\n")
    for name, value in results.items():
        print(f"{name:40} {value:8.3f}")


if __name__ == "__main__":  # a measure may start processes, which import this file
    main()
