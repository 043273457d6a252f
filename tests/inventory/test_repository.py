"""What the inventory keeps survives crashes, other visitors and damage, and old things go."""

import hashlib
import json
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.inventory import repository as repository_module
from detectors.inventory.changes import changes
from detectors.inventory.encoding import Unreadable, account_key, as_stored, encode, pack, snapshot_name, unpack
from detectors.inventory.repository import (
    KEPT_SNAPSHOTS,
    AccountState,
    ListedAccount,
    Listing,
    Repository,
    SnapshotTooLarge,
)
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order
from detectors.state.objects import Objects
from detectors.state.sqlite import SqliteStore
from detectors.state.store import Conflict, Store
from tests.memory_store import MemoryStore, Place

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ACCOUNT = AccountReference(subscription_id=SUBSCRIPTION, resource_group="rg-ops", name="aa-prod", location="westeurope")
OTHER = msgspec.structs.replace(ACCOUNT, name="aa-test")
DOCUMENT = f"inventory/account/{account_key(ACCOUNT)}"


class Kept:
    """One place, and a repository for each process that works on it."""

    def __init__(self, open_store: Callable[[], Awaitable[MemoryStore | SqliteStore]]) -> None:
        self._open_store = open_store
        self.store: Store
        self.objects: Objects
        self.repository: Repository

    async def restart(self) -> None:
        """Go on as another process."""
        store = await self._open_store()
        self.store, self.objects = store, store.objects("inventory")
        self.repository = Repository(self.store, self.objects)

    async def names(self, beginning: str = "") -> list[str]:
        return await self.objects.list_objects(1_000, beginning)


