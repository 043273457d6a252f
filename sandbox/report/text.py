"""Hostile text made visible: what an attacker wrote is shown as it is, and can do nothing to the screen.

A terminal obeys control sequences and both terminals and browsers obey bidirectional overrides, so a name could
otherwise rewrite the line it is printed on. Nothing is removed silently: every such character appears as a symbol.
"""

import unicodedata
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size

_TAB = "    "
_OTHER = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}
"""Unicode categories that steer or cannot be seen: controls, format (bidi, zero width), private, unassigned, ..."""


def _symbol(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"


def visible(text: str) -> str:
    """*text* on one line, with every control, format and unassigned character shown as a symbol.

    Escape becomes ``␛``, a line end ``␊``, a right-to-left override ``⟨U+202E⟩``. Tabs become spaces. Of a run of
    combining marks at most four stay, because more of them paint over the neighbouring lines.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if character == "\t":
            shown.append(_TAB)
        elif category in _OTHER or marks > 4:
            shown.append(_symbol(character))
        else:
            shown.append(character)
    return "".join(shown)


def lines(text: str) -> list[str]:
    """The lines of a script, each made :func:`visible`.

    Only ``\\n``, ``\\r\\n`` and ``\\r`` end a line, as they do for the interpreters; ``str.splitlines`` would
    count form feeds and U+2028 as well and so put every focus line beside its place.
    """
    normalised = text.replace("\r\n", "\n").replace("\r", "\n")
    return [visible(line) for line in normalised.removesuffix("\n").split("\n")] if normalised else []


def shortened(text: str, limit: int) -> str:
    """At most *limit* characters of *text*, saying how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def fitted(text: str, cells: int) -> str:
    """*text* cut to *cells* terminal cells with an ellipsis; wide characters count as two cells."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…" if cells > 1 else "…"[:cells]


def moment(when: datetime) -> str:
    """``2026-05-04 03:02:01 UTC``: one notation everywhere, in the zone of the logs."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A duration for people: ``42 s``, ``4 min``, ``3 h 5 min``, ``2 d 4 h``."""
    total = round(abs(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min"
    if total < 86400:
        hours, minutes = divmod(total // 60, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(total // 3600, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def size(number: int) -> str:
    """A number of bytes for people: ``812 bytes``, ``3.4 kB``, ``1.2 MB`` (decimal units)."""
    if number < 1000:
        return f"{number} byte" + ("" if number == 1 else "s")
    if number < 1_000_000:
        return f"{number / 1000:.1f} kB"
    return f"{number / 1_000_000:.1f} MB"
