"""Typed values out of somebody's YAML, with a note for whatever is odd, so that nothing odd stops a rule."""

from collections.abc import Mapping
from typing import Any


class Reading:
    """Takes texts out of a document and keeps the notes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.notes: list[str] = []

    def note(self, key: str, text: str) -> None:
        line = f"{self.file}: {key}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def text(self, source: Mapping[str, Any], key: str, *, longest: int, prefix: str = "") -> str:
        value = source.get(key)
        if value is not None and not isinstance(value, str):
            self.note(prefix + key, "is no text; it is passed over")
        text = value.strip() if isinstance(value, str) else ""
        if len(text) > longest:
            self.note(prefix + key, f"has {len(text)} characters; the first {longest} are kept")
        return text[:longest]

    def texts(self, source: Mapping[str, Any], key: str) -> list[str]:
        """A list of texts, or one text with commas."""
        value = source.get(key)
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        if value is not None and not isinstance(value, list):
            self.note(key, "is no list; it is passed over")
        return [item.strip() for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def mapping(self, source: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = source.get(key)
        if value is not None and not isinstance(value, dict):
            self.note(key, "is no mapping of keys; it is passed over")
        return value if isinstance(value, dict) else {}

    def mappings(self, source: Mapping[str, Any], key: str, shown: str = "") -> list[dict[str, Any]]:
        value = source.get(key)
        if isinstance(value, dict):
            value = [value]
        if value is not None and not isinstance(value, list):
            self.note(shown or key, "is no list; it is passed over")
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
