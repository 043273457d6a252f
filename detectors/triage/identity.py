"""Identity: which rows are the same action, whichever source and whichever run brought them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from detectors.rule import Rule

_SUCCESS = frozenset({"success", "succeeded"})
_OUTCOME_COLUMNS = frozenset({"ActivityStatusValue"})


def _normalised(column: str, value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    folded = text.strip().casefold()
    if column in _OUTCOME_COLUMNS and folded in _SUCCESS:
        # One workspace can hold the same action in both shapes, with Success in one and Succeeded in the other
        # (Azure/Azure-Sentinel#4350).
        return "success"
    return folded


def identity_of(rule: Rule, row: Mapping[str, Any]) -> dict[str, str]:
    """The case-folded columns that make *row* the action it is.

    A rule without ``detector.identity`` is identified by its mapped entity columns and the whole row. An Activity
    Log row without a CorrelationId would be one with every other such row, so its time is added: two alerts for one
    action are better than one for two.
    """
    named = rule.detector.identity
    columns = named or tuple(dict.fromkeys([*(c for m in rule.entity_mappings for _, c in m.fields), *sorted(row)]))
    identity = {column: _normalised(column, row.get(column)) for column in columns}
    if identity.get("CorrelationId") == "" and "TimeGenerated" not in identity:
        identity["TimeGenerated"] = _normalised("TimeGenerated", row.get("TimeGenerated"))
    return identity


def match_id(rule_id: str, identity: Mapping[str, str]) -> str:
    """32 hex characters, the same for the same rule and identity on every machine and in every run."""
    canonical = json.dumps([rule_id.casefold(), sorted(identity.items())], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]
