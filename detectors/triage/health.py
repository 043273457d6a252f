"""Alerts about the detector itself. Pure: a fact comes in, an alert goes out; ids repeat for the same fact."""

import hashlib
from datetime import datetime

from detectors.model import Alert, AlertKind, Fact, Severity, Source
from detectors.rule import Rule

_RULE_ID = "detector-health"


def _identifier(*parts: str) -> str:
    return hashlib.sha256("\n".join(["health", *parts]).encode()).hexdigest()[:32]


def _alert(
    identifier: str,
    *,
    title: str,
    description: str,
    facts: tuple[Fact, ...],
    response: str,
    severity: Severity,
    now: datetime,
) -> Alert:
    return Alert(
        id=identifier,
        kind=AlertKind.HEALTH,
        rule_id=_RULE_ID,
        rule_name="Detector health",
        rule_version="1.0.0",
        severity=severity,
        title=title,
        description=description,
        source=Source.DETECTOR,
        event_time=now,
        found_at=now,
        created_at=now,
        facts=facts,
        response=response,
    )


def failing_rule(
    rule: Rule, workspace: str, *, since: datetime, read_until: datetime, error: str, now: datetime
) -> Alert:
    """A rule has failed on a workspace several runs in a row: nothing it would find is found meanwhile."""
    return _alert(
        _identifier("failing-rule", rule.id, workspace, since.isoformat()),
        title=f"The rule '{rule.name}' does not run",
        description="The detector cannot complete this rule's query, so it sees nothing of what the rule looks for. "
        "No row is skipped: the hunt goes on from where it stopped once the query works again.",
        facts=(
            Fact("Rule", rule.name),
            Fact("Workspace", workspace),
            Fact("Failing since", since.isoformat(timespec="seconds")),
            Fact("Read until", read_until.isoformat(timespec="seconds")),
            Fact("Cause", error),
        ),
        response="1. Do what the cause says.\n2. Watch the next run, five minutes later: it reads the whole gap.",
        severity=Severity.MEDIUM,
        now=now,
    )


def dead_letter(alert: Alert, destination: str, *, error: str, now: datetime) -> Alert:
    """A destination will never get an alert: it refused it for good, or did not take it for a day."""
    return _alert(
        _identifier("dead-letter", destination, alert.id),
        title=f"An alert did not reach {destination}",
        description=f"The destination {destination} did not take this alert and it is not tried again. "
        "It is kept in the store and was sent to the other destinations.",
        facts=(
            Fact("Destination", destination),
            Fact("Alert", alert.title),
            Fact("Alert id", alert.id),
            Fact("Severity", alert.severity),
            Fact("Cause", error),
        ),
        response=f"1. Read the alert here or at another destination.\n2. Repair {destination} as the cause says.",
        severity=alert.severity,
        now=now,
    )
