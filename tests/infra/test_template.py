"""Templates, code, README's settings and the files beside them agree; and a change of any name is noticed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detectors.delivery import inventory_table, log_table
from detectors.kql.engine import load_tables
from detectors.settings import describe
from tests.infra.__main__ import INFRA, generated
from tests.infra.template import (
    FORBIDDEN,
    LOCAL,
    NEVER_SET,
    OTHER_CLOUDS,
    PLATFORM,
    ROOT,
    FormError,
    Template,
    overrides,
    parameters,
    settings,
)

HERE = Template()
SETTINGS = settings(HERE.module("app"))
OVERRIDES = overrides(HERE.text("main.bicep"))
PARAMETERS = parameters(HERE.text("main.bicep"))
ACTIONS: list[str] = [each for group in json.loads(HERE.text("role-actions.json")).values() for each in group]
COLUMNS: list[tuple[str, str]] = [
    (table, each["name"]) for table, columns in json.loads(HERE.text("tables.json")).items() for each in columns
]
Change = Callable[[str, str, str], list[str]]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """``change(file, old, new)``: what is reported when that is the one difference of a copy to this checkout."""

    def changed(name: str, old: str, new: str) -> list[str]:
        copy = tmp_path / "copy"
        shutil.copytree(INFRA, copy / "infra")
        for each in ("azure.yaml", "function_app.py", "local.settings.sample.json"):
            shutil.copy(ROOT / each, copy)
        path = copy / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return Template(copy).differences()

    return changed


def test_everything_agrees() -> None:
    assert HERE.differences() == []


def test_a_copy_agrees_too(change: Change) -> None:
    assert change("azure.yaml", "name:", "name:") == []


@pytest.mark.parametrize("name", sorted(generated()))
def test_the_generated_files_are_what_the_code_says_today(name: str) -> None:
    # Not an assertion on the texts: their difference would fill screens and help nobody.
    stale = HERE.text(name) != generated()[name]
    assert not stale, f"infra/{name} is stale; run `make infra` and look at what changed"


def test_there_is_something_to_compare() -> None:
    assert set(SETTINGS) == {each.name for each in describe()} | PLATFORM
    assert len(ACTIONS) > 20
    assert len(COLUMNS) == len(log_table.COLUMNS) + len(inventory_table.COLUMNS)
    assert {"environmentName", "location"} == {name for name, default in PARAMETERS.items() if default is None}


def test_what_is_forbidden_is_neither_read_nor_set() -> None:
    assert not FORBIDDEN & (PLATFORM | {each.name for each in describe()})
    assert PLATFORM >= OTHER_CLOUDS
    assert {each.name for each in describe()} >= NEVER_SET
    assert LOCAL <= FORBIDDEN, "what only a local run needs breaks the app on Azure"


def test_the_sent_columns_are_those_of_the_tables_that_rules_read() -> None:
    schema = load_tables()[inventory_table.TABLE]
    sent = tuple((each.name, each.type) for each in inventory_table.COLUMNS)
    assert schema.columns[: len(sent)] == sent
    added = {name for name, _ in schema.columns[len(sent) :]}
    # The workspace adds these by itself to every table.
    assert added == {"SourceSystem", "TenantId", "Type", "_BilledSize", "_IsBillable", "_ResourceId", "_SubscriptionId"}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_changed_role_action_is_reported(change: Change, action: str) -> None:
    assert any("role-actions.json" in each for each in change("infra/role-actions.json", f'"{action}"', f'"{action}s"'))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_missing_role_action_is_reported(change: Change, action: str) -> None:
    assert any("role-actions.json" in each for each in change("infra/role-actions.json", f'"{action}"', '""'))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_renamed_setting_is_reported(change: Change, name: str) -> None:
    problems = change("infra/modules/app.bicep", f"\n  {name}: ", f"\n  {name}S: ")
    assert any(re.search(rf"\b{name}S\b", each) for each in problems)
    assert any(re.search(rf"\b{name}\b", each) for each in problems)


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_renamed_override_is_reported(change: Change, name: str) -> None:
    problems = change("infra/main.bicep", f"\n  {name}: string?", f"\n  {name}S: string?")
    assert any(re.search(rf"\b{name}S\b", each) for each in problems)


@pytest.mark.parametrize("name", [each.name for each in describe()])
def test_a_renamed_local_setting_is_reported(change: Change, name: str) -> None:
    assert any(f"{name}S" in each for each in change("local.settings.sample.json", f'"{name}"', f'"{name}S"'))


@pytest.mark.parametrize(("table", "name"), COLUMNS)
def test_a_renamed_column_is_reported(change: Change, table: str, name: str) -> None:
    start = HERE.text("tables.json").index(f'"{table}"')
    line = f'      "name": "{name}"'
    whole = HERE.text("tables.json")
    old = whole[start : whole.index(line, start) + len(line)]
    assert any("tables.json" in each for each in change("infra/tables.json", old, f'{old[:-1]}s"'))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_renamed_parameter_is_reported(change: Change, name: str) -> None:
    assert any(name in each for each in change("infra/main.parameters.json", f'"{name}"', f'"{name}s"'))


APP, STORAGE, INGESTION = (f"infra/modules/{each}.bicep" for each in ("app", "storage", "ingestion"))
READER, EVENTS, VAULT = (f"infra/modules/{each}.bicep" for each in ("automation-reader", "events", "vault"))
CHANGES = {
    "a setting that wins over the identity": (
        APP,
        "  AZURE_CLIENT_ID:",
        "  AzureWebJobsStorage: ''\n  AZURE_CLIENT_ID:",
    ),
    "a setting that Flex Consumption refuses": (
        APP,
        "  AZURE_CLIENT_ID:",
        "  FUNCTIONS_WORKER_RUNTIME: 'python'\n  AZURE_CLIENT_ID:",
    ),
    "no client id of host storage": (APP, "  AzureWebJobsStorage__clientId: identityClientId\n", ""),
    "a connection string of the store": (APP, "  STATE_CONNECTION_STRING: ''", "  STATE_CONNECTION_STRING: 'x'"),
    "endpoints of host storage in the public cloud": (
        APP,
        "blobServiceUri: hostStorageByName ? '' : ",
        "blobServiceUri: ",
    ),
    "a secret as it is": (APP, "sendsToTeams ? '@Microsoft.KeyVault(", "sendsToTeams ? '@Microsoft.Vault("),
    "settings without their marks": (APP, "// settings: end", "// end of settings"),
    "a stream of another name": (APP, "'Custom-AutomationInventory_CL'", "'Custom-AutomationInventories_CL'"),
    "a function that is not there": (APP, "'function:stream'", "'function:streaming'"),
    "no tag for azd": (APP, "'azd-service-name': 'detector'", "'azd-service-name': 'app'"),
    "a container of another name": (STORAGE, "'detector-inventory'", "'detector-inventories'"),
    "a table of another name": (STORAGE, "'detectorWork'", "'detectorWorks'"),
    "another role": (STORAGE, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "acdd72a7-3385-48ef-bd42-f606fba81ae7"),
    "a role for the whole resource group": (STORAGE, "    scope: account\n", ""),
    "a role for whatever kind of principal": (VAULT, "    principalType: 'ServicePrincipal'\n", ""),
    "a role for somebody else": (EVENTS, "    principalId: principalId\n", "    principalId: deployer().objectId\n"),
    "a role written by hand": (READER, "permissions.actions", "['*/read']"),
    "a role that always reads everything": (
        READER,
        "notActions: readRuntimeEnvironments",
        "notActions: !readRuntimeEnvironments",
    ),
    "a role that may touch data": (READER, "dataActions: []", "dataActions: ['*']"),
    "a role from another file": (READER, "../role-actions.json", "../roles.json"),
    "columns from another file": (INGESTION, "../tables.json", "../columns.json"),
    "a flow into another table": (
        INGESTION,
        "outputStream: 'Custom-AutomationDetections_CL'",
        "outputStream: 'Custom-Detections_CL'",
    ),
    "the columns of the other table": (INGESTION, "columns.AutomationInventory_CL", "columns.AutomationDetections_CL"),
    "a table type that Azure does not take": (INGESTION, "datetime: 'dateTime'", "datetime: 'datetime'"),
    "another hub": ("infra/main.bicep", "hubName: 'insights-activity-logs'", "hubName: 'activity'"),
    "the consumer group of everybody": ("infra/main.bicep", "consumerGroupName: '", "consumerGroupName: '$Default' //"),
    "the hub of nobody": ("infra/main.bicep", "eventHubName: events.outputs.hubName", "eventHubName: 'activity'"),
    "overrides of any name": ("infra/main.bicep", "@sealed()\n", ""),
    "a parameter that azd does not know": ("infra/main.bicep", "param location string", "param place string"),
    "a required parameter more": ("infra/main.bicep", "param tags object = {}", "param tags object"),
    "another default": ("infra/main.parameters.json", "_RETENTION_IN_DAYS=90}", "_RETENTION_IN_DAYS=30}"),
    "a column with a reserved name": ("infra/tables.json", '"AlertTitle"', '"Title"'),
    "a type that a stream has not": ("infra/tables.json", '"real"', '"guid"'),
    "no module for azd": ("azure.yaml", "module: main", "module: everything"),
    "a service of another name": ("azure.yaml", "  detector:", "  hunter:"),
    "a service that is no Function App": ("azure.yaml", "host: function", "host: containerapp"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_other_difference_is_reported(change: Change, what: str) -> None:
    name, old, new = CHANGES[what]
    try:
        problems = change(name, old, new)
    except FormError as error:
        problems = [str(error)]
    assert problems, what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// settings: begin\nvar settings = {\n  A: 'x'\n}\n",
        "// settings: begin\nvar settings = {\n  A: {\n    B: 'x'\n  }\n}\n// settings: end\n",
        "// settings: begin\nvar settings = {\n  A: 'x'\n  A: 'y'\n}\n// settings: end\n",
        "// settings: begin\nvar settings = union({\n  A: 'x'\n})\n// settings: end\n",
    ],
)
def test_settings_in_another_form_are_an_error(text: str) -> None:
    with pytest.raises(FormError):
        settings(text)


def test_every_query_file_is_loaded_and_every_loaded_file_exists() -> None:
    loaded = {
        (path.parent / name).resolve()
        for path in HERE.bicep
        for name in re.findall(r"load(?:Text|Json)Content\('([^']+)'\)", path.read_text(encoding="utf-8"))
    }
    assert all(path.exists() for path in loaded)
    assert {path for path in loaded if path.suffix == ".kql"} == {path.resolve() for path in INFRA.rglob("*.kql")}
    assert {path.name for path in loaded if path.suffix == ".json"} == {path.name for path in INFRA.glob("*.json")} - {
        "main.parameters.json"
    }


def test_every_module_is_used() -> None:
    named = {
        (path.parent / name).resolve()
        for path in HERE.bicep
        for name in re.findall(r"^module \w+ '([^']+)'", path.read_text(encoding="utf-8"), re.M)
    }
    assert named == {path.resolve() for path in HERE.bicep} - {(INFRA / "main.bicep").resolve()}
