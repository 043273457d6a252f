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


def test_the_app_has_the_four_timers_that_the_readme_promises_and_no_stream_without_an_event_hub() -> None:
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
        "inventory": "0 2-59/5 * * * *",
        "deliver": "30 * * * * *",
    }
    assert all(binding["type"] == "timerTrigger" and not binding["runOnStartup"] for binding in bindings.values())


STREAM = """
import json, typing, function_app
functions = {f.get_function_name(): f for f in function_app.app.get_functions()}
f = functions["stream"]
print(json.dumps({
    "names": sorted(functions),
    "binding": json.loads(f.get_raw_bindings()[0]),
    "retry": f.get_settings_dict("retry_policy"),
    "annotation": repr(typing.get_type_hints(f.get_user_function())["events"]),
    "context": repr(typing.get_type_hints(f.get_user_function())["context"]),
    "coroutine": __import__("inspect").iscoroutinefunction(f.get_user_function()),
}))
"""


@pytest.mark.parametrize("name", ["ACTIVITY_LOG_HUB__fullyQualifiedNamespace", "ACTIVITY_LOG_HUB"])
def test_with_an_event_hub_the_app_has_the_stream_as_well(name: str) -> None:
    told = json.loads(fresh(STREAM, **{name: "contoso.servicebus.windows.net"}).stdout)
    assert told["names"] == ["deliver", "hunt", "inventory", "stream", "sweep"]
    assert told["binding"] == {
        "direction": "IN",
        "type": "eventHubTrigger",
        "name": "events",
        # Binary: with any other, one odd message fails the whole batch before Python runs.
        "dataType": "BINARY",
        "cardinality": "MANY",
        "connection": "ACTIVITY_LOG_HUB",
        "eventHubName": "insights-activity-logs",
        "consumerGroup": "$Default",
    }
    assert told["retry"]["strategy"] == "exponential_backoff"
    assert told["retry"]["max_retry_count"] == "-1"
    assert told["retry"]["minimum_interval"] == "00:00:05"
    assert told["retry"]["maximum_interval"] == "00:05:00"
    # The worker indexes no function at all of an app with list[...] here, and get_functions() does not notice.
    assert told["annotation"] == "typing.List[azure.functions._eventhub.EventHubEvent]"
    # The worker passes it by this name alone, and refuses the app with any other type.
    assert told["context"] == "<class 'azure.functions._abc.Context'>"
    assert not told["coroutine"]


def test_the_hub_and_its_consumer_group_are_left_to_the_host_where_they_are_set() -> None:
    names = {"ACTIVITY_LOG_HUB_NAME": "activity", "ACTIVITY_LOG_HUB_CONSUMER_GROUP": "detector"}
    told = json.loads(fresh(STREAM, ACTIVITY_LOG_HUB="x", **names).stdout)
    assert told["binding"]["eventHubName"] == "%ACTIVITY_LOG_HUB_NAME%"
    assert told["binding"]["consumerGroup"] == "%ACTIVITY_LOG_HUB_CONSUMER_GROUP%"


def test_the_defaults_of_the_binding_are_those_of_the_settings() -> None:
    from detectors.settings import describe

    defaults = {setting.name: setting.default for setting in describe()}
    binding = json.loads(fresh(STREAM, ACTIVITY_LOG_HUB="x").stdout)["binding"]
    assert binding["eventHubName"] == defaults["ACTIVITY_LOG_HUB_NAME"]
    assert binding["consumerGroup"] == defaults["ACTIVITY_LOG_HUB_CONSUMER_GROUP"]


def test_a_batch_stays_under_the_4_megabytes_that_a_worker_takes() -> None:
    options = json.loads((ROOT / "host.json").read_text())["extensions"]["eventHubs"]
    message, metadata = 10 * 2_800, 300
    assert options["maxEventBatchSize"] * (message + metadata) < 4 * 1024 * 1024
    assert options["prefetchCount"] >= options["maxEventBatchSize"]


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
