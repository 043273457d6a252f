"""Microsoft's Kusto compiler (``@kusto/language-service-next``) for the tests: many queries, one Node process."""

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from detectors.kql.engine import TableSchema
from tests.tools import NODE, NODE_MODULES

_SCRIPT = Path(__file__).parent / "check.js"


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the compiler says of one query: its errors, ``line N: message``, and its result's (name, type)."""

    errors: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]


def check(queries: Mapping[str, str], tables: Mapping[str, TableSchema]) -> dict[str, Checked]:
    """Compile every query against *tables*. Raises :class:`RuntimeError` when the compiler itself does not run."""
    request = {
        "modules": str(NODE_MODULES),
        "tables": {name: table.columns for name, table in tables.items()},
        "queries": dict(queries),
    }
    process = subprocess.run([NODE, _SCRIPT], input=json.dumps(request), capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"the Kusto compiler did not run; `make tools` installs it: {process.stderr[:1000]}")
    return {
        query: Checked(tuple(found["errors"]), tuple((name, kind) for name, kind in found["columns"]))
        for query, found in json.loads(process.stdout).items()
    }
