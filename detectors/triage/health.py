"""Alerts about the detector itself. Pure: a fact comes in, an alert goes out; ids repeat for the same fact."""

import dataclasses
import hashlib
from collections.abc import Sequence
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


_DIAGNOSTICS = (
    "Send the automation accounts' logs to this workspace: a diagnostic setting on each, with the categories JobLogs, "
    "JobStreams and AuditEvent"
)
_REMEDIES = {
    "table": "Connect the data source that fills the table; it exists from its first row on",
    "column": "Check that the table is filled: some columns exist only from the first row that has them on",
    "function": "Save the function in the workspace, such as a parser of the solution that the rule belongs to",
}
_SHOWN_RULES = 20


def missing_name(workspace: str, missing: str, rules: Sequence[Rule], *, now: datetime) -> Alert:
    """*rules* cannot run on *workspace* because it lacks *missing*, such as ``the table AzureDiagnostics``."""
    number, ending = ("1 rule", "s") if len(rules) == 1 else (f"{len(rules)} rules", "")
    kind = missing.removeprefix("the ").split(" ", 1)[0]
    remedy = _DIAGNOSTICS if missing == "the table AzureDiagnostics" else _REMEDIES.get(kind, _REMEDIES["column"])
    names = "; ".join(rule.name for rule in rules[:_SHOWN_RULES])
    more = f" and {len(rules) - _SHOWN_RULES} more" if len(rules) > _SHOWN_RULES else ""
    return _alert(
        _identifier("missing-name", workspace, missing),
        title=f"{number} wait{ending} for {missing}",
        description="The workspace does not have what these rules read, so they find nothing there. The other rules "
        "are not affected. They are tried again once a day, and go on from where they stopped; this is said once.",
        facts=(
            Fact("Workspace", workspace),
            Fact("Missing", missing),
            Fact("Rules", names + more),
        ),
        response=f"1. {remedy}.\n2. If the rules are not for this workspace, or the name is misspelt, take them out or "
        "correct them: a changed query is tried at the next hunt.\n3. `python -m detectors status` shows what waits.",
        severity=Severity.LOW,
        now=now,
    )


def dead_letter(
    alert: Alert, destination: str, *, error: str, now: datetime, arrived_at: datetime | None = None
) -> Alert:
    """A destination will never get an alert: it refused it for good, or did not take it for a day.

    *arrived_at* is when the alert came there as it was before evidence was added to it; None when it never did.
    """
    earlier = "The alert itself had arrived; what was added to it later did not. " if arrived_at else ""
    return _alert(
        _identifier("dead-letter", destination, alert.id),
        title=f"An alert did not reach {destination}",
        description=f"The destination {destination} did not take this alert and it is not tried again. {earlier}"
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


def quarantined(
    *, hub: str, partition: str, pieces: int, size: int, reason: str, entry: str, whole: bool, now: datetime
) -> Alert:
    """The stream set *pieces* of *size* bytes aside; *whole* says that it was a batch that could not be stored.

    One alert for each hub, kind and clock hour: a sender of damaged messages must not flood the destinations.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    described = (
        "A batch of the Event Hub could not be judged or stored, so nothing that it holds has been alerted by the "
        "stream. Its messages are kept whole. The hunt reads the same events some minutes later."
        if whole
        else "The Event Hub brought data that could not be read as Activity Log records, or a record that a rule could "
        "not be run on. Every other record was judged. What could not be is kept as it came."
    )
    return _alert(
        _identifier("quarantined", hub, str(whole), hour.isoformat()),
        title="The stream put messages into quarantine",
        description=f"{described} This is said at most once an hour for each Event Hub.",
        facts=(
            Fact("Event Hub", hub or "unknown"),
            Fact("Partition", partition or "unknown"),
            Fact("Messages or parts" if not whole else "Messages", str(pieces)),
            Fact("Bytes", str(size)),
            Fact("First cause", reason),
            Fact("Quarantine entry", entry),
        ),
        response="1. Repair what the cause says, if it is ours to repair.\n"
        "2. `python -m detectors replay --quarantine` judges what is kept once more; what is good then leaves.\n"
        "3. If it stays damaged, look at what else sends to this Event Hub: only the Activity Log export should.",
        severity=Severity.MEDIUM if whole else Severity.LOW,
        now=now,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StaleInventory:
    """Automation accounts that were not read for longer than INVENTORY_STALE_AFTER."""

    account_id: str
    """The one that was not read for the longest time."""
    since: datetime
    """When that was last read, or was first listed."""
    accounts: int
    """How many are known."""
    error: str = ""
    """Why the last visit failed; empty when there was none."""


def stale_inventory(stale: StaleInventory, *, stretch: datetime, now: datetime) -> Alert:
    """The inventory does not keep up. *stretch* is since when that is so: one alert for each."""
    minutes = max(int((now - stale.since).total_seconds() // 60), 0)
    return _alert(
        _identifier("stale-inventory", stretch.isoformat()),
        title="Automation accounts are not being read",
        description="The inventory has not read these automation accounts for longer than INVENTORY_STALE_AFTER. What "
        "happens in them without a row in the Activity Log, such as a new watcher, is not seen meanwhile. The hunt and "
        "the stream are not affected. Once an account is read again, all that changed since is found as one step. This "
        "is said once, until every account has been read in time for an hour.",
        facts=(
            Fact("Stalest account", stale.account_id),
            Fact("Not read since", stale.since.isoformat(timespec="seconds")),
            Fact("Minutes ago", str(minutes)),
            Fact("Accounts known", str(stale.accounts)),
            Fact("Last error", stale.error or "none: their turn has not come"),
        ),
        response="1. Do what the last error says. For a refusal (403), give the detector's identity Reader there.\n"
        "2. Where there is no error, a run has too little time for all accounts: raise INVENTORY_CONCURRENCY, or name "
        "fewer subscriptions in INVENTORY_SUBSCRIPTIONS. Check too that the timer `inventory` runs.\n"
        "3. The heartbeat's `inventory_stalest_seconds` falls when it is repaired.",
        severity=Severity.MEDIUM,
        now=now,
    )


def no_inventory(reason: str, *, stretch: datetime, now: datetime) -> Alert:
    """The inventory cannot list a single automation account. *stretch* is since when: one alert for each."""
    return _alert(
        _identifier("no-inventory", stretch.isoformat()),
        title="The inventory sees no automation account",
        description="The detector's identity cannot list automation accounts, so the inventory finds nothing: neither "
        "a watcher that was added without a log row, nor jobs that a webhook or a schedule started. The hunt and the "
        "stream are not affected. If you have no automation account, there is nothing to do. This is said once.",
        facts=(Fact("Cause", reason),),
        response="1. Check that the detector's role is assigned on the subscriptions: the deployment makes one for "
        "each that it names. The built-in Reader, there or on the management group, does as well.\n"
        "2. If INVENTORY_SUBSCRIPTIONS is set, check the ids in it. Where it is empty, the identity also needs "
        "`Microsoft.Resources/subscriptions/read`.\n"
        "3. A new role takes some minutes to apply; the next run of the timer `inventory` then reads the accounts.",
        severity=Severity.LOW,
        now=now,
    )