@pytest.fixture(params=["memory", "sqlite"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    """An empty place in a store of either kind."""
    place = Place()
    stores: list[MemoryStore | SqliteStore] = []

    async def open_store() -> MemoryStore | SqliteStore:
        stores.append(MemoryStore(place) if request.param == "memory" else SqliteStore(tmp_path / "state.db"))
        await stores[-1].open()
        return stores[-1]

    made = Kept(open_store)
    await made.restart()
    yield made
    for store in stores:
        await store.close()


@pytest.fixture
async def repository(kept: Kept) -> Repository:
    return kept.repository


def content(text: str) -> tuple[str, bytes]:
    return hashlib.sha256(text.encode()).hexdigest(), text.encode()


def runbook(text: str, name: str = "nightly") -> InventoryObject:
    return InventoryObject(
        kind="RunbookContent",
        name=f"{name} (published)",
        id=f"{ACCOUNT.id}/runbooks/{name}/content",
        properties={"runbook": name, "sha256": content(text)[0]},
    )


def reading(
    *objects: InventoryObject, account: AccountReference = ACCOUNT, minutes: int = 0, **changed: Any
) -> Snapshot:
    """What a visit read; its number is not yet its own."""
    taken_at = NOW + timedelta(minutes=minutes)
    return Snapshot(account=account, sequence=1, taken_at=taken_at, objects=in_order(objects), **changed)


async def keep(repository: Repository, snapshot: Snapshot, **contents: bytes) -> Snapshot:
    """A whole visit that stores *snapshot*."""
    state, begun = await repository.begin(await repository.state(snapshot.account), snapshot, contents)
    await repository.commit(state, begun)
    return begun


async def current(repository: Repository, account: AccountReference = ACCOUNT) -> Snapshot | None:
    return await repository.current(await repository.state(account))


async def test_an_account_that_nothing_is_known_of_has_an_empty_state(repository: Repository) -> None:
    state = await repository.state(ACCOUNT, known_scope=True)
    assert state == AccountState(account=ACCOUNT, known_scope=True)
    assert await repository.current(state) is None
    assert await repository.pending(state) is None


async def test_a_snapshot_is_pending_until_it_is_committed_also_for_the_next_process(kept: Kept) -> None:
    sha256, text = content("Get-Date")
    read = reading(runbook("Get-Date"), jobs=(), unread={"modules": "403"}, seen_jobs=("j-1",), minutes=5)
    state, begun = await kept.repository.begin(
        await kept.repository.state(ACCOUNT, known_scope=True), read, {sha256: text}
    )
    assert begun == read

    await kept.restart()
    state = await kept.repository.state(ACCOUNT)
    assert (state.current, state.sequence, state.known_scope, state.visited_at) == ("", 1, True, None)
    assert await kept.repository.current(state) is None
    assert await kept.repository.pending(state) == begun
    assert await kept.repository.content(ACCOUNT, sha256) == text
    await kept.repository.commit(state, begun)

    await kept.restart()
    state = await kept.repository.state(ACCOUNT)
    assert (state.pending, state.known_scope, state.visited_at, state.unread_since) == ("", True, *[read.taken_at] * 2)
    assert await kept.repository.current(state) == begun
    assert await kept.repository.pending(state) is None


async def test_snapshots_are_numbered_by_the_repository_whatever_the_reading_thought(repository: Repository) -> None:
    numbers = [(await keep(repository, reading(runbook(str(number))))).sequence for number in range(3)]
    assert numbers == [1, 2, 3]
    begun = await repository.begin(await repository.state(ACCOUNT), reading())
    # Never committed: its number is used all the same, because rows may have been made of it.
    assert begun[1].sequence == 4
    assert (await keep(repository, reading(runbook("4")))).sequence == 5


async def test_a_visit_that_somebody_was_faster_than_gets_a_conflict_and_changes_nothing(kept: Kept) -> None:
    mine = await kept.repository.state(ACCOUNT)
    theirs = await keep(kept.repository, reading(runbook("theirs")))
    for late in (
        kept.repository.begin(mine, reading(runbook("mine"))),
        kept.repository.visited(mine, reading(minutes=9)),
        kept.repository.failed(mine, "429"),
    ):
        with pytest.raises(Conflict):
            await late
    assert await current(kept.repository) == theirs

    stale = await kept.repository.state(ACCOUNT)
    state, begun = await kept.repository.begin(stale, reading(runbook("next"), minutes=5))
    with pytest.raises(Conflict):
        await kept.repository.begin(stale, reading(runbook("next"), minutes=6))
    await kept.repository.commit(state, begun)
    with pytest.raises(Conflict):
        await kept.repository.commit(state, begun)
    assert await current(kept.repository) == begun


async def test_two_readings_of_the_same_objects_at_one_number_never_write_over_each_other(kept: Kept) -> None:
    state = await kept.repository.state(ACCOUNT)
    job = InventoryObject(kind="Job", name="j", id=f"{ACCOUNT.id}/jobs/j")
    _, winner = await kept.repository.begin(state, reading(jobs=(job,)))
    with pytest.raises(Conflict):
        await kept.repository.begin(state, reading(minutes=1))
    assert await kept.repository.pending(await kept.repository.state(ACCOUNT)) == winner
    assert len(await kept.names("snapshot-")) == 2


async def test_only_what_is_pending_can_be_committed(repository: Repository) -> None:
    state = await repository.state(ACCOUNT)
    with pytest.raises(ValueError, match=r"begin\(\) comes before commit\(\); pending is '', not snapshot-"):
        await repository.commit(state, reading())
    state, begun = await repository.begin(state, reading())
    with pytest.raises(ValueError, match=r"begin\(\) comes before commit\(\); pending is 'snapshot-.*', not snapshot-"):
        await repository.commit(state, msgspec.structs.replace(begun, jobs=(runbook("x"),)))
    assert (await repository.commit(state, begun)).pending == ""


async def test_every_step_of_a_visit_can_be_repeated(kept: Kept) -> None:
    sha256, text = content("Get-Date")
    for _ in range(2):
        # Died after begin(), and again.
        state, begun = await kept.repository.begin(
            await kept.repository.state(ACCOUNT), reading(runbook("Get-Date")), {sha256: text}
        )
        await kept.restart()
    for _ in range(2):
        await kept.repository.put_rows(begun, [{"ChangeId": "a"}])
        state = await kept.repository.state(ACCOUNT)
        assert await kept.repository.pending(state) == begun
        await kept.restart()
    await kept.repository.commit(state, begun)
    for _ in range(2):
        await kept.repository.prune(ACCOUNT)
    assert await current(kept.repository) == begun
    assert len(await kept.names("rows-")) == 1
    assert await kept.repository.content(ACCOUNT, sha256) == text


async def test_a_visit_without_changes_moves_its_time_only(kept: Kept) -> None:
    first = await keep(kept.repository, reading(runbook("a")))
    before = await kept.names()
    state = await kept.repository.visited(await kept.repository.state(ACCOUNT), reading(runbook("a"), minutes=5))
    assert state.visited_at == NOW + timedelta(minutes=5)
    assert await kept.repository.state(ACCOUNT) == state
    assert await kept.repository.current(state) == first
    assert await kept.names() == before


async def test_a_visit_that_is_finished_late_does_not_turn_the_clock_back(repository: Repository) -> None:
    state, begun = await repository.begin(await repository.state(ACCOUNT), reading(runbook("a")))
    state = await repository.visited(state, reading(minutes=30, unread={"modules": "403"}))
    state = await repository.commit(state, begun)
    assert (state.visited_at, state.unread_since) == (NOW + timedelta(minutes=30),) * 2


async def test_since_when_a_part_is_unread_is_kept_until_all_of_it_is_read(repository: Repository) -> None:
    state = await repository.state(ACCOUNT)
    seen = []
    for minutes, unread in enumerate([{}, {"modules": "403"}, {"webhooks": "503"}, {}, {"modules": "403"}]):
        state = await repository.visited(state, reading(minutes=minutes, unread=unread))
        seen.append(state.unread_since)
    since, again = NOW + timedelta(minutes=1), NOW + timedelta(minutes=4)
    assert seen == [None, since, since, None, again]


async def test_why_a_visit_failed_is_kept_in_few_words_until_one_succeeds(repository: Repository) -> None:
    state = await repository.failed(await repository.state(ACCOUNT), "429 " * 10_000)
    assert state.error == ("429 " * 10_000)[:500]
    state = await repository.failed(await repository.state(ACCOUNT), "\ud800 403")
    assert (await repository.state(ACCOUNT)).error == "\ufffd 403"
    assert state.visited_at is None
    assert (await repository.visited(await repository.state(ACCOUNT), reading())).error == ""
    assert (await repository.state(ACCOUNT)).error == ""


async def test_accounts_do_not_mix_and_case_makes_no_other_account(kept: Kept) -> None:
    sha256, text = content("Get-Date")
    mine = await keep(kept.repository, reading(runbook("Get-Date")), **{sha256: text})
    theirs = await keep(kept.repository, reading(account=OTHER))
    assert await current(kept.repository) == mine
    assert await current(kept.repository, OTHER) == theirs
    assert await kept.repository.content(OTHER, sha256) is None

    shouted = msgspec.structs.replace(ACCOUNT, resource_group="RG-OPS", name="AA-PROD", location="northeurope")
    state = await kept.repository.state(shouted)
    assert state.account == shouted, "as Azure lists it now"
    assert await kept.repository.current(state) == mine


async def test_what_no_json_can_hold_is_kept_as_it_will_read_back(repository: Repository) -> None:
    hostile = InventoryObject(
        kind="Runbook",
        name="a\ud800",
        id=f"{ACCOUNT.id}/runbooks/a\ud800",
        properties={"note": [float("nan"), "\udc00"]},
    )
    begun = await keep(repository, reading(hostile))
    assert await current(repository) == begun
    assert begun == as_stored(begun)
    assert begun.objects[0].properties == {"note": [None, "\ufffd"]}
    assert changes(begun, reading(hostile)) == ()


async def test_a_large_snapshot_takes_little_room_and_a_huge_one_is_refused_by_name(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [runbook("x" * 100, f"runbook-{number:04d}") for number in range(5_000)]
    begun = await keep(kept.repository, reading(*many))
    (name,) = await kept.names("snapshot-")
    stored = await kept.objects.get_object(name)
    assert stored is not None
    assert len(stored) < len(encode(begun)) / 10
    assert await current(kept.repository) == begun

    monkeypatch.setattr(repository_module, "SNAPSHOT_BYTES", len(encode(begun)))
    await keep(kept.repository, reading(*many))
    state = await kept.repository.state(ACCOUNT)
    with pytest.raises(SnapshotTooLarge, match=rf"{ACCOUNT.id} has \d+ bytes and 5001 objects"):
        await kept.repository.begin(state, reading(*many, runbook("y", "z")))
    assert await kept.repository.state(ACCOUNT) == state
    assert len(await kept.names("snapshot-")) == 2


async def damage(kept: Kept, name: str, data: bytes) -> None:
    assert await kept.objects.get_object(name) is not None
    await kept.objects.put_object(name, data)


def altered(snapshot: Snapshot, **members: Any) -> bytes:
    return json.dumps(json.loads(encode(snapshot)) | members).encode()


def bomb(size: int) -> bytes:
    return zlib.compress(b" " * size)


DAMAGE: dict[str, tuple[Callable[[bytes, Snapshot], bytes], str]] = {
    "empty": (lambda packed, _: b"", "cut short"),
    "cut": (lambda packed, _: packed[:-9], "cut short"),
    "longer": (lambda packed, _: packed + b"x", "follows its end"),
    "not packed": (lambda _, snapshot: encode(snapshot), "cannot be unpacked"),
    "altered": (lambda _, snapshot: pack(altered(snapshot, unread={"a": "b"})), "does not match the digest"),
    "bomb": (lambda *_: bomb(repository_module.SNAPSHOT_BYTES + 1), "holds more than"),
}


@pytest.mark.parametrize("how", DAMAGE)
async def test_a_damaged_snapshot_counts_as_none_is_named_and_written_over(
    kept: Kept, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    begun = await keep(kept.repository, reading(runbook("a")))
    name = snapshot_name(begun)
    packed = await kept.objects.get_object(name)
    assert packed is not None
    spoil, reason = DAMAGE[how]
    await damage(kept, name, spoil(packed, begun))
    with caplog.at_level(logging.WARNING):
        assert await current(kept.repository) is None
    assert f"the object {name} counts as not there: " in caplog.text
    assert reason in caplog.text

    anew = await keep(kept.repository, reading(runbook("b"), minutes=5))
    assert anew.sequence == 2
    assert await current(kept.repository) == anew


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"format": 2}, "it has format 2, and this version of the detector reads format 1"),
        ({"format": "1"}, "it is no Snapshot"),
        ({"objects": [{"kind": "Watcher"}]}, "it is no Snapshot"),
        ({"taken_at": "yesterday"}, "it is no Snapshot"),
    ],
)
async def test_a_snapshot_of_another_format_or_shape_counts_as_none(
    kept: Kept, caplog: pytest.LogCaptureFixture, members: dict[str, Any], reason: str
) -> None:
    begun = await keep(kept.repository, reading(runbook("a")))
    data = altered(begun, **members)
    digest = hashlib.sha256(data).hexdigest()[:16]
    # Written by another version: under the digest that it has.
    name = f"{snapshot_name(begun).rpartition('-')[0]}-{digest}"
    await kept.objects.put_object(name, pack(data))
    with caplog.at_level(logging.WARNING):
        assert await kept.repository.snapshot(name) is None
    assert reason in caplog.text


