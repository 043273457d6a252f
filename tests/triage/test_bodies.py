"""What a caller sent in a request, a password among it, is in no stored row."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.model import Source
from detectors.rule import DetectorOptions
from detectors.triage.bodies import NOT_KEPT, without_bodies
from detectors.triage.intake import matches_of
from tests.core.samples import RULE

SECRET = "Correct-Horse-7"
BODY = {"properties": {"userName": "svc", "password": SECRET}}
ENTITY = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Automation/automationAccounts/a/credentials/c"


@pytest.mark.parametrize("body", [BODY, json.dumps(BODY), [BODY], f"not JSON {SECRET}"])
@pytest.mark.parametrize("key", ["requestbody", "responseBody", "RequestBody", "RESPONSEBODY"])
@pytest.mark.parametrize("nest", [lambda p: p, lambda p: {"eventProperties": p}, lambda p: {"a": json.dumps(p)}])
def test_a_body_is_gone_whatever_its_form_and_the_rest_stays(key: str, body: Any, nest: Any) -> None:
    properties = nest({key: body, "entity": ENTITY})
    row = without_bodies({"Caller": "x", "Properties": json.dumps(properties), "Properties_d": properties})
    told = json.dumps(row)
    assert SECRET not in told
    assert NOT_KEPT in told
    assert told.count("credentials/c") == 2
    assert row["Caller"] == "x"


@pytest.mark.parametrize(
    "properties", ['{"requestbody": "' + SECRET, 'requestbody={"a": 1} ' + SECRET, json.dumps(f"requestbody {SECRET}")]
)
def test_properties_that_cannot_be_read_are_not_kept(properties: str) -> None:
    assert without_bodies({"Properties": properties}) == {"Properties": NOT_KEPT}


@pytest.mark.parametrize(
    "properties", [None, 5, "", "plain", {"entity": ENTITY, "requestbody": ""}, {"requestbody": None}]
)
def test_properties_without_a_body_stay_as_they_are(properties: Any) -> None:
    assert without_bodies({"Properties_d": properties}) == {"Properties_d": properties}


def test_properties_nested_deeper_than_any_export_does_are_not_kept() -> None:
    deep: Any = {"requestbody": SECRET}
    for _ in range(50):
        deep = {"a": deep}
    assert SECRET not in json.dumps(without_bodies({"Properties_d": deep}))


@pytest.mark.parametrize("identity", [(), ("Caller",)])
def test_neither_the_row_nor_the_identity_of_a_match_holds_a_body(identity: tuple[str, ...]) -> None:
    rule = dataclasses.replace(RULE, detector=DetectorOptions(identity=identity))
    row = {"TimeGenerated": "2026-03-14T02:07:31Z", "Caller": "x", "Properties_d": {"requestbody": BODY}}
    now = datetime(2026, 3, 14, tzinfo=UTC)
    (match,) = matches_of(rule, [row], source=Source.HUNT, workspace=None, found_at=now)
    assert SECRET not in json.dumps([match.row, match.identity])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["requestbody", "responseBody", "a", "b"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_no_body_survives_and_a_second_pass_changes_nothing(value: Any, as_text: bool) -> None:
    once = without_bodies({"Properties": json.dumps(value) if as_text else value})
    assert without_bodies(once) == once
    assert _bodies(json.loads(once["Properties"]) if as_text and once["Properties"] != NOT_KEPT else once) <= {NOT_KEPT}


def _bodies(value: Any) -> set[Any]:
    found: set[Any] = set()
    if isinstance(value, dict):
        for key, item in value.items():
            if key.casefold() in {"requestbody", "responsebody"} and item:
                found.add(json.dumps(item) if isinstance(item, dict | list) else item)
            else:
                found |= _bodies(item)
    elif isinstance(value, list):
        for item in value:
            found |= _bodies(item)
    return found
