"""``make infra``: write infra/tables.json and infra/role-actions.json from the code. The templates load both."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from detectors.automation.permissions import (
    ROLE_ACTIONS,
    RUNTIME_ENVIRONMENT_ACTIONS,
    RUNTIME_ENVIRONMENT_NOT_ACTIONS,
)
from detectors.delivery import inventory_table, log_table

INFRA: Final = Path(__file__).parents[2] / "infra"


def tables() -> dict[str, list[dict[str, str]]]:
    """Name of each table to its columns, in the order in which they are sent."""
    return {
        table: [{"name": each.name, "type": each.type, "description": each.description} for each in columns]
        for table, columns in ((log_table.TABLE, log_table.COLUMNS), (inventory_table.TABLE, inventory_table.COLUMNS))
    }


def role_actions() -> dict[str, list[str]]:
    """What the custom role grants, and what it grants besides where the runtime environments are to be read."""
    return {
        "actions": list(ROLE_ACTIONS),
        "runtimeEnvironmentActions": list(RUNTIME_ENVIRONMENT_ACTIONS),
        "runtimeEnvironmentNotActions": list(RUNTIME_ENVIRONMENT_NOT_ACTIONS),
    }


def generated() -> Mapping[str, str]:
    """The generated files as they should be: name in ``infra/`` to text."""
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in (("tables.json", tables()), ("role-actions.json", role_actions()))
    }


def main() -> int:
    """The exit status."""
    for name, text in generated().items():
        (INFRA / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"infra/{name} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
