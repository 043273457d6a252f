"""What an account holds for its runbooks, and the subscriptions, read by the real client."""

from collections.abc import AsyncIterable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.mgmt.automation.aio import AutomationClient

from sandbox.server import ACCOUNT, RESOURCE_GROUP, SUBSCRIPTION, Sandbox
from tests.sandbox.support import NOW

HERE = (RESOURCE_GROUP, ACCOUNT)
LATER = NOW - timedelta(minutes=5)
EARLIER = NOW - timedelta(hours=1)
CONTENTS: dict[str, Any] = {
    "modules": {"Az.Accounts": {"version": "2.12.1", "sizeInBytes": 4_194_304, "isGlobal": True}},
    "python2Packages": {"configparser": {"version": "3.5.0"}},
    "python3Packages": {"requests": {"version": "2.31.0", "sizeInBytes": 62_574}},
    "runtimeEnvironments": {
        "PowerShell-7.4": {
            "language": "PowerShell",
            "version": "7.4",
            "defaultPackages": {"Az": "12.3.0"},
            "packages": {"Contoso.Tools": {"version": "1.0.0", "sizeInBytes": 2_048}},
        }
    },
    "sourceControls": {
        "Ops": {"repoUrl": "https://github.com/contoso/runbooks.git", "branch": "main", "autoSync": True}
    },
    "credentials": {"svc": {"userName": "svc-automation@contoso.example"}},
    "certificates": {"run-as": {"thumbprint": "AB" * 20, "isExportable": True}},
    "connections": {"AzureRunAs": {"connectionType": "Azure", "fieldDefinitionValues": {"SubscriptionID": "x"}}},
    "variables": {"Host": {"value": '"db.contoso.example"'}, "Key": {"value": '"hidden"', "isEncrypted": True}},
    "watchers": {
        "Watch": {"scriptName": "Book", "scriptRunOn": "group", "actions": {"Act": {"scriptName": "Other-Book"}}}
    },
}


@pytest.fixture(autouse=True)
def contents(sandbox: Sandbox) -> None:
    sandbox.account.apply(CONTENTS, EARLIER)


Listing = Callable[[AutomationClient], AsyncIterable[Any]]
LISTS: list[tuple[str, Listing, dict[str, Any]]] = [
    (
        "Az.Accounts",
        lambda client: client.module.list_by_automation_account(*HERE),
        {"version": "2.12.1", "size_in_bytes": 4_194_304, "is_global": True, "provisioning_state": "Succeeded"},
    ),
    ("configparser", lambda client: client.python2_package.list_by_automation_account(*HERE), {"version": "3.5.0"}),
    (
        "requests",
        lambda client: client.python3_package.list_by_automation_account(*HERE),
        {"version": "2.31.0", "size_in_bytes": 62_574, "creation_time": EARLIER},
    ),
    (
        "Contoso.Tools",
        lambda client: client.package.list_by_runtime_environment(*HERE, "powershell-7.4"),
        {"version": "1.0.0", "default": False, "size_in_bytes": 2_048},
    ),
    (
        "Ops",
        lambda client: client.source_control.list_by_automation_account(*HERE),
        {"repo_url": "https://github.com/contoso/runbooks.git", "auto_sync": True, "source_type": "GitHub"},
    ),
    (
        "svc",
        lambda client: client.credential.list_by_automation_account(*HERE),
        {"user_name": "svc-automation@contoso.example", "last_modified_time": EARLIER},
    ),
    (
        "run-as",
        lambda client: client.certificate.list_by_automation_account(*HERE),
        {"thumbprint": "AB" * 20, "is_exportable": True, "expiry_time": EARLIER + timedelta(days=365)},
    ),
    (
        "AzureRunAs",
        lambda client: client.connection.list_by_automation_account(*HERE),
        {"field_definition_values": None, "creation_time": EARLIER},
    ),
]


