"""Identity: which rows are the same action, whichever source and whichever run brought them."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from detectors.rule import Rule

_SUCCESS = frozenset({"success", "succeeded"})
_OUTCOME_COLUMNS = frozenset({"ActivityStatusValue"})


_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_DAY = timedelta(days=1)
_NO_TIME = "(period)"
"""Not a column, nor a name that one can have."""


def _plain(value: Any) -> Any:
    """*value* as JSON writes it in one way only: one service says 3 where another says 3.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        # make_set() promises no order, so the same set comes back in another one.
        ordered = sorted(value) if all(isinstance(item, str) for item in value) else value
        return [_plain(item) for item in ordered]
    return value


def _normalised(column: str, value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(_plain(value), sort_keys=True, default=str)
    folded = text.strip().casefold()
    if column in _OUTCOME_COLUMNS and folded in _SUCCESS:
        # One workspace can hold the same action in both shapes, with Success in one and Succeeded in the other
        # (Azure/Azure-Sentinel#4350).
        return "success"
    return folded


def identity_of(rule: Rule, row: Mapping[str, Any], found_at: datetime | None = None) -> dict[str, str]:
    """The case-folded columns that make *row* the action it is.

    A rule without ``detector.identity`` is identified by its mapped entity columns and the whole row. When no column
    of it holds a time, such as a count by caller, the same row may well come again next month and mean it: the day
    of *found_at* is added, or for a rule with a longer ``queryPeriod`` the stretch of that length.

    An Activity Log row without a CorrelationId would be one with every other such row, so its time is added: two
    alerts for one action are better than one for two.
    """
    named = rule.detector.identity
    columns = named or tuple(dict.fromkeys([*(c for m in rule.entity_mappings for _, c in m.fields), *sorted(row)]))
    identity = {column: _normalised(column, row.get(column)) for column in columns}
    if (identity.get("CorrelationId") == "" or not any(identity.values())) and "TimeGenerated" not in identity:
        identity["TimeGenerated"] = _normalised("TimeGenerated", row.get("TimeGenerated"))
    if not named and found_at is not None and not any(_has_time(value) for value in row.values()):
        stretch = max(rule.query_period, _DAY)
        identity[_NO_TIME] = str(int(found_at.timestamp() // stretch.total_seconds()))
    return identity


def _has_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.match(value) is not None


def match_id(rule_id: str, identity: Mapping[str, str]) -> str:
    """32 hex characters, the same for the same rule and identity on every machine and in every run."""
    canonical = json.dumps([rule_id.casefold(), sorted(identity.items())], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]