async def test_a_snapshot_that_is_gone_counts_as_none_and_its_number_is_not_given_out_again(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        begun = await keep(kept.repository, reading(runbook(str(number))))
    await kept.objects.delete_object(snapshot_name(begun))
    with caplog.at_level(logging.WARNING):
        assert await current(kept.repository) is None
    assert "it is gone" in caplog.text
    assert (await keep(kept.repository, reading(runbook("3")))).sequence == 4


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "it is no AccountState"),
        (b"{", "it is no AccountState"),
        (b"\xff", "it is no AccountState"),
        (b"[" * 30_000, "it is no AccountState"),
        (b'{"format": 2, "account": "aa-prod"}', "it has format 2, and this version of the detector reads format 1"),
        (b'{"format": 1, "account": null}', "it is no AccountState"),
    ],
)
async def test_a_damaged_state_counts_as_none_is_named_and_written_over(
    kept: Kept, caplog: pytest.LogCaptureFixture, value: bytes, reason: str
) -> None:
    for number in range(12):
        await keep(kept.repository, reading(runbook(str(number))))
        await kept.repository.prune(ACCOUNT)
    document = await kept.store.read_document(DOCUMENT)
    assert document is not None
    await kept.store.write_document(DOCUMENT, value, document.version)
    with caplog.at_level(logging.WARNING):
        state = await kept.repository.state(ACCOUNT, known_scope=True)
    assert f"the document {DOCUMENT} counts as not there: " in caplog.text
    assert reason in caplog.text
    assert (state.current, state.pending, state.visited_at, state.known_scope) == ("", "", None, True)
    assert state.sequence == 12, "or pruning would take the next snapshot for the oldest"

    anew = await keep(kept.repository, reading(runbook("anew")))
    await kept.repository.prune(ACCOUNT)
    assert await current(kept.repository) == anew


