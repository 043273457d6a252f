"""Rows of the inventory reach the workspace: whole, at least once, oldest first, and none lost without a word."""

import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.identity.aio import ManagedIdentityCredential
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import strict_yaml
from detectors.delivery.destination import DeliveryError
from detectors.delivery.ingestion import MAX_CALL_BYTES, MAX_VALUE_BYTES, calls
from detectors.delivery.inventory_table import (
    COLUMNS,
    REFUSED,
    TABLE,
    TRIMMED,
    InventoryRows,
    InventoryTable,
    build_row,
)
from detectors.delivery.text import encode_json
from detectors.inventory.changes import changes
from detectors.inventory.repository import Repository
from detectors.inventory.rows import row_of
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot
from detectors.state.objects import Objects
from detectors.state.store import StoreUnavailable
from sandbox.faults import Reset, Status
from sandbox.server import Sandbox
from tests.memory_store import MemoryObjects, MemoryStore

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OF_THE_WORKSPACE = {"SourceSystem", "TenantId", "Type", "_BilledSize", "_IsBillable", "_ResourceId", "_SubscriptionId"}
ACCOUNT = AccountReference(
    subscription_id="11111111-2222-3333-4444-555555555555", resource_group="rg-ops", name="aa-prod", location="weu"
)


def snapshot(sequence: int, **properties: Any) -> Snapshot:
    watcher = InventoryObject(
        kind="Watcher", name="nightly", id=f"{ACCOUNT.id}/watchers/nightly", properties=properties
    )
    return Snapshot(
        account=ACCOUNT,
        sequence=sequence,
        taken_at=NOW - timedelta(minutes=5 * (10 - sequence)),
        objects=(watcher,),
    )


def rows(sequence: int = 2, **properties: Any) -> list[dict[str, Any]]:
    """What the inventory makes of a watcher that changed to *properties*."""
    before, after = snapshot(sequence - 1, scriptName="Old"), snapshot(sequence, **{"scriptName": "New"} | properties)
    return [row_of(change, before, after) for change in changes(before, after)]


def test_the_columns_are_those_of_the_table_without_what_the_workspace_adds() -> None:
    document = strict_yaml.read(ROOT / "detectors" / "tables" / f"{TABLE}.yaml")
    listed = [(column["name"], column["type"]) for column in document["columns"]]
    own = [column for column in listed if column[0] not in OF_THE_WORKSPACE]
    assert len(listed) - len(own) == len(OF_THE_WORKSPACE)
    assert [(column.name, column.type) for column in COLUMNS] == own
    assert all(column.description.endswith(".") for column in COLUMNS)


def test_what_the_inventory_makes_is_sent_as_it_is() -> None:
    (row,) = rows()
    assert build_row(row) == row
    assert build_row(row | {"Later": 1}) == row, "a column that the table has not is not sent"
    assert list(build_row({})) == [column.name for column in COLUMNS]


@pytest.mark.parametrize("name", ["Before", "After"])
def test_a_value_that_is_too_large_keeps_its_shape_and_says_so(name: str) -> None:
    (row,) = rows()
    large = {"scriptName": "Sync-Tags", "scriptParameters": "é" * 50_000, "scriptRunOn": "hybrid"}
    found = build_row(row | {name: large})
    assert len(encode_json(found[name])) <= MAX_VALUE_BYTES
    assert (found[name]["scriptName"], found[name]["scriptRunOn"]) == ("Sync-Tags", "hybrid")
    assert found[name][TRIMMED].startswith("100")
    assert "bytes do not fit into a column" in found[name][TRIMMED]
    assert {key: value for key, value in found.items() if key != name} == {k: v for k, v in row.items() if k != name}


def test_a_row_of_much_that_is_long_stays_below_the_limit_of_a_call() -> None:
    flood = "🙂" * 16_000
    names = [column.name for column in COLUMNS if column.type == "string"]
    found = build_row(dict.fromkeys(names, flood) | {"Before": {"a": flood}, "After": [flood] * 2})
    assert len(json.dumps([found])) <= MAX_CALL_BYTES
    assert TRIMMED in found["Before"]
    assert TRIMMED in found["After"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=25)
@given(JSON, JSON, st.sampled_from([1, 1_000, 20_000]))
def test_whatever_an_object_holds_is_a_row_within_the_limits(before: Any, after: Any, times: int) -> None:
    found = build_row({"Before": before, "After": {"kept": after, "long": "\ud800é" * times}})
    assert len(json.dumps(found, allow_nan=False)) <= MAX_CALL_BYTES
    assert all(len(encode_json(value)) <= MAX_VALUE_BYTES for value in found.values())


@given(st.lists(st.integers(0, 300)), st.integers(50, 1_000))
def test_calls_hold_every_row_in_order_and_are_no_larger_than_they_may_be(sizes: list[int], limit: int) -> None:
    made: list[Mapping[str, Any]] = [{"n": number, "text": "x" * size} for number, size in enumerate(sizes)]
    parts = list(calls(made, limit))
    assert [row for part in parts for row in part] == made
    for part in parts:
        assert len(json.dumps(part)) <= limit or len(part) == 1
    for part, following in itertools.pairwise(parts):
        assert len(json.dumps([*part, following[0]])) > limit, "no call was made for want of filling one"


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, clock=lambda: NOW) as started:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, started.environment()[name])
        yield started


