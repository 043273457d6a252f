"""Many alerts as one Adaptive Card: for when more alerts came than Teams takes messages.

Each alert keeps one line: how bad, when, what, and the id under which the whole of it is found. Alerts of one actor
on one account stand together, because that is how a responder works through them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from detectors.delivery.card_elements import STYLES, Element, card, header, heading_run, muted, rich, run, safe_text
from detectors.delivery.card_text import short_title, times_of
from detectors.model import Alert, AlertKind, Severity

_WHY = (
    "More alerts came than Teams takes, so these come together. Each is complete in the table "
    "AutomationDetections_CL, where its AlertId begins with the id shown here."
)
_MANY_GROUPS = 12
_ID = 12


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of every text a digest shows, in bytes of UTF-8."""

    title: int
    name: int


LEVELS = (Limits(160, 80), Limits(100, 60), Limits(64, 40), Limits(44, 28), Limits(28, 18), Limits(22, 14))
"""From comfortable to the least by which an alert is still told from another. Nothing but texts ever gives way."""


def digest_card(alerts: Sequence[Alert], limits: Limits, *, possible_repeats: frozenset[str]) -> Element:
    """The card under *limits*: every alert of *alerts*, worst first, then oldest first."""
    return _Digest(alerts, limits, possible_repeats).build()


class _Digest:
    """One digest in the making."""

    def __init__(self, alerts: Sequence[Alert], limits: Limits, possible_repeats: frozenset[str]) -> None:
        self._alerts = sorted(alerts, key=_order)
        self._limits = limits
        self._repeats = possible_repeats & {alert.id for alert in alerts}
        self._one_day = len({alert.event_time.date() for alert in alerts}) == 1

    def build(self) -> Element:
        groups = _groups(self._alerts)
        body = [self._header(), rich(run(_WHY, isSubtle=True, size="small"), spacing="small")]
        if self._repeats:
            body.append(muted(f"{len(self._repeats)} of these may have come before; each is marked."))
        if len(groups) > _MANY_GROUPS:
            # A heading for nearly every line would take the room that the lines need.
            body += [self._line(alert, alone=True) for alert in self._alerts]
        else:
            for group in groups:
                body.append(self._heading(group))
                body += [self._line(alert, alone=False) for alert in group]
        return card(body)

    def _header(self) -> Element:
        count = len(self._alerts)
        moments = [moment for alert in self._alerts for moment in times_of(alert)]
        first, last = min(moments), max(moments)
        until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
        when = f"{first:%Y-%m-%d %H:%M}" + (f" to {until}" if until != f"{first:%H:%M}" else "") + " UTC"
        worst = self._alerts[0]
        return header(
            "accent" if worst.kind is AlertKind.HEALTH else STYLES[worst.severity],
            rich(run(f"{count} alert{'s' if count > 1 else ''} in one message", weight="bolder", size="medium")),
            rich(run(f"{_counts(self._alerts)} · {when}"), spacing="small"),
        )

    def _heading(self, group: Sequence[Alert]) -> Element:
        first, count = group[0], f"{len(group)} alert{'s' if len(group) > 1 else ''}"
        if first.kind is AlertKind.HEALTH:
            return heading_run(f"The detector itself · {count}")
        return heading_run(f"{self._account(first)} · {self._caller(first)} · {count}")

    def _line(self, alert: Alert, *, alone: bool) -> Element:
        health = alert.kind is AlertKind.HEALTH
        moment = f"{alert.event_time:%H:%M}" if self._one_day else f"{alert.event_time:%m-%d %H:%M}"
        title = self._show(short_title(alert, without_account=True), self._limits.title)
        if alone and not health:
            title += f" · {self._caller(alert)} · {self._account(alert)}"
        note = f"  Alert {self._show(alert.id[:_ID], _ID)} "
        if alert.id in self._repeats:
            note += "· may be a repeat"
        label = "Detector health" if health else alert.severity.upper()
        return rich(
            # A colour says nothing to some eyes: the word stands beside it.
            run(label, weight="bolder", color="accent" if health else STYLES[alert.severity]),
            run(f" {moment} {title}"),
            run(note, isSubtle=True, size="small"),
            spacing="small",
        )

    def _account(self, alert: Alert) -> str:
        return self._show(alert.account, self._limits.name) or "no account"

    def _caller(self, alert: Alert) -> str:
        return self._show(alert.caller, self._limits.name) or "caller not recorded"

    def _show(self, text: str, limit: int) -> str:
        return safe_text(text, limit)[0]


def _order(alert: Alert) -> tuple[bool, int, datetime, str]:
    # The detector's own troubles come after what somebody did, however bad they are.
    return alert.kind is AlertKind.HEALTH, -alert.severity.rank, alert.event_time, alert.id


def _groups(alerts: Iterable[Alert]) -> list[list[Alert]]:
    """Alerts that belong together, the group with the worst of them first; within a group the given order."""
    groups: dict[tuple[str, ...], list[Alert]] = {}
    for alert in alerts:
        if alert.kind is AlertKind.HEALTH:
            key: tuple[str, ...] = ("health",)
        elif alert.story:
            key = ("story", alert.story)
        else:
            key = ("actor", alert.account.casefold(), alert.caller.casefold())
        groups.setdefault(key, []).append(alert)
    return list(groups.values())


def _counts(alerts: Sequence[Alert]) -> str:
    by_severity = Counter(alert.severity for alert in alerts if alert.kind is not AlertKind.HEALTH)
    parts = [f"{by_severity[severity]} {severity}" for severity in reversed(Severity) if by_severity[severity]]
    if health := len(alerts) - by_severity.total():
        parts.append(f"{health} detector health")
    return ", ".join(parts)