@pytest.mark.parametrize("name", ["../../a", "snapshot-1", "snapshot-\n", "x" * 300])
async def test_a_state_that_names_no_snapshot_blocks_nothing(kept: Kept, name: str) -> None:
    state = AccountState(account=ACCOUNT, sequence=3, current=name, pending=name)
    await kept.store.write_document(DOCUMENT, encode(state), None)
    found = await kept.repository.state(ACCOUNT)
    assert await kept.repository.current(found) is None
    assert await kept.repository.pending(found) is None
    assert await current(kept.repository) is None
    assert (await keep(kept.repository, reading())).sequence == 4


async def test_a_lost_state_beside_snapshots_does_not_begin_again_at_one(kept: Kept) -> None:
    begun = await keep(kept.repository, reading(runbook("a")))
    for number in (7, 12):
        old = msgspec.structs.replace(begun, sequence=number)
        await kept.objects.put_object(snapshot_name(old), pack(encode(old)))
    fresh = Repository(MemoryStore(), kept.objects)
    state = await fresh.state(ACCOUNT)
    assert (state.sequence, state.current, state.version) == (12, "", None)


@pytest.mark.parametrize(("spoiled", "reason"), [(b"xy", "cannot be unpacked"), (pack(b"Get-Dat"), "does not match")])
async def test_a_damaged_text_counts_as_none(
    kept: Kept, caplog: pytest.LogCaptureFixture, spoiled: bytes, reason: str
) -> None:
    sha256, text = content("Get-Date")
    await keep(kept.repository, reading(runbook("Get-Date")), **{sha256: text})
    (name,) = await kept.names("content-")
    await damage(kept, name, spoiled)
    with caplog.at_level(logging.WARNING):
        assert await kept.repository.content(ACCOUNT, sha256) is None
    assert f"the object {name} counts as not there: " in caplog.text
    assert reason in caplog.text


