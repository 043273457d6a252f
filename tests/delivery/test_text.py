"""Bounds on text hold to the byte, and nothing invisible stays invisible."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.delivery.text import (
    CUT,
    Excerpt,
    clip,
    encode_json,
    excerpts,
    first_that_fit,
    fit_fields,
    lines_of,
    plain,
    redact,
    shrink,
    visible,
)
from detectors.model import FocusLine
from tests.factories import build_code

QUIET = settings(deadline=None, database=None, derandomize=True)
ANY_TEXT = st.text(st.characters())


@QUIET
@given(ANY_TEXT, st.integers(0, 40))
def test_a_clipped_text_is_encodable_and_within_its_bytes(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped.encode()) <= limit
    if clipped and not clipped.endswith("…"):
        assert clipped == text or not text.isprintable()


def test_a_text_that_fits_is_left_alone() -> None:
    assert clip("naïve", 6) == "naïve"
    assert clip("naïve", 5) == "na…"


@QUIET
@given(ANY_TEXT)
def test_a_visible_text_is_encodable_and_hides_nothing(text: str) -> None:
    shown = visible(text, keep_newlines=True)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not set("\u202e\u2066\u200b\x1b\x00\r\t\u2028") & set(shown)


def test_a_disguise_is_spelled_out() -> None:
    assert visible("a\u202eb\u200bc\x1bd\ne\tf 🙂") == r"a\u202eb\u200bc\x1bd\ne    f 🙂"
    assert visible("a\nb", keep_newlines=True) == "a\nb"


@QUIET
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
        max_leaves=60,
    ),
    st.integers(20, 400),
)
def test_a_shrunk_value_is_json_within_its_bytes(value: Any, limit: int) -> None:
    smaller, _ = shrink(value, limit)
    encoded = encode_json(smaller)
    assert len(encoded) <= limit
    assert json.loads(encoded) == smaller


def test_a_value_that_fits_is_not_changed() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": []}}
    assert shrink(value, 100) == (value, False)


def test_a_shrunk_value_keeps_its_shape_and_short_texts() -> None:
    smaller, cut = shrink({"name": "nightly", "text": "x" * 5000, "list": list(range(20))}, 2000)
    assert cut
    assert (smaller["name"], smaller["list"]) == ("nightly", list(range(20)))
    assert smaller["text"].endswith(CUT)


@QUIET
@given(st.dictionaries(st.sampled_from("abcdef"), ANY_TEXT | st.lists(ANY_TEXT)), st.integers(0, 4))
def test_fields_fit_together_whatever_floods_them(fields: dict[str, Any], flood: int) -> None:
    flooded = {**fields, "flood": '\x00"' * 1000 * flood}
    fitted, cut = fit_fields(flooded, 500, 600, lambda value: len(encode_json(value)))
    assert fitted.keys() == flooded.keys()
    assert len(encode_json(fitted)) <= 600
    assert {name for name in fitted if fitted[name] != plain(flooded[name])} <= set(cut)


def test_a_value_nested_without_end_is_cut() -> None:
    value: Any = "bottom"
    for _ in range(500):
        value = [value]
    assert "bottom" not in encode_json(shrink(value, 1000)[0]).decode()


def test_secrets_are_hidden_longest_first_and_short_words_stay() -> None:
    assert redact("/a/secret-key and secret-key", ["a", "secret-key", "/a/secret-key"]) == "[hidden] and [hidden]"


def test_lines_are_numbered_as_an_editor_numbers_them() -> None:
    assert lines_of("a\r\nb\rc\nd\x0ce\u2028f\n") == ("a", "b", "c", "d\x0ce\u2028f")


def test_an_excerpt_shows_telling_lines_before_their_neighbours() -> None:
    code = build_code(
        "\n".join("abcdefghij"), focus=(FocusLine(9, "worst"), FocusLine(2, "bad"), FocusLine(99, "gone"))
    )
    assert excerpts(code, 2) == [Excerpt(2, ("b",)), Excerpt(9, ("i",))]
    assert excerpts(code, 100) == [Excerpt(1, ("a", "b", "c", "d")), Excerpt(7, ("g", "h", "i", "j"))]
    assert excerpts(code, 0) == []


def test_an_excerpt_without_telling_lines_is_the_beginning() -> None:
    assert excerpts(build_code("a\nb\nc"), 2) == [Excerpt(1, ("a", "b"))]


def test_entries_are_kept_whole_or_not_at_all() -> None:
    assert first_that_fit(["aa", "bb", "cc"], 12) == ["aa", "bb"]
    assert first_that_fit([], 2) == []
