"""Making hostile or oversized text fit to be sent: bounded, encodable, visible.

Pure functions shared by the destinations. Limits are in bytes of UTF-8, because that is what receivers count.
"""

import dataclasses
import functools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from detectors.model import Code

CUT = "… [cut]"

# Control, format (bidirectional overrides, zero-width), surrogate, private use, unassigned, line and paragraph
# separators; then the letters and marks that are drawn as nothing.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_MAX_DEPTH = 24
# Largest string and most entries per list or dict, tried in turn until a value fits.
_SHRINK_STEPS = (
    (16_000, 1_000),
    (4_000, 500),
    (1_000, 350),
    (1_000, 250),
    (1_000, 180),
    (400, 120),
    (250, 80),
    (150, 60),
    (100, 40),
    (60, 40),
    (60, 12),
    (24, 4),
)
_WORTH_HIDING = 6


def encodable(text: str) -> str:
    """*text* with lone surrogates spelled out (``\\ud800``): the only ``str`` that UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(text: str, *, keep_newlines: bool = False) -> str:
    """*text* with every invisible character spelled out as its escape (``\\u202e``), so that a reader sees it.

    A right-to-left override in a runbook name, or a zero-width space in a caller, is a disguise. Tabs become
    four spaces; newlines stay only with *keep_newlines*.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character, keep_newlines=keep_newlines) for character in text)


def _visible_character(character: str, *, keep_newlines: bool) -> str:
    if character == "\n" and keep_newlines:
        return character
    if character == "\t":
        return "    "
    if unicodedata.category(character) in _INVISIBLE or character in _BLANK_LETTERS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def clip(text: str, limit: int, marker: str = "…") -> str:
    """*text*, at most *limit* bytes of UTF-8, ending in *marker* when something was cut. Never splits a character."""
    # A character is at least one byte: the slice bounds the work before anything is encoded.
    encoded = text[: limit + 1].encode("utf-8", "backslashreplace")
    if len(encoded) <= limit and len(text) <= limit:
        return encodable(text)
    room = max(0, limit - len(marker.encode()))
    return encoded[:room].decode("utf-8", "ignore") + (marker if limit >= len(marker.encode()) else "")


def encode_json(value: Any) -> bytes:
    """Compact UTF-8 JSON: the form whose size is measured is the form that is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def redact(text: str, secrets: Iterable[str]) -> str:
    """*text* without the given strings; those too short to be a secret are left alone."""
    for secret in sorted({secret for secret in secrets if len(secret) >= _WORTH_HIDING}, key=len, reverse=True):
        text = text.replace(secret, "[hidden]")
    return text


def plain(value: Any) -> Any:
    """*value* as JSON that every receiver parses: encodable text, finite numbers, bounded depth."""
    return _bounded(value, strings=None, entries=None)


def shrink(value: Any, limit: int) -> tuple[Any, bool]:
    """*value* as JSON of at most *limit* bytes, and whether anything was cut.

    The longest strings go first, then the ends of the longest lists and dicts; what is left keeps its shape, so
    that a query on a field still works. Only when no shape fits is the result one string.
    """
    whole = plain(value)
    size = len(encode_json(whole))
    if size <= limit:
        return whole, False
    for strings, entries in _SHRINK_STEPS:
        smaller = _bounded(whole, strings=strings, entries=entries)
        if len(encode_json(smaller)) <= limit:
            return smaller, True
    # Quotes and backslashes double in JSON: half the room is always enough.
    return clip(f"{size} bytes do not fit here", max(0, limit // 2 - 2)), True


def fit_fields(
    fields: Mapping[str, Any], each: int, total: int, size: Callable[[Any], int]
) -> tuple[dict[str, Any], list[str]]:
    """*fields*, each at most *each* bytes and together at most *total* as *size* counts, and the names of those cut.

    Text is cut with a marker, other values as :func:`shrink` does. Of too much together, the largest give way, so
    that no flood in one field pushes out the others. A *total* below the size of the names alone cannot be met.
    """
    fitted: dict[str, Any] = {}
    cut: dict[str, None] = {}
    for name, value in fields.items():
        fitted[name], was_cut = _fitted(value, each)
        if was_cut:
            cut[name] = None
    while size(fitted) > total:
        largest = max(fitted, key=lambda name: size(fitted[name]))
        value = fitted[largest]
        if size(value) <= 2:
            break  # Nothing but names and empty values is left.
        # Of a text, not of its JSON: that may be six times as long, and a limit above the text would cut nothing.
        length = len(value.encode()) if isinstance(value, str) else len(encode_json(value))
        fitted[largest], _ = _fitted(value, length * 3 // 4)
        cut[largest] = None
    return fitted, list(cut)


def _fitted(value: Any, limit: int) -> tuple[Any, bool]:
    if isinstance(value, str):
        clipped = clip(value, limit, CUT)
        return clipped, clipped != encodable(value)
    return shrink(value, limit)


def first_that_fit(entries: Sequence[Any], limit: int) -> list[Any]:
    """The first of *entries* whose JSON list is at most *limit* bytes, whole: half an entry names nothing."""
    kept: list[Any] = []
    room = limit - 2
    for entry in entries:
        room -= len(encode_json(plain(entry))) + 1
        if room < 0:
            break
        kept.append(entry)
    return kept


def _bounded(value: Any, *, strings: int | None, entries: int | None, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict | list | tuple) and depth >= _MAX_DEPTH:
        return CUT
    if isinstance(value, dict):
        return {
            _text(str(key), strings): _bounded(entry, strings=strings, entries=entries, depth=depth + 1)
            for key, entry in list(value.items())[:entries]
        }
    if isinstance(value, list | tuple):
        return [_bounded(entry, strings=strings, entries=entries, depth=depth + 1) for entry in value[:entries]]
    return _text(str(value), strings)


def _text(text: str, limit: int | None) -> str:
    return encodable(text) if limit is None else clip(text, limit, CUT)


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Consecutive lines of a script; ``start`` is the number of the first, counted from 1."""

    start: int
    lines: tuple[str, ...]


# A card is tried in several sizes, each of which looks at the same few scripts again.
@functools.lru_cache(maxsize=8)
def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a script as an editor numbers them.

    Not ``str.splitlines``: that also splits on form feed, U+2028 and others, with which an attacker would shift
    every number after them. A line break at the very end ends the last line and begins no further one.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    return tuple(lines[:-1] if len(lines) > 1 and not lines[-1] else lines)


def excerpts(code: Code, limit: int, *, context: int = 2) -> list[Excerpt]:
    """At most *limit* lines of *code*: around its focus lines, in their order of importance, else its beginning."""
    lines = lines_of(code.text)
    focus = [line.number for line in code.focus if 1 <= line.number <= len(lines)]
    chosen: set[int] = set()
    # The focus lines themselves come before anybody's context.
    for distance in range(context + 1):
        for number in focus:
            for candidate in dict.fromkeys((number - distance, number + distance)):
                if len(chosen) < limit and 1 <= candidate <= len(lines):
                    chosen.add(candidate)
    if not focus:
        chosen = set(range(1, min(limit, len(lines)) + 1))
    return _consecutive(sorted(chosen), lines)


def _consecutive(numbers: Sequence[int], lines: Sequence[str]) -> list[Excerpt]:
    found: list[Excerpt] = []
    for number in numbers:
        line = lines[number - 1]
        if found and found[-1].start + len(found[-1].lines) == number:
            found[-1] = Excerpt(found[-1].start, (*found[-1].lines, line))
        else:
            found.append(Excerpt(number, (line,)))
    return found
