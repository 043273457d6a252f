"""The rules on the inventory run in the detector itself, ask for what a snapshot really holds, and do not overlap."""

import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detectors import rulebook
from detectors.inventory.changes import changes
from detectors.inventory.judge import TABLE, InventoryJudge
from detectors.inventory.rows import row_of
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order
from detectors.kql.engine import Engine, load_tables
from detectors.kql.narrow import row_by_row
from detectors.kql.text import tokens_of
from detectors.rule import Rule
from detectors.rulebook.cases import STANDARD_ROW, read_cases
from detectors.triage.identity import identity_of, match_id
from detectors.triage.resource import automation_target

BOOK = {Path(rule.path).stem: rule for rule in rulebook.load(check_query=False).rules}
RULES = {name: rule for name, rule in BOOK.items() if name.startswith("inventory-")}
WITH_THE_LOG = "inventory-runbook-changed-without-log"
ALONE = {name: rule for name, rule in RULES.items() if name != WITH_THE_LOG}
BASELINE = {name: rule for name, rule in ALONE.items() if name.startswith("inventory-baseline-")}
# One alert stands for many rows: each names what is the same in them.
OTHER_IDENTITIES = {
    "inventory-account-unreadable": ("AccountId", "Unread", "Day"),
    "inventory-baseline-runbook-text": ("ObjectId", "ContentSha256"),
    "inventory-baseline-watcher": ("ObjectId",),
    "inventory-baseline-webhook": ("ObjectId",),
    "inventory-job-started-by-trigger": ("AccountId", "RunbookName", "Trigger", "TriggerName"),
    "inventory-variable-changed": ("ObjectId", "Day"),
}
# Two rules may have something to say of one row only where it holds two actions: changed and started, for example.
TWO_ACTIONS = {
    frozenset(pair)
    for pair in (
        ("inventory-watcher-added-or-changed", "inventory-watcher-started"),
        ("inventory-watcher-added-or-changed", "inventory-trigger-removed"),
        ("inventory-webhook-added-or-changed", "inventory-trigger-removed"),
        ("inventory-webhook-added-or-changed", "inventory-webhook-invoked-after-silence"),
        ("inventory-trigger-moved-to-hybrid-worker", "inventory-watcher-started"),
        ("inventory-trigger-moved-to-hybrid-worker", "inventory-webhook-invoked-after-silence"),
        ("inventory-trigger-moved-to-hybrid-worker", "inventory-trigger-removed"),
    )
}
ENGINE = Engine()
JUDGE = InventoryJudge(BOOK.values(), ENGINE)
START = datetime(2026, 3, 14, 2, 5, tzinfo=UTC)
ACCOUNT = AccountReference(
    subscription_id="11111111-2222-3333-4444-555555555555", resource_group="rg-ops", name="aa-prod"
)


def stem(rule: Rule) -> str:
    return Path(rule.path).stem


def rows_of(name: str) -> Iterator[dict[str, Any]]:
    """Every row of the inventory in the cases of the rule, whole, as :mod:`detectors.inventory.rows` makes them."""
    file = read_cases(rulebook.tests_of(rulebook.BUILT_IN / f"{name}.yaml"))
    record = file.records.get(TABLE, {}) if name == WITH_THE_LOG else file.record
    schema = {column: "" if kind == "string" else None for column, kind in load_tables()[TABLE].columns}
    for case in file.cases:
        for row in case.rows.get(TABLE, case.rows.get(None, ())):
            whole = {**schema, **STANDARD_ROW, **record, **row}
            yield {**whole, "ChangeId": f"{name} {case.name} {json.dumps(row)}", "_ResourceId": whole["ObjectId"]}


