"""Severity: the rule's own, raised by what triage found, each step with its reason. Pure."""

from collections.abc import Sequence
from typing import Any

from detectors.model import Evidence, Severity
from detectors.rule import Rule


def assess(rule: Rule, evidence: Sequence[Evidence]) -> tuple[Severity, tuple[str, ...]]:
    """Severity and the sentences that explain it, the decisive one first.

    A runbook that runs on a hybrid worker raises it by one step: the code runs inside the tenant's own network, on a
    machine with identities of its own. Script lines that ordinary runbooks do not hold make it High.
    """
    severity = rule.severity
    reasons = []
    rare = dict.fromkeys(reason for item in evidence for reason in _rare_reasons(item))
    if rare:
        severity = Severity.HIGH
        reasons += [f"Ordinary runbooks do not do this: {reason}" for reason in rare]
    groups = sorted({group for item in evidence for group in _hybrid_worker_groups(item)})
    if groups:
        severity = severity.raised()
        reasons.append(f"Runs on your own machines, hybrid worker group {', '.join(groups)}.")
    return severity, (*reasons, f"The rule's own severity is {rule.severity}.")


def _rare_reasons(item: Evidence) -> list[str]:
    """Reasons of the findings that ordinary runbooks do not have; they were made before secrets were masked."""
    findings = item.data.get("findings")
    found = [entry for entry in findings if isinstance(entry, dict)] if isinstance(findings, list) else []
    return [str(entry.get("reason")) for entry in found if entry.get("rare") is True]


def _hybrid_worker_groups(item: Evidence) -> list[str]:
    """Groups named by ``runOn`` or ``scriptRunOn`` anywhere in the evidence of a job, watcher, webhook or schedule."""
    found: list[str] = []
    stack: list[Any] = [item.data]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            found += [v for k, v in value.items() if k in {"runOn", "scriptRunOn"} and isinstance(v, str) and v]
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return found
