"""The text of a runbook is read whole, decoded right, and shown without tricks."""

import codecs
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.automation.texts import Body, decode, label, readable
from detectors.triage.content import guess_language, language, to_content

TEXT = 'Write-Output "é ü €"\nGet-Date\n'


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16-be"),
        (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), "utf-32-le"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "utf-32-be"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_a_text_is_decoded_by_its_mark_or_its_look(data: bytes, encoding: str) -> None:
    assert decode(data) == (TEXT, encoding)


def test_a_byte_that_no_encoding_knows_is_shown_and_not_dropped() -> None:
    assert decode(b"iex \x81\xff")[0] == "iex \N{REPLACEMENT CHARACTER}ÿ"


def test_a_character_cut_by_the_cap_does_not_change_the_encoding() -> None:
    data = ("x" * 9 + "é").encode()[:10]
    assert decode(data, truncated=True) == ("x" * 9, "utf-8")
    assert decode(data)[1] == "cp1252"


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_the_decoder_fail(data: bytes, truncated: bool) -> None:
    text, _ = decode(data, truncated=truncated)
    readable(text)[0].encode()


def test_control_characters_are_removed_and_that_is_said() -> None:
    text, notes = readable("Invoke\x00-Expression\x1b[2K \x9b1m\tok\r\nb\rc\x0bd\u2028e")
    assert text == "Invoke-Expression[2K 1m\tok\nb\nc d\ne"
    assert notes == ("3 NUL or control characters were removed from the text shown.",)


def test_characters_that_reorder_a_line_are_removed_and_that_is_said() -> None:
    text, notes = readable("a \u202e b \u2066 c")
    assert text == "a  b  c"
    assert "2 bidirectional control characters" in notes[0]


def test_a_label_is_one_bounded_line() -> None:
    assert label("a\nb\x00c\x1b") == "a bc"
    assert label("x" * 50, 10) == "x" * 9 + "…"
    assert label("\ud800").encode()


@pytest.mark.parametrize(
    ("runbook_type", "expected"),
    [
        ("PowerShell", "PowerShell"),
        ("PowerShell72", "PowerShell"),
        ("PowerShellWorkflow", "PowerShell"),
        ("Script", "PowerShell"),
        ("Python2", "Python"),
        ("Python3", "Python"),
        ("Graph", "PlainText"),
        ("GraphPowerShell", "PlainText"),
        ("Surprise", "PlainText"),
        (None, "PlainText"),
    ],
)
def test_the_language_follows_the_runbook_type(runbook_type: str | None, expected: str) -> None:
    assert language(runbook_type) == expected


def test_the_language_of_a_lost_runbook_is_guessed_from_its_text() -> None:
    assert guess_language("import os\nprint(os.environ)\n") == "Python"
    assert guess_language("param($x)\nGet-Date\n") == "PowerShell"
    assert guess_language("") == "PowerShell"


def test_code_holds_the_hash_and_size_of_the_bytes_as_sent() -> None:
    data = codecs.BOM_UTF16_LE + "$password = 'hunter2'\nGet-AzAccessToken".encode("utf-16-le")
    content = to_content(Body(data), title="t", language="PowerShell")
    assert content.code.sha256 == hashlib.sha256(data).hexdigest()
    assert content.code.size == len(data)
    assert content.code.text == "$password = '«masked»'\nGet-AzAccessToken"
    assert content.text.startswith("$password = 'hunter2'")
    assert [line.number for line in content.code.focus] == [2]
    assert content.notes == ("Decoded as utf-16-le.",)


def test_only_the_first_lines_of_an_output_are_shown() -> None:
    content = to_content(Body(b"a\nb\nc\nd\n"), title="t", lines=2)
    assert content.code.text == "a\nb"
    assert content.notes == ("The first 2 of 4 lines are shown.",)


def test_a_cut_body_says_so() -> None:
    content = to_content(Body(b"abc", truncated=True), title="t")
    assert content.code.truncated
    assert content.notes == ("Only the first 3 bytes were read.",)
