"""What a target has no place for, key by key. A key that nobody thought of is told too, so nothing goes in silence."""

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from detectors.export.shape import NotCarried, iso_duration
from detectors.rule import Rule

CARRIED_BY_ALL: Final = (
    *("id", "kind", "name", "enabled", "description", "severity", "query", "queryFrequency", "queryPeriod"),
    *("triggerOperator", "triggerThreshold", "eventGroupingSettings", "suppressionEnabled", "suppressionDuration"),
)
"""Keys of a rule file that every target has a place for."""

_KEPT_BESIDE: Final = "stands in NOT-CARRIED.md for responders; the deployed rule has no place for it"

_DETECTOR: Final = {
    "stream": "the rule runs on its schedule only; nothing reads the Event Hub stream",
    "identity": "nothing recognises a row that was reported before",
    "enrich": "no evidence is collected",
    "risk_score": "the target knows severities only",
    "references": _KEPT_BESIDE,
    "false_positives": _KEPT_BESIDE,
    "triage": _KEPT_BESIDE,
    "response": _KEPT_BESIDE,
    "summary": "the target decides itself what leads an alert",
}
_TOP: Final = {
    "tags": "the deployed rule has no tags of this kind",
    "status": "says how mature the rule is, which the deployed rule cannot",
    "requiredDataConnectors": "is not checked: connect the tables that the query reads first",
    "version": "is kept in the file alone; the deployed rule has no version",
    "metadata": "is about the file, not about the rule",
}


def left_out(
    document: Mapping[str, Any],
    carried: Collection[str],
    reasons: Mapping[str, str],
    carried_of_detector: Collection[str] = (),
) -> Iterator[NotCarried]:
    """Every key of *document* that is not in *carried*, with its reason: from *reasons*, or the common one.

    The keys under ``detector`` are told one by one, but for *carried_of_detector*. Empty values say nothing and are
    passed over.
    """
    for key, value in document.items():
        if key == "detector" and isinstance(value, dict):
            for option, setting in value.items():
                if setting and option not in carried_of_detector:
                    yield NotCarried(f"detector.{option}", _DETECTOR.get(option, "the target has no place for it"))
        elif value and key not in carried:
            yield NotCarried(key, reasons.get(key) or _TOP.get(key, "the target has no place for it"))


def fixed_severity(rule: Rule) -> Iterator[NotCarried]:
    """That evidence raises the severity in the detector alone; only a rule that collects some is concerned."""
    if rule.detector.enrich:
        yield NotCarried("severity", f"stays {rule.severity}; only the detector raises it when the evidence is worse")


def repeats(frequency: timedelta, period: timedelta) -> Iterator[NotCarried]:
    """That runs whose windows overlap report a row again, where nothing removes repeats."""
    times = -(-period // frequency)
    if times > 1:
        yield NotCarried(
            "queryPeriod",
            f"is {iso_duration(period)} every {iso_duration(frequency)}: one row is reported by up to {times} runs, "
            "because only the detector removes repeats",
        )


def responder_texts(rule: Rule) -> Iterator[tuple[str, str]]:
    """(heading, Markdown) of what the rule tells responders; not in the description, because parts of it speak of
    evidence that only the detector's alert holds."""
    if rule.detector.triage.strip():
        yield "What to check", rule.detector.triage.strip()
    if rule.detector.response.strip():
        yield "What to do when it is real", rule.detector.response.strip()
    if rule.detector.false_positives:
        yield "When it is expected", "\n".join(f"- {text.strip()}" for text in rule.detector.false_positives)
    if rule.detector.references:
        yield "References", "\n".join(f"- {reference}" for reference in rule.detector.references)
