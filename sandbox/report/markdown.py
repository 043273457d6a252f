"""The little Markdown our rules use, as plain data: paragraphs, lists, code blocks, `code`, **bold**, links.

Only rules are written in Markdown; text from logs never passes through here. Anything not understood stays as the
text it is.
"""

import dataclasses
import re
from urllib.parse import urlsplit

from sandbox.report.text import visible

_ITEM = re.compile(r"^( {0,6})(?:([-*+])|(\d{1,3})[.)]) +(.*)$")
_HEADING = re.compile(r"^#{1,6} +(.*)$")
_SPAN = re.compile(r"`([^`\n]{1,500})`|\*\*([^*\n]{1,500})\*\*|\[([^\]\n]{1,300})\]\(([^()\s]{1,2000})\)")
_URL = re.compile(r"https://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,8000}")


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of a line: ``style`` is ``plain``, ``code``, ``bold`` or ``link`` (then ``url`` is https)."""

    text: str
    style: str = "plain"
    url: str = ""


@dataclasses.dataclass(frozen=True)
class Block:
    """``kind``: ``paragraph``, ``heading``, ``numbered``, ``bulleted`` or ``code``; one entry per item or line."""

    kind: str
    items: tuple[tuple[Span, ...], ...]


def safe_url(url: str) -> str:
    """*url* when it is an absolute https address of RFC 3986's characters only, otherwise an empty string."""
    if not _URL.fullmatch(url):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return ""
    return url if parts.scheme == "https" and host and "@" not in parts.netloc else ""


def spans(line: str) -> tuple[Span, ...]:
    """One line of Markdown as spans. A link that is not https stays visible as text, address included."""
    found: list[Span] = []
    position = 0
    for match in _SPAN.finditer(line):
        if match.start() > position:
            found.append(Span(visible(line[position : match.start()])))
        code, bold, label, url = match.groups()
        if code is not None:
            found.append(Span(visible(code), "code"))
        elif bold is not None:
            found.append(Span(visible(bold), "bold"))
        elif safe_url(url):
            found.append(Span(visible(label), "link", url))
        else:
            found.append(Span(visible(f"{label} ({url})")))
        position = match.end()
    if position < len(line):
        found.append(Span(visible(line[position:])))
    return tuple(found)


def plain(line: tuple[Span, ...]) -> str:
    """The spans' text alone."""
    return "".join(span.text for span in line)


def parse(text: str) -> tuple[Block, ...]:
    """*text* as blocks. Indented lines continue the item above them; nested items join their parent's list."""
    blocks: list[Block] = []
    kind = ""
    items: list[str] = []

    def close() -> None:
        nonlocal kind, items
        if kind == "code":
            blocks.append(Block(kind, tuple((Span(visible(item), "code"),) for item in items)))
        elif kind:
            blocks.append(Block(kind, tuple(spans(item) for item in items)))
        kind, items = "", []

    for raw in text.strip("\n").split("\n"):
        line = raw.rstrip()
        if line.lstrip().startswith("```"):
            opening = kind != "code"
            close()
            kind = "code" if opening else ""
        elif kind == "code":
            items.append(line)
        elif not line:
            # A blank line inside a list belongs to the list; the next line decides whether the list goes on.
            if kind == "paragraph":
                close()
        elif heading := _HEADING.match(line):
            close()
            blocks.append(Block("heading", (spans(heading[1]),)))
        elif item := _ITEM.match(line):
            wanted = "bulleted" if item[2] else "numbered"
            if kind != wanted:
                close()
                kind = wanted
            items.append(item[4])
        elif kind == "paragraph" or (kind in {"numbered", "bulleted"} and line.startswith("  ")):
            items[-1] += " " + line.strip()
        else:
            close()
            kind, items = "paragraph", [line.strip()]
    close()
    return tuple(blocks)


def steps(blocks: tuple[Block, ...]) -> tuple[tuple[Span, ...], ...]:
    """The things to do in *blocks*, in order: the items of its lists, or its paragraphs when it has no list."""
    listed = [item for block in blocks if block.kind in {"numbered", "bulleted"} for item in block.items]
    return tuple(listed or [item for block in blocks if block.kind == "paragraph" for item in block.items])
