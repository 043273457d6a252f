"""When a batch returns, what it holds is stored or in quarantine, whatever it holds and whatever the store does."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sources.quarantine import Entry, Item, Position, Quarantine, Reason, UnreadableEntry
from detectors.sources.stream import StreamJudge
from detectors.state.store import StoreUnavailable
from tests.clock import Clock
from tests.memory_store import MemoryStore
from tests.stream.batch import RULES, Stream, body, correlation, positions, record

GOOD = body(1, 2)
NOW = Clock().now

DAMAGED = [
    b"",
    b"\xff\xfe\x00",
    b"{",
    b'{"records": ',
    b'"text"',
    b"\x1f\x8bnot gzip",
    gzip.compress(GOOD, mtime=0)[:-20],
    GOOD[:-3],
    GOOD[: len(GOOD) // 2],
    b"[" * 100_000,
    b'{"records": [',
    b'[{"operationName": "x"},',
    GOOD[:-2],
    GOOD[: GOOD.index(b"}, {") + 2],
    GOOD[len(b'{"records": [') :],
    GOOD.replace(b"records", b"recordz"),
    gzip.compress(GOOD[:-2], mtime=0),
]


async def test_what_is_no_record_is_kept_alone_or_with_its_message() -> None:
    stream = Stream()
    message = GOOD.replace(b"[{", b'["text", {').replace(b"}]", b"}, null]")
    await stream.batches.run([message], positions(1))
    assert stream.correlations() == {correlation(1), correlation(2)}
    kept = [item.data for entry in await stream.entries() for item in entry.items]
    assert kept in ([b'"text"', b"null"], [message])


def content(message: bytes) -> bytes:
    """What gzip holds; anything else, and what is no whole gzip, as it is."""
    try:
        return gzip.decompress(message)
    except (OSError, EOFError, zlib.error):
        return message


async def test_every_match_of_a_good_batch_is_stored_and_nothing_is_quarantined() -> None:
    stream = Stream()
    told: list[str] = []

    async def on_new(ids: Sequence[str]) -> None:
        told.extend(ids)

    report = await stream.batches.run([GOOD, gzip.compress(body(3))], positions(2), on_new)
    assert stream.correlations() == {correlation(1), correlation(2), correlation(3)}
    assert (report.bodies, report.records, report.quarantined, report.error) == (2, 3, (), "")
    assert set(told) == set(report.new) == set(stream.store.records)
    assert (await stream.batches.run([GOOD], positions(1))).new == (), "the same messages again are the same actions"
    assert stream.reported == []


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
async def test_a_damaged_message_costs_no_other_and_is_kept_with_its_position(damaged: bytes) -> None:
    stream = Stream()
    report = await stream.batches.run([body(7), damaged, body(8)], positions(3))
    assert {correlation(7), correlation(8)} <= stream.correlations()
    if damaged:
        (entry,) = await stream.entries()
        assert entry.kind is Reason.DAMAGED
        assert {item.position.sequence_number for item in entry.items} == {1}
        assert all(item.reason for item in entry.items)
        assert {item.data for item in entry.items} <= {damaged, content(damaged)}
        assert report.quarantined == (entry.name,)
        assert stream.reported == [(Reason.DAMAGED, len(entry.items))], "one alert"


async def test_a_message_that_lacks_only_the_end_of_its_envelope_is_judged_whole() -> None:
    stream = Stream()
    await stream.batches.run([GOOD[:-1]], positions(1))
    assert stream.correlations() == {correlation(1), correlation(2)}


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[bytes, int | None]]:
    """Messages with the number of the good record that each holds, or None for one that was tampered with."""
    batch: list[tuple[bytes, int | None]] = []
    for number in range(draw(st.integers(1, 6))):
        data = body(number)
        match draw(st.sampled_from(["good", "cut", "flipped", "noise"])):
            case "cut":
                batch.append((data[: draw(st.integers(1, len(data) - 1))], None))
            case "flipped":
                at = draw(st.integers(0, len(data) - 1))
                batch.append((data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :], None))
            case "noise":
                batch.append((b"\xfe" + draw(st.binary(max_size=200)), None))
            case _:
                batch.append((data, number))
    return batch


@settings(max_examples=40, deadline=None)
@given(batches())
async def test_no_batch_raises_and_every_good_message_of_it_is_judged(batch: list[tuple[bytes, int | None]]) -> None:
    stream = Stream()
    report = await stream.batches.run([data for data, _ in batch], positions(len(batch)))
    assert report.error == ""
    assert {correlation(number) for _, number in batch if number is not None} <= stream.correlations()
    kept = [item for entry in await stream.entries() for item in entry.items]
    assert sorted(item.data for item in report.damaged) == sorted(item.data for item in kept)
    for item in kept:
        number = item.position.sequence_number
        assert number is not None
        assert batch[number][1] is None, "a good message is never set aside"
    for number, (data, good) in enumerate(batch):
        if good is None and data[:1] == b"\xfe":
            assert data in {item.data for item in kept if item.position.sequence_number == number}
    assert len(stream.reported) == bool(kept)


@pytest.mark.parametrize("failures", [1, 4])
async def test_a_store_that_comes_back_costs_nothing(failures: int) -> None:
    stream = Stream()
    stream.store.failures = {"create": failures}
    report = await stream.batches.run([GOOD], positions(1))
    assert report.quarantined == ()
    assert stream.correlations() == {correlation(1), correlation(2)}
    assert stream.clock.now > NOW, "it waited through the injected sleep"


async def test_a_batch_that_cannot_be_stored_is_quarantined_whole_and_told_once() -> None:
    stream = Stream()
    stream.store.failures = {"create": 1000}
    report = await stream.batches.run([GOOD, body(3)], positions(2))
    (entry,) = await stream.entries()
    assert entry.kind is Reason.NOT_STORED
    assert [item.data for item in entry.items] == [GOOD, body(3)]
    assert "the store cannot create" in report.error
    assert stream.reported == [(Reason.NOT_STORED, 2)]
    assert stream.clock.now.timestamp() - NOW.timestamp() < 60, "bounded"


async def test_a_defect_in_judging_quarantines_the_batch_instead_of_blocking_the_partition() -> None:
    class Broken:
        def judge(self, bodies: object, now: object = None) -> None:
            raise ZeroDivisionError("defect")

    stream = Stream()
    stream.batches._judge = Broken()  # type: ignore[assignment]
    report = await stream.batches.run([GOOD], positions(1))
    assert report.error == "ZeroDivisionError: defect"
    assert [item.data for entry in await stream.entries() for item in entry.items] == [GOOD]


REFUSED_YEARS = 999_999_999
"""More than the database's times hold, so that it fails on the record and not on the others."""

