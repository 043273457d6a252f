"""The terminal shows an alert at any width, with or without colours, and obeys nothing that is in it."""

import io
import re

import pytest
from rich.cells import cell_len

from detectors.model import Alert
from sandbox.report.terminal import console, print_alert, print_brief
from sandbox.report.view import build
from tests.demo.samples import HOSTILE, attack, health, hostile


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def printed(alert: Alert, *, width: int = 80, stream: io.StringIO | None = None) -> str:
    target = stream if stream is not None else io.StringIO()
    print_alert(console(target, width=width), build(alert))
    return target.getvalue()


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("alert", [attack(), hostile(), health()], ids=["attack", "hostile", "health"])
def test_no_line_is_wider_than_the_terminal(alert: Alert, width: int) -> None:
    assert max(cell_len(line) for line in printed(alert, width=width).splitlines()) <= width


def test_an_alert_reads_from_how_bad_to_what_to_do() -> None:
    text = printed(attack())
    wanted = [
        "[HIGH] Watcher Disk-Usage started",
        "anna.vendor@example.com",
        "203.0.113.77",
        "WATCHERS/START/ACTION",
        "aa-operations",
        "2026-05-04 03:02:01 UTC",
        "• The runbook asks the managed identity for a token by hand",
        "7 │ $token = Invoke-RestMethod",
        "╰─ asks the managed identity endpoint for a token by hand",
        "9 │ Invoke-RestMethod -Method Post",
        "hybrid worker group hwg-fileservers",
        "Job output: No job of this watcher has written output yet.",
        "Check first",
        "If it is real",
        "5d0c1f0e9a7b4c2d8e6f",
    ]
    places = [text.index(part) for part in wanted]
    assert places == sorted(places)


def test_markup_in_a_name_is_printed_as_it_is() -> None:
    text = printed(hostile())
    assert "[bold red]x[/]" in text
    assert ":skull:" in text


def test_nothing_in_an_alert_reaches_the_terminal_as_a_control_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = printed(hostile(), stream=Screen())
    assert "\x1b[" in text
    without_styles = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\u2028]", without_styles)
    assert "␛]8;;https://evil.example" in without_styles
    assert "⟨U+202E⟩" in without_styles


def test_without_colours_the_severity_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    text = printed(attack(), stream=Screen())
    assert "[HIGH]" in text
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|38|48|9[0-7])\b", text)


def test_a_pipe_gets_plain_text() -> None:
    assert "\x1b" not in printed(attack())


def test_an_encoding_that_lacks_a_character_does_not_stop_the_report() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_alert(console(stream, width=80), build(hostile()))
    stream.flush()
    assert b"[MEDIUM] <script>" in raw.getvalue()


def test_a_brief_line_names_severity_title_and_reasons() -> None:
    stream = io.StringIO()
    print_brief(console(stream, width=80), build(attack()))
    assert stream.getvalue().startswith(
        "[HIGH] Watcher Disk-Usage started\n  2026-05-04 03:02:01 UTC  The runbook asks"
    )


def test_the_sample_is_hostile_enough() -> None:
    assert {"\x1b", "\x9b", "\u202e", "\r"} <= set(HOSTILE)