@pytest.mark.parametrize(("name", "listing", "fields"), LISTS, ids=[name for name, _, _ in LISTS])
async def test_every_kind_is_listed_with_what_the_api_tells(
    automation: AutomationClient, name: str, listing: Listing, fields: dict[str, Any]
) -> None:
    [listed] = [each async for each in listing(automation)]
    assert listed.name == name
    assert {field: getattr(listed, field) for field in fields} == fields


async def test_every_kind_is_found_by_its_name_in_any_case(automation: AutomationClient) -> None:
    assert (await automation.module.get(*HERE, "AZ.ACCOUNTS")).is_composite is False
    assert (await automation.python2_package.get(*HERE, "CONFIGPARSER")).version == "3.5.0"
    assert (await automation.python3_package.get(*HERE, "REQUESTS")).size_in_bytes == 62_574
    assert (await automation.package.get(*HERE, "POWERSHELL-7.4", "CONTOSO.TOOLS")).version == "1.0.0"
    assert (await automation.source_control.get(*HERE, "OPS")).branch == "main"
    assert (await automation.credential.get(*HERE, "SVC")).user_name == "svc-automation@contoso.example"
    assert (await automation.certificate.get(*HERE, "RUN-AS")).thumbprint == "AB" * 20
    environment = await automation.runtime_environments.get(*HERE, "POWERSHELL-7.4")
    # The SDK flattens every model's properties but this one's.
    assert environment.properties is not None
    assert environment.properties.runtime is not None
    assert environment.properties.runtime.version == "7.4"
    assert environment.properties.default_packages == {"Az": "12.3.0"}
    with pytest.raises(ResourceNotFoundError):
        await automation.package.get(*HERE, "PowerShell-7.4", "nobody")