Make = Callable[..., InventoryTable]


@pytest.fixture
async def make(sandbox: Sandbox) -> AsyncIterator[Make]:
    """Makes tables at the sandbox; closes them in the end."""
    made: list[InventoryTable] = []
    async with ManagedIdentityCredential() as credential:

        def build(**options: Any) -> InventoryTable:
            environment = sandbox.environment()
            table = InventoryTable(
                environment["LOGS_INGESTION_ENDPOINT"],
                environment["LOGS_INGESTION_RULE_ID"],
                credential,
                clock=lambda: NOW,
                connection_verify=str(sandbox.ca_bundle),
                **options,
            )
            made.append(table)
            return table

        yield build
        for table in made:
            await table.close()


class Kept:
    """A repository in memory with its objects, and the sender to the sandbox."""

    def __init__(self, table: InventoryTable, objects: Objects | None = None) -> None:
        memory = MemoryStore()
        self.inside: dict[str, bytes] = memory.place.objects["inventory"]
        self.objects = objects or MemoryObjects(self.inside)
        self.repository = Repository(memory, self.objects)
        self.shipping = InventoryRows(kept=self.repository, objects=self.objects, table=table)

    async def put(self, *sequences: int, **properties: Any) -> list[str]:
        return [await self.repository.put_rows(snapshot(number), rows(number, **properties)) for number in sequences]

    @property
    def names(self) -> list[str]:
        return sorted(self.inside)


@pytest.fixture
def kept(make: Make) -> Kept:
    return Kept(make())


def in_workspace(sandbox: Sandbox) -> list[str]:
    """ChangeIds, in the order in which they came."""
    return [str(row["ChangeId"]) for row in sandbox.rows(sandbox.workspace).get(TABLE, [])]


def change_ids(*sequences: int) -> list[str]:
    return [rows(number)[0]["ChangeId"] for number in sequences]


async def test_rows_reach_the_table_of_the_workspace(sandbox: Sandbox, make: Make) -> None:
    (row,) = rows(scriptRunOn="hybrid")
    await make().send([row])
    (received,) = sandbox.ledger.entries
    assert received.path.split("?")[0].endswith("/streams/Custom-AutomationInventory_CL")
    assert received.body == [row]
    (stored,) = sandbox.rows(sandbox.workspace)[TABLE]
    assert stored["After"] == {"scriptName": "New", "scriptRunOn": "hybrid"}


async def test_more_than_a_call_takes_is_sent_in_several(sandbox: Sandbox, make: Make) -> None:
    many = [row | {"ChangeId": f"{number:032x}"} for number in range(60) for row in rows(scriptParameters="x" * 40_000)]
    await make().send(many)
    assert [row["ChangeId"] for entry in sandbox.ledger.entries for row in entry.body] == [
        row["ChangeId"] for row in many
    ]
    assert len(sandbox.ledger.entries) == 3
    assert all(entry.size <= MAX_CALL_BYTES for entry in sandbox.ledger.entries)
    assert all(entry.accepted for entry in sandbox.ledger.entries)


async def test_nothing_to_send_asks_nobody(sandbox: Sandbox, make: Make) -> None:
    await make().send([])
    assert sandbox.ledger.entries == ()


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (413, True), (403, False), (404, False), (503, False)])
async def test_refusals_are_sorted_as_those_of_alerts(
    sandbox: Sandbox, make: Make, status: int, permanent: bool
) -> None:
    sandbox.faults.set("ingestion", Status(status))
    with pytest.raises(DeliveryError, match=f"inventory-table: {sandbox.url} answered {status}") as caught:
        await make().send(rows())
    assert caught.value.permanent is permanent
    assert len([each for each in sandbox.ledger.requests if each.endpoint == "ingestion"]) == 1


async def test_what_is_kept_is_sent_oldest_first_and_forgotten(sandbox: Sandbox, kept: Kept) -> None:
    await kept.put(3, 2, 4)
    report = await kept.shipping.ship(2)
    assert (report.sent, report.rows, report.left, report.error) == (2, 2, 1, "")
    assert in_workspace(sandbox) == change_ids(2, 3)
    report = await kept.shipping.ship(2)
    assert (report.sent, report.left) == (1, 0)
    assert in_workspace(sandbox) == change_ids(2, 3, 4)
    assert kept.names == []
    assert await kept.shipping.ship(2) == type(report)()


