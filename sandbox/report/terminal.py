"""Alerts in a terminal, for a person who was asleep a minute ago.

Only :class:`rich.text.Text` objects are printed, never strings: rich reads markup in strings, and the names in an
alert belong to whoever created the runbook. Severity is always a word, so that nothing is lost without colour.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from detectors.model import Severity
from sandbox.report.text import fitted, shortened
from sandbox.report.view import AlertView, CodeView, EvidenceView, Field, Line

FOCUS_LINES = 8
PREVIEW_LINES = 5
LABEL_CELLS = 26
VALUE_CHARACTERS = 400
_INDENT = 2
_BADGE = {
    Severity.HIGH: "bold white on red",
    Severity.MEDIUM: "bold black on yellow",
    Severity.LOW: "bold white on blue",
    Severity.INFORMATIONAL: "bold reverse",
}


def console(stream: TextIO | None = None, *, width: int | None = None) -> Console:
    """A console that interprets nothing: no markup, no emoji names, no automatic highlighting.

    Rich itself honours NO_COLOR and writes no escape sequence when *stream* is not a terminal. A stream whose
    encoding lacks a character gets a question mark instead of an exception.
    """
    target = stream or sys.stdout
    reconfigure = getattr(target, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(file=target, markup=False, emoji=False, highlight=False, width=width, soft_wrap=False)


def badge(severity: Severity) -> Text:
    """``[HIGH]``; the brackets carry the badge where colours do not."""
    return Text().append(f"[{severity.upper()}]", style=_BADGE[severity])


def _headline(view: AlertView) -> Text:
    kind = f"  ({view.kind})" if view.kind else ""
    return badge(view.severity).append(" ").append(view.title, style="bold").append(kind)


def heading(text: str) -> Text:
    """A heading of a part of the report."""
    return Text(text, style="bold")


def indented(part: RenderableType, cells: int = _INDENT) -> Padding:
    """*part*, moved to the right."""
    return Padding.indent(part, cells)


def fields(rows: Iterable[Field], *, style: str = "", label_style: str = "dim") -> Table:
    """Labels and values in two columns; long values go on in their own column."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, max_width=LABEL_CELLS, style=label_style, overflow="ellipsis")
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(Text(row.label), Text(shortened(row.value, VALUE_CHARACTERS), style=style))
    return grid


def table(columns: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    """A table without rules, so that it survives a paste into a ticket."""
    built = Table(box=None, padding=(0, 2, 0, 0), header_style="bold dim", pad_edge=False)
    for column in columns:
        built.add_column(column, overflow="fold")
    for row in rows:
        built.add_row(*row)
    return built


def _bullets(texts: Iterable[str]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for text in texts:
        grid.add_row(Text("•"), Text(text))
    return grid


def _code_lines(shown: Sequence[Line], width: int) -> Table:
    digits = len(str(max(line.number for line in shown)))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, justify="right", style="dim")
    grid.add_column(overflow="fold")
    for line in shown:
        # Cut here and not by rich, which would cut inside a wide character and leave the line a cell too long.
        text = fitted(line.text, max(width - digits - 3, 10))
        grid.add_row(Text(f"{line.number} │"), Text(text, style="bold" if line.reason else ""))
        if line.reason:
            grid.add_row(Text("╰─", style="not dim yellow"), Text(line.reason, style="yellow"))
    return grid


def _more(count: int, what: str) -> Text:
    return Text(f"… {count:,} more {what}{'' if count == 1 else 's'} on the page", style="dim")


def _focus(view: AlertView, width: int) -> Iterator[RenderableType]:
    for code, focus in view.focus:
        yield Text.assemble(("Read these lines first", "bold"), f"  in {code.title}")
        yield indented(_code_lines(focus[:FOCUS_LINES], width - _INDENT))
        if len(focus) > FOCUS_LINES:
            yield indented(_more(len(focus) - FOCUS_LINES, "line worth reading"))


def _code(code: CodeView, width: int) -> Iterator[RenderableType]:
    if code.same_as:
        yield Text(f"{code.title}: the same text as “{code.same_as}”".removeprefix(": "))
        return
    title, summary = Text(code.title), Text(code.summary, style="dim")
    if title.cell_len + 2 + summary.cell_len <= width:
        yield Text.assemble(title, "  ", summary)
    else:
        yield title
        yield indented(summary)
    if code.focus or not code.lines:
        return
    if code.language != "PlainText":
        yield indented(Text("no line that is known to matter; the whole text is on the page"))
        return
    shown = code.lines[:PREVIEW_LINES]
    yield indented(_code_lines(shown, width - _INDENT))
    if rest := len(code.lines) + code.omitted - len(shown):
        yield indented(_more(rest, "line"))


def _evidence(found: EvidenceView, width: int) -> Iterator[RenderableType]:
    if found.only:
        yield fields((Field(found.title, found.only),), label_style="bold")
        return
    yield heading(found.title)
    if found.fields:
        yield indented(fields(found.fields))
    for code in found.code:
        for part in _code(code, width - _INDENT):
            yield indented(part)


def _parts(view: AlertView, width: int) -> Iterator[RenderableType]:
    yield fields(view.lead)
    if view.reasons:
        yield heading("Why this severity")
        yield indented(_bullets(view.reasons))
    if view.message:
        yield Text(view.message)
    if view.facts:
        yield heading(view.facts_heading)
        yield indented(fields(view.facts))
    if view.items:
        yield heading("Actions in this summary")
        yield indented(fields(view.items))
    yield from _focus(view, width)
    for found in view.evidence:
        yield from _evidence(found, width)
    if view.missing:
        yield heading("Not available")
        yield indented(_bullets(f"{field.label}: {field.value}" for field in view.missing))
    if view.first_steps:
        yield heading("What to do")
        yield indented(fields(view.first_steps))
    if view.background:
        yield heading("What the rule looks for")
        yield indented(Text(view.background))
    yield heading("Identifiers")
    yield indented(fields(view.ids, style="dim"))


def print_alert(target: Console, view: AlertView, *, indent: int = 0) -> None:
    """Print everything a responder needs before opening the page. No line is wider than the console."""
    margin = indent + _INDENT
    target.print(indented(_headline(view), indent))
    for part in _parts(view, target.width - margin):
        target.print(indented(part, margin))
    target.print()


def print_again(target: Console, view: AlertView, *, indent: int = 0) -> None:
    """Print an alert whose rule and script were told before: what is its own, the lines to read, and what it found."""
    margin = indent + _INDENT
    target.print(indented(_headline(view), indent))
    parts = [fields((Field("When", view.when),)), _bullets(view.reasons), *_focus(view, target.width - margin)]
    parts += [part for found in view.evidence if not found.code for part in _evidence(found, target.width - margin)]
    for part in parts:
        target.print(indented(part, margin))
    target.print()


def print_brief(target: Console, view: AlertView, *, indent: int = 0) -> None:
    """Print the few lines that name the alert, for a list whose alerts are told in full elsewhere."""
    target.print(indented(_headline(view), indent))
    target.print(indented(Text(f"{view.when}  ", style="dim").append(" ".join(view.reasons)), indent + _INDENT))
