"""What Azure makes of an exported file: a template's literals and expressions, and the values of a Bicep module.

Written from the two languages' documentation, not from the writers under test.
"""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<block>'''(?:\r\n|\n|\r)?(?P<raw>.*?)'''(?!'))|(?P<text>'(?:[^'\\\r\n]|\\.)*')|(?P<mark>[{}\[\]:])"
    r"|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*))",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u\{([0-9a-fA-F]{1,6})\}|.)")
_ESCAPED = {"\\": "\\", "'": "'", "n": "\n", "r": "\r", "t": "\t", "$": "$"}


class NotBicep(Exception):
    """The text is not what this reader knows of Bicep."""


class Name(str):
    """An identifier that stands as a value, such as a parameter."""

    __slots__ = ()


def arm_value(value: Any, expressions: Mapping[str, Any]) -> Any:
    """*value* of a template as Azure deploys it; every expression must be one of *expressions*."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return value[1:] if value.startswith("[[") else expressions[value]
    if isinstance(value, dict):
        return {key: arm_value(each, expressions) for key, each in value.items()}
    if isinstance(value, list):
        return [arm_value(each, expressions) for each in value]
    return value


def bicep_text(token: str) -> str:
    """The text of a string on one line."""
    inner = token[1:-1]
    if re.search(r"(?<!\\)(?:\\\\)*\$\{", inner):
        raise NotBicep(f"an interpolation: {inner[:60]}")

    def character(match: re.Match[str]) -> str:
        if match[2]:
            return chr(int(match[2], 16))
        if match[1] not in _ESCAPED:
            raise NotBicep(f"an escape that Bicep does not know: {match[0]}")
        return _ESCAPED[match[1]]

    return _ESCAPE.sub(character, inner)


def bicep_value(text: str) -> Any:
    """The value that *text* begins with: a string, a number, true, false, a name, an object or an array."""
    return _Reader(text).value()


def bicep_resource(text: str, symbol: str) -> tuple[str, dict[str, Any]]:
    """(type and version, body) of the resource *symbol*, which is no existing one."""
    match = re.search(rf"^resource {symbol} '([^']+)' = ", text, re.MULTILINE)
    if not match:
        raise NotBicep(f"no resource {symbol}")
    return match[1], bicep_value(text[match.end() :])


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def value(self) -> Any:
        match = self.next()
        if match["block"]:
            return match["raw"]
        if match["text"]:
            return bicep_text(match["text"])
        if match["number"]:
            return int(match["number"])
        if match["name"]:
            return {"true": True, "false": False}.get(match["name"], Name(match["name"]))
        if match["mark"] == "[":
            return list(self.items())
        if match["mark"] == "{":
            return dict(self.properties())
        raise NotBicep(f"no value: {match[0]!r}")

    def items(self) -> Any:
        while not self.closes("]"):
            yield self.value()

    def properties(self) -> Any:
        while not self.closes("}"):
            key = self.next()
            name = key["name"] or bicep_text(key["text"] or "''")
            if self.next()["mark"] != ":":
                raise NotBicep(f"no colon after {name}")
            yield name, self.value()

    def closes(self, mark: str) -> bool:
        here = self.position
        if self.next()["mark"] == mark:
            return True
        self.position = here
        return False

    def next(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.position)
        if not match:
            raise NotBicep(f"not Bicep: {self.text[self.position : self.position + 60]!r}")
        self.position = match.end()
        return match
