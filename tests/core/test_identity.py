"""Two rows are one action, or they are not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    import dataclasses

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
