"""Whatever happens to the bytes of a message: it is judged as whole records, or its bytes are kept."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sources.stream import Damaged, Judged
from tests.clock import Clock
from tests.stream.batch import JUDGE, correlation, record

NOW = Clock().now

Records = list[dict[str, Any]]

OPENING = re.compile(r'\{\s*"(records|value)"\s*:\s*\[|\[')
CLOSING = re.compile(r"\]\s*\}?")
FIELDS = {name.casefold() for name in record(0)} | {"operationnamevalue", "activitystatusvalue", "timegenerated"}


def whole(message: bytes) -> Records | None:
    """The records of a message that is whole, or None.

    Whole is UTF-8, gzip or not, in which ``json.loads`` takes every document: objects, lists of objects and envelopes,
    one after the other. The reader forgives what loses no record, and so does this: any number of commas and of white
    space between records, and an envelope that lacks its last brace.
    """
    try:
        text = unpacked(message).decode("utf-8-sig")
    except (UnicodeDecodeError, zlib.error, EOFError):
        return None
    found: Records = []
    lists = position = 0
    while position < len(text):
        if text[position].isspace() or text[position] in ",\ufeff":
            position += 1
            continue
        try:
            value, position = json.JSONDecoder().raw_decode(text, position)
        except (ValueError, RecursionError):
            opening, closing = OPENING.match(text, position), CLOSING.match(text, position)
            if opening:
                lists, position = lists + 1, opening.end()
            elif closing and lists:
                lists, position = lists - 1, closing.end()
            else:
                return None
            continue
        inner = list(members(value, outermost=True))
        if any(not isinstance(each, dict) or holds_a_list_only(each) for each in inner):
            return None
        found += inner
    return None if lists else found


def members(value: Any, *, outermost: bool = False) -> Iterator[Any]:
    """What lists and envelopes hold, one inside another."""
    if isinstance(value, dict) and (outermost or holds_a_list_only(value)):
        value = next((value[name] for name in ("records", "value") if isinstance(value.get(name), list)), value)
    if isinstance(value, list):
        for each in value:
            yield from members(each)
    else:
        yield value


def holds_a_list_only(found: dict[str, Any]) -> bool:
    """An envelope, perhaps with a damaged name: no field of a record, and a list of objects."""
    if FIELDS.intersection(name.casefold() for name in found):
        return False
    return any(isinstance(each, list) and each and isinstance(each[0], dict) for each in found.values())


def unpacked(message: bytes) -> bytes:
    """The content of gzip members, which zero bytes may follow. Raises ``zlib.error`` and ``EOFError``."""
    if message[:2] != b"\x1f\x8b":
        return message
    content = b""
    while message[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(wbits=31)
        content += member.decompress(message)
        if not member.eof:
            raise EOFError
        message = member.unused_data
    if message.strip(b"\0"):
        raise EOFError
    return content


def rows(judged: Judged) -> Counter[str]:
    """What each rule found, but for those that count over a batch."""
    return Counter(
        f"{rule.id} {json.dumps(row, sort_keys=True)}"
        for rule, found in judged.found
        if "summarize" not in rule.query
        for row in found
    )


def found_in(judged: Judged) -> set[str]:
    return {row["CorrelationId"] for _, found in judged.found for row in found}


def judge(*messages: bytes) -> Judged:
    return JUDGE.judge(messages, NOW)


def check_that_nothing_is_lost(message: bytes) -> None:
    """*message* is whole and every record of it is judged, or its bytes are kept; whichever, not both."""
    judged = judge(message)
    records = whole(message)
    kept = judged.damaged
    if not kept:
        assert records is not None, "neither whole nor kept"
        assert judged.records == len(records)
        assert rows(judged) == rows(judge(*map(as_message, records)))
    elif all(each.data in (message, unpacked_or_as_it_is(message)) for each in kept):
        assert records is None, "whole, and set aside all the same"
    else:
        check_that_the_rest_is_whole(message, judged)


def check_that_the_rest_is_whole(message: bytes, judged: Judged) -> None:
    """Only some records of *message* are kept: then they are there as they came, and all others were judged."""
    rest, start = unpacked(message), 0
    for each in judged.damaged:
        found = re.compile(rb"(?<=[\[,\s])" + re.escape(each.data) + rb"(?=[\s,\]])").search(rest, start)
        assert found, "kept, and not as it came"
        rest, start = rest[: found.start()] + b"{}" + rest[found.end() :], found.start()
    others = whole(rest)
    assert others is not None
    assert len(others) - len(judged.damaged) <= judged.records <= len(others)
    assert rows(judge(*map(as_message, others))) <= rows(judged)


def as_message(found: dict[str, Any]) -> bytes:
    return json.dumps({"records": [found]}).encode()


def unpacked_or_as_it_is(message: bytes) -> bytes:
    try:
        return unpacked(message)
    except (zlib.error, EOFError):
        return message


def small(number: int, *, watched: bool = True, name: str = "") -> dict[str, Any]:
    """As few bytes as an action has, so that much of the damage hits what holds it together."""
    full = record(number)
    kept = {key: full[key] for key in ("resourceId", "operationName", "resultType", "correlationId")}
    if not watched:
        kept["operationName"] = "MICROSOFT.COMPUTE/VIRTUALMACHINES/WRITE"
    return kept | ({"properties": {"entity": name}} if name else {})


def lines(records: Records) -> bytes:
    return b"\n".join(json.dumps(each, ensure_ascii=False).encode() for each in records)


SHAPES: dict[str, Callable[[Records], bytes]] = {
    "envelope": lambda records: json.dumps({"records": records}).encode(),
    "spaced": lambda records: json.dumps({"records": records}, indent=1, ensure_ascii=False).encode(),
    "list": lambda records: json.dumps(records, separators=(",", ":")).encode(),
    "lines": lines,
    "concatenated": lambda records: b"".join(lines([each]) for each in records),
    "envelopes": lambda records: b"\n".join(map(as_message, records)),
    "followed": lambda records: json.dumps({"value": records, "nextLink": "x"}).encode(),
    "gzip": lambda records: gzip.compress(json.dumps({"records": records}).encode(), mtime=0),
    "stored": lambda records: gzip.compress(lines(records), compresslevel=0, mtime=0),
}


@st.composite
def messages(draw: st.DrawFn, first: int) -> bytes:
    records = [
        small(first + n, watched=draw(st.integers(0, 3)) > 0, name=draw(st.sampled_from(["", 'Z\u00fcrich "1"'])))
        for n in range(draw(st.integers(1, 3)))
    ]
    return SHAPES[draw(st.sampled_from(list(SHAPES)))](records)


ODD_BYTES = st.one_of(st.sampled_from(list(b'[]{}",:\\ \n\0\xff\x1f')), st.integers(0, 255))


@st.composite
def hurt(draw: st.DrawFn, message: bytes) -> bytes:
    """*message* after one to three accidents, half of them where its structure is."""
    for _ in range(draw(st.integers(1, 3))):
        if not message:
            break
        structure = [at for at, byte in enumerate(message) if byte in b'[]{}",:\\']
        anywhere = st.integers(0, len(message) - 1)
        at = draw(st.one_of(st.sampled_from(structure), anywhere) if structure else anywhere)
        end = draw(st.one_of(st.just(at + 1), st.integers(at, len(message))))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "cut", "behead", "duplicate", "move"])):
            case "flip":
                message = message[:at] + bytes([message[at] ^ 1 << draw(st.integers(0, 7))]) + message[at + 1 :]
            case "set":
                message = message[:at] + bytes([draw(ODD_BYTES)]) + message[at + 1 :]
            case "insert":
                message = message[:at] + bytes(draw(st.lists(ODD_BYTES, min_size=1, max_size=3))) + message[at:]
            case "delete":
                message = message[:at] + message[end:]
            case "cut":
                message = message[: at + draw(st.integers(0, 1))]
            case "behead":
                message = message[at + draw(st.integers(0, 1)) :]
            case "duplicate":
                message = message[:end] + message[at:]
            case _:
                message = message[:at] + message[end:] + message[at:end]
    return message


@settings(max_examples=120)
@given(data=st.data())
def test_damage_to_one_message_is_judged_or_kept_and_changes_nothing_for_the_others(data: st.DataObject) -> None:
    good = [data.draw(messages(10 * n)) for n in range(data.draw(st.integers(0, 2)))]
    damaged = data.draw(messages(50).flatmap(hurt))
    at = data.draw(st.integers(0, len(good)))
    together, alone, others = judge(*good[:at], damaged, *good[at:]), judge(damaged), judge(*good)
    assert others.damaged == ()
    assert together.damaged == tuple(Damaged(at, each.reason, each.data) for each in alone.damaged)
    assert rows(together) == rows(others) + rows(alone)
    assert together.records == others.records + alone.records
    check_that_nothing_is_lost(damaged)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_message_that_ends_too_early_is_judged_or_kept_wherever_it_ends(shape: str) -> None:
    message = SHAPES[shape]([small(1), small(2, watched=False)])
    for end in range(0, len(message), 1 if shape in ("list", "gzip") else 7):
        check_that_nothing_is_lost(message[:end])


@pytest.mark.parametrize("outer", [b"[%b]", b'{"records": [%b]}', b'{"records": [{"a": 1}, %b]}'])
@pytest.mark.parametrize("name", [b"records", b"recordz"])
def test_records_that_nobody_looks_for_where_they_are_are_kept(outer: bytes, name: bytes) -> None:
    message = outer % as_message(small(1)).replace(b"records", name)
    check_that_nothing_is_lost(message)
    judged = judge(message)
    assert judged.damaged or found_in(judged)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_that_are_no_text_are_kept_and_the_records_with_them_are_judged(shape: str, watched: bool) -> None:
    message = SHAPES[shape]([small(1, watched=watched, name="Z\u00fcrich"), small(2)])
    packed = message != unpacked(message)
    message = unpacked(message).replace("\u00fc".encode(), b"\xff").replace(b"\\u00fc", b"\xff")
    message = gzip.compress(message, mtime=0) if packed else message
    judged = judge(message)
    check_that_nothing_is_lost(message)
    assert judged.damaged
    assert found_in(judged) == ({correlation(1), correlation(2)} if watched else {correlation(2)})


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_whole_and_its_actions_are_found(shape: str) -> None:
    """Otherwise the tests above would compare nothing with nothing."""
    records = [small(1, name="Z\u00fcrich"), small(2, watched=False), small(3)]
    message = SHAPES[shape](records)
    assert whole(message) == records
    assert found_in(judge(message)) == {correlation(1), correlation(3)}
