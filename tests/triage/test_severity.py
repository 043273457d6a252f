"""Severity is the rule's own, raised by what triage found, and every step is explained."""

from typing import Any

import pytest

from detectors.model import Evidence, Severity
from detectors.triage.severity import assess
from tests.core.samples import RULE


def evidence(**data: Any) -> Evidence:
    return Evidence(name="x", title="X", data=data)


def finding(reason: str, *, rare: bool) -> dict[str, Any]:
    return {"indicator": "i", "line": 3, "reason": reason, "technique": "T1", "rare": rare}


def test_without_evidence_it_is_the_rules_own() -> None:
    assert assess(RULE, ()) == (Severity.LOW, ("The rule's own severity is Low.",))


def test_what_ordinary_runbooks_do_not_do_makes_it_high_and_leads_the_reasons() -> None:
    severity, reasons = assess(RULE, [evidence(findings=[finding("Fetches a token by hand.", rare=True)])])
    assert severity is Severity.HIGH
    assert reasons[0] == "Ordinary runbooks do not do this: Fetches a token by hand."
    assert reasons[-1] == "The rule's own severity is Low."


def test_what_ordinary_runbooks_do_as_well_changes_nothing() -> None:
    assert assess(RULE, [evidence(findings=[finding("Posts data.", rare=False)])])[0] is Severity.LOW


def test_the_same_reason_from_three_texts_is_said_once() -> None:
    one = evidence(findings=[finding("Fetches a token by hand.", rare=True)])
    assert len(assess(RULE, [one, one, one])[1]) == 2


@pytest.mark.parametrize(
    "data",
    [
        {"runOn": "hwg"},
        {"watchers": [{"name": "w", "scriptRunOn": "hwg"}]},
        {"webhooks": [{"runOn": ""}, {"runOn": "hwg"}]},
    ],
)
def test_running_on_a_hybrid_worker_raises_it_by_one_step(data: dict[str, Any]) -> None:
    severity, reasons = assess(RULE, [evidence(**data)])
    assert severity is Severity.MEDIUM
    assert "hybrid worker group hwg" in reasons[0]


@pytest.mark.parametrize("data", [{"runOn": None}, {"runOn": ""}, {"findings": "text"}, {"findings": ["text"]}])
def test_the_cloud_and_odd_data_change_nothing(data: dict[str, Any]) -> None:
    assert assess(RULE, [evidence(**data)])[0] is Severity.LOW
