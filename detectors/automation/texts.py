"""Bytes of the Automation API: read with a bound, and decoded without losing one.

The SDK's own ``get_content`` drops bytes it cannot decode, which hides code from an inspection. So the bytes are
streamed, capped and decoded here.
"""

import codecs
import contextlib
import dataclasses
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

DEFAULT_CAP = 1_000_000

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 4_096

# Vertical tab, form feed and NEL are white space to PowerShell: removing them would join two words.
_BLANKS = re.compile("[\x0b\x0c\x85]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# They make a line read differently from what runs ("Trojan Source", CVE-2021-42574).
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SEPARATORS = re.compile("[\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Body:
    """The bytes as the service sent them, at most the cap; ``truncated`` when there were more."""

    data: bytes
    truncated: bool = False


async def read(operation: Callable[..., Awaitable[Any]], *arguments: str, cap: int = DEFAULT_CAP) -> Body:
    """The body of an SDK content call such as ``client.runbook.get_content``, at most *cap* bytes of it.

    Stops reading at the cap and closes the response. Raises what the SDK raises.
    """
    # Without `cls` the call returns only the generator, and the response could not be closed half-read.
    response, chunks = await operation(
        *arguments, stream=True, cls=lambda pipeline, body, _: (pipeline.http_response, body)
    )
    try:
        async with contextlib.aclosing(chunks):
            return await _collect(chunks, cap)
    finally:
        await response.close()


def decode(data: bytes, *, truncated: bool = False) -> tuple[str, str]:
    """(text, encoding) of *data*; never raises and never drops a byte in silence.

    A byte-order mark decides; else UTF-16 when every other byte is NUL; else strict UTF-8; else Windows-1252, what
    Windows PowerShell takes a file without a mark for, with U+FFFD for its five undefined bytes.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace"), encoding
    guessed = _utf16_without_mark(data)
    if guessed:
        return data.decode(guessed, errors="replace"), guessed
    try:
        # A cap may cut a character in two: only then is an incomplete last one no error.
        return codecs.getincrementaldecoder("utf-8")().decode(data, not truncated), "utf-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "cp1252"


def readable(text: str) -> tuple[str, tuple[str, ...]]:
    """*text* without control characters but tab and newline, and a note for each kind that was taken out.

    Every kind of line end becomes ``\\n``; so line numbers count newlines and nothing else.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SEPARATORS.sub("\n", _BLANKS.sub(" ", text))
    text, controls = _CONTROLS.subn("", text)
    text, marks = _BIDIRECTIONAL.subn("", text)
    text = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
    notes = []
    if controls:
        notes.append(f"{controls} NUL or control characters were removed from the text shown.")
    if marks:
        notes.append(
            f"{marks} bidirectional control characters were removed from the text shown: they can make a line read "
            "differently from what runs."
        )
    return text, tuple(notes)


def label(value: object, limit: int = 1_000) -> str:
    """One line of hostile text for a fact: no control characters, at most *limit* characters."""
    text = readable(str(value)[: limit * 2])[0]
    text = " ".join(text.split("\n"))
    return text if len(text) <= limit else text[: limit - 1] + "…"


async def _collect(chunks: AsyncGenerator[bytes, None], cap: int) -> Body:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > cap:
            return Body(bytes(data[:cap]), truncated=True)
    return Body(bytes(data))


def _utf16_without_mark(data: bytes) -> str | None:
    # Latin script leaves the high byte of nearly every unit NUL; no text in UTF-8 or Windows-1252 does.
    sample = data[: min(len(data), _SAMPLE) // 2 * 2]
    if len(sample) < 4:
        return None
    units = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * units and even < 0.1 * units:
        return "utf-16-le"
    if even > 0.7 * units and odd < 0.1 * units:
        return "utf-16-be"
    return None
