"""Plain aligned text for a terminal. Hostile text is made visible here, so that no caller can forget it."""

import unicodedata
from collections.abc import Iterable, Sequence

from detectors.delivery.text import visible

_GAP = "  "


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: *columns* as headings, every cell on one line, no rules, so that it survives a paste."""
    shown = [list(columns), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*shown, strict=True)]
    return [
        _GAP.join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]


def fields(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of labels and values; the lines of a value begin under each other."""
    pairs = [(visible(label), block(value)) for label, value in rows]
    size = max((width(label) for label, _ in pairs), default=0)
    lines = []
    for label, values in pairs:
        lines.append(f"{label}{' ' * (size - width(label))}{_GAP}{values[0]}".rstrip())
        lines += [f"{' ' * size}{_GAP}{value}".rstrip() for value in values[1:]]
    return lines


def block(text: str) -> list[str]:
    """The lines of *text*, at least one, each visible. Only ``\\n`` ends one: the others are shown."""
    return [visible(line) for line in text.replace("\r\n", "\n").split("\n")]


def indented(lines: Iterable[str], spaces: int = 2) -> list[str]:
    """*lines*, moved to the right."""
    return [f"{' ' * spaces}{line}" if line else "" for line in lines]


def width(text: str) -> int:
    """Terminal cells of *text*: wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
