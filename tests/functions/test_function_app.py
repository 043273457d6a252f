"""The Functions app as its host sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    "azure.mgmt.automation",
    "azure.identity",
    "azure.monitor",
    "azure.data.tables",
    "azure.storage",
    "aiohttp",
    "duckdb",
    "yaml",
]


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_app_has_the_three_timers_that_the_readme_promises() -> None:
    code = """
import json, function_app
functions = function_app.app.get_functions()
print(json.dumps({f.get_function_name(): json.loads(f.get_raw_bindings()[0]) for f in functions}))
"""
    result = fresh(code)
    bindings = json.loads(result.stdout)
    assert {name: binding["schedule"] for name, binding in bindings.items()} == {
        "hunt": "0 */5 * * * *",
        "sweep": "0 7 * * * *",
        "deliver": "30 * * * * *",
    }
    assert all(binding["type"] == "timerTrigger" and not binding["runOnStartup"] for binding in bindings.values())


def test_importing_the_app_imports_nothing_heavy() -> None:
    result = fresh(f"import sys, function_app; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_the_app_loads_where_the_worker_has_taken_main_away() -> None:
    result = fresh(
        "import sys; del sys.modules['__main__']; import function_app, duckdb; duckdb.connect(); print('loaded')"
    )
    assert result.stdout.strip() == "loaded", result.stderr


def test_wrong_settings_are_told_at_start_all_at_once_and_fail_every_invocation() -> None:
    code = """
import asyncio, logging; logging.basicConfig()
import function_app
from detectors.settings import SettingsError
try:
    asyncio.run(function_app.shared.get())
except SettingsError as error:
    print(len(error.problems))
"""
    result = fresh(code, WORKSPACE_IDS="nonsense", HUNT_OVERLAP="nonsense", TEAMS_WEBHOOK_URL="https://example.com/x")
    assert result.stdout.strip() == "2"
    assert "WORKSPACE_IDS" in result.stderr
    assert "HUNT_OVERLAP" in result.stderr


def test_the_sample_of_local_settings_holds_every_setting_and_starts() -> None:
    from detectors.settings import describe, load_settings

    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"} <= set(values)
    assert set(values) - {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"} == {s.name for s in describe()}
    load_settings(values)
    for setting in describe():
        if setting.default and values[setting.name]:
            assert values[setting.name] == setting.default, setting.name


@pytest.mark.parametrize("setting", ["functionTimeout", "extensionBundle", "logging"])
def test_the_host_file_sets_what_the_app_relies_on(setting: str) -> None:
    assert setting in json.loads((ROOT / "host.json").read_text())