@pytest.mark.parametrize(
    "fault", [Status(503, times=1), Status(429, 60, times=1), Status(403, times=1), Reset(times=1)]
)
async def test_what_the_workspace_does_not_take_now_waits_in_its_order(
    sandbox: Sandbox, kept: Kept, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = await kept.put(2, 3)
    sandbox.faults.set("ingestion", fault)
    report = await kept.shipping.ship(10)
    assert (report.sent, report.set_aside, report.left) == (0, 0, 2)
    assert report.error in caplog.text
    assert report.error.startswith("inventory-table: ")
    assert kept.names == names
    await kept.shipping.ship(10)
    assert in_workspace(sandbox) == change_ids(2, 3)


async def test_rows_that_are_refused_for_good_are_set_aside_and_hold_up_none_of_the_others(
    sandbox: Sandbox, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    bad, _, _ = await kept.put(2, 3, 4)
    before = kept.inside[bad]
    sandbox.faults.set("ingestion", Status(400, times=1))
    report = await kept.shipping.ship(10)
    assert (report.sent, report.set_aside, report.left, report.error) == (2, 1, 0, "")
    assert in_workspace(sandbox) == change_ids(3, 4)
    assert kept.inside == {f"{REFUSED}{bad}": before}
    ours = [each for each in caplog.records if each.name.startswith("detectors.")]
    (line,) = [each for each in ours if each.levelno == logging.ERROR]
    assert bad in line.getMessage()
    assert "answered 400" in line.getMessage()
    assert await kept.shipping.ship(10) == type(report)(), "it is not tried again"


async def test_a_workspace_that_refuses_all_loses_nothing_and_gets_all_once_it_is_repaired(
    sandbox: Sandbox, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(make(stream="Custom-NotDeployed_CL"))
    names = await kept.put(2, 3, 4)
    report = await kept.shipping.ship(2)
    assert (report.sent, report.set_aside, report.left) == (0, 0, 3)
    assert "deploy the infrastructure again" in report.error
    assert kept.names == names
    assert len([each for each in sandbox.ledger.requests if each.endpoint == "ingestion"]) == 3, "the newest as well"
    repaired = InventoryRows(kept=kept.repository, objects=kept.objects, table=make())
    assert (await repaired.ship(10)).sent == 3
    assert in_workspace(sandbox) == change_ids(2, 3, 4)


async def test_a_run_full_of_rows_that_are_refused_lets_the_others_pass_in_the_next(
    sandbox: Sandbox, kept: Kept
) -> None:
    await kept.put(2, 3, 4, 5)
    sandbox.faults.set("ingestion", Status(413, times=2))
    report = await kept.shipping.ship(2)
    assert (report.sent, report.set_aside, report.left) == (1, 2, 1)
    assert in_workspace(sandbox) == change_ids(5)
    await kept.shipping.ship(2)
    assert in_workspace(sandbox) == change_ids(5, 4)


async def test_rows_that_cannot_be_read_are_set_aside(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    bad, _ = await kept.put(2, 3)
    kept.inside[bad] = b"cut"
    report = await kept.shipping.ship(10)
    assert (report.sent, report.set_aside, report.left) == (1, 1, 0)
    assert kept.inside == {f"{REFUSED}{bad}": b"cut"}
    assert f"the rows {bad} are not sent" in caplog.text


class Faulty(MemoryObjects):
    """Objects whose call of a number fails, before or after its effect."""

    def __init__(self, inside: dict[str, bytes], *, fails: int, after: bool) -> None:
        super().__init__(inside)
        self.left = fails
        self.after = after

    def _point(self, *, after: bool) -> None:
        if after == self.after:
            self.left -= 1
            if self.left == 0:
                raise StoreUnavailable("the store is gone")

    async def put_object(self, name: str, data: bytes) -> None:
        self._point(after=False)
        await super().put_object(name, data)
        self._point(after=True)

    async def get_object(self, name: str) -> bytes | None:
        self._point(after=False)
        return await super().get_object(name)

    async def delete_object(self, name: str) -> None:
        self._point(after=False)
        await super().delete_object(name)
        self._point(after=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", range(1, 9))
async def test_a_store_that_fails_at_any_call_loses_no_row(
    sandbox: Sandbox, make: Make, point: int, after: bool
) -> None:
    table = make()
    plain = Kept(table)
    bad, *_ = await plain.put(2, 3)
    sandbox.faults.set("ingestion", Status(413, times=1))
    faulty = Faulty(plain.inside, fails=point, after=after)
    shipping = InventoryRows(kept=Repository(MemoryStore(), faulty), objects=faulty, table=table)
    for _ in range(2):
        try:
            await shipping.ship(10)
        except StoreUnavailable:
            continue
    await plain.put(4)
    await plain.shipping.ship(10)
    got = set(in_workspace(sandbox))
    assert set(change_ids(3, 4)) <= got
    # The first was refused once. Tried again after the crash it may have arrived; else it is set aside.
    assert set(change_ids(2)) <= got or f"{REFUSED}{bad}" in plain.inside
    assert not [name for name in plain.names if name.startswith("rows-")]


def test_importing_it_loads_neither_azure_nor_aiohttp() -> None:
    import subprocess
    import sys

    script = (
        "import sys, detectors.delivery.inventory_table\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'aiohttp')])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
