"""The page stands alone, runs nothing, fetches nothing, and can be read by everyone."""

from html.parser import HTMLParser

import pytest

from sandbox.report.html import render
from sandbox.report.style import DARK, LIGHT, STYLE
from sandbox.report.view import Field, Section
from tests.demo.samples import HOSTILE, STARTED, attack, health, hostile

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Collects elements and text, and notes what a browser would have to repair."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(attrs) != len(dict(attrs)):
            self.problems.append(f"{tag} repeats an attribute")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"{tag} closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(*sections: Section) -> Page:
    text = render([attack(), hostile(), health()], title=HOSTILE, generated_at=STARTED, sections=sections)
    text.encode()
    return Page(text)


def test_the_page_is_well_formed_and_holds_no_active_element() -> None:
    parsed = page(Section(title=HOSTILE, note=HOSTILE, fields=(Field(HOSTILE, HOSTILE),), alert_ids=("health-1",)))
    assert parsed.problems == []
    used = {tag for tag, _ in parsed.elements}
    assert not used & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "svg", "input", "button"}
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "srcset", "style", "background", "action", "ping"}


def test_every_link_is_https_or_points_into_the_page() -> None:
    parsed = page()
    targets = [attributes["href"] or "" for attributes in parsed.all("a")]
    assert all(target.startswith(("https://", "#")) for target in targets)
    outside = [attributes for attributes in parsed.all("a") if str(attributes["href"]).startswith("https://")]
    assert outside
    assert all("noopener" in (attributes["rel"] or "") for attributes in outside)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in targets if target.startswith("#")} <= set(ids)


def test_the_page_forbids_everything_but_its_own_style() -> None:
    policies = [item["content"] or "" for item in page().all("meta") if item.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_hostile_text_is_shown_as_text() -> None:
    shown = "".join(page().text)
    assert "<script>alert(1)</script>" in shown
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    assert "⟨U+202E⟩" in shown


def test_an_alert_shows_every_part_in_order() -> None:
    shown = "".join(Page(render([attack()], title="Demo", generated_at=STARTED)).text)
    wanted = [
        "Overview",
        "anna.vendor@example.com",
        "203.0.113.77",
        "Why this severity",
        "From the log",
        "Read these lines first",
        "Watcher",
        "hybrid worker group hwg-fileservers",
        "Published runbook",
        "Line 7: asks the managed identity endpoint for a token by hand",
        "the same text as",
        "Not available",
        "No job of this watcher has written output yet.",
        "What to do",
        "Check first",
        "What the rule looks for",
        "All checks",
        "Response, if it is real",
        "When this is harmless",
        "Open the resource in the Azure portal",
        "Identifiers",
        "5d0c1f0e9a7b4c2d8e6f",
        "The query that found it",
        "| where OperationNameValue =~ 'x'",
        "The log row",
        '"Caller": "anna.vendor@example.com"',
    ]
    position = 0
    for part in wanted:
        position = shown.index(part, position) + len(part)


def test_the_lines_to_read_first_stand_out_in_the_script_without_colour() -> None:
    parsed = Page(render([attack()], title="Demo", generated_at=STARTED))
    focused = [item["value"] for item in parsed.all("li") if item.get("class") == "focus"]
    assert focused == ["7", "9"]
    assert "▶" in STYLE.replace("\\25B6", "▶")


def test_alerts_appear_once_under_the_first_section_that_names_them() -> None:
    first = Section(title="Step one", alert_ids=("health-1", "unknown"))
    second = Section(title="Step two", alert_ids=("health-1",))
    parsed = page(first, second)
    assert len(parsed.all("article")) == 3
    shown = "".join(parsed.text)
    assert shown.index("Step one") < shown.index("The hunt of one rule") < shown.index("Step two")
    assert "Other alerts" in shown


def test_a_report_without_alerts_says_so() -> None:
    assert "No alerts." in "".join(Page(render([], title="Demo", generated_at=STARTED)).text)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((text, ground) for text in ("text", "muted", "link") for ground in ("page", "card", "code", "focus")),
        ("why", "focus"),
        *(("badge", severity) for severity in ("high", "medium", "low", "informational")),
    ],
)
def test_text_stands_out_from_its_ground(scheme: dict[str, str], text: str, ground: str) -> None:
    light, dark = sorted((_luminance(scheme[text]), _luminance(scheme[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_both_colour_schemes_name_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert "prefers-color-scheme:dark" in STYLE
