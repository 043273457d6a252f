"""Request and response bodies leave a row before it is stored: they hold what a caller sent, passwords included.

Some exports of the Activity Log carry the body of an operation in its properties. For a write of a credential, a
variable, a certificate or a webhook that is the secret itself, and a row goes to every destination. A rule's query has
read what it wants from them by then.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

NOT_KEPT: Final = "(not kept: a body can hold secrets)"

_BODIES: Final = frozenset({"requestbody", "responsebody"})
_COLUMNS: Final = ("Properties_d", "Properties")
_DEPTH: Final = 4
"""Properties are nested once or twice; text in text comes from exporters that encode twice."""


def without_bodies(row: Mapping[str, Any]) -> dict[str, Any]:
    """*row* with the value of every body in ``Properties`` and ``Properties_d`` replaced by :data:`NOT_KEPT`.

    Properties that are text and name a body, but cannot be read as JSON, are replaced whole.
    """
    return {column: _clean(value, _DEPTH) if column in _COLUMNS else value for column, value in row.items()}


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _clean_text(value, depth)
    if isinstance(value, Mapping):
        return {key: _clean_value(key, item, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth - 1) if depth else NOT_KEPT for item in value]
    return value


def _clean_value(key: Any, item: Any, depth: int) -> Any:
    if str(key).casefold() in _BODIES:
        return NOT_KEPT if item else item
    if not isinstance(item, str | Mapping | list):
        return item
    return _clean(item, depth - 1) if depth else NOT_KEPT


def _clean_text(text: str, depth: int) -> str:
    folded = text.casefold()
    if not any(body in folded for body in _BODIES):
        return text
    try:
        read = json.loads(text) if depth else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict | list):
        return NOT_KEPT
    return json.dumps(_clean(read, depth - 1), ensure_ascii=False)
