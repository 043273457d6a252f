"""Activity Log records of every published shape become rows of the one table, and damaged ones stop nothing."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.kql.engine import Engine, load_tables
from detectors.sources.activity_log import TABLE, BadRecord, read_records, to_row

UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
NAME = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
OBJECT_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
RESOURCE = (
    "/subscriptions/11111111-AAAA-3333-4444-555555555555/resourceGroups/rg-ops"
    "/providers/Microsoft.Automation/automationAccounts/aa-prod/runbooks/Nightly"
)
CLAIMS = {UPN: "mallory@contoso.com", "appid": "00000000-0000-4000-8000-000000000001"}
AUTHORIZATION = {"scope": RESOURCE, "action": "Microsoft.Automation/automationAccounts/runbooks/write"}

EXPORT: dict[str, Any] = {
    "time": "2026-03-14T02:07:31.1234567Z",
    "resourceId": RESOURCE.upper(),
    "operationName": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/RUNBOOKS/WRITE",
    "category": "Write",
    "resultType": "Success",
    "resultSignature": "Succeeded.Created",
    "resultDescription": "",
    "durationMs": "2826",
    "callerIpAddress": "203.0.113.7",
    "correlationId": "6f6d1d0e-8f0a-4d0c-9a3e-2b1c5a7d9e01",
    "identity": {"authorization": AUTHORIZATION, "claims": CLAIMS},
    "level": "Information",
    "location": "global",
    "properties": {
        "statusCode": "Created",
        "serviceRequestId": None,
        "eventCategory": "Administrative",
        "entity": RESOURCE,
        "message": "Microsoft.Automation/automationAccounts/runbooks/write",
        "hierarchy": "root/child",
        "requestbody": {"properties": {"runbookType": "PowerShell"}},
    },
}
REST: dict[str, Any] = {
    "authorization": AUTHORIZATION,
    "caller": "mallory@contoso.com",
    "category": {"value": "Administrative", "localizedValue": "Verwaltung"},
    "claims": CLAIMS,
    "correlationId": "6f6d1d0e-8f0a-4d0c-9a3e-2b1c5a7d9e01",
    "eventDataId": "e0e0e0e0-0000-4000-8000-000000000001",
    "eventName": {"value": "EndRequest", "localizedValue": "Anforderung beenden"},
    "eventTimestamp": "2026-03-14T02:07:31.1234567Z",
    "httpRequest": {"clientRequestId": "x", "clientIpAddress": "203.0.113.7", "method": "PUT"},
    "level": "Informational",
    "operationId": "6f6d1d0e-8f0a-4d0c-9a3e-2b1c5a7d9e99",
    "operationName": {
        "value": "Microsoft.Automation/automationAccounts/runbooks/write",
        "localizedValue": "Runbook erstellen",
    },
    "properties": {"statusCode": "Created", "entity": RESOURCE},
    "resourceGroupName": "rg-ops",
    "resourceId": RESOURCE,
    "resourceProviderName": {"value": "Microsoft.Automation", "localizedValue": "Microsoft.Automation"},
    "status": {"value": "Succeeded", "localizedValue": "Erfolgreich"},
    "subStatus": {"value": "Created", "localizedValue": "Erstellt (HTTP-Statuscode: 201)"},
    "submissionTimestamp": "2026-03-14T02:09:01.5Z",
    "subscriptionId": "11111111-aaaa-3333-4444-555555555555",
}


def test_an_exported_record_becomes_a_row() -> None:
    row = to_row(EXPORT)
    assert row["TimeGenerated"] == datetime(2026, 3, 14, 2, 7, 31, 123456, tzinfo=UTC)
    assert row["OperationNameValue"] == EXPORT["operationName"]
    assert row["ActivityStatusValue"] == "Success"
    assert row["ActivitySubstatusValue"] == "Created"
    assert row["CategoryValue"] == "Administrative"
    assert row["Caller"] == "mallory@contoso.com"
    assert row["CallerIpAddress"] == "203.0.113.7"
    assert row["CorrelationId"] == EXPORT["correlationId"]
    assert row["Level"] == "Information"
    assert row["Hierarchy"] == "root/child"
    assert row["_ResourceId"] == RESOURCE.lower()
    assert row["SubscriptionId"] == row["_SubscriptionId"] == "11111111-aaaa-3333-4444-555555555555"
    assert row["ResourceGroup"] == "RG-OPS"
    assert row["ResourceProviderValue"] == "MICROSOFT.AUTOMATION"
    assert row["Authorization_d"] == json.loads(row["Authorization"]) == AUTHORIZATION
    assert row["Claims_d"] == json.loads(row["Claims"]) == CLAIMS
    assert row["Properties_d"]["entity"] == RESOURCE
    assert row["Properties_d"]["requestbody"] == {"properties": {"runbookType": "PowerShell"}}
    assert row["Properties_d"]["location"] == "global"
    assert json.loads(row["Properties"]) == row["Properties_d"]
    assert row["EventDataId"] == ""
    assert row["EventSubmissionTimestamp"] is None


def test_the_rest_shape_becomes_the_same_row_where_both_carry_the_fact() -> None:
    row, exported = to_row(REST), to_row(EXPORT)
    same = (
        "TimeGenerated",
        "ActivitySubstatusValue",
        "CategoryValue",
        "Caller",
        "CallerIpAddress",
        "CorrelationId",
        "ResourceGroup",
        "ResourceProviderValue",
        "SubscriptionId",
        "_ResourceId",
        "Authorization_d",
        "Claims_d",
    )
    assert {name: row[name] for name in same} == {name: exported[name] for name in same}
    assert row["OperationNameValue"].casefold() == exported["OperationNameValue"].casefold()
    assert row["ActivityStatusValue"] == "Succeeded"
    assert row["EventDataId"] == REST["eventDataId"]
    assert row["OperationId"] == REST["operationId"]
    assert row["EventSubmissionTimestamp"] == datetime(2026, 3, 14, 2, 9, 1, 500000, tzinfo=UTC)
    assert json.loads(row["HTTPRequest"])["method"] == "PUT"


def test_a_row_of_the_table_passes_through() -> None:
    row = to_row(EXPORT)
    assert to_row(row) == row
    text = {**row, "TimeGenerated": row["TimeGenerated"].isoformat(), "Properties_d": json.dumps(row["Properties_d"])}
    assert to_row(text) == row


def test_a_row_of_the_table_gets_its_dynamic_columns_from_the_text_ones_and_loses_unknown_ones() -> None:
    row = to_row(
        {
            "timegenerated": "2026-03-14T02:07:31Z",
            "OperationNameValue": "X",
            "Properties": '{"a": 1}',
            "ResourceId": "/SUB/X",
            "TableName": "PrimaryResult",
            "_BilledSize": 5,
        }
    )
    assert row["Properties_d"] == {"a": 1}
    assert row["_ResourceId"] == "/sub/x"
    assert row["_BilledSize"] == 5.0
    assert row["TimeGenerated"] == datetime(2026, 3, 14, 2, 7, 31, tzinfo=UTC)
    assert "TableName" not in row


@pytest.mark.parametrize("record", [EXPORT, REST, {}], ids=["export", "rest", "empty"])
def test_a_row_has_every_column_of_the_table_and_no_other(record: dict[str, Any]) -> None:
    assert to_row(record).keys() == dict(load_tables()[TABLE].columns).keys()


@pytest.mark.parametrize(
    ("identity", "caller"),
    [
        ({"claims": {UPN: "a@b", NAME: "n", OBJECT_ID: "o"}}, "a@b"),
        ({"claims": {NAME: "n@b", OBJECT_ID: "o"}}, "n@b"),
        ({"claims": {OBJECT_ID: "o", "name": "Display Name"}}, "o"),
        ({"claims": {UPN.upper(): "a@b"}}, "a@b"),
        ({"claims": {UPN: ""}}, ""),
        ({"claims": {UPN: {"x": 1}, OBJECT_ID: "o"}}, "o"),
        ({"claims": json.dumps({UPN: "a@b"})}, "a@b"),
        (json.dumps({"claims": {UPN: "a@b"}}), "a@b"),
        ("nightly-build", "nightly-build"),
        ("{broken", "{broken"),
        ({"Claims": {UPN: "a@b"}}, "a@b"),
        ({"claims": "x"}, ""),
        ([1, 2], ""),
        (None, ""),
        (7, ""),
    ],
)
def test_the_caller_is_derived_from_what_the_identity_holds(identity: Any, caller: str) -> None:
    assert to_row({**EXPORT, "identity": identity})["Caller"] == caller


def test_a_caller_that_the_record_names_wins_over_the_claims() -> None:
    assert to_row({**EXPORT, "caller": "x@y"})["Caller"] == "x@y"
    assert to_row({**EXPORT, "properties": {"caller": "x@y"}})["Caller"] == "x@y"


def test_field_names_count_in_any_case() -> None:
    assert to_row({name.upper(): item for name, item in EXPORT.items()}) | {"Properties": "", "Properties_d": None} == (
        to_row(EXPORT) | {"Properties": "", "Properties_d": None}
    )


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"level": 4}, "Level", "4"),
        ({"level": None, "Level": "Warning"}, "Level", ""),
        ({"resultSignature": "Started."}, "ActivitySubstatusValue", ""),
        ({"resultSignature": "200"}, "ActivitySubstatusValue", "200"),
        ({"resultSignature": 403}, "ActivitySubstatusValue", "403"),
        ({"category": "Security", "properties": {}}, "CategoryValue", "Security"),
        ({"category": "Action", "properties": {}}, "CategoryValue", "Administrative"),
        ({"category": None, "properties": None}, "CategoryValue", "Administrative"),
        ({"callerIpAddress": "127.0.0.0/8"}, "CallerIpAddress", "127.0.0.0/8"),
        ({"properties": '{"entity": "/X"}'}, "Properties_d", "/X"),
        ({"properties": "plain"}, "Properties_d", RESOURCE.upper()),
        ({"properties": {}}, "Properties_d", RESOURCE.upper()),
        ({"time": "14/03/2026 02:07"}, "TimeGenerated", None),
        ({"time": 5}, "TimeGenerated", None),
        ({"time": None, "eventTimestamp": "2026-03-14T00:00:00"}, "TimeGenerated", datetime(2026, 3, 14, tzinfo=UTC)),
        ({"resourceId": "/subscriptions/A"}, "ResourceGroup", ""),
        ({"resourceId": "nonsense"}, "_SubscriptionId", ""),
        ({"resourceId": None}, "_ResourceId", ""),
        ({"resourceId": ["x"]}, "_ResourceId", ""),
        ({"operationName": None}, "OperationNameValue", ""),
    ],
)
def test_a_field_that_changes_its_type_or_form_is_still_read(
    changes: dict[str, Any], column: str, expected: Any
) -> None:
    found = to_row({**EXPORT, **changes})[column]
    assert (found["entity"] if column == "Properties_d" else found) == expected


A, B = {"a": 1}, {"b": {"c": [2]}}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"a": 1}', [A]),
        ('[{"a": 1}, {"b": {"c": [2]}}]', [A, B]),
        ('{"records": [{"a": 1}, {"b": {"c": [2]}}]}', [A, B]),
        ('{"value": [{"a": 1}], "nextLink": "https://x"}', [A]),
        ('{"a": 1}\n{"b": {"c": [2]}}\n', [A, B]),
        ('{"a": 1}\r\n\r\n{"b": {"c": [2]}}', [A, B]),
        ('{"a": 1}{"b": {"c": [2]}}', [A, B]),
        ('{"records": [{"a": 1}]}\n{"records": [{"b": {"c": [2]}}]}', [A, B]),
        ('{\n  "a": 1\n}\n{\n  "b": {"c": [2]}\n}', [A, B]),
        ('{"a": 1},\n{"b": {"c": [2]}}', [A, B]),
        ('{"records": []}', []),
        ('{"records": {"x": 1}}', [{"records": {"x": 1}}]),
        ('[{"records": [{"a": 1}]}, [[{"b": {"c": [2]}}], []]]', [A, B]),
        ('[{"operationName": "x", "value": [{"a": 1}]}]', [{"operationName": "x", "value": [{"a": 1}]}]),
        ("", []),
        (" \n ", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_records_are_read_from_every_container_and_encoding(data: str, expected: list[Any], encoding: str) -> None:
    assert list(read_records(data.encode(encoding))) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"a": 1}\n{bad\n{"b": {"c": [2]}}', [A, (2, "line 2: not JSON"), B]),
        ('{"a": 1}\ngarbage\n{"b": {"c": [2]}}', [A, (2, "line 2: not JSON"), B]),
        ('{"records": [{"a": 1}, {bad}, {"b": {"c": [2]}}]}', [A, (2, "line 1: not JSON"), B]),
        ('{"records": [{"a": 1}, {"b": {"c": [2]}}, {"d": ', [A, B, (3, "line 1: not JSON: Expecting value")]),
        ('[{"a": 1}, 5, null, "x", {"b": {"c": [2]}}]', [A, (2, "number"), (3, "null"), (4, "string"), B]),
        ("nonsense", [(1, "line 1: not JSON")]),
        ("true\n5", [(1, "a JSON boolean"), (2, "a JSON number")]),
        ('{"a": ' + "[" * 100_000, [(1, "line 1: not JSON: nested too deeply")]),
        ('{"a": ' + "9" * 5_000 + '}\n{"a": 1}', [(1, "line 1: not JSON: Exceeds the limit"), A]),
        ("[", [(1, "line 1: the data ends inside a list")]),
        ('{"records": [', [(1, "line 1: the data ends inside a list")]),
        ('{"records": [{"a": 1}', [A, (2, "line 1: the data ends inside a list")]),
        ('{"value": [\n{"a": 1},\n', [A, (2, "line 3: the data ends inside a list")]),
        ('[{"a": 1}]\n[[{"b": {"c": [2]}}', [A, B, (3, "line 2: the data ends inside a list")]),
        ('{"records": [{"a": 1}, {bad}', [A, (2, "not JSON")]),
        ('{"records": [{"a": 1}, {bad}]}', [A, (2, "not JSON")]),
        ('{"records": [{"a": 1}, {bad]}\n{"b": {"c": [2]}}', [A, (2, "not JSON"), B]),
        ('[{"a": 1}, {bad}, {"b": {"c": [2]}}', [A, (2, "not JSON"), B, (4, "the data ends inside a list")]),
        ("]}", [(1, "line 1: a list ends that never began")]),
        ('{"a": 1}, {"b": {"c": [2]}}]\n]', [A, B, (3, "line 1: a list ends that never began")]),
        ('{"recordz": [{"a": 1}]}', [(1, "an object with a list in 'recordz'")]),
        ('[{"recordz": [{"a": 1}]}, {"a": 1}]', [(1, "an object with a list in 'recordz'"), A]),
    ],
    ids=[
        *["line", "garbage", "member", "truncated", "scalars", "text", "values", "deep", "huge-number"],
        *["list", "envelope", "after-a-record", "after-a-comma", "second-list"],
        *["damage-last", "damage-in-a-whole-list", "damage-over-the-end", "damage-before"],
        *["end-alone", "beginning-lost", "name-damaged", "name-damaged-in-a-list"],
    ],
)
def test_a_damaged_record_is_reported_in_its_place_and_the_others_survive(data: str, expected: list[Any]) -> None:
    found = list(read_records(data.encode()))
    assert len(found) == len(expected)
    for item, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, tuple):
            assert isinstance(item, BadRecord)
            assert item.position == wanted[0]
            assert wanted[1] in item.reason
        else:
            assert item == wanted


@pytest.mark.parametrize(
    "data",
    [
        '{"records": [{"a": 1}, {"b": {"c": [2]}}]',
        '{"records": [{"a": 1} {"b": {"c": [2]}}]}',
        '[{"a": 1},, {"b": {"c": [2]}},]',
        '[{"a": 1},\n\x1e{"b": {"c": [2]}}\n]',
    ],
)
def test_what_loses_no_record_is_forgiven(data: str) -> None:
    assert list(read_records(data.encode())) == [A, B]


@pytest.mark.parametrize(
    ("data", "found", "reason"),
    [
        (b'{"a": "\xff"}\n{"a": "\xc3"}', ["\ufffd", "\ufffd"], "byte 8 of the data is not UTF-8"),
        (b'\xef\xbb\xbf{"a": "\xff"}', ["\ufffd"], "byte 11 of the data is not UTF-8"),
        (
            '{"a": "'.encode("utf-16") + b"\x00\xd8" + '"}'.encode("utf-16-le"),
            ["\ufffd"],
            "byte 17 of the data is not UTF-16",
        ),
    ],
    ids=["utf-8", "mark", "utf-16"],
)
def test_bytes_that_are_no_text_are_reported_once_and_their_records_are_read(
    data: bytes, found: list[str], reason: str
) -> None:
    *records, bad = read_records(data)
    assert [record["a"] for record in records if isinstance(record, dict)] == found
    assert isinstance(bad, BadRecord)
    assert bad.position == len(records) + 1
    assert reason in bad.reason


def test_a_record_may_hold_a_list_of_objects() -> None:
    record = {"operationName": "x", "evidence": [{"a": 1}]}
    assert list(read_records(json.dumps([record]).encode())) == [record]


@pytest.mark.parametrize(
    "unit", ["[", '{"records":[', '{"a":[\n', '{"a":"\n', "{\n", "}{", "]", '{"value":[{', "\\\n{"]
)
def test_data_made_to_be_slow_is_given_up_on_and_says_so_or_is_read_to_its_end(unit: str) -> None:
    found = list(read_records(unit.encode() * 20_000))
    assert all(isinstance(item, BadRecord) or item == {} for item in found)
    assert len(found) <= 20_001


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([*EXPORT, *REST, "Identity", "TimeGenerated", "OperationNameValue", "Properties_d", "Claims"])
RECORDS = st.dictionaries(FIELDS, JSON | st.sampled_from([*EXPORT.values(), *REST.values()]), max_size=8)

ENGINE = Engine()


@settings(max_examples=80, deadline=None)
@given(record=RECORDS)
def test_no_record_raises_and_every_row_loads_into_the_engine(record: dict[str, Any]) -> None:
    row = to_row(record)
    ENGINE.load(TABLE, [row])
    assert len(ENGINE.run("AzureActivity | project OperationNameValue, Properties_d").rows) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200) | st.text('{}[]",:\n \\a1', max_size=80).map(str.encode))
def test_no_bytes_raise_and_everything_read_is_a_record_or_a_reason(data: bytes) -> None:
    for item in read_records(data):
        assert isinstance(item, dict) or item.reason
        if isinstance(item, dict):
            to_row(item)


@settings(max_examples=80, deadline=None)
@given(records=st.lists(st.dictionaries(st.text("ab", max_size=3), st.text(), max_size=3), max_size=4))
def test_one_record_per_line_gives_back_exactly_those_records(records: list[dict[str, str]]) -> None:
    data = "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
    assert list(read_records(data)) == records
