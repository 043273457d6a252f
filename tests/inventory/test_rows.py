"""Rows of AutomationInventory_CL: every column, in its type, with who and when only where the API says so."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from detectors.inventory.changes import changes
from detectors.inventory.encoding import account_key, as_stored
from detectors.inventory.rows import row_of
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order
from detectors.kql.engine import load_tables
from detectors.kql.values import from_duckdb, to_duckdb

NOW = datetime(2026, 3, 2, 3, 0, 0, 250_000, tzinfo=UTC)
ACCOUNT = AccountReference(
    subscription_id="11111111-2222-3333-4444-555555555555",
    resource_group="RG-Ops",
    name="aa-Prod",
    location="westeurope",
)
THEN = "2026-03-02T02:57:00Z"
COLUMNS = dict(load_tables()["AutomationInventory_CL"].columns)
OF_THE_WORKSPACE = ["SourceSystem", "TenantId", "Type", "_BilledSize", "_IsBillable", "_ResourceId", "_SubscriptionId"]


def an_object(kind: str, name: str = "nightly", /, **properties: Any) -> InventoryObject:
    return InventoryObject(
        kind=kind, name=name, id=f"{ACCOUNT.id}/{kind.lower()}s/{name.lower()}", properties=properties
    )


def snapshot(sequence: int, *objects: InventoryObject, **changed: Any) -> Snapshot:
    return Snapshot(account=ACCOUNT, sequence=sequence, objects=in_order(objects), **{"taken_at": NOW} | changed)


def rows(before: Snapshot | None, after: Snapshot) -> list[dict[str, Any]]:
    return [row_of(change, before, after) for change in changes(before, after)]


def row(*before: InventoryObject, after: InventoryObject | None = None) -> dict[str, Any]:
    """The row of the one change from *before* (nothing at all: an empty account) to *after*."""
    (only,) = rows(snapshot(1, *before), snapshot(2, *([after] if after else [])))
    return only


def baseline(one: InventoryObject) -> dict[str, Any]:
    (only,) = rows(None, snapshot(1, one))
    return only


WATCHER = an_object(
    "Watcher",
    scriptName="Sync-Tags",
    scriptRunOn="hybrid",
    executionFrequencyInSeconds=60,
    creationTime="2026-03-02T02:50:00Z",
    lastModifiedTime=THEN,
    lastModifiedBy="dana@contoso.com",
)


def test_a_row_has_every_column_of_the_table_except_those_that_the_workspace_adds() -> None:
    listed = list(COLUMNS)
    assert listed[-7:] == OF_THE_WORKSPACE
    found = rows(None, snapshot(1, an_object("Account"), WATCHER, jobs=(an_object("Job"),)))
    found += rows(snapshot(1, WATCHER, an_object("Webhook")), snapshot(2, an_object("Watcher", a=1)))
    assert {each["ChangeType"] for each in found} == {"Added", "Baseline", "Modified", "Removed"}
    for each in found:
        assert list(each) == listed[:-7]


def test_every_value_is_a_json_value_that_the_column_takes_and_gives_back() -> None:
    for each in [
        row(after=WATCHER),
        row(WATCHER),
        row(WATCHER, after=an_object("Watcher")),
        baseline(an_object("Account")),
    ]:
        assert msgspec.json.decode(msgspec.json.encode(each)) == each
        for name, value in each.items():
            if COLUMNS[name] == "string":
                assert isinstance(value, str), name
            kept = from_duckdb(COLUMNS[name], to_duckdb(COLUMNS[name], value))
            assert kept == (datetime.fromisoformat(value) if COLUMNS[name] == "datetime" and value else value), name


def test_a_row_says_what_changed_where_and_between_which_snapshots() -> None:
    moved = msgspec.structs.replace(
        WATCHER, properties={**WATCHER.properties, "scriptRunOn": "dc", "scriptName": "Evil"}
    )
    before, after = snapshot(41, WATCHER), snapshot(42, moved)
    (change,) = changes(before, after)
    assert rows(before, after) == [
        {
            "TimeGenerated": "2026-03-02T03:00:00.250000Z",
            "ChangeId": change.id,
            "ChangeType": "Modified",
            "ObjectType": "Watcher",
            "ObjectName": "nightly",
            "ObjectId": f"{ACCOUNT.id}/watchers/nightly",
            "AccountId": (
                "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg-ops"
                "/providers/microsoft.automation/automationaccounts/aa-prod"
            ),
            "AccountName": "aa-Prod",
            "ResourceGroup": "RG-Ops",
            "SubscriptionId": "11111111-2222-3333-4444-555555555555",
            "Location": "westeurope",
            "ChangedProperties": ["scriptName", "scriptRunOn"],
            "Before": WATCHER.properties,
            "After": moved.properties,
            "RunbookName": "Evil",
            "RunOn": "dc",
            "ContentSha256": "",
            "ChangedBy": "",
            "ChangedAt": None,
            "PreviousSnapshot": f"{account_key(ACCOUNT)}-00000041",
            "Snapshot": f"{account_key(ACCOUNT)}-00000042",
        }
    ]


def test_what_went_with_its_account_says_so() -> None:
    account = an_object("Account", location="westeurope")
    gone = rows(snapshot(1, account, WATCHER), snapshot(2))
    assert {each["ObjectType"]: each["ChangedProperties"] for each in gone} == {"Account": [], "Watcher": ["account"]}


def test_what_is_not_there_is_null_or_empty() -> None:
    account = an_object("Account", location="westeurope")
    (removed,) = rows(snapshot(1, account, WATCHER), snapshot(2, account))
    added, first = row(after=WATCHER), baseline(WATCHER)
    assert (added["Before"], added["After"], added["ChangedProperties"]) == (None, WATCHER.properties, [])
    assert (removed["Before"], removed["After"], removed["ChangedProperties"]) == (WATCHER.properties, None, [])
    assert (first["Before"], first["After"], first["PreviousSnapshot"]) == (None, WATCHER.properties, "")


@pytest.mark.parametrize(
    ("one", "runbook", "run_on"),
    [
        (WATCHER, "Sync-Tags", "hybrid"),
        (an_object("WatcherAction", scriptName="Act", scriptRunOn="hybrid"), "Act", "hybrid"),
        (an_object("Webhook", runbook="Hooked", runOn="hybrid"), "Hooked", "hybrid"),
        (an_object("JobSchedule", "Nightly on Daily", runbook="Nightly", runOn="hybrid"), "Nightly", "hybrid"),
        (an_object("Runbook", "Sync-Tags", runbookType="PowerShell"), "Sync-Tags", ""),
        (an_object("RunbookContent", "Sync-Tags (draft)", runbook="Sync-Tags", sha256="ab"), "Sync-Tags", ""),
        (an_object("Account", runOn="x", scriptName="x"), "", ""),
        (an_object("HybridWorker", group="hybrid"), "", ""),
        (an_object("Watcher", scriptName=None, scriptRunOn=7), "", ""),
    ],
    ids=lambda value: value.kind if isinstance(value, InventoryObject) else "",
)
def test_the_runbook_and_where_it_runs_are_named_by_kind_also_when_the_object_is_gone(
    one: InventoryObject, runbook: str, run_on: str
) -> None:
    for each in (row(after=one), row(one), baseline(one)):
        assert (each["RunbookName"], each["RunOn"]) == (runbook, run_on)


def test_the_digest_of_a_text_is_that_of_the_text_after_the_change() -> None:
    old, new = (an_object("RunbookContent", sha256=digest) for digest in ("aa", "bb"))
    assert row(old, after=new)["ContentSha256"] == row(after=new)["ContentSha256"] == "bb"
    assert row(old)["ContentSha256"] == ""
    assert row(after=an_object("Runbook", sha256="aa"))["ContentSha256"] == ""


def test_an_added_object_was_added_by_who_modified_it_last() -> None:
    for each in (row(after=WATCHER), baseline(WATCHER)):
        assert (each["ChangedBy"], each["ChangedAt"]) == ("dana@contoso.com", THEN)


def test_a_removed_object_does_not_tell_who_removed_it() -> None:
    removed = row(WATCHER)
    assert (removed["ChangedBy"], removed["ChangedAt"]) == ("", None)


def test_a_modification_is_told_only_by_what_moved_with_it() -> None:
    later = {**WATCHER.properties, "executionFrequencyInSeconds": 900, "lastModifiedTime": "2026-03-02T02:59:30.5Z"}
    modified = row(WATCHER, after=an_object("Watcher", **later))
    assert (modified["ChangedBy"], modified["ChangedAt"]) == ("dana@contoso.com", "2026-03-02T02:59:30.500000Z")

    by_itself = row(WATCHER, after=an_object("Watcher", **{**WATCHER.properties, "status": "Running"}))
    assert by_itself["ChangedProperties"] == ["status"]
    assert (by_itself["ChangedBy"], by_itself["ChangedAt"]) == ("", None)

    created = row(WATCHER, after=an_object("Watcher", **{**WATCHER.properties, "creationTime": "2026-03-02T02:59:00Z"}))
    assert (created["ChangedBy"], created["ChangedAt"]) == ("", None)


@pytest.mark.parametrize(
    ("one", "by", "at"),
    [
        (an_object("Schedule", creationTime=THEN), "", THEN),
        (an_object("Schedule", creationTime="2026-01-01T00:00:00Z", lastModifiedTime=THEN), "", THEN),
        (an_object("RunbookContent", modifiedTime=THEN, modifiedBy="dana@contoso.com"), "dana@contoso.com", THEN),
        (an_object("HybridWorker", registeredDateTime=THEN), "", THEN),
        (
            an_object(
                "HybridWorkerGroup", createdBy="dana@contoso.com", createdAt=THEN, lastModifiedBy="kim@contoso.com"
            ),
            "dana@contoso.com",
            THEN,
        ),
        (an_object("HybridWorkerGroup", lastModifiedBy="kim@contoso.com"), "kim@contoso.com", None),
        (an_object("Webhook", lastModifiedTime="2026-03-02T04:57:00.1234567+02:00"), "", "2026-03-02T02:57:00.123456Z"),
        (an_object("Webhook", lastModifiedTime="some day", lastModifiedBy=["dana"]), "", None),
        (an_object("Module"), "", None),
    ],
    ids=lambda value: value.kind if isinstance(value, InventoryObject) else "",
)
def test_who_and_when_come_from_the_properties_of_the_kind(one: InventoryObject, by: str, at: str | None) -> None:
    added = row(after=one)
    assert (added["ChangedBy"], added["ChangedAt"]) == (by, at)


def test_a_group_modified_at_an_unknown_time_still_says_by_whom() -> None:
    old = an_object(
        "HybridWorkerGroup", createdAt=THEN, createdBy="dana@contoso.com", lastModifiedBy="dana@contoso.com"
    )
    new = an_object("HybridWorkerGroup", createdAt=THEN, createdBy="dana@contoso.com", lastModifiedBy="kim@contoso.com")
    modified = row(old, after=new)
    assert (modified["ChangedBy"], modified["ChangedAt"]) == ("kim@contoso.com", None)


def test_a_job_is_added_by_who_started_it_when_it_was_created() -> None:
    job = an_object(
        "Job", "j-1", runbook="Sync-Tags", runOn="hybrid", startedBy="dana@contoso.com", creationTime=THEN, endTime="x"
    )
    (found,) = rows(snapshot(1), snapshot(2, jobs=(job,)))
    assert (found["ChangeType"], found["ObjectType"], found["After"]) == ("Added", "Job", job.properties)
    assert (found["RunbookName"], found["RunOn"]) == ("Sync-Tags", "hybrid")
    assert (found["ChangedBy"], found["ChangedAt"]) == ("dana@contoso.com", THEN)


def test_times_are_in_utc_wherever_the_clock_was() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    (found,) = rows(None, snapshot(1, an_object("Account"), taken_at=elsewhere))
    assert found["TimeGenerated"] == "2026-03-02T03:00:00.250000Z"


def test_rows_made_again_of_stored_snapshots_are_the_same_rows_whatever_was_named() -> None:
    hostile = an_object("Runbook", "a\ud800", note=float("nan"), deep={"\udc00": ["'; DROP TABLE x;--", "\x00\u202e"]})
    before, after = snapshot(1, WATCHER), snapshot(2, hostile, jobs=(an_object("Job", "j\ud800"),))
    made = rows(before, after)
    assert rows(as_stored(before), as_stored(after)) == made
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    assert {each["ObjectName"] for each in made} == {"nightly", "a\ufffd", "j\ufffd"}
