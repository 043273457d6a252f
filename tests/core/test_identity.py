"""Two rows are one action, or they are not."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.rule import DetectorOptions
from detectors.triage.identity import identity_of, match_id
from tests.core.samples import RULE, row


def identifier(**changes: Any) -> str:
    return match_id(RULE.id, identity_of(RULE, row(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"OperationNameValue": "Microsoft.Automation/automationAccounts/runbooks/write"},
        {"ActivityStatusValue": "Succeeded"},
        {"ActivityStatusValue": "SUCCESS"},
        {"CorrelationId": " 00000000-0000-0000-0000-000000000001"},
        {"TimeGenerated": "2026-03-02T02:51:00Z"},
        {"EventDataId": "another", "Caller": "dana@example.com"},
    ],
)
def test_the_same_action_in_another_shape_is_the_same_alert(changes: dict[str, object]) -> None:
    assert identifier(**changes) == identifier()


@pytest.mark.parametrize(
    "changes",
    [
        {"CorrelationId": "00000000-0000-0000-0000-000000000002"},
        {"OperationNameValue": "Microsoft.Automation/automationAccounts/runbooks/publish/action"},
        {"_ResourceId": "/subscriptions/x/other"},
        {"ActivityStatusValue": "Failure"},
    ],
)
def test_another_action_is_another_alert(changes: dict[str, object]) -> None:
    assert identifier(**changes) != identifier()


def test_rows_without_a_correlation_id_are_not_merged() -> None:
    one = identifier(CorrelationId="", TimeGenerated="2026-03-02T02:50:00Z")
    other = identifier(CorrelationId=None, TimeGenerated="2026-03-02T02:55:00Z")
    assert one != other


def test_a_rule_without_identity_columns_is_identified_by_its_whole_row() -> None:
    plain = dataclasses.replace(RULE, detector=dataclasses.replace(RULE.detector, identity=()))
    one, other = row(), row(Extra="x")
    assert match_id(plain.id, identity_of(plain, one)) != match_id(plain.id, identity_of(plain, other))


@given(
    st.dictionaries(
        st.sampled_from(["CorrelationId", "Caller", "_ResourceId"]), st.text() | st.none() | st.lists(st.text())
    )
)
def test_any_value_a_row_may_hold_gives_an_identity(changes: dict[str, object]) -> None:
    assert len(identifier(**changes)) == 32


def plain_id(content: dict[str, Any], found_at: datetime = datetime(2026, 3, 2, tzinfo=UTC)) -> str:
    rule = dataclasses.replace(RULE, detector=DetectorOptions())
    return match_id(rule.id, identity_of(rule, content, found_at))


def test_a_row_without_identity_columns_is_the_same_however_it_is_written() -> None:
    time = {"TimeGenerated": "2026-03-02T02:50:00Z"}
    one = {"Caller": "a", "Bag": {"x": 1, "y": [1.0, {"z": 2}]}, "Share": 3.0, "Set": ["b", "a"], **time}
    other = {**time, "Set": ["a", "b"], "Share": 3, "Bag": {"y": [1, {"z": 2.0}], "x": 1.0}, "Caller": "A "}
    assert plain_id(one) == plain_id(other)
    assert plain_id(one) != plain_id(one | {"Share": 3.5})
    assert plain_id(one) != plain_id(one | {"Bag": {"x": 1, "y": [{"z": 2}, 1.0]}})


def test_a_row_without_any_time_is_the_same_for_a_day_and_another_one_later() -> None:
    content = {"Caller": "a", "count_": 7}
    day = datetime(2026, 3, 2, tzinfo=UTC)
    assert plain_id(content, day) == plain_id(content, day + timedelta(hours=23))
    assert plain_id(content, day) != plain_id(content, day + timedelta(days=1))
    timed = content | {"EndTime": "2026-03-02T02:50:00Z"}
    assert plain_id(timed, day) == plain_id(timed, day + timedelta(days=9))


def test_a_row_that_lacks_every_identity_column_is_told_apart_by_its_time() -> None:
    one, other = ({"TimeGenerated": f"2026-03-02T02:5{n}:00Z"} for n in (1, 2))
    assert match_id(RULE.id, identity_of(RULE, one)) != match_id(RULE.id, identity_of(RULE, other))
