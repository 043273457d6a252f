"""What a query's text says without running it, from its tokens: comments and strings never count.

Not a parser: the real one is the service's. These are the two questions that decide how a rule without
``detector.identity`` runs.
"""

import functools
import re
from datetime import timedelta
from typing import Final

from detectors.kql.text import Token, tokens_of

_OPERATOR: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")
_OVER_ROWS: Final = frozenset(
    {
        "summarize",
        "make-series",
        "count",
        "top",
        "top-nested",
        "top-hitters",
        "distinct",
        "evaluate",
        "sample",
        "sample-distinct",
        "take",
        "limit",
        "reduce",
        "partition",
        "fork",
        "scan",
        "serialize",
        "invoke",
    }
)
"""Operators whose result depends on which rows are in the window, not on one row alone."""
_SPAN: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(d|days?|h|hrs?|hours?|m|min|minutes?|s|sec|seconds?)")
_UNIT: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@functools.lru_cache(maxsize=1024)
def aggregates(query: str) -> bool:
    """Whether *query* pipes rows into an operator whose result depends on the other rows of the window."""
    tokens = tokens_of(query)
    piped = (index for index, token in enumerate(tokens[1:], start=1) if tokens[index - 1].group() == "|")
    return any(_word(query, tokens[index]) in _OVER_ROWS for index in piped)


def _word(query: str, token: Token) -> str:
    """The operator that begins at *token*; ``make-series`` is three tokens and one word."""
    match = _OPERATOR.match(query, token.start())
    return match.group() if match else ""


def longest_span(query: str) -> timedelta | None:
    """The longest timespan literal in *query*, such as ``14d``; None when it has none."""
    longest: timedelta | None = None
    for token in tokens_of(query):
        match = _SPAN.fullmatch(token.group()) if token.lastgroup == "number" else None
        if match is not None:
            span = timedelta(**{_UNIT[match[2][0]]: float(match[1])})
            longest = span if longest is None or span > longest else longest
    return longest


_INVENTORY: Final = "AutomationInventory_CL"
_WORKSPACE: Final = frozenset({"AzureActivity", "AzureDiagnostics", "table", "workspace", "union", "externaldata"})


def reads_inventory(query: str) -> bool:
    """Whether *query* names the table of the inventory, alone or beside others."""
    return any(token.group() == _INVENTORY for token in tokens_of(query))


def inventory_alone(query: str) -> bool:
    """Whether *query* names the table of the inventory and no other that only a workspace has."""
    words = {token.group() for token in tokens_of(query)}
    return _INVENTORY in words and _WORKSPACE.isdisjoint(words)
