"""What an export cannot hold is told, key by key, and what it does hold is not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.export.azure_monitor import log_alert
from detectors.export.document import read_extras
from detectors.export.sentinel import sentinel_rule
from detectors.export.shape import CannotExport, NotCarried
from tests.export import samples

DETECTOR = {
    "stream": True,
    "identity": ["CorrelationId"],
    "enrich": ["runbook"],
    "risk_score": 47,
    "references": ["https://contoso.com/"],
    "false_positives": ["A team does this."],
    "triage": "1. Look.",
    "response": "1. Act.",
    "summary": ["Caller"],
}
OURS = samples.FULL | {"detector": DETECTOR, "queryFrequency": "5m", "queryPeriod": "25m"}
WRONG: dict[str, Any] = {
    "eventGroupingSettings": {"aggregationKind": "Sometimes", "x": 1},
    "suppressionEnabled": "maybe",
    "suppressionDuration": "a while",
    "incidentConfiguration": {
        "createIncident": 1,
        "groupingConfiguration": {"matchingMethod": "Any", "lookbackDuration": 5, "groupByEntities": "Account"},
    },
    "alertDetailsOverride": {"alertTacticsColumnName": 1, "alertDynamicProperties": [{"alertProperty": "AlertLink"}]},
    "sentinelEntitiesMappings": [{"column": "x"}],
}


def keys(notes: tuple[NotCarried, ...]) -> set[str]:
    return {note.key for note in notes}


def sentinel_notes(document: dict[str, Any], folder: Path) -> tuple[NotCarried, ...]:
    return sentinel_rule(samples.read(folder, document), document).not_carried


def log_alert_notes(document: dict[str, Any], folder: Path) -> tuple[NotCarried, ...]:
    return log_alert(samples.read(folder, document), document).not_carried


def test_sentinel_holds_all_but_what_is_ours(tmp_path: Path) -> None:
    expected = {f"detector.{key}" for key in DETECTOR}
    expected |= {"severity", "relevantTechniques", "queryPeriod", "tags", "requiredDataConnectors"}
    assert keys(sentinel_notes(OURS, tmp_path)) == expected | {"sentinelEntitiesMappings"}


def test_a_plain_rule_loses_little_in_sentinel(tmp_path: Path) -> None:
    document = samples.PLAIN | {"relevantTechniques": ["T1546"], "requiredDataConnectors": [], "tags": []}
    (note,) = sentinel_notes(document, tmp_path)
    assert note.key == "version"


def test_sub_techniques_are_named(tmp_path: Path) -> None:
    (note,) = [note for note in sentinel_notes(samples.PLAIN, tmp_path) if note.key == "relevantTechniques"]
    assert note.reason.startswith("T1053.005, T1053.006: ")


def test_repeats_are_counted(tmp_path: Path) -> None:
    (note,) = [note for note in sentinel_notes(OURS, tmp_path) if note.key == "queryPeriod"]
    assert "PT25M every PT5M" in note.reason
    assert "up to 5 runs" in note.reason
    assert "queryPeriod" not in keys(sentinel_notes(samples.PLAIN, tmp_path))


def test_near_real_time_is_told_on_both_sides(tmp_path: Path) -> None:
    assert "kind" in keys(sentinel_notes(samples.NRT, tmp_path))
    assert "kind" in keys(log_alert_notes(samples.NRT, tmp_path))
    assert "relevantTechniques" not in keys(sentinel_notes(samples.NRT, tmp_path))


def test_azure_monitor_holds_less(tmp_path: Path) -> None:
    expected = {f"detector.{key}" for key in DETECTOR}
    expected |= {
        *("severity", "tactics", "relevantTechniques", "tags", "entityMappings", "sentinelEntitiesMappings"),
        *("customDetails", "alertDetailsOverride", "incidentConfiguration", "eventGroupingSettings"),
        *("queryPeriod", "suppressionDuration", "requiredDataConnectors", "alertRuleTemplateName"),
    }
    assert keys(log_alert_notes(OURS, tmp_path)) == expected


def test_identity_is_kept_where_it_splits_alerts(tmp_path: Path) -> None:
    found = keys(log_alert_notes(OURS | {"suppressionEnabled": False}, tmp_path))
    assert "detector.identity" not in found
    assert "detector.stream" in found


def test_a_key_that_nobody_knows_is_told(tmp_path: Path) -> None:
    document = samples.PLAIN | {"owner": "a team", "empty": []}
    for notes in (sentinel_notes(document, tmp_path), log_alert_notes(document, tmp_path)):
        assert "owner" in keys(notes)
        assert "empty" not in keys(notes)


def test_what_cannot_be_used_is_told_and_replaced() -> None:
    extras = read_extras(samples.PLAIN | WRONG)
    grouping = "incidentConfiguration.groupingConfiguration."
    assert keys(extras.notes) == {
        *("eventGroupingSettings.aggregationKind", "eventGroupingSettings.x", "suppressionEnabled"),
        *("suppressionDuration", "incidentConfiguration.createIncident", f"{grouping}matchingMethod"),
        *(f"{grouping}lookbackDuration", f"{grouping}groupByEntities", "sentinelEntitiesMappings"),
        *("alertDetailsOverride.alertTacticsColumnName", "alertDetailsOverride.alertDynamicProperties"),
    }
    assert extras.incident["groupingConfiguration"]["lookbackDuration"] == "PT5H"
    assert (extras.per_result, extras.suppression_enabled, extras.overrides) == (False, False, {})


def test_suppression_beyond_a_day_is_cut_and_told() -> None:
    extras = read_extras({"suppressionDuration": "2d"})
    assert extras.suppression_duration.days == 1
    assert keys(extras.notes) == {"suppressionDuration"}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(WRONG)), JUNK))
def test_whatever_stands_there_does_not_stop_an_export(document: dict[str, Any]) -> None:
    extras = read_extras(document)
    assert isinstance(extras.incident["createIncident"], bool)


@pytest.mark.parametrize("stem", samples.BUILT_IN)
def test_every_key_of_a_built_in_rule_is_carried_or_told(stem: str) -> None:
    rule, document = samples.BUILT_IN[stem], samples.document_of(stem)
    options = {f"detector.{key}" for key, value in document.get("detector", {}).items() if value}
    notes = sentinel_rule(rule, document).not_carried
    assert options <= keys(notes)
    assert all(note.reason for note in notes)
    try:
        told = keys(log_alert(rule, document).not_carried)
    except CannotExport:
        return
    assert options - {"detector.identity"} <= told
    assert {key for key in ("tactics", "entityMappings", "requiredDataConnectors") if document.get(key)} <= told


def test_what_a_tolerant_reader_gives_as_text_counts() -> None:
    extras = read_extras({"suppressionEnabled": "True", "enabled": "off", "suppressionDuration": "06:00:00"})
    assert (extras.suppression_enabled, extras.enabled, extras.notes) == (True, False, ())
    assert extras.suppression_duration.seconds == 6 * 3600