async def test_the_newest_snapshots_stay_with_the_texts_that_they_name(kept: Kept) -> None:
    texts = [f"Get-Date # {number}" for number in range(15)]
    begun = []
    for number, text in enumerate(texts):
        sha256, data = content(text)
        # Every snapshot names the text of the one before too, and the first text of all.
        objects = [runbook(text, "new"), runbook(texts[max(number - 1, 0)], "old"), runbook(texts[0], "first")]
        begun.append(await keep(kept.repository, reading(*objects, minutes=number), **{sha256: data}))
    await keep(kept.repository, reading(runbook("theirs"), account=OTHER), **dict([content("theirs")]))
    assert await kept.repository.prune(ACCOUNT) == 5 + 3
    assert await kept.repository.prune(ACCOUNT) == 0

    left = [each for each in begun if await kept.repository.snapshot(snapshot_name(each))]
    assert left == begun[-KEPT_SNAPSHOTS:]
    readable = [text for text in texts if await kept.repository.content(ACCOUNT, content(text)[0])]
    assert readable == [texts[0], *texts[4:]]
    assert await current(kept.repository) == begun[-1]
    assert await kept.repository.content(OTHER, content("theirs")[0]) == b"theirs"
    assert await kept.repository.prune(OTHER) == 0


async def test_pruning_spares_what_is_current_or_pending_however_old_its_number(kept: Kept) -> None:
    old = await keep(kept.repository, reading(runbook("current")), **dict([content("current")]))
    state, pending = await kept.repository.begin(
        await kept.repository.state(ACCOUNT), reading(runbook("pending")), dict([content("pending")])
    )
    for number in range(100, 120):
        orphan = msgspec.structs.replace(old, sequence=number)
        await kept.objects.put_object(snapshot_name(orphan), pack(encode(orphan)))
    assert await kept.repository.prune(ACCOUNT) == 10
    assert await kept.repository.current(state) == old
    assert await kept.repository.pending(state) == pending
    for text in ("current", "pending"):
        assert await kept.repository.content(ACCOUNT, content(text)[0]) is not None


