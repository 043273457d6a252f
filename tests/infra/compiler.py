"""The Bicep compiler and its linter on main.bicep, where a warning counts as an error.

``python -m tests.infra.compiler az bicep`` or ``... bicep``: the exit status is 1 when there is anything to say. Needs
nothing but the standard library, so that it runs before anything is installed.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).parents[2] / "infra" / "main.bicep"
_DIAGNOSTIC: Final = re.compile(r"\(\d+,\d+\) : (?:Error|Warning) ")


def diagnostics(tool: Sequence[str], template: Path = TEMPLATE) -> list[str]:
    """What build and lint say of *template* and its modules. *tool* is ``az bicep`` or ``bicep``, as arguments.

    A command that fails without a diagnostic is one. Raises OSError when the tool does not start.
    """
    file = ["--file", str(template)] if Path(tool[0]).name == "az" else [str(template)]
    found: list[str] = []
    for command in (["build", *file, "--stdout"], ["lint", *file]):
        done = subprocess.run([*tool, *command], capture_output=True, text=True, check=False)
        # Build writes the template to the standard output and diagnostics to the other one; lint may use either.
        said = done.stderr if command[0] == "build" else f"{done.stdout}\n{done.stderr}"
        lines = [line.strip() for line in said.splitlines() if _DIAGNOSTIC.search(line)]
        if done.returncode != 0 and not lines:
            lines = [f"{command[0]} ended with {done.returncode}: {said.strip()[-1000:]}"]
        if command[0] == "build" and done.returncode == 0 and '"resources"' not in done.stdout:
            lines.append("build wrote no template")
        found += [line for line in lines if line not in found]
    return found


def main(tool: Sequence[str]) -> int:
    """The exit status."""
    found = diagnostics(tool)
    sys.stdout.writelines(f"{line}\n" for line in found)
    sys.stdout.write(f"{TEMPLATE.name}: {len(found)} warnings and errors\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["bicep"]))
