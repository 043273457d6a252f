"""Keys and bytes at rest."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.state.encoding import RecordUnreadable, decode_record, encode_record, storage_key
from detectors.state.store import StoreUnavailable
from tests.state.records import full_record


@settings(deadline=None, database=None)
@given(st.lists(st.text(max_size=200), unique=True, max_size=5))
def test_every_name_becomes_a_key_of_its_own_that_azure_takes(names: list[str]) -> None:
    keys = [storage_key(name) for name in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert re.fullmatch(r"[A-Za-z0-9_-]{0,400}", key)


def test_the_key_of_a_hexadecimal_id_is_the_id() -> None:
    assert storage_key("0123abcdef" * 6) == "0123abcdef" * 6


def test_a_key_cannot_be_forged_by_a_name_that_looks_encoded() -> None:
    long_name = "/" * 200
    assert storage_key("a_2Fb") != storage_key("a/b") == "a_2Fb"
    assert storage_key(long_name).startswith("_sha256-")
    assert storage_key(storage_key(long_name)) != storage_key(long_name)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"id": 1}', b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_record_are_named_and_told_from_an_outage(data: bytes) -> None:
    with pytest.raises(RecordUnreadable, match="blob x is not a record of this version") as raised:
        decode_record(data, "blob x")
    assert isinstance(raised.value, StoreUnavailable)


def test_a_record_cut_short_is_unreadable_at_every_length() -> None:
    data = encode_record(full_record("a", code_size=20))
    for length in range(0, len(data), 50):
        with pytest.raises(RecordUnreadable):
            decode_record(data[:length], "x")
