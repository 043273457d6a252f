"""The rules' Markdown becomes plain data, and never a link that is not https."""

import pytest

from sandbox.report.markdown import Span, parse, plain, safe_url, spans, steps


def test_lists_paragraphs_code_and_headings_are_recognised() -> None:
    blocks = parse("## Head\nText\ngoes on\n\n1. One\n   more\n2) Two\n- Three\n\n```\n1. not a list\n```\nEnd")
    assert [(block.kind, [plain(item) for item in block.items]) for block in blocks] == [
        ("heading", ["Head"]),
        ("paragraph", ["Text goes on"]),
        ("numbered", ["One more", "Two"]),
        ("bulleted", ["Three"]),
        ("code", ["1. not a list"]),
        ("paragraph", ["End"]),
    ]


def test_code_bold_and_https_links_are_spans() -> None:
    assert spans("a `b` **c** [d](https://example.com/) e") == (
        Span("a "),
        Span("b", "code"),
        Span(" "),
        Span("c", "bold"),
        Span(" "),
        Span("d", "link", "https://example.com/"),
        Span(" e"),
    )


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://example.com/",
        "//example.com/",
        "https:///path",
        "https://user@example.com/",
        "https://exa\u202emple.com/",
        "https://[broken/",
        "data:text/html,x",
        "https://example.com/\n",
    ],
)
def test_an_address_that_is_not_plain_https_is_no_link(url: str) -> None:
    assert safe_url(url) == ""
    assert all(span.style != "link" for span in spans(f"[text]({url})"))


def test_the_steps_of_a_text_are_its_list_items_or_else_its_paragraphs() -> None:
    assert [plain(step) for step in steps(parse("Intro\n\n1. One\n2. Two"))] == ["One", "Two"]
    assert [plain(step) for step in steps(parse("Only\n\nparagraphs"))] == ["Only", "paragraphs"]
