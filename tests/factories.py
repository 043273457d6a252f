"""Builders of the domain's nouns with sensible values, so that a test states only what it is about."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from detectors.model import (
    Alert,
    AlertKind,
    Code,
    Entity,
    Evidence,
    Fact,
    FocusLine,
    Severity,
    Source,
    SummaryItem,
)

EVENT_TIME = datetime(2026, 3, 14, 2, 7, 31, tzinfo=UTC)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ACCOUNT_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-ops/providers/Microsoft.Automation/automationAccounts/aa-prod"
)


def build_code(text: str = "Get-Date", *, focus: tuple[FocusLine, ...] = (), **changes: Any) -> Code:
    """A PowerShell script as evidence, with the hash and size of its text."""
    content = text.encode("utf-8", "surrogatepass")
    code = Code(
        title="Published runbook nightly",
        text=text,
        language="PowerShell",
        sha256=sha256(content).hexdigest(),
        size=len(content),
        focus=focus,
    )
    return replace(code, **changes)


def build_evidence(name: str = "watcher", **changes: Any) -> Evidence:
    """Evidence about a watcher: two facts and their machine form."""
    evidence = Evidence(
        name=name,
        title="Watcher configuration",
        facts=(Fact("Runs every", "60 s"), Fact("Runbook", "nightly")),
        data={"executionFrequencyInSeconds": 60, "scriptName": "nightly"},
    )
    return replace(evidence, **changes)


def build_alert(**changes: Any) -> Alert:
    """A High detection of a watcher that somebody created, with *changes* to any of its fields."""
    alert = Alert(
        id="5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6",
        kind=AlertKind.DETECTION,
        rule_id="5f4b8b7e-8d0f-4f1a-9f43-6d6a6a3c9d10",
        rule_name="Watcher task created",
        rule_version="1.0.0",
        severity=Severity.HIGH,
        severity_reasons=("The script downloads and runs code from the internet.",),
        title="Watcher created on aa-prod",
        description="A watcher runs a script again and again.\nIts runs leave no entry in the Activity Log.",
        tactics=("Persistence",),
        techniques=("T1053",),
        tags=("AZT504",),
        source=Source.HUNT,
        event_time=EVENT_TIME,
        found_at=EVENT_TIME + timedelta(minutes=6),
        created_at=EVENT_TIME + timedelta(minutes=7),
        operation="Microsoft.Automation/automationAccounts/watchers/write",
        outcome="Success",
        caller="mallory@contoso.example",
        caller_ip="203.0.113.7",
        resource_id=f"{ACCOUNT_ID}/watchers/nightly",
        subscription_id=SUBSCRIPTION,
        resource_group="rg-ops",
        account="aa-prod",
        identity={"CorrelationId": "0f0e0d0c-0b0a-0908-0706-050403020100"},
        entities=(Entity("Account", {"FullName": "mallory@contoso.example"}),),
        facts=(Fact("Claims", "interactive sign-in"),),
        evidence=(build_evidence(),),
        triage="1. Ask the caller.\n2. Read the script.\n3. Look at the job's output.\n4. Look for other watchers.",
        response="1. Stop the watcher.\n2. Remove the caller's role.\n3. Rotate the account's secrets.",
        false_positives=("A scheduled maintenance change.",),
        references=("https://learn.microsoft.com/azure/automation/automation-scenario-using-watcher-task",),
        query="AzureActivity | take 1",
        portal_url=f"https://portal.azure.com/#resource{ACCOUNT_ID}",
        query_url="https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade",
        row={"CorrelationId": "0F0E0D0C-0B0A-0908-0706-050403020100", "Caller": "mallory@contoso.example"},
    )
    return replace(alert, **changes)


def build_summary(count: int, **changes: Any) -> Alert:
    """A summary of *count* runbook writes by one caller, a second apart."""
    items = tuple(
        SummaryItem(
            match_id=f"{number:032x}",
            event_time=EVENT_TIME + timedelta(seconds=number),
            operation="Microsoft.Automation/automationAccounts/runbooks/write",
            caller="mallory@contoso.example",
            resource=f"{ACCOUNT_ID}/runbooks/maintenance-task-{number:04d}",
        )
        for number in range(count)
    )
    summary: dict[str, Any] = {
        "kind": AlertKind.SUMMARY,
        "title": f"{count} runbooks written",
        "items": items,
        "evidence": (),
        "found_at": EVENT_TIME + timedelta(minutes=10),
    }
    return build_alert(**summary | changes)


def build_health(**changes: Any) -> Alert:
    """The detector's own report that a rule keeps failing."""
    health: dict[str, Any] = {
        "kind": AlertKind.HEALTH,
        "source": Source.DETECTOR,
        "title": "A rule has failed five times in a row",
        "description": "The rule finds nothing until its query runs again.",
        "severity_reasons": (),
        "evidence": (),
        "caller": "",
        "caller_ip": "",
        "resource_id": "",
        "account": "",
        "triage": "1. Read the error below.\n2. Check the workspace id and the role Log Analytics Reader.",
        "response": "",
    }
    return build_alert(**health | changes)
