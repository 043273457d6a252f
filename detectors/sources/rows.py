"""Which rows of a result count: the columns a rule needs, its trigger, and the time it was suppressed. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from detectors.rule import Rule
from detectors.sources.logs import QueryError
from detectors.sources.windows import Window


def triggering(rule: Rule, rows: Sequence[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
    """The rows to store: all of them when their number meets the rule's trigger, else none.

    A rule that looks for silence (fewer than N) fires on an empty result too, so a row stands for the window.
    """
    if not rule.triggers(len(rows)):
        return []
    if rows:
        return list(rows)
    start, end = (moment.isoformat().replace("+00:00", "Z") for moment in (window.start, window.end))
    return [{"TimeGenerated": end, "WindowStart": start, "WindowEnd": end, "RowsFound": 0}]


def require_columns(rule: Rule, rows: Sequence[dict[str, Any]]) -> None:
    """Raise :class:`QueryError` when the result lacks a column that the rule names.

    Identity and entities would silently be wrong, and the loader cannot know what a workspace's table lacks. A plain
    rule passes: Sentinel leaves an entity without its column empty too.
    """
    if rule.plain:
        return
    absent = [column for column in rule.columns if rows and column not in rows[0]]
    if absent:
        raise QueryError(
            f"the result has no column {', '.join(absent)}, which the rule names; correct the query or the rule",
            permanent=True,
        )


def reportable(rows: Sequence[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
    """*rows* without those of the suppressed time; a row without a time of its own stays."""
    if window.quiet is None:
        return list(rows)
    since, until = window.quiet
    return [row for row in rows if (time := _time(row)) is None or not since < time < until]


def _time(row: Mapping[str, Any]) -> datetime | None:
    value = row.get("TimeGenerated")
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed
