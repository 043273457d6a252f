"""``python -m sandbox SCENARIO``: serve until interrupted, and print the environment to use."""

import argparse
import shlex
import signal
import sys
import tempfile
import threading

from sandbox.scenario import ScenarioError
from sandbox.server import Sandbox


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after an interrupt, 2 when the scenario cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Azure on loopback.")
    parser.add_argument("scenario", help="name of a bundled scenario, or the path of a scenario file")
    parser.add_argument("--play", action="store_true", help="play the whole scenario at once")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    # Before anything is printed: whoever reads the environment may interrupt at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        try:
            sandbox = Sandbox.start(folder, options.scenario)
        except ScenarioError as error:
            print(error, file=sys.stderr)
            return 2
        with sandbox:
            for name, value in sandbox.environment().items():
                print(f"export {name}={shlex.quote(value)}")
            if options.play:
                sandbox.play_all()
            print(f"# Play the next step: curl -X POST {sandbox.plain_url}/sandbox/advance", flush=True)
            stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