def found(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rule to the rows that it returns, of the rules that run in the detector."""
    return {stem(rule): matched for rule, matched in JUDGE.judge(rows, START + timedelta(hours=1))}


def test_there_is_a_rule_for_each_thing_that_an_account_can_hold() -> None:
    kinds = {kind for name in RULES for row in rows_of(name) for kind in [row["ObjectType"]]}
    asked = {
        token.group().strip('"')
        for rule in RULES.values()
        for token in tokens_of(rule.query)
        if token.lastgroup == "string"
    }
    everything = {
        *("Account", "Watcher", "WatcherAction", "Runbook", "RunbookContent", "Webhook", "Schedule", "JobSchedule"),
        *("HybridWorkerGroup", "HybridWorker", "Module", "Package", "RuntimeEnvironment", "SourceControl"),
        *("Credential", "Certificate", "Connection", "Variable", "Job"),
    }
    assert everything - asked == set()
    assert kinds == everything


def test_the_detector_runs_them_all_itself_but_the_one_that_needs_the_log() -> None:
    assert JUDGE.refused == ()
    assert {stem(rule) for rule in JUDGE.rules} == set(ALONE)
    assert ENGINE.translate(RULES[WITH_THE_LOG].query).tables == {TABLE, "AzureActivity"}


@pytest.mark.parametrize("name", ALONE)
def test_such_a_rule_looks_at_each_row_alone_and_keeps_all_of_it(name: str) -> None:
    query = ALONE[name].query
    schema = load_tables()[TABLE]
    assert row_by_row(query, schema)
    assert {column for column, _ in schema.columns} <= {column for column, _ in ENGINE.translate(query).columns}
    # A visit may be repeated later, and the hunt reads rows that arrived late.
    assert not {"ago", "now"} & {token.group() for token in tokens_of(query)}


@pytest.mark.parametrize("name", RULES)
def test_its_alert_is_about_the_object_and_by_who_changed_it_last(name: str) -> None:
    rule = RULES[name]
    entities = {mapping.entity_type: dict(mapping.fields) for mapping in rule.entity_mappings}
    assert entities["AzureResource"] == {"ResourceId": "ObjectId"}
    assert entities.get("Account", {"FullName": "ChangedBy"}) == {"FullName": "ChangedBy"}
    assert rule.detector.identity == OTHER_IDENTITIES.get(name, ("ChangeId",))
    assert not rule.detector.stream
    hours = (30, 24 * 60) if name == WITH_THE_LOG else (5, 25)
    assert (rule.query_frequency, rule.query_period) == tuple(timedelta(minutes=minutes) for minutes in hours)


@pytest.mark.parametrize("name", RULES)
def test_it_asks_for_properties_that_a_snapshot_has(name: str) -> None:
    root = Path(rulebook.BUILT_IN).parent / "inventory"
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py")))
    query = RULES[name].query
    asked = set(re.findall(r"\b(?:Before|After)\.(\w+)", query))
    for lists in re.findall(r"tostring\(ChangedProperties\) has(?:_any)? (\([^)]*\)|\"\w+\")", query):
        asked |= set(re.findall(r'"(\w+)"', lists))
    assert {each for each in asked if f'"{each}"' not in sources} == set()


def test_no_change_is_reported_by_two_rules() -> None:
    matched = found([row for name in RULES for row in rows_of(name)])
    rules_of: dict[str, set[str]] = {}
    for name, results in matched.items():
        for row in results:
            rules_of.setdefault(row["ChangeId"], set()).add(name)
    pairs = {
        frozenset(pair): change
        for change, names in rules_of.items()
        for pair in itertools.combinations(sorted(names), 2)
    }
    assert {pair: change for pair, change in pairs.items() if pair not in TWO_ACTIONS} == {}
    assert set(matched) == set(ALONE)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.detector.enrich])
def test_triage_can_look_the_object_up(name: str) -> None:
    about = {
        "Account": "account",
        "Watcher": "watcher",
        "WatcherAction": "watcher",
        "Runbook": "runbook",
        "RunbookContent": "runbook",
        "Webhook": "webhook",
        "Schedule": "schedule",
        "JobSchedule": "jobSchedule",
        "Job": "job",
    }
    results = found(list(rows_of(name))).get(name, []) if name in ALONE else [next(rows_of(name))]
    assert results
    for row in results:
        target = automation_target(row["ObjectId"])
        assert target is not None
        assert target.account == "aa-prod"
        assert target.kind == about.get(row["ObjectType"], target.kind)


@pytest.mark.parametrize("name", BASELINE)
def test_what_was_there_already_is_said_once_however_often_a_visit_is_the_first(name: str) -> None:
    rows = [row for row in rows_of(name) if row["ChangeType"] == "Baseline"]
    again = [{**row, "ChangeId": f"again {row['ChangeId']}", "TimeGenerated": "2026-06-01T00:00:00Z"} for row in rows]
    once, twice = found(rows)[name], found(again)[name]
    ids = [{match_id(name, identity_of(RULES[name], row)) for row in matched} for matched in (once, twice)]
    assert ids[1] <= ids[0]


# What really comes of two snapshots.


def an_object(kind: str, path: str, name: str, **properties: Any) -> InventoryObject:
    return InventoryObject(
        kind=kind, name=name, id=f"{ACCOUNT.id}/{path}" if path else ACCOUNT.id, properties=properties
    )


def the_account(**properties: Any) -> InventoryObject:
    return an_object("Account", "", "aa-prod", **{"location": "westeurope", "unread": [], **properties})


def watcher(**properties: Any) -> InventoryObject:
    known = {"scriptName": "Watch-Inbox", "scriptRunOn": "on-premises", "executionFrequencyInSeconds": 60}
    return an_object("Watcher", "watchers/inbox", "Inbox", **{**known, "status": "Stopped", **properties})


def webhook(**properties: Any) -> InventoryObject:
    known = {"runbook": "Nightly", "isEnabled": True, "expiryTime": "2036-03-14T00:00:00Z"}
    return an_object(
        "Webhook", "webhooks/deploy", "Deploy", **{**known, "creationTime": "2025-01-01T00:00:00Z", **properties}
    )


def text(**properties: Any) -> InventoryObject:
    known = {"runbook": "Nightly", "version": "published", "sha256": "0" * 64, "suspicious": False}
    return an_object("RunbookContent", "runbooks/nightly/content", "Nightly (published)", **{**known, **properties})


def job(name: str) -> InventoryObject:
    about = {"runbook": "Run-Inbox", "runOn": "on-premises", "trigger": "Watcher", "triggerName": "Inbox"}
    return an_object("Job", f"jobs/{name}", name, **about)


STEPS = {
    "a watcher and its action appear": (
        [the_account()],
        [
            the_account(),
            watcher(actions=["Run-Inbox"]),
            an_object(
                "WatcherAction", "watchers/inbox/watcheractions/run", "Run", watcher="Inbox", scriptName="Run-Inbox"
            ),
        ],
        ["inventory-watcher-action-added-or-changed", "inventory-watcher-added-or-changed"],
    ),
    "a watcher is started": ([watcher()], [watcher(status="Running")], ["inventory-watcher-started"]),
    "a watcher moves and gets another script": (
        [watcher()],
        [watcher(scriptRunOn="branch", scriptName="Watch-Queue")],
        ["inventory-trigger-moved-to-hybrid-worker"],
    ),
    "a watcher gets another script and is started": (
        [watcher()],
        [watcher(status="Running", scriptName="Watch-Queue")],
        ["inventory-watcher-added-or-changed", "inventory-watcher-started"],
    ),
    "a watcher goes": ([watcher(), webhook()], [webhook()], ["inventory-trigger-removed"]),
    "a webhook is called for the first time in its life": (
        [webhook()],
        [webhook(lastInvokedTime="2026-03-14T02:04:00Z")],
        ["inventory-webhook-invoked-after-silence"],
    ),
    "a webhook is switched off": ([webhook()], [webhook(isEnabled=False)], ["inventory-trigger-removed"]),
    "a text becomes suspicious": (
        [text()],
        [text(sha256="1" * 64, suspicious=True)],
        ["inventory-runbook-text-suspicious"],
    ),
    "a text changes": ([text()], [text(sha256="1" * 64)], []),
    "a module is replaced": (
        [an_object("Module", "modules/az", "Az", version="11.2.0", isGlobal=False, provisioningState="Succeeded")],
        [an_object("Module", "modules/az", "Az", version="11.2.1", isGlobal=False, provisioningState="Succeeded")],
        ["inventory-module-or-package-added-or-replaced"],
    ),
    "an identity is assigned": (
        [the_account()],
        [the_account(identityType="UserAssigned", userAssignedIdentities=["/subscriptions/1/id"])],
        ["inventory-account-identity-changed"],
    ),
    "an account becomes dark": ([the_account()], [the_account(unread=["watchers"])], ["inventory-account-unreadable"]),
    "an account can be read again": ([the_account(unread=["watchers"])], [the_account()], []),
    "nothing of interest moves": (
        [watcher(), webhook(), the_account()],
        [watcher(description="x"), webhook(description="x"), the_account(tags={"team": "ops"})],
        [],
    ),
}


def judged(before: Snapshot | None, after: Snapshot) -> list[str]:
    rows = [row_of(change, before, after) for change in changes(before, after)]
    return sorted(name for name, matched in found(rows).items() for _ in matched)


@pytest.mark.parametrize("what", STEPS)
def test_the_rows_of_two_snapshots_match_the_rules_that_they_should(what: str) -> None:
    before, after, expected = STEPS[what]
    old = Snapshot(account=ACCOUNT, sequence=1, taken_at=START, objects=in_order(before))
    new = Snapshot(account=ACCOUNT, sequence=2, taken_at=START + timedelta(minutes=5), objects=in_order(after))
    assert judged(old, new) == expected


def test_the_first_visit_reports_what_is_suspicious_already_and_nothing_else() -> None:
    quiet = [the_account(unread=["jobs"]), text(), webhook(expiryTime="2027-01-01T00:00:00Z")]
    assert judged(None, Snapshot(account=ACCOUNT, sequence=1, taken_at=START, objects=in_order(quiet))) == []
    loud = [the_account(), watcher(), webhook(), text(suspicious=True)]
    first = Snapshot(account=ACCOUNT, sequence=1, taken_at=START, objects=in_order(loud))
    assert judged(None, first) == sorted(BASELINE)


def test_a_trigger_is_reported_with_its_first_job_alone() -> None:
    old = Snapshot(account=ACCOUNT, sequence=1, taken_at=START)
    snapshots = [
        Snapshot(account=ACCOUNT, sequence=2, taken_at=START + timedelta(minutes=5), jobs=(job("6d4c1c5f"),)),
        Snapshot(account=ACCOUNT, sequence=3, taken_at=START + timedelta(days=9), jobs=(job("7e5d2d60"),)),
    ]
    name = "inventory-job-started-by-trigger"
    rows = [row_of(change, old, new) for new in snapshots for change in changes(old, new)]
    assert len({row["ChangeId"] for row in rows}) == 2
    assert len({match_id(name, identity_of(RULES[name], row)) for row in found(rows)[name]}) == 1
