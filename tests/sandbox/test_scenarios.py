import os
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.automation.aio import AutomationClient
from azure.monitor.query import LogsQueryResult
from azure.monitor.query.aio import LogsQueryClient

from detectors import rulebook
from detectors.kql.engine import load_tables
from sandbox.scenario import SCENARIOS, ScenarioError, load_scenario
from sandbox.server import Sandbox
from tests.sandbox.support import NOW, Clock, send

BUNDLED = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
SUCCESSES = """AzureActivity
| where ActivityStatusValue in~ ('Success', 'Succeeded') and OperationNameValue startswith 'Microsoft.Automation/'
| sort by TimeGenerated asc
| project replace_string(tolower(OperationNameValue), 'microsoft.automation/automationaccounts/', '')"""


async def query(sandbox: Sandbox, text: str, timespan: timedelta) -> list[list[Any]]:
    async with (
        ManagedIdentityCredential() as credential,
        LogsQueryClient(credential, endpoint=sandbox.url, connection_verify=str(sandbox.ca_bundle)) as logs,
    ):
        result = await logs.query_workspace(sandbox.workspace, text, timespan=timespan)
    assert isinstance(result, LogsQueryResult)
    return [list(row) for row in result.tables[0].rows]


@pytest.fixture
def play(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    def start(name: str) -> Sandbox:
        sandbox = Sandbox.start(tmp_path, name, clock)
        request.addfinalizer(sandbox.close)
        for setting in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(setting, sandbox.environment()[setting])
        return sandbox

    return start


@pytest.mark.parametrize("name", BUNDLED)
async def test_everything_played_is_ingested_and_inside_a_rules_25_minutes(play: Any, name: str) -> None:
    sandbox = play(name)
    sandbox.play_all()
    counts = sandbox.state()["rows"][sandbox.workspace]
    assert counts["all"] == counts["visible"] > 0
    [[total, first]] = await query(
        sandbox, "AzureActivity | summarize count(), min(TimeGenerated)", timedelta(minutes=25)
    )
    assert total == counts["all"]
    assert first > NOW - timedelta(minutes=25)


@pytest.mark.parametrize("name", BUNDLED)
async def test_rows_have_the_columns_of_the_real_table_and_ids_of_their_own(play: Any, name: str) -> None:
    sandbox = play(name)
    sandbox.play_all()
    rows = sandbox.rows(sandbox.workspace)["AzureActivity"]
    assert all(set(row) == {column for column, _ in load_tables()["AzureActivity"].columns} for row in rows)
    assert len({row["EventDataId"] for row in rows}) == len(rows)
    assert all(row["_ResourceId"] == row["Properties_d"]["entity"].lower() for row in rows)
    assert all(row["TenantId"] == sandbox.workspace for row in rows)


async def test_the_attack_leaves_the_rows_of_each_of_its_steps(play: Any) -> None:
    sandbox = play("setup-then-execute")
    sandbox.play_all()
    rows = await query(sandbox, SUCCESSES, timedelta(minutes=25))
    assert [row[0] for row in rows] == [
        "runbooks/write",
        "runbooks/draft/write",
        "runbooks/draft/content/write",
        "runbooks/publish/action",
        "watchers/write",
        "watchers/watcheractions/write",
        "watchers/start/action",
        "jobs/write",
    ]


async def test_one_action_has_one_correlation_id_and_a_workspace_holds_both_shapes(play: Any) -> None:
    sandbox = play("setup-then-execute")
    sandbox.play_all()
    statuses: dict[tuple[str, str], list[str]] = {}
    for row in sandbox.rows(sandbox.workspace)["AzureActivity"]:
        key = (row["CorrelationId"], row["OperationNameValue"].rsplit("/", 2)[-2])
        statuses.setdefault(key, []).append(row["ActivityStatusValue"])
    assert sorted(statuses.values()) == sorted(
        [["Start", "Success"]] * 5 + [["Start", "Accept", "Success"]] * 2 + [["Started", "Accepted", "Succeeded"]]
    )
    assert len({correlation for correlation, _ in statuses}) == 7


async def test_the_account_follows_the_attack_step_by_step(play: Any) -> None:
    sandbox = play("setup-then-execute")
    here = (sandbox.account.resource_group, sandbox.account.name)
    async with (
        ManagedIdentityCredential() as credential,
        AutomationClient(
            credential, sandbox.account.subscription, sandbox.url, connection_verify=str(sandbox.ca_bundle)
        ) as client,
    ):
        assert [book.name async for book in client.runbook.list_by_automation_account(*here)] == ["Start-DevMachines"]
        sandbox.play_step(0)
        assert (await client.runbook.get(*here, "Sync-CostTags")).state == "New"
        sandbox.play_step(1)
        assert "169.254.169.254" in await client.runbook_draft.get_content(*here, "Sync-CostTags")
        sandbox.play_step(2)
        assert (await client.runbook.get(*here, "Sync-CostTags")).state == "Published"
        sandbox.play_step(3)
        assert (await client.watcher.get(*here, "Watch-CostTags")).status == "New"
        sandbox.play_all()
        watcher = await client.watcher.get(*here, "Watch-CostTags")
        assert (watcher.status, watcher.script_name) == ("Running", "Sync-CostTags")
        assert (watcher.script_run_on, watcher.execution_frequency_in_seconds) == ("hwg-batch-prod", 60)
        [job] = [job.name or "" async for job in client.job.list_by_automation_account(*here)]
        assert (await client.job.get(*here, job)).run_on == "hwg-batch-prod"
        executed = await client.job.get_runbook_content(*here, job)
        assert executed == await client.runbook.get_content(*here, "Sync-CostTags")


@pytest.mark.parametrize(
    ("name", "runbook", "host"),
    [
        ("setup-then-execute", "Sync-CostTags", "tags.example.net"),
        ("watcher-without-log", "Test-BackupShare", "backup.example.net"),
    ],
)
async def test_the_payload_names_no_host_that_answers(play: Any, name: str, runbook: str, host: str) -> None:
    patch = play(name).scenario.steps[1].account.runbooks[runbook]
    text = patch.draft or patch.published
    hosts = set(re.findall(r"https?://([^/'?]+)", text))
    assert hosts == {"169.254.169.254", host, "management.azure.com"}
    # management.azure.com is only the audience of the token, never called.
    assert "resource=https://management.azure.com" in text


async def test_the_watcher_without_log_is_in_the_account_and_in_no_row(play: Any) -> None:
    sandbox = play("watcher-without-log")
    here = (sandbox.account.resource_group, sandbox.account.name)
    async with (
        ManagedIdentityCredential() as credential,
        AutomationClient(
            credential, sandbox.account.subscription, sandbox.url, connection_verify=str(sandbox.ca_bundle)
        ) as client,
    ):
        sandbox.play_step(0)
        assert [watcher async for watcher in client.watcher.list_by_automation_account(*here)] == []
        sandbox.play_step(1)
        [watcher] = [watcher async for watcher in client.watcher.list_by_automation_account(*here)]
        assert (watcher.script_name, watcher.script_run_on) == ("Test-BackupShare", "hwg-batch-prod")
        assert watcher.execution_frequency_in_seconds == 60
        script = await client.runbook.get_content(*here, watcher.script_name or "")
        assert "Invoke-AutomationWatcherAction" in script
        assert "$EVENTDATA" in await client.runbook.get_content(*here, "Repair-BackupShare")
        before = watcher.last_modified_time
        sandbox.play_step(2)
        watcher = await client.watcher.get(*here, "Watch-BackupShare")
        assert watcher.status == "Running"
        assert before is not None
        assert watcher.last_modified_time is not None
        assert watcher.last_modified_time > before
        sandbox.play_step(3)
        [job] = [job.name or "" async for job in client.job.list_by_automation_account(*here)]
        ran = await client.job.get(*here, job)
        assert (ran.run_on, ran.started_by) == ("hwg-batch-prod", None)
    rows = sandbox.rows(sandbox.workspace)["AzureActivity"]
    assert {row["Caller"] for row in rows} == {"a.lindqvist@contoso.example"}
    assert {row["OperationNameValue"].casefold() for row in rows} == {"microsoft.compute/virtualmachines/start/action"}


def test_a_scenario_says_whether_watcher_actions_answer(tmp_path: Path, clock: Clock) -> None:
    for answers in (False, True):
        path = edited(tmp_path, "watcher-without-log", watcher_actions=answers, before={}, steps__1__account={})
        with Sandbox.start(tmp_path, path, clock) as sandbox:
            assert sandbox.automation.watcher_actions is answers


async def test_a_quiet_day_has_one_action_that_succeeds_on_a_runbook(play: Any) -> None:
    sandbox = play("quiet-day")
    sandbox.play_all()
    rows = await query(sandbox, SUCCESSES, timedelta(minutes=25))
    assert [row[0] for row in rows] == ["runbooks/draft/content/write", "runbooks/publish/action", "schedules/write"]


@pytest.mark.parametrize("name", BUNDLED)
async def test_the_built_in_rules_find_exactly_what_a_scenario_expects(play: Any, name: str) -> None:
    sandbox = play(name)
    sandbox.play_all()
    found: Counter[tuple[str, str]] = Counter()
    rules = {Path(rule.path).stem: rule for rule in rulebook.load(check_query=False).rules}
    for rule in rules.values():
        if "AzureActivity" in rule.query:
            for [resource] in await query(sandbox, f"{rule.query}\n| project _ResourceId", rule.query_period):
                found[Path(rule.path).stem, resource] += 1
    for expected in sandbox.scenario.expect:
        if "AzureActivity" not in rules[expected.rule].query:
            # It reads what changed in the account, and so needs a detector that reads the account.
            assert sandbox.scenario.inventory, expected
            continue
        ends = expected.resource.lower()
        matching = [key for key in found if key[0] == expected.rule and key[1].endswith(ends)]
        assert sum(found.pop(key) for key in matching) == expected.count, expected
    assert not found


def test_the_same_scenario_played_later_is_another_attack(tmp_path: Path, clock: Clock) -> None:
    seen = []
    for _ in range(2):
        with Sandbox.start(tmp_path, "function-app-host", clock) as sandbox:
            sandbox.play_all()
            seen.append(sandbox.rows(sandbox.workspace)["AzureActivity"][0]["CorrelationId"])
        clock.advance(minutes=5)
    assert seen[0] != seen[1]


def test_another_process_plays_the_scenario_over_http(play: Any) -> None:
    sandbox = play("quiet-day")
    first = send(sandbox, "POST", "/sandbox/advance", plain=True).json()
    assert first == {"played": [sandbox.scenario.steps[0].title]}
    rest = send(sandbox, "POST", "/sandbox/advance", body=b'{"steps": null}', plain=True).json()
    assert rest == {"played": [step.title for step in sandbox.scenario.steps[1:]]}
    assert send(sandbox, "POST", "/sandbox/advance", plain=True).json() == {"played": []}


def test_a_step_that_does_not_exist_is_refused(play: Any) -> None:
    with pytest.raises(ValueError, match="steps 0 to 3, not 4"):
        play("quiet-day").play_step(4)


def test_the_command_line_prints_the_environment_and_serves_until_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", "quiet-day", "--play"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("#"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    names = [line.removeprefix("export ").partition("=")[0] for line in lines if line.startswith("export ")]
    assert {"IDENTITY_ENDPOINT", "LOGS_ENDPOINT", "TEAMS_WEBHOOK_URL", "WEBHOOK_SECRET", "CA_BUNDLE"} <= set(names)
    assert process.returncode == 0, errors


def edited(tmp_path: Path, name: str = "setup-then-execute", **changes: Any) -> Path:
    """A bundled scenario with keys changed: ``steps__0__at="5x"``."""
    document = yaml.safe_load((SCENARIOS / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = (int(part) if part.isdecimal() else part for part in key.split("__"))
        place = document
        for parent in parents:
            place = place[parent]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workspace": "ws"}, "workspace: Expected `str` matching regex"),
        ({"workspace": None}, "missing required field `workspace`"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"steps__2__at": "soon"}, r"steps\[2\]\.at"),
        ({"steps__2__at": "0m"}, r"steps\[2\]\.at: 0m is before the step that it follows"),
        ({"steps__6__at": "20m"}, "a scenario lasts less than 20m"),
        ({"steps__6__ingestion_delay": "16m"}, "out of a rule's 25m"),
        ({"steps": []}, "steps: has none"),
        ({"steps__0__activity__0__operation": "write"}, r"steps\[0\]\.activity\[0\]\.operation: 'write'"),
        ({"steps__0__activity__0__status": ["Done"]}, r"steps\[0\]\.activity\[0\]\.status\[0\]: Invalid enum value"),
        ({"steps__0__activity__0__status": []}, r"steps\[0\]\.activity\[0\]\.status: has none"),
        ({"steps__0__activity__0__calller": "x"}, "unknown field `calller`"),
        ({"steps__3__account__watchers__Watch-CostTags__script": "x"}, "unknown field `script`"),
        (
            {"before": None, "steps__1__account__runbooks__Sync-CostTags__draft": {"file": "no.ps1"}},
            r"the file 'no\.ps1' cannot be read",
        ),
    ],
)
def test_a_wrong_scenario_is_refused_with_file_key_and_cause(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said) as caught:
        load_scenario(edited(tmp_path, **changes))
    assert "edited.yaml: " in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [("nobody", "use one of .*quiet-day"), ("nobody.yaml", "cannot be read"), ("broken.yaml", "is not YAML")],
)
def test_a_scenario_that_cannot_be_read_is_named(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "broken.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(ScenarioError, match=said):
        load_scenario(tmp_path / source if source.endswith(".yaml") else source)
