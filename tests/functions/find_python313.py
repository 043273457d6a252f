"""Print the path of a Python 3.13 on this machine, or nothing: ``make tools`` builds the environment of its worker."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def candidates() -> Iterator[str]:
    yield sys.executable
    for name in ("python3.13", "python3"):
        if found := shutil.which(name):
            yield found
    # Version managers keep interpreters where PATH does not lead.
    for pattern in (".pyenv/versions/3.13*/bin/python3.13", ".local/share/uv/python/cpython-3.13*/bin/python3.13"):
        yield from map(str, sorted(Path.home().glob(pattern)))
    yield from map(str, sorted(Path("/opt").glob("hostedtoolcache/Python/3.13*/*/bin/python3.13")))


def find() -> str | None:
    """The first candidate that really is a 3.13 (a pyenv shim may exist and refuse to run)."""
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 13))"
    for candidate in candidates():
        if subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


if __name__ == "__main__":
    print(find() or "")