@pytest.mark.parametrize("last", range(1, 7))
async def test_pruning_that_dies_leaves_what_is_current_and_is_made_good_by_the_next(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    for number in range(13):
        begun = await keep(kept.repository, reading(runbook(str(number))), **dict([content(str(number))]))
    deleted = []
    real = kept.objects.delete_object

    async def delete_or_die(name: str) -> None:
        deleted.append(name)
        if len(deleted) == last:
            raise KeyboardInterrupt
        await real(name)

    with monkeypatch.context() as patched:
        patched.setattr(kept.objects, "delete_object", delete_or_die)
        with pytest.raises(KeyboardInterrupt):
            await kept.repository.prune(ACCOUNT)
    assert await current(kept.repository) == begun
    assert await kept.repository.content(ACCOUNT, content("12")[0]) == b"12"

    await keep(kept.repository, reading(runbook("12"), minutes=1))
    await kept.repository.prune(ACCOUNT)
    assert len(await kept.names("snapshot-")) == KEPT_SNAPSHOTS
    assert len(await kept.names("content-")) == KEPT_SNAPSHOTS - 1


async def test_texts_stay_while_a_snapshot_that_may_name_them_cannot_be_read(kept: Kept) -> None:
    begun = [
        await keep(kept.repository, reading(runbook(str(number))), **dict([content(str(number))]))
        for number in range(11)
    ]
    await damage(kept, snapshot_name(begun[5]), b"of a newer version")
    assert await kept.repository.prune(ACCOUNT) == 1, "the oldest snapshot alone"
    assert await kept.repository.content(ACCOUNT, content("5")[0]) == b"5"
    for number in range(11, 16):
        await keep(kept.repository, reading(runbook(str(number))), **dict([content(str(number))]))
    assert await kept.repository.prune(ACCOUNT) == 5 + 6, "the unreadable one is old now"
    assert [int(n) for n in range(16) if await kept.repository.content(ACCOUNT, content(str(n))[0])] == list(
        range(6, 16)
    )


async def test_a_text_that_another_visit_is_about_to_name_is_not_pruned(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        await keep(kept.repository, reading(runbook(str(number))), **dict([content(str(number))]))
    pruned = []
    real = kept.objects.put_object

    async def put_and_prune(name: str, data: bytes) -> None:
        await real(name, data)
        # The other visit, whose pruning sees what this one has written so far.
        with monkeypatch.context() as undone:
            undone.setattr(kept.objects, "put_object", real)
            pruned.append(await kept.repository.prune(ACCOUNT))

    with monkeypatch.context() as patched:
        patched.setattr(kept.objects, "put_object", put_and_prune)
        await kept.repository.begin(
            await kept.repository.state(ACCOUNT), reading(runbook("new")), dict([content("new")])
        )
    assert len(pruned) == 2
    assert pruned[0] > 0
    assert await kept.repository.content(ACCOUNT, content("new")[0]) == b"new"


def listing(*accounts: ListedAccount, subscription: str = SUBSCRIPTION, minutes: int = 0) -> Listing:
    return Listing(subscription_id=subscription, listed_at=NOW + timedelta(minutes=minutes), accounts=accounts)


async def test_the_last_listing_of_each_subscription_is_kept(kept: Kept) -> None:
    assert await kept.repository.listing(SUBSCRIPTION) is None
    assert await kept.repository.listings() == []
    listed = ListedAccount(
        account=ACCOUNT, first_listed_at=NOW, visited_at=NOW, attempted_at=NOW + timedelta(minutes=1), known_scope=True
    )
    for one in (listing(), listing(listed, minutes=5)):
        await kept.repository.put_listing(one)
    odd = listing(subscription="Not a GUID/\ud800", minutes=1)
    await kept.repository.put_listing(odd)
    await kept.restart()
    assert await kept.repository.listing(SUBSCRIPTION.upper()) == listing(listed, minutes=5)
    assert await kept.repository.listing("not a guid/\ud800") is not None
    assert [each.subscription_id for each in await kept.repository.listings()] == [SUBSCRIPTION, "Not a GUID/\ufffd"]


async def test_thousands_of_accounts_fit_a_listing(kept: Kept) -> None:
    accounts = [
        ListedAccount(
            account=msgspec.structs.replace(ACCOUNT, name=f"aa-{number:05d}"), first_listed_at=NOW, visited_at=NOW
        )
        for number in range(5_000)
    ]
    await kept.repository.put_listing(listing(*accounts))
    assert await kept.repository.listing(SUBSCRIPTION) == listing(*accounts)


async def test_a_damaged_listing_counts_as_none_and_the_others_are_read(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    other = "22222222-2222-3333-4444-555555555555"
    for subscription in (SUBSCRIPTION, other):
        await kept.repository.put_listing(listing(subscription=subscription))
    for data in (b"x", pack(b"{}"), pack(encode(msgspec.structs.replace(listing(), format=2))), pack(b'{"format":1}')):
        await damage(kept, f"accounts-{SUBSCRIPTION}", data)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert await kept.repository.listing(SUBSCRIPTION) is None
        assert f"the object accounts-{SUBSCRIPTION} counts as not there: " in caplog.text
        assert await kept.repository.listings() == [listing(subscription=other)]
    await kept.repository.put_listing(listing())
    assert await kept.repository.listing(SUBSCRIPTION) == listing()


async def test_rows_wait_for_the_workspace_oldest_first_and_the_same_snapshots_once(kept: Kept) -> None:
    rows: list[dict[str, Any]] = [{"ChangeId": "a", "Before": None, "After": {"a": [1, True]}}]
    later = await keep(kept.repository, reading(runbook("later"), minutes=5))
    elsewhere = reading(account=OTHER).__class__(
        account=OTHER, sequence=1, taken_at=NOW.astimezone(timezone(timedelta(hours=9)))
    )
    names = [await kept.repository.put_rows(each, rows) for each in (later, elsewhere, later)]
    assert names[0] == names[2]
    await kept.restart()
    assert await kept.repository.unsent(10) == [names[1], names[0]]
    assert await kept.repository.unsent(1) == [names[1]]
    assert await kept.repository.rows(names[0]) == rows
    for _ in range(2):
        await kept.repository.sent(names[1])
    assert await kept.repository.unsent(10) == [names[0]]
    assert await kept.repository.rows(names[1]) is None


async def test_damaged_rows_count_as_none_so_that_a_sender_can_let_them_go(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    name = await kept.repository.put_rows(reading(), [{"ChangeId": "a"}])
    for data in (b"", pack(b"{}"), pack(b'["a"]'), pack(b"\xff"), pack(b"[" * 100_000)):
        await damage(kept, name, data)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert await kept.repository.rows(name) is None
        assert f"the object {name} counts as not there: " in caplog.text
    await kept.repository.sent(name)
    assert await kept.repository.unsent(10) == []


async def test_nothing_but_quarantine_is_in_quarantine(kept: Kept) -> None:
    store: Any = kept.store
    await keep(kept.repository, reading(runbook("a")), **dict([content("a")]))
    await kept.repository.put_listing(listing())
    assert len(await kept.names()) == 3
    assert await store.objects("quarantine").list_objects(10) == []


def test_unpacking_never_holds_more_than_its_limit() -> None:
    packed = pack(b"x" * 1_000)
    assert unpack(packed, 1_000) == b"x" * 1_000
    with pytest.raises(Unreadable, match="holds more than 999 bytes"):
        unpack(packed, 999)
    assert unpack(pack(b""), 0) == b""

    large = bomb(50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="holds more than 1000 bytes"):
            unpack(large, 1_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