async def test_the_fields_of_a_connection_are_told_by_itself_and_in_a_list_only_when_switched_on(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    connection = await automation.connection.get(*HERE, "azurerunas")
    assert connection.field_definition_values == {"SubscriptionID": "x"}
    sandbox.automation.lists_field_values = True
    [listed] = [each async for each in automation.connection.list_by_automation_account(*HERE)]
    assert listed.field_definition_values == {"SubscriptionID": "x"}


async def test_only_the_value_of_an_encrypted_variable_is_kept_back(automation: AutomationClient) -> None:
    values = {each.name: each.value async for each in automation.variable.list_by_automation_account(*HERE)}
    assert values == {"Host": '"db.contoso.example"', "Key": None}
    assert (await automation.variable.get(*HERE, "key")).is_encrypted is True


async def test_a_package_has_its_times_from_the_system_and_moves_its_environment_not(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    change = {"packages": {"Contoso.Tools": {"version": "1.0.1"}, "Other": {}}}
    sandbox.account.apply({"runtimeEnvironments": {"PowerShell-7.4": change}}, LATER)
    environment = await automation.runtime_environments.get(*HERE, "PowerShell-7.4")
    packages = [each async for each in automation.package.list_by_runtime_environment(*HERE, "PowerShell-7.4")]
    assert environment.system_data is not None
    assert environment.system_data.last_modified_at == EARLIER
    assert [(each.name, each.version) for each in packages] == [("Contoso.Tools", "1.0.1"), ("Other", None)]
    times = packages[0].system_data
    assert times is not None
    assert (times.created_at, times.last_modified_at) == (EARLIER, LATER)


async def test_the_list_of_accounts_tells_their_settings(sandbox: Sandbox, automation: AutomationClient) -> None:
    [bare] = [account async for account in automation.automation_account.list()]
    assert (bare.identity, bare.tags, bare.public_network_access, bare.encryption) == (None, None, None, None)
    user_assigned = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/x/userAssignedIdentities/id-ops"
    settings = {
        "identity": {
            "type": "SystemAssigned, UserAssigned",
            "principalId": "11111111-2222-3333-4444-555555555555",
            "userAssignedIdentities": {user_assigned: {"clientId": "11111111-2222-3333-4444-666666666666"}},
        },
        "tags": {"owner": "platform"},
        "state": "Ok",
        "publicNetworkAccess": False,
        "disableLocalAuth": True,
        "encryptionKeySource": "Microsoft.Keyvault",
    }
    sandbox.account.apply({"settings": settings}, NOW)
    [account] = [account async for account in automation.automation_account.list()]
    assert account.identity is not None
    assert account.identity.principal_id == "11111111-2222-3333-4444-555555555555"
    assert list(account.identity.user_assigned_identities or {}) == [user_assigned]
    assert (account.tags, account.state) == ({"owner": "platform"}, "Ok")
    assert (account.public_network_access, account.disable_local_auth) == (False, True)
    assert account.encryption is not None
    assert account.encryption.key_source == "Microsoft.Keyvault"
    sandbox.account.apply({"settings": {"identity": None}}, NOW)
    assert (await automation.automation_account.get(*HERE)).identity is None
    assert (await automation.automation_account.get(*HERE)).tags == {"owner": "platform"}


async def subscriptions(client: AutomationClient, version: str = "2022-12-01") -> Any:
    response = await client.send_request(HttpRequest("GET", "/subscriptions", params={"api-version": version}))
    return response.json()


async def test_the_subscriptions_of_all_accounts_are_listed_with_their_state(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    second, third = "11111111-2222-3333-4444-000000000002", "11111111-2222-3333-4444-000000000003"
    sandbox.add_account("aa-second", subscription=second)
    sandbox.add_subscription(second.upper(), state="Disabled", display_name="Contoso Test")
    sandbox.add_subscription(third)
    body = await subscriptions(automation)
    assert body["value"][0] == {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "displayName": "Contoso",
        "state": "Enabled",
    }
    assert [each["state"] for each in body["value"]] == ["Enabled", "Disabled", "Enabled"]
    assert "nextLink" not in body
    assert (await subscriptions(automation, "2024-10-23"))["error"]["code"] == "NoRegisteredProviderFound"


async def test_many_subscriptions_come_in_pages(sandbox: Sandbox, automation: AutomationClient) -> None:
    for number in range(150):
        sandbox.add_subscription(f"11111111-2222-3333-4444-{number:012}")
    first = await subscriptions(automation)
    response = await automation.send_request(HttpRequest("GET", first["nextLink"]))
    assert (len(first["value"]), len(response.json()["value"])) == (100, 51)


async def test_an_account_that_is_taken_away_is_listed_no_more(sandbox: Sandbox, automation: AutomationClient) -> None:
    gone = sandbox.add_account("aa-gone")
    sandbox.accounts.remove(gone)
    assert [account.name async for account in automation.automation_account.list()] == [ACCOUNT]
    with pytest.raises(ResourceNotFoundError):
        await automation.automation_account.get(RESOURCE_GROUP, "aa-gone")


async def watcher_actions(
    sandbox: Sandbox, client: AutomationClient, below: str = "", version: str = "2015-10-31"
) -> Any:
    path = f"{sandbox.account.id}/watchers/watch/watcherActions{below}"
    return await client.send_request(HttpRequest("GET", path, params={"api-version": version}))


async def test_watcher_actions_answer_when_switched_on(sandbox: Sandbox, automation: AutomationClient) -> None:
    assert (await watcher_actions(sandbox, automation)).status_code == 404
    sandbox.automation.watcher_actions = True
    [action] = (await watcher_actions(sandbox, automation)).json()["value"]
    assert (action["name"], action["properties"]["scriptName"]) == ("Act", "Other-Book")
    assert action["id"] == f"{sandbox.account.id}/watchers/Watch/watcherActions/Act"
    assert (await watcher_actions(sandbox, automation, "/ACT")).json() == action
    assert (await watcher_actions(sandbox, automation, "/nobody")).status_code == 404
    assert (await watcher_actions(sandbox, automation, version="2024-10-23")).status_code == 400
    assert (await automation.watcher.get(*HERE, "watch")).last_modified_time == EARLIER


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("properties/creationTime ge 2026-03-02T09:20:00Z", ["at-0920", "at-0925"]),
        ("properties/creationTime gt 2026-03-02T09:20:00.000000+00:00", ["at-0925"]),
        ("properties/creationTime ge 2026-03-02T10:20:00.0000000+01:00", ["at-0920", "at-0925"]),
        ("creationTime lt 2026-03-02T09:20:00Z", ["at-0915"]),
        ("creationTime ge datetime'2026-03-02T09:20:00Z' and creationTime le 2026-03-02T09:20:00Z", ["at-0920"]),
    ],
)
async def test_jobs_are_filtered_by_creation_in_any_way_that_a_client_writes_it(
    sandbox: Sandbox, automation: AutomationClient, text: str, found: list[str]
) -> None:
    for minutes in (15, 20, 25):
        moment = NOW.replace(minute=minutes)
        sandbox.account.apply({"jobs": {f"at-09{minutes}": {"runbook": "Book"}}}, moment)
    jobs = automation.job.list_by_automation_account(*HERE, filter=text)
    assert [job.name async for job in jobs] == found


async def test_a_filter_with_a_time_that_is_none_is_refused(automation: AutomationClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        [job async for job in automation.job.list_by_automation_account(*HERE, filter="creationTime ge soon")]
    assert caught.value.status_code == 400


async def test_a_webhook_that_is_invoked_and_a_schedule_that_comes_due_were_not_modified(
    sandbox: Sandbox, automation: AutomationClient
) -> None:
    both = {"webhooks": {"Hook": {"runbook": "Book"}}, "schedules": {"Nightly": {"frequency": "Day"}}}
    sandbox.account.apply(both, EARLIER)
    sandbox.account.apply({"webhooks": {"Hook": {"lastInvokedTime": "2026-03-02T09:25:00Z"}}}, LATER)
    sandbox.account.apply({"schedules": {"Nightly": {"nextRun": "2026-03-03T09:25:00Z"}}}, LATER)
    webhook = await automation.webhook.get(*HERE, "Hook")
    assert webhook.last_invoked_time == LATER
    assert webhook.last_modified_time == EARLIER
    assert (await automation.schedule.get(*HERE, "Nightly")).last_modified_time == EARLIER
    sandbox.account.apply({"webhooks": {"Hook": {"isEnabled": False}}}, LATER)
    assert (await automation.webhook.get(*HERE, "Hook")).last_modified_time == LATER


async def test_what_only_some_items_say_is_told(sandbox: Sandbox, automation: AutomationClient) -> None:
    sandbox.account.apply(
        {
            "webhooks": {"Hook": {"runbook": "Book", "description": "for the pipeline"}},
            "schedules": {"Weekly": {"frequency": "Week", "advancedSchedule": {"weekDays": ["Monday"]}}},
            "jobs": {"job": {"runbook": "Book", "runtimeEnvironment": "PowerShell-7.4"}},
        },
        NOW,
    )
    [webhook] = [each async for each in automation.webhook.list_by_automation_account(*HERE)]
    [schedule] = [each async for each in automation.schedule.list_by_automation_account(*HERE)]
    [job] = [each async for each in automation.job.list_by_automation_account(*HERE)]
    assert webhook.description == "for the pipeline"
    assert schedule.advanced_schedule is not None
    assert schedule.advanced_schedule.week_days == ["Monday"]
    assert job.job_runtime_environment is not None
    assert job.job_runtime_environment.runtime_environment_name == "PowerShell-7.4"


def test_a_misspelt_setting_is_refused_and_changes_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(msgspec.ValidationError, match="publicNetwork"):
        sandbox.account.apply({"settings": {"publicNetwork": True}, "variables": {"New": {}}}, NOW)
    assert sandbox.account.item("variables", "New") is None
