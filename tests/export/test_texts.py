"""Any text arrives unchanged: in a template, in a Bicep string, and as an ISO duration."""

import json
import re
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.export.arm import rendered
from detectors.export.bicep import bicep_module, main_file, owner, quoted, verbatim
from detectors.export.document import read_extras
from detectors.export.shape import Expression, iso_duration
from tests.export import samples
from tests.export.readers import NotBicep, arm_value, bicep_text, bicep_value

# Half of it from the characters that either language makes something of.
TRICKY = st.text(st.sampled_from("'\\${}[]\n\r\t\"/#*a \u0000\u2028\u00a0é😀"), max_size=30)
TEXTS = st.one_of(TRICKY, st.text(st.characters(codec="utf-8"), max_size=60))


@given(TEXTS)
@example("[x]")
@example("[[x]")
@example("[x] y")
@example("[")
@example("[]")
def test_a_template_gives_every_text_back(text: str) -> None:
    document = json.loads(json.dumps(rendered({"a": [text]}), ensure_ascii=False))
    assert arm_value(document, {}) == {"a": [text]}


def test_an_expression_stays_one() -> None:
    assert rendered([Expression("parameters('x')"), "[x]", "[x] y"]) == ["[parameters('x')]", "[[x]", "[x] y"]


@given(TEXTS)
@example("${x}")
@example("\\${x}")
@example("$")
@example("'")
def test_a_bicep_string_gives_every_text_back(text: str) -> None:
    token = quoted(text)
    assert "\n" not in token
    assert "\r" not in token
    assert bicep_text(token) == bicep_value(token) == text


@given(TEXTS)
@example("a\nb'")
@example("a\n'''\nb")
@example("\n\na\n")
@example("a\r\nb\r\n")
@example("print '${x}'\n")
def test_a_query_in_a_module_gives_every_text_back(text: str) -> None:
    assert bicep_value(verbatim(text) + "\n") == text


def test_a_query_of_lines_stands_as_it_is() -> None:
    query = "AzureActivity\n| where Caller matches regex @\"\\d+\\.[a-z]\"\n| extend Name = 'x'\n"
    assert verbatim(query) == f"'''\n{query}'''"


@pytest.mark.parametrize("text", ["a\n'''", "a\n'", "a\r\nb", "a\n${b}\n", "a\n\u2028b", "one line"])
def test_what_a_multi_line_string_cannot_hold_is_escaped(text: str) -> None:
    assert not verbatim(text).startswith("'''")


def test_the_reader_refuses_what_bicep_would_take_otherwise() -> None:
    for token in ("'${x}'", r"'\\${x}'", r"'\q'"):
        with pytest.raises(NotBicep):
            bicep_text(token)
    assert bicep_text(r"'\${x}'") == "${x}"


def test_the_owner_of_a_module_is_its_resource_and_no_text_of_the_rule() -> None:
    stem, rule = next(iter(samples.BUILT_IN.items()))
    text, _ = bicep_module(rule, samples.document_of(stem))
    assert owner(text) == rule.id
    assert owner(text.replace("Written by", "By hand:", 1)) is None
    assert owner("") is None


def test_modules_have_names_that_bicep_takes() -> None:
    ids = [f"{number:08}-2222-3333-4444-555555555555" for number in range(6)]
    stems = ["webhook-created", "Webhook created", "webhookCreated", "1-first", "enabled", "it's"]
    text = main_file(zip(stems, ids, strict=True))
    symbols = re.findall(r"^module (\S+) ", text, re.MULTILINE)
    assert symbols[0] == "webhookCreated"
    assert len(set(symbols)) == len(stems)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", symbol) for symbol in symbols)
    assert "enabled" not in symbols
    assert "'it\\'s.bicep'" in text


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(minutes=5), "PT5M"),
        (timedelta(minutes=90), "PT1H30M"),
        (timedelta(days=14), "P14D"),
        (timedelta(days=1, seconds=1), "P1DT1S"),
        (timedelta(0), "PT0S"),
    ],
)
def test_durations(delta: timedelta, text: str) -> None:
    assert iso_duration(delta) == text


@given(st.integers(min_value=1, max_value=86_400))
def test_a_duration_that_was_written_is_read_back(seconds: int) -> None:
    written = iso_duration(timedelta(seconds=seconds))
    assert read_extras({"suppressionDuration": written}).suppression_duration == timedelta(seconds=seconds)
