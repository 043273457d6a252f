"""Whether the detector did what a scenario expects, decided from plain data."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from detectors.model import Alert, AlertKind


class Expected(Protocol):
    """One entry of a scenario's ``expect``: so many alerts of a rule on resources whose id ends in ``resource``."""

    @property
    def rule(self) -> str:
        """Id of the rule, or the name of its file without the suffix."""

    @property
    def resource(self) -> str:
        """End of the resource id, case ignored; empty for any resource."""

    @property
    def count(self) -> int:
        """How many alerts."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One line of the table expected vs. got."""

    rule: str
    resource: str
    expected: int
    got: int

    @property
    def met(self) -> bool:
        """Whether the numbers agree."""
        return self.expected == self.got

    def __str__(self) -> str:
        where = f" on {self.resource}" if self.resource else ""
        return f"{self.rule}{where}: expected {self.expected}, got {self.got}"


def _fits(alert: Alert, wanted: Expected, names: Mapping[str, str]) -> bool:
    rule = wanted.rule.casefold()
    return rule in {alert.rule_id.casefold(), names.get(alert.rule_id, "").casefold()} and (
        alert.resource_id.casefold().rstrip("/").endswith(wanted.resource.casefold().rstrip("/"))
    )


def compare(expected: Sequence[Expected], alerts: Iterable[Alert], names: Mapping[str, str]) -> tuple[Comparison, ...]:
    """*expected* against *alerts*, one line each, then the alerts nobody expected, by rule and resource.

    *names* maps a rule's id to the name of its file. An alert counts for the first entry that it fits and that is
    not yet full, otherwise for the first that it fits, so that one alert too many shows at its own entry. Summary
    and health alerts are never expected: a scenario that causes one has to show it.
    """
    got = [0] * len(expected)
    unexpected: Counter[tuple[str, str]] = Counter()
    for alert in alerts:
        fitting = [
            index
            for index, wanted in enumerate(expected)
            if alert.kind is AlertKind.DETECTION and _fits(alert, wanted, names)
        ]
        if not fitting:
            unexpected[names.get(alert.rule_id, alert.rule_name), alert.resource_id] += 1
            continue
        got[next((index for index in fitting if got[index] < expected[index].count), fitting[0])] += 1
    lines = [Comparison(wanted.rule, wanted.resource, wanted.count, got[i]) for i, wanted in enumerate(expected)]
    lines += [Comparison(rule, resource, 0, count) for (rule, resource), count in unexpected.items()]
    return tuple(lines)


class Entry(Protocol):
    """One request in the sandbox's ledger (:class:`sandbox.ledger.Received`)."""

    @property
    def endpoint(self) -> str:
        """``teams``, ``ingestion`` or ``webhook``."""

    @property
    def accepted(self) -> bool:
        """Whether the sender was told that it worked."""

    @property
    def body(self) -> Any:
        """What was sent, decoded; a list of rows at ``ingestion``."""

    @property
    def failed_action(self) -> str | None:
        """Why it was lost although the sender was told that it worked."""


@dataclasses.dataclass(frozen=True)
class Delivered:
    """What one receiver saw: messages that arrived, and requests that did not become one."""

    destination: str
    alerts: int
    arrived: int
    lost: int

    @property
    def met(self) -> bool:
        """Whether every alert arrived once and nothing was lost."""
        return self.arrived == self.alerts and not self.lost

    def __str__(self) -> str:
        return f"{self.destination}: {self.alerts} alerts, {self.arrived} arrived, {self.lost} refused or lost"


_RECEIVERS = (("teams", "Teams"), ("ingestion", "Log table"), ("webhook", "Signed webhook"))


def _is_no_alert(entry: Entry) -> bool:
    """Whether it is the row with which every hunt says that it ran, or what changed in an automation account."""
    return isinstance(entry.body, list) and all(
        row.get("AlertKind") == "heartbeat" or "ChangeId" in row for row in entry.body
    )


def delivered(entries: Sequence[Entry], alerts: int) -> tuple[Delivered, ...]:
    """What each receiver of the ledger saw of *alerts* alerts."""
    table = []
    for endpoint, name in _RECEIVERS:
        seen = [entry for entry in entries if entry.endpoint == endpoint and not _is_no_alert(entry)]
        arrived = sum(entry.accepted and entry.failed_action is None for entry in seen)
        table.append(Delivered(name, alerts, arrived, len(seen) - arrived))
    return tuple(table)


def by_rule(alerts: Iterable[Alert]) -> dict[str, int]:
    """Number of alerts by the rule's name, most first."""
    return dict(Counter(alert.rule_name for alert in alerts).most_common())
