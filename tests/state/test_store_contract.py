"""What the rest of the detector may rely on, whichever store keeps it."""

import asyncio
from datetime import timedelta, timezone

import msgspec
import pytest

from detectors.model import Record
from detectors.state.encoding import DOCUMENT_LIMIT
from detectors.state.store import Conflict, Document, Store, Stored
from tests.state.conftest import NewStore
from tests.state.records import HOSTILE, NOW, full_record, small_record

ODD_NAMES = ["a/b?c#d\\e", "../..", "100%_2F", "O'Brien or 1 eq 1", "日本語 😀", "." * 200, "😀" * 200, "A", "a"]


async def read(store: Store, record_id: str) -> Stored:
    stored = await store.read(record_id)
    assert stored is not None
    return stored


async def change(store: Store, record_id: str, **changes: object) -> Stored:
    stored = await read(store, record_id)
    return await store.replace(stored, msgspec.structs.replace(stored.record, **changes))


async def test_a_full_record_reads_back_exactly_as_it_was_created(store: Store) -> None:
    record = full_record("ab" * 32, code_size=2_500_000)
    assert len(msgspec.json.encode(record)) > 2_500_000
    assert await store.create(record)
    stored = await read(store, record.id)
    assert stored.record == record
    assert stored.record.alert is not None
    assert stored.record.alert.caller == HOSTILE


async def test_a_record_is_created_once(store: Store) -> None:
    assert await store.create(small_record("a"))
    assert not await store.create(small_record("a", triage_attempts=7))
    assert (await read(store, "a")).record.triage_attempts == 0


async def test_of_sixteen_racing_creators_over_two_store_objects_one_wins(store: Store, new_store: NewStore) -> None:
    other = new_store()
    await other.open()
    racing = [small_record("a", triage_attempts=number) for number in range(16)]
    won = await asyncio.gather(*((store, other)[n % 2].create(record) for n, record in enumerate(racing)))
    assert sum(won) == 1
    assert (await read(other, "a")).record == racing[won.index(True)]
    assert await store.due(NOW, 10) == ["a"]


async def test_what_is_not_there_reads_as_none(store: Store) -> None:
    assert await store.read("a") is None
    assert not await store.exists("a")
    assert await store.read_document("a") is None


async def test_exists_sees_what_another_store_object_created(store: Store, new_store: NewStore) -> None:
    await store.create(small_record("a"))
    other = new_store()
    await other.open()
    assert await other.exists("a")
    assert not await other.exists("A")


async def test_a_replaced_record_reads_back_with_the_version_that_replace_returned(store: Store) -> None:
    await store.create(small_record("a"))
    replaced = await change(store, "a", triage_attempts=1)
    assert replaced == await read(store, "a")
    again = await store.replace(replaced, msgspec.structs.replace(replaced.record, triage_attempts=2))
    assert (await read(store, "a")).record == again.record
    assert again.version != replaced.version


async def test_replacing_a_stale_version_is_a_conflict_and_changes_nothing(store: Store) -> None:
    await store.create(small_record("a"))
    stale = await read(store, "a")
    current = await change(store, "a", triage_attempts=1)
    with pytest.raises(Conflict, match="'a' was replaced"):
        await store.replace(stale, small_record("a", due=None))
    assert await read(store, "a") == current
    assert await store.due(NOW, 10) == ["a"]


async def test_a_version_stays_stale_when_the_record_returns_to_the_same_content(store: Store) -> None:
    await store.create(small_record("a"))
    first = await read(store, "a")
    await change(store, "a", triage_attempts=1)
    last = await change(store, "a", triage_attempts=0)
    assert last.record == first.record
    with pytest.raises(Conflict):
        await store.replace(first, small_record("a", triage_attempts=9))
    assert await read(store, "a") == last


async def test_of_two_racing_replaces_one_wins(store: Store, new_store: NewStore) -> None:
    other = new_store()
    await other.open()
    await store.create(small_record("a"))
    base = await read(store, "a")
    outcomes = await asyncio.gather(
        store.replace(base, small_record("a", triage_attempts=1)),
        other.replace(base, small_record("a", triage_attempts=2)),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    assert [type(outcome) for outcome in outcomes if outcome is not winner] == [Conflict]
    assert await read(store, "a") == winner


async def test_a_record_finished_elsewhere_is_not_finished_again(store: Store, new_store: NewStore) -> None:
    other = new_store()
    await other.open()
    await store.create(small_record("a"))
    mine = await read(store, "a")
    await change(other, "a", due=None)
    with pytest.raises(Conflict):
        await store.replace(mine, small_record("a", due=NOW, triage_attempts=1))
    assert await store.due(NOW + timedelta(days=1), 10) == []


async def test_replacing_a_record_that_is_not_there_is_a_conflict(store: Store, new_store: NewStore) -> None:
    await store.create(small_record("a"))
    stored = await read(store, "a")
    gone = Stored(small_record("b"), stored.version)
    with pytest.raises(Conflict):
        await store.replace(gone, small_record("b"))
    assert not await store.exists("b")
    assert await store.due(NOW, 10) == ["a"]


async def test_a_record_keeps_its_id(store: Store) -> None:
    await store.create(small_record("a"))
    with pytest.raises(ValueError, match="replace keeps the id"):
        await store.replace(await read(store, "a"), small_record("b"))


async def test_due_lists_the_earliest_first_up_to_the_limit_and_nothing_of_the_future(store: Store) -> None:
    for minutes in (3, 1, 4, 0, 2):
        await store.create(small_record(f"r{minutes}", due=NOW + timedelta(minutes=minutes)))
    await store.create(small_record("never", due=None))
    assert await store.due(NOW - timedelta(seconds=1), 10) == []
    assert await store.due(NOW + timedelta(minutes=3), 10) == ["r0", "r1", "r2", "r3"]
    assert await store.due(NOW + timedelta(minutes=3), 2) == ["r0", "r1"]
    assert await store.due(NOW + timedelta(minutes=3), 0) == []
    assert await store.due(NOW + timedelta(minutes=3), -1) == []


async def test_due_is_exact_to_the_microsecond_and_across_time_zones(store: Store) -> None:
    await store.create(small_record("a", due=NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))))
    assert await store.due(NOW - timedelta(microseconds=1), 10) == []
    assert await store.due(NOW.astimezone(timezone(timedelta(hours=-8))), 10) == ["a"]


async def test_due_lists_more_records_than_it_verifies_at_once(store: Store) -> None:
    ids = [f"r{number:02}" for number in range(40)]
    for number, record_id in enumerate(ids):
        await store.create(small_record(record_id, due=NOW + timedelta(seconds=number)))
    assert await store.due(NOW + timedelta(hours=1), 35) == ids[:35]


async def test_a_finished_record_is_not_listed_and_a_reactivated_one_is(store: Store) -> None:
    later = NOW + timedelta(days=1)
    await store.create(small_record("a"))
    await change(store, "a", due=None)
    assert await store.due(later, 10) == []
    await change(store, "a", due=NOW + timedelta(hours=1))
    assert await store.due(NOW, 10) == []
    assert await store.due(later, 10) == ["a"]


async def test_a_postponed_record_is_listed_at_its_new_time_and_an_advanced_one_too(store: Store) -> None:
    await store.create(small_record("a"))
    await change(store, "a", due=NOW + timedelta(hours=1))
    assert await store.due(NOW, 10) == []
    assert await store.due(NOW + timedelta(hours=1), 10) == ["a"]
    await change(store, "a", due=NOW - timedelta(hours=1))
    assert await store.due(NOW - timedelta(hours=1), 10) == ["a"]


async def test_times_without_a_zone_are_refused(store: Store) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        await store.create(small_record("a", due=naive))
    with pytest.raises(ValueError, match="time zone"):
        await store.create(Record(id="a", due=None, created_at=naive))
    with pytest.raises(ValueError, match="time zone"):
        await store.due(naive, 1)


@pytest.mark.parametrize("record_id", ["", "x" * 201, "a\x00b", "a\nb", "a\ud800b"])
async def test_ids_that_no_store_can_keep_are_refused_by_both(store: Store, record_id: str) -> None:
    with pytest.raises(ValueError, match="record id"):
        await store.create(small_record(record_id))
    with pytest.raises(ValueError, match="record id"):
        await store.read(record_id)
    with pytest.raises(ValueError, match="record id"):
        await store.exists(record_id)


