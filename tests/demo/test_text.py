"""Hostile text is shown, and can do nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sandbox.report.text import fitted, lines, shortened, size, span, visible


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", "␛"),
        ("\x07", "␇"),
        ("\r", "␍"),
        ("\n", "␊"),
        ("\x00", "␀"),
        ("\x7f", "␡"),
        ("\x9b", "⟨U+009B⟩"),
        ("\u202e", "⟨U+202E⟩"),
        ("\u2066", "⟨U+2066⟩"),
        ("\u200b", "⟨U+200B⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_a_character_that_steers_the_screen_is_shown_as_a_symbol(character: str, shown: str) -> None:
    assert visible(f"a{character}b") == f"a{shown}b"


def test_a_pile_of_combining_marks_cannot_paint_over_other_lines() -> None:
    assert visible("a" + "\u0301" * 30).count("\u0301") == 4


@given(st.text(st.characters()))
def test_visible_text_holds_nothing_that_steers_and_can_be_encoded(text: str) -> None:
    shown = visible(text)
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"} & {unicodedata.category(character) for character in shown}
    shown.encode()
    assert visible(shown) == shown


def test_lines_are_counted_as_the_interpreter_counts_them() -> None:
    assert lines("one\r\ntwo\x0c\u2028still two\rthree\n") == ["one", "two␌⟨U+2028⟩still two", "three"]
    assert lines("") == []


@given(st.text(), st.integers(1, 40))
def test_fitted_text_never_needs_more_cells_than_there_are(text: str, cells: int) -> None:
    assert cell_len(fitted(visible(text), cells)) <= cells


def test_what_was_cut_is_counted() -> None:
    assert shortened("a" * 2000, 10) == "aaaaaaaaaa… (1,990 more characters)"


def test_durations_and_sizes_are_written_for_people() -> None:
    assert [span(value) for value in (42, 250, 11100, 187200)] == ["42 s", "4 min", "3 h 5 min", "2 d 4 h"]
    assert [size(value) for value in (1, 812, 3400, 1_200_000)] == ["1 byte", "812 bytes", "3.4 kB", "1.2 MB"]
