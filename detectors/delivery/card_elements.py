"""The pieces of an Adaptive Card, and what makes text from outside fit for one.

Text from outside stands only in ``TextRun`` and ``CodeBlock``, which know no Markdown. ``TextBlock`` holds our own
words only, and an action's URL is checked character by character.
"""

import re
from collections.abc import Sequence
from typing import Any

from detectors.delivery.text import clip, visible
from detectors.model import Severity

Element = dict[str, Any]

STYLES = {
    Severity.HIGH: "attention",
    Severity.MEDIUM: "warning",
    Severity.LOW: "accent",
    Severity.INFORMATIONAL: "default",
}
"""Container styles, which are text colours too."""
_LANGUAGES = frozenset({"PowerShell", "Python", "PlainText"})
PLAIN_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?")
"""What a link may be: https, no user name, and no character that a client could draw as something else."""
# Renderers replace {{DATE(...)}} and {{TIME(...)}} in text runs too: a name could show a time that never was.
_TIME_MACRO = re.compile(r"\{(?=\{\s*(?:DATE|TIME)\s*\()", re.IGNORECASE)


def safe_text(text: str, limit: int) -> tuple[str, bool]:
    """*text* for a :func:`run`: visible, without time macros, at most *limit* bytes; and whether it was cut."""
    text = text.strip()
    safe = _TIME_MACRO.sub("{ ", visible(text[: limit + 1]))
    clipped = clip(safe, limit)
    return clipped, clipped != safe or len(text) > limit + 1


def card(body: Sequence[Element], actions: Sequence[Element] = ()) -> Element:
    """The whole card."""
    return {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.5",
        "fallbackText": "A security alert that needs a Teams client with Adaptive Cards 1.5.",
        "msteams": {"width": "Full"},
        "body": list(body),
        **({"actions": list(actions)} if actions else {}),
    }


def header(style: str, *items: Element) -> Element:
    """The band at the top; *style* is one of :data:`STYLES`."""
    return {"type": "Container", "style": style, "bleed": True, "items": list(items)}


def run(text: str, **style: Any) -> Element:
    """A piece of text without any markup."""
    return {"type": "TextRun", "text": text, **style}


def rich(*runs: Element, **style: Any) -> Element:
    """A block of :func:`run`: the only place for text from outside, beside code."""
    return {"type": "RichTextBlock", "inlines": list(runs), **style}


def muted(text: str) -> Element:
    """A small note."""
    return rich(run(text, isSubtle=True, size="small"), spacing="small")


def heading(text: str) -> Element:
    """A section's heading: our own constant words."""
    return {"type": "TextBlock", "text": text, "weight": "bolder", "wrap": True, "style": "heading", "separator": True}


def heading_run(text: str) -> Element:
    """A heading that may hold a name from outside."""
    return rich(run(text, weight="bolder"), spacing="medium")


def markdown(text: str) -> Element:
    """Our own Markdown; never text from outside."""
    return {"type": "TextBlock", "text": text, "wrap": True, "spacing": "small"}


def column(width: str, *items: Element) -> Element:
    """A column of a ``ColumnSet``."""
    return {"type": "Column", "width": width, "items": list(items)}


def code_block(language: str, start: int, lines: Sequence[str]) -> Element:
    """Consecutive lines of a script, the first with the number *start*."""
    # Phones know no CodeBlock. Numbers before every line keep them apart even where a newline is not drawn.
    numbered = "\n".join(f"{number} | {line}" for number, line in enumerate(lines, start))
    return {
        "type": "CodeBlock",
        "codeSnippet": "\n".join(lines),
        "language": language if language in _LANGUAGES else "PlainText",
        "startLineNumber": start,
        "fallback": rich(run(numbered, fontType="monospace", size="small")),
    }