COUNTING_YEARS = dataclasses.replace(
    RULES[0],
    query="AzureActivity\n"
    '| where OperationNameValue =~ "Microsoft.Automation/automationAccounts/watchers/write"\n'
    '| extend Later = datetime_add("year", toint(Properties_d.years), TimeGenerated)',
)

ENCLOSED: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "envelope": lambda records: b'{"records": [' + b" , ".join(records) + b"] }",
    "list": lambda records: b"[" + b",".join(records) + b"]",
    "lines": b"\n".join,
    "gzip": lambda records: gzip.compress(b'{"records":[' + b",".join(records) + b"]}", mtime=0),
}


def odd(number: int) -> bytes:
    """A record that the database refuses, with its names backwards and spaces where nobody writes them."""
    fields = {**record(number), "properties": {"years": REFUSED_YEARS}}
    cells = [f'"{name}" :\t{json.dumps(fields[name], indent=1)}' for name in sorted(fields, reverse=True)]
    return ("{  " + " ,\r\n".join(cells) + " }").encode()


@pytest.mark.parametrize("shape", ENCLOSED)
async def test_a_record_that_the_database_refuses_is_kept_as_it_came_and_costs_no_other(shape: str) -> None:
    stream = Stream()
    stream.batches._judge = StreamJudge([COUNTING_YEARS])
    plain = [json.dumps({**record(n), "properties": {"years": n}}).encode() for n in (1, 2)]
    message = ENCLOSED[shape]([plain[0], odd(3), odd(4), plain[1]])
    report = await stream.batches.run([body(5), message], positions(2))
    assert stream.correlations() == {correlation(1), correlation(2), correlation(5)}
    (entry,) = await stream.entries()
    assert report.quarantined == (entry.name,)
    assert {item.position.sequence_number for item in entry.items} == {1}
    assert all("Out of Range" in item.reason for item in entry.items)
    kept = [item.data for item in entry.items]
    # Its own bytes, or those of the whole message where records cannot be told apart; nothing twice.
    assert kept in ([odd(3), odd(4)], [content(message)], [message])


async def test_it_raises_only_when_not_even_quarantine_takes_it() -> None:
    stream = Stream()
    stream.store.failures = {"create": 1000, "put": 1000}
    with pytest.raises(StoreUnavailable, match="cannot put"):
        await stream.batches.run([GOOD], positions(1))
    assert stream.store.calls.count("put") == 5
    stream.store.failures = {}
    assert (await stream.batches.run([GOOD], positions(1))).quarantined == (), "the retry finds everything as it was"
    assert stream.correlations() == {correlation(1), correlation(2)}


@pytest.mark.parametrize("point", ["put", "report"])
async def test_a_crash_around_quarantine_is_made_good_by_the_batch_that_comes_again(point: str) -> None:
    stream = Stream()
    stream.store.die = point
    with pytest.raises(KeyboardInterrupt):
        await stream.batches.run([GOOD, b"{"], positions(2))
    assert stream.correlations() == {correlation(1), correlation(2)}, "what is good is stored before"
    stream.store.die = ""
    stream.clock.advance(minutes=1)
    await stream.batches.run([GOOD, b"{"], positions(2))
    assert [item.data for entry in await stream.entries() for item in entry.items] == [b"{"], "one entry, not two"
    assert stream.reported == [(Reason.DAMAGED, 1)]


async def test_many_bytes_become_several_entries_and_none_is_lost() -> None:
    quarantine = Quarantine(MemoryStore())
    items = [
        Item(position=position, reason="r", data=bytes([n]) * 3_000_000) for n, position in enumerate(positions(5))
    ]
    names = await quarantine.put(Reason.DAMAGED, items, NOW)
    assert await quarantine.names(10) == sorted(names)
    assert len(names) == 5
    read = [await quarantine.get(name) for name in names]
    assert [item for entry in read if entry for item in entry.items] == items


async def test_what_is_no_entry_is_named_and_left_alone() -> None:
    store = MemoryStore()
    await store.put_object("odd", b"{}")
    with pytest.raises(UnreadableEntry, match="Quarantine entry odd is not an entry"):
        await Quarantine(store).get("odd")
    assert await Quarantine(store).get("gone") is None


@given(st.text(), st.none() | st.integers())
def test_a_name_is_fit_for_a_blob_whatever_the_position_says(partition: str, number: int | None) -> None:
    item = Item(position=Position(partition=partition, sequence_number=number), reason="", data=b"")
    name = Entry(kind=Reason.DAMAGED, quarantined_at=NOW, items=(item,)).name
    assert name.replace("-", "").isalnum()
    assert name.isascii()
