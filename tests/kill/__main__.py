"""``make kill``: kill -9 the real process again and again, hunt and stream in turn, at Azurite and at SQLite.

Ends with one line ``kills=... lost=... repeats_teams_marked=... repeats_unmarked=... repeats_elsewhere_by_id=...
seed=...``, after what was wrong, one line each.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.kill.life import WorkerBroken
from tests.kill.loop import run
from tests.kill.servers import StoreName
from tests.kill.verdict import Verdict

_EVERY = 20


def _say(text: str) -> None:
    print(text, flush=True)


def _shares(store: str, kills: int) -> list[tuple[StoreName, int]]:
    match store:
        case "azurite":
            return [("azurite", kills)]
        case "sqlite":
            return [("sqlite", kills)]
        case _:
            return [("azurite", kills - kills // 4), ("sqlite", kills // 4)]


def main() -> int:
    """The exit status: 0 when nothing was lost and every repeat in Teams says so."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often (default: 200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="default: drawn")
    parser.add_argument("--store", choices=("azurite", "sqlite", "both"), default="both", help="both: three to one")
    arguments = parser.parse_args()
    verdict = Verdict()
    done = starts = 0
    places: Counter[str] = Counter()
    broken = []
    _say(f"seed={arguments.seed}")
    for store, kills in _shares(arguments.store, arguments.kills):

        def progress(count: int, store: str = store, kills: int = kills) -> None:
            if count % _EVERY == 0:
                _say(f"{store}: {count} of {kills} kills")

        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = run(Path(folder), store, kills=kills, seed=arguments.seed, progress=progress)
            except WorkerBroken as error:
                broken.append(f"{store}: {error}")
                continue
        verdict += outcome.verdict
        done += outcome.kills
        starts += outcome.starts
        places += outcome.places
    for place, count in sorted(places.items()):
        _say(f"{count:4} at {place}")
    _say(f"the worker was started {starts} times")
    for problem in (*broken, *verdict.problems):
        _say(f"FAILED {problem}")
    _say(
        f"kills={done} lost={len(verdict.lost)} repeats_teams_marked={verdict.marked} "
        f"repeats_unmarked={len(verdict.unmarked)} repeats_elsewhere_by_id={verdict.by_id} seed={arguments.seed}"
    )
    return int(bool(broken or verdict.problems))


if __name__ == "__main__":
    sys.exit(main())
