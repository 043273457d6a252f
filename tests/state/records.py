"""Records for the tests of the stores."""

from datetime import UTC, datetime, timedelta
from typing import Any

from detectors.model import (
    Alert,
    AlertKind,
    Code,
    Delivery,
    DeliveryState,
    Entity,
    Evidence,
    Fact,
    FocusLine,
    Match,
    Record,
    Severity,
    Source,
    SummaryItem,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

HOSTILE = (
    "<script>alert(1)</script> '; DROP TABLE records;-- \x00\x1b[31m \u202e 😀 \\u0000 ' or 1 eq 1 ${jndi:ldap://x}"
)


def small_record(record_id: str, due: datetime | None = NOW, **changes: Any) -> Record:
    """A record with nothing but what it needs."""
    return Record(id=record_id, due=due, created_at=NOW - timedelta(minutes=5), **changes)


def full_record(record_id: str, code_size: int = 1_000_000) -> Record:
    """A record with everything in it: a match, an alert with evidence and a large script, deliveries."""
    row = {"Caller": HOSTILE, "Big": 2**40, "Ratio": 0.25, "Nothing": None, "Claims": {"a/b": ["ü", {"c": True}]}}
    code = Code(
        title="Published",
        text="Write-Output 'é'\r\n" * (code_size // 18),
        language="PowerShell",
        sha256="0" * 64,
        size=code_size,
        truncated=True,
        focus=(FocusLine(1, "Writes output."),),
    )
    evidence = (
        Evidence(name="runbook", title="Runbook", facts=(Fact("Name", HOSTILE),), code=(code,), data={"tags": {}}),
        Evidence(name="watcher", title="Watcher", missing="The detector may not read it (403). Grant Reader."),
    )
    match = Match(
        id=record_id,
        rule_id="00000000-0000-0000-0000-000000000504",
        identity={"operation": "microsoft.automation/automationaccounts/watchers/write"},
        source=Source.STREAM,
        row=row,
        event_time=NOW - timedelta(minutes=9),
        found_at=NOW,
        workspace="main",
    )
    item = SummaryItem(match_id="b", event_time=NOW, operation="write", caller=HOSTILE, resource="/subscriptions/x")
    alert = Alert(
        id=record_id,
        kind=AlertKind.DETECTION,
        rule_id=match.rule_id,
        rule_name="Watcher task created",
        rule_version="1.0.0",
        severity=Severity.HIGH,
        severity_reasons=("The runbook downloads a script.",),
        title="Watcher",
        description="Somebody made a watcher.",
        tactics=("Persistence",),
        source=Source.STREAM,
        event_time=match.event_time,
        found_at=NOW,
        created_at=NOW,
        caller=HOSTILE,
        entities=(Entity("Account", {"FullName": HOSTILE}),),
        facts=(Fact("Runbook", "日本語"),),
        evidence=evidence,
        items=(item,),
        row=row,
    )
    return Record(
        id=record_id,
        due=NOW,
        created_at=NOW,
        match=match,
        alert=alert,
        deliveries={
            "teams": Delivery(attempts=2, next_attempt=NOW, started_at=NOW, error="429"),
            "webhook": Delivery(state=DeliveryState.SENT, sent_at=NOW, remote_id="42"),
        },
        triage_attempts=1,
    )
