"""Wording for cards and incidents: pure functions from the alert's data to text, without layout."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from detectors.model import Alert, AlertKind, Fact, SummaryItem

_STEP = re.compile(r"(?:[-*+]|\d{1,3}[.)])\s")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_FEW_GROUPS = 12


def duration(delta: timedelta) -> str:
    """*delta* rounded for a person: ``40 s``, ``12 min``, ``5 h``, ``3 days``; clocks that disagree count as 0 s."""
    seconds = max(0.0, delta.total_seconds())
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def target_of(resource_id: str) -> str:
    """The last type and name of an ARM resource id, such as ``watchers/nightly``; else the id as it is."""
    parts = [part for part in resource_id.split("/") if part]
    lowered = [part.lower() for part in parts]
    if "providers" not in lowered:
        return resource_id
    # The last one: extension resources have several.
    tail = parts[len(parts) - lowered[::-1].index("providers") + 1 :]
    return "/".join(tail[-2:]) if len(tail) >= 2 else resource_id


def operation_leaf(operation: str) -> str:
    """The telling end of an operation name: ``runbooks/draft/write`` of ``Microsoft.Automation/.../write``."""
    parts = operation.split("/")
    return "/".join(parts[2:]) if len(parts) > 3 else operation


def lead_facts(alert: Alert) -> list[Fact]:
    """What leads every account of the alert: what, who, from where, on which account, when. Values may be empty."""
    if alert.kind is AlertKind.HEALTH:
        return [Fact("When", _when(alert))]
    if alert.kind is AlertKind.SUMMARY:
        return [
            Fact("What", f"{len(alert.items)} matches of one rule"),
            Fact("Who", alert.caller),
            Fact("Account", _account(alert)),
            Fact("When", _when(alert)),
            Fact("Operation", operation_leaf(alert.operation)),
        ]
    target = target_of(alert.resource_id)
    return [
        Fact("What", target or alert.operation),
        Fact("Who", alert.caller or "not recorded"),
        Fact("From", alert.caller_ip or "address not recorded"),
        Fact("Account", _account(alert)),
        Fact("When", _when(alert)),
        Fact("Operation", operation_leaf(alert.operation) if target else ""),
        Fact("Outcome", alert.outcome),
    ]


def short_title(alert: Alert, *, without_account: bool = False) -> str:
    """The title without its closing "by CALLER", and "on ACCOUNT", for where these stand beside it."""
    title = alert.title.removesuffix(f" by {alert.caller}" if alert.caller else "")
    if without_account and alert.account:
        title = title.removesuffix(f" on {alert.account}")
    return title or alert.title


def times_of(alert: Alert) -> tuple[datetime, datetime]:
    """When the first and the last of what the alert tells happened."""
    times = [item.event_time for item in alert.items] or [alert.event_time]
    return min(times), max(times)


def _account(alert: Alert) -> str:
    parts = (
        alert.account,
        alert.resource_group and f"resource group {alert.resource_group}",
        alert.subscription_id and f"subscription {alert.subscription_id}",
    )
    return ", ".join(part for part in parts if part)


def _when(alert: Alert) -> str:
    first, last = times_of(alert)
    span = " to ".join(dict.fromkeys(f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (first, last)))
    if alert.kind is AlertKind.HEALTH:
        return f"{span} UTC"
    return f"{span} UTC, found {duration(alert.found_at - last)} later"


def paragraphs(text: str) -> list[str]:
    """*text* split at empty lines, the line breaks within each undone."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def teams_markdown(text: str) -> str:
    """Our Markdown in the subset that Teams draws: headings become bold lines."""
    return _HEADING.sub(r"**\1**", text.strip())


def first_steps(markdown: str, count: int) -> tuple[str, str]:
    """*markdown* split after its first *count* list entries, or after its first paragraph when it has no list."""
    lines = markdown.split("\n")
    starts = [number for number, line in enumerate(lines) if _STEP.match(line)]
    if not starts:
        first, _, rest = markdown.partition("\n\n")
        return first.strip(), rest.strip()
    if len(starts) <= count:
        return markdown.strip(), ""
    return "\n".join(lines[: starts[count]]).strip(), "\n".join(lines[starts[count] :]).strip()


def group_items(items: Sequence[SummaryItem], show: Callable[[str], str]) -> list[tuple[str, str]]:
    """Every item named: (operation and caller, "resource time, ...") per group, or one list when groups are many.

    *show* bounds one name and makes it safe. What the items share is said once, which leaves room for hundreds.
    """
    groups: dict[tuple[str, str], list[SummaryItem]] = {}
    for item in items:
        groups.setdefault((item.operation, item.caller), []).append(item)
    if len(groups) <= _FEW_GROUPS:
        return [
            (
                f"{show(operation_leaf(operation))} by {show(caller) or 'unknown'} ({len(members)})",
                ", ".join(_name_and_time(item, show) for item in members),
            )
            for (operation, caller), members in groups.items()
        ]
    named = (
        f"{_name_and_time(item, show)} {show(operation_leaf(item.operation))} {show(item.caller)}" for item in items
    )
    return [("", "; ".join(named))]


def _name_and_time(item: SummaryItem, show: Callable[[str], str]) -> str:
    return f"{show(target_of(item.resource).rpartition('/')[2]) or 'unnamed'} {item.event_time:%H:%M}"