async def test_records_with_odd_ids_are_kept_apart(store: Store) -> None:
    for number, record_id in enumerate(ODD_NAMES):
        assert await store.create(small_record(record_id, triage_attempts=number))
    for number, record_id in enumerate(ODD_NAMES):
        assert (await read(store, record_id)).record == small_record(record_id, triage_attempts=number)
    assert sorted(await store.due(NOW, 100)) == sorted(ODD_NAMES)


async def test_text_that_is_not_valid_unicode_is_stored_with_a_replacement(store: Store) -> None:
    record = full_record("a", code_size=100)
    assert record.match is not None
    match = msgspec.structs.replace(record.match, row={"half": "x\ud800y", "pair": "\ud83d\ude00", "n": [1, None]})
    assert await store.create(msgspec.structs.replace(record, match=match))
    found = (await read(store, "a")).record
    assert found.match is not None
    assert found.match.row == {"half": "x�y", "pair": "😀", "n": [1, None]}
    assert found.alert == record.alert


async def test_a_value_nested_beyond_reason_does_not_keep_a_match_from_being_stored(store: Store) -> None:
    bottomless: dict[str, object] = {}
    for _ in range(20_000):
        bottomless = {"a": bottomless}
    match = full_record("a", code_size=100).match
    assert match is not None
    assert await store.create(small_record("a", match=msgspec.structs.replace(match, row=bottomless)))
    assert "nested deeper than" in str((await read(store, "a")).record.match)


async def test_a_document_is_created_once_then_written_by_version(store: Store) -> None:
    created = await store.write_document("watermark", b"1", None)
    assert await store.read_document("watermark") == created
    with pytest.raises(Conflict, match="'watermark'"):
        await store.write_document("watermark", b"2", None)
    written = await store.write_document("watermark", b"3", created.version)
    assert written.version != created.version
    with pytest.raises(Conflict, match="Read it again"):
        await store.write_document("watermark", b"4", created.version)
    assert await store.read_document("watermark") == written == Document(b"3", written.version)


async def test_writing_a_version_of_a_document_that_is_not_there_is_a_conflict(store: Store) -> None:
    created = await store.write_document("a", b"1", None)
    with pytest.raises(Conflict):
        await store.write_document("b", b"1", created.version)
    assert await store.read_document("b") is None


async def test_of_racing_document_writers_one_wins(store: Store) -> None:
    for version in (None, (await store.write_document("b", b"", None)).version):
        name = "a" if version is None else "b"
        writes = (store.write_document(name, bytes([number]), version) for number in range(8))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Document)]
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
        assert await store.read_document(name) == winner


async def test_documents_with_odd_names_are_kept_apart(store: Store) -> None:
    for name in ODD_NAMES:
        await store.write_document(name, name.encode(), None)
    for name in ODD_NAMES:
        document = await store.read_document(name)
        assert document is not None
        assert document.value == name.encode()


async def test_a_document_holds_up_to_32_kib_of_any_bytes(store: Store) -> None:
    value = bytes(range(256)) * 128
    assert len(value) == DOCUMENT_LIMIT
    for name, kept in (("full", value), ("empty", b"")):
        written = await store.write_document(name, kept, None)
        assert await store.read_document(name) == written == Document(kept, written.version)
    with pytest.raises(ValueError, match="at most 32768 fit"):
        await store.write_document("more", value + b"x", None)
    assert await store.read_document("more") is None


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00b", "a\u0085b"])
async def test_document_names_out_of_contract_are_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="document name"):
        await store.write_document(name, b"", None)
    with pytest.raises(ValueError, match="document name"):
        await store.read_document(name)


async def test_open_and_close_may_be_repeated_and_lose_nothing(store: Store, new_store: NewStore) -> None:
    await store.create(small_record("a"))
    await store.open()
    other = new_store()
    await asyncio.gather(other.open(), store.open())
    assert await other.due(NOW, 10) == ["a"]
    await other.close()
    await other.close()
