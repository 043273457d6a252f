"""Whatever dies, and whoever else writes, between any two calls of the Azure store: no due record is missed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest

from detectors.model import Record
from detectors.state.azure import STALE_AFTER, AzureStore
from detectors.state.azure_call import Reaching, reaching
from detectors.state.encoding import utc_now
from detectors.state.store import Conflict, Stored
from tests.azurite import Azurite
from tests.state.calls import Calls, Clock, Crash
from tests.state.records import NOW, small_record

FAR = NOW + timedelta(days=365)
LATER = NOW + timedelta(hours=1)
EARLIER = NOW - timedelta(hours=1)
STALE = Clock(STALE_AFTER + timedelta(minutes=1))

MakeStore = Callable[..., AzureStore]
Action = Callable[[AzureStore, str], Awaitable[object]]


@pytest.fixture
async def make(azurite: Azurite, prefix: str) -> AsyncIterator[MakeStore]:
    """Makes store objects over the same tables, closed at the end."""
    made: list[AzureStore] = []

    def make_store(reach: Reaching = reaching, clock: Callable[[], datetime] = utc_now, place: str = "") -> AzureStore:
        text = azurite.connection_string
        made.append(AzureStore.from_connection_string(text, table_prefix=prefix, reach=reach, clock=clock))
        return made[-1]

    yield make_store
    for store in made:
        await store.close()


@pytest.fixture
async def store(make: MakeStore) -> AzureStore:
    """An open store that nothing goes wrong in."""
    opened = make()
    await opened.open()
    return opened


async def change(store: AzureStore, record_id: str, due: datetime | None) -> None:
    stored = await store.read(record_id)
    if stored is not None:
        attempts = stored.record.triage_attempts + 1
        await store.replace(stored, msgspec.structs.replace(stored.record, due=due, triage_attempts=attempts))


async def create(store: AzureStore, record_id: str) -> None:
    await store.create(small_record(record_id))


async def create_finished(store: AzureStore, record_id: str) -> None:
    await store.create(small_record(record_id, due=None))


async def finish(store: AzureStore, record_id: str) -> None:
    await change(store, record_id, None)


async def keep(store: AzureStore, record_id: str) -> None:
    await change(store, record_id, NOW)


async def postpone(store: AzureStore, record_id: str) -> None:
    await change(store, record_id, LATER)


async def advance(store: AzureStore, record_id: str) -> None:
    await change(store, record_id, EARLIER)


async def create_or_advance(store: AzureStore, record_id: str) -> None:
    if not await store.create(small_record(record_id)):
        await change(store, record_id, EARLIER)


async def finish_then_reactivate(store: AzureStore, record_id: str) -> None:
    await change(store, record_id, None)
    await change(store, record_id, NOW)


async def list_due(store: AzureStore, _: str) -> None:
    await store.due(NOW, 1000)


async def nothing(_: AzureStore, __: str) -> None:
    return


async def created_then_finished(store: AzureStore, record_id: str) -> None:
    await create(store, record_id)
    await finish(store, record_id)


async def created_then_postponed(store: AzureStore, record_id: str) -> None:
    await create(store, record_id)
    await postpone(store, record_id)


async def created_with_a_crash_before_the_commit(store: AzureStore, record_id: str) -> None:
    await store._index(record_id, NOW)


async def finished_with_a_crash_after_the_commit(store: AzureStore, record_id: str) -> None:
    await created_then_finished(store, record_id)
    await store._index(record_id, NOW)


async def due_time_of(store: AzureStore, record_id: str) -> datetime | None:
    stored = await store.read(record_id)
    return None if stored is None else stored.record.due


async def assert_listed_exactly_when_due(store: AzureStore, record_id: str) -> None:
    due = await due_time_of(store, record_id)
    if due is None:
        assert record_id not in await store.due(FAR, 1000)
    else:
        assert record_id in await store.due(due, 1000)
        assert record_id not in await store.due(due - timedelta(microseconds=1), 1000)


async def work_rows(store: AzureStore) -> dict[str, datetime]:
    return {row["id"]: row["due"] async for row in store._work.list_entities()}


async def wipe(store: AzureStore) -> None:
    for table in (store._records, store._work):
        async for entity in table.list_entities():
            await table.delete_entity(entity)


async def bodies(store: AzureStore) -> list[str]:
    return [name async for name in store._bodies._container.list_blob_names()]


@pytest.mark.parametrize(
    ("before", "action", "least_points"),
    [
        (nothing, create, 5),
        (nothing, create_finished, 4),
        (created_with_a_crash_before_the_commit, create, 5),
        (create, keep, 6),
        (create, postpone, 6),
        (create, advance, 6),
        (create, finish, 6),
        (created_then_finished, keep, 6),
    ],
)
async def test_a_crash_between_any_two_calls_loses_nothing_and_the_step_can_be_repeated(
    make: MakeStore, store: AzureStore, before: Action, action: Action, least_points: int
) -> None:
    calls = Calls()
    dying, fresh = make(calls), make()
    for point in range(1, 20):
        record_id = f"record-{point}"
        await before(store, record_id)
        old = await store.read(record_id)
        calls.restart(point)
        if not await died_in(action, dying, record_id):
            break
        found = await fresh.read(record_id)
        # The old record or the new one, never a third thing.
        assert found is None or found == old or found.record.triage_attempts == (1 if old else 0) + attempts_of(old)
        await assert_listed_exactly_when_due(fresh, record_id)
        await action(fresh, record_id)
        assert await fresh.exists(record_id)
        await assert_listed_exactly_when_due(fresh, record_id)
    assert point > least_points


def attempts_of(stored: Stored | None) -> int:
    return 0 if stored is None else stored.record.triage_attempts


async def died_in(action: Action, store: AzureStore, record_id: str) -> bool:
    try:
        await action(store, record_id)
    except Crash:
        return True
    return False


class Situation(NamedTuple):
    """What happened *before*, and the *action* that is held up by another writer, whose store has *clock*."""

    before: Action
    action: Action
    clock: Callable[[], datetime] = utc_now


@pytest.mark.parametrize(
    "situation",
    [
        Situation(nothing, create),
        Situation(create, keep),
        Situation(create, postpone),
        Situation(create, advance),
        Situation(create, finish),
        Situation(created_then_finished, keep),
        Situation(created_then_postponed, list_due, STALE),
        Situation(created_with_a_crash_before_the_commit, list_due, STALE),
        Situation(finished_with_a_crash_after_the_commit, list_due, STALE),
    ],
    ids=lambda situation: f"{situation.before.__name__}-{situation.action.__name__}",
)
@pytest.mark.parametrize("other", [finish_then_reactivate, create_or_advance])
async def test_another_writer_between_any_two_calls_never_leaves_a_due_record_unlisted(
    make: MakeStore, store: AzureStore, situation: Situation, other: Action
) -> None:
    async def interfere() -> None:
        await other(store, "a")

    calls = Calls(then=interfere)
    paused = make(calls, situation.clock)
    for point in range(1, 20):
        await situation.before(store, "a")
        calls.restart(point)
        try:
            await situation.action(paused, "a")
        except Conflict:
            assert calls.stopped
        await assert_listed_exactly_when_due(store, "a")
        if not calls.stopped:
            break
        await wipe(store)
    assert 2 < point < 19


async def test_a_record_finished_by_one_and_reactivated_by_another_is_listed(
    make: MakeStore, store: AzureStore
) -> None:
    await create(store, "a")

    async def reactivate() -> None:
        assert await due_time_of(store, "a") is None
        await change(store, "a", NOW)

    calls = Calls("delete a work row", reactivate)
    await finish(make(calls), "a")
    assert calls.stopped
    assert await due_time_of(store, "a") == NOW
    assert await store.due(NOW, 10) == ["a"]


async def test_a_work_row_without_need_is_removed_only_when_it_is_stale(make: MakeStore, store: AzureStore) -> None:
    await created_with_a_crash_before_the_commit(store, "missing")
    await finished_with_a_crash_after_the_commit(store, "finished")
    await create(store, "due")
    assert await store.due(FAR, 10) == ["due"]
    assert set(await work_rows(store)) == {"missing", "finished", "due"}
    assert await make(clock=STALE).due(FAR, 10) == ["due"]
    assert set(await work_rows(store)) == {"due"}


async def test_a_work_row_that_is_too_early_is_moved_when_it_is_stale(make: MakeStore, store: AzureStore) -> None:
    await created_then_postponed(store, "a")
    assert await store.due(NOW, 10) == []
    assert await work_rows(store) == {"a": NOW}
    assert await make(clock=STALE).due(NOW, 10) == []
    assert await work_rows(store) == {"a": LATER}
    assert await store.due(LATER, 10) == ["a"]


async def test_rows_without_need_do_not_crowd_out_due_records(store: AzureStore) -> None:
    for number in range(5):
        await store._index(f"missing-{number}", EARLIER)
    await create(store, "a")
    assert await store.due(NOW, 2) == ["a"]


@pytest.mark.parametrize(("before", "action"), [(nothing, create), (created_then_finished, keep)])
async def test_a_host_frozen_before_its_commit_lists_its_record_again(
    make: MakeStore, store: AzureStore, before: Action, action: Action
) -> None:
    await before(store, "a")
    clock = Clock()

    async def freeze() -> None:
        clock.ahead = STALE.ahead
        await make(clock=STALE).due(FAR, 10)
        assert "a" not in await work_rows(store)

    await action(make(Calls(f"write to table {store._records.table_name}", freeze), clock), "a")
    assert "a" in await store.due(NOW, 10)


async def test_a_write_whose_answer_was_lost_is_recognised_as_done(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the client's retry does: the same request again, after the first one arrived.
    for table in (store._records, store._work, store._documents):
        for name in ("create_entity", "update_entity"):
            once = getattr(table, name)

            async def twice(*args: object, once: Callable[..., Awaitable[object]] = once, **named: object) -> object:
                await once(*args, **named)
                return await once(*args, **named)

            monkeypatch.setattr(table, name, twice)
    assert await store.create(small_record("a"))
    assert not await store.create(small_record("a"))
    stored = await store.read("a")
    assert stored is not None
    replaced = await store.replace(stored, small_record("a", triage_attempts=1))
    assert await store.read("a") == replaced
    with pytest.raises(Conflict):
        await store.replace(stored, small_record("a", triage_attempts=2))
    created = await store.write_document("d", b"1", None)
    written = await store.write_document("d", b"2", created.version)
    assert await store.read_document("d") == written
    with pytest.raises(Conflict):
        await store.write_document("d", b"3", created.version)


async def test_bodies_that_nothing_names_any_more_are_deleted(make: MakeStore, store: AzureStore) -> None:
    await create(store, "a")
    stale = await store.read("a")
    assert stale is not None
    for _ in range(3):
        await keep(store, "a")
    with pytest.raises(Conflict):
        await store.replace(stale, small_record("a"))

    async def win() -> None:
        await create(store, "b")

    assert not await make(Calls(2, win)).create(small_record("b", triage_attempts=1))
    names = await bodies(store)
    assert sorted(name.partition("/")[0] for name in names) == ["a", "b"]


async def test_a_body_replaced_between_the_two_reads_is_read_anew(make: MakeStore, store: AzureStore) -> None:
    await create(store, "a")

    async def replace() -> None:
        await keep(store, "a")

    calls = Calls(2, replace)
    found = await make(calls).read("a")
    assert found is not None
    assert found.record.triage_attempts == 1
    assert calls.names.count("read a record's body") == 2


async def test_finished_records_leave_no_work_row(store: AzureStore) -> None:
    for number in range(3):
        await created_then_finished(store, f"a{number}")
    assert await work_rows(store) == {}


async def test_entities_stay_small_however_large_the_record_is(store: AzureStore) -> None:
    record = Record(id="a", due=NOW, created_at=NOW, summarised_by="x" * 2_000_000)
    await store.create(record)
    (entity,) = [entity async for entity in store._records.list_entities()]
    assert sum(len(str(value)) for value in entity.values()) < 1000
