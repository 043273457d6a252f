"""The judge: the same rows as the hunt's path, whatever shape and damage the bodies come in."""

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import rulebook
from detectors.kql.engine import Engine
from detectors.kql.preselection import preselect
from detectors.kql.values import json_value
from detectors.rule import Rule
from detectors.rulebook.cases import STANDARD_RECORD, read_cases
from detectors.sources import stream
from detectors.sources.activity_log import BadRecord, read_records, to_row
from detectors.sources.stream import Judged, StreamJudge
from detectors.triage.identity import identity_of, match_id

NOW = datetime(2026, 3, 14, 2, 10, tzinfo=UTC)
BOOK = rulebook.load([rulebook.BUILT_IN])
RULES = [rule for rule in BOOK.rules if rule.detector.stream]
OPERATIONS = sorted({name for rule in RULES for name in (preselect(rule.query).operations or ())})
JOB = "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/JOBS/WRITE"
RESOURCE = (
    "/SUBSCRIPTIONS/11111111-2222-3333-4444-555555555555/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.AUTOMATION"
    "/AUTOMATIONACCOUNTS/AA/JOBS/J1"
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def judge(engine: Engine) -> StreamJudge:
    return StreamJudge(RULES, engine)


def record(**fields: Any) -> dict[str, Any]:
    return {**STANDARD_RECORD, "operationName": JOB, "resourceId": RESOURCE, **fields}


def body(*records: Any) -> bytes:
    return json.dumps({"records": records}).encode()


def hunted(engine: Engine, rules: Sequence[Rule], records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rule id to rows when the engine reads every record, as the workspace does."""
    engine.load("AzureActivity", [to_row(found) for found in records])
    answers = {}
    for rule in rules:
        result = engine.run(rule.query, now=NOW)
        rows = [
            {
                n: v if kind == "dynamic" else json_value(kind, v)
                for (n, kind), v in zip(result.columns, row, strict=True)
            }
            for row in result.rows
        ]
        if rows:
            answers[rule.id] = rows
    return answers


def rows_of(judged: Judged) -> dict[str, list[Any]]:
    return {rule.id: rows for rule, rows in judged.found}


def ids(rules: Sequence[Rule], answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    return {match_id(rule.id, identity_of(rule, row, NOW)) for rule in rules for row in answers.get(rule.id, ())}


def test_every_rule_of_the_stream_runs(judge: StreamJudge) -> None:
    assert judge.refused == ()
    assert [rule.id for rule in judge.rules] == [rule.id for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_rows_are_those_of_the_hunt_for_every_case(judge: StreamJudge, engine: Engine, rule: Rule) -> None:
    file = read_cases(rulebook.tests_of(BOOK.files[rule.id]))
    for case in file.cases:
        records = [{**STANDARD_RECORD, **file.record, **row} for row in case.rows.get(None, ())]
        judged = judge.judge([body(found) for found in records], NOW)
        assert judged.damaged == ()
        assert judged.records == len(records)
        alone = set() if "summarize" not in rule.query else {rule.id}
        whole = hunted(engine, [rule], records)
        assert (rule.id in rows_of(judged)) == (rule.id in whole)
        for found in whole:
            if found not in alone:
                assert rows_of(judged)[found] == whole[found]


FIELD = st.sampled_from(["operationName", "OperationName", "OPERATIONNAME", "operationNameValue", "OperationNameValue"])
STATUS = st.sampled_from(
    ["Success", "SUCCEEDED", "succeeded", "Start", "Failure", "", "Succe\u017fs", " Success", 3, None]
)
OPERATION = st.one_of(
    st.sampled_from([*OPERATIONS, "Microsoft.Automation/automationAccounts/unnamed/action", "Microsoft.Compute/write"])
    .flatmap(lambda name: st.sampled_from([name, name.upper(), name.title(), name + " ", name.replace("k", "\u212a")])),
    st.text(max_size=5),
)  # fmt: skip
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RECORD = st.builds(
    lambda field, operation, status, shape, more: record(
        **{field: {"value": operation} if shape == 1 else operation},
        **({"status": {"value": status}, "resultType": None} if shape == 2 else {"resultType": status}),
        **more,
    ),
    FIELD,
    OPERATION,
    STATUS,
    st.integers(0, 5),
    st.dictionaries(
        st.sampled_from(
            ["properties", "identity", "level", "time", "TimeGenerated", "correlationId", "resourceId", "new"]
        ),
        VALUE,
        max_size=2,
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=st.lists(RECORD, min_size=1, max_size=6))
def test_stream_and_hunt_give_the_same_identities(
    judge: StreamJudge, engine: Engine, records: list[dict[str, Any]]
) -> None:
    judged = judge.judge([body(found) for found in records], NOW)
    # What JSON cannot carry is not what the hunt would see.
    seen = [found for data in map(body, records) for found in read_records(data) if not isinstance(found, BadRecord)]
    assert judged.damaged == ()
    assert ids(RULES, rows_of(judged)) == ids(RULES, hunted(engine, RULES, seen))


@pytest.mark.parametrize(
    "data",
    [
        body(record()),
        gzip.compress(body(record()), mtime=0),
        gzip.compress(body(record())[:40], mtime=0) + gzip.compress(body(record())[40:], mtime=0),
        json.dumps([record()]).encode(),
        json.dumps(record()).encode(),
        json.dumps({"value": [record()]}).encode(),
        b"\xef\xbb\xbf" + body(record()),
        body(record()).decode().encode("utf-16"),
        json.dumps(record(), indent=1).encode() + b"\n" + json.dumps(record(operationName="x")).encode(),
        body({**{k: v for k, v in record().items() if k != "operationName"}, "OPERATIONNAME": JOB}),
        # The export's own spelling counts, before and after another.
        body({"operationname": "Microsoft.Compute/x", **record(), "RESULTTYPE": "Failure"}),
        body(record(resultType="", status={"Value": "Succeeded"})),
        body(record(operationName={"value": JOB, "localizedValue": "x"})),
        body({"OperationNameValue": JOB, "ActivityStatusValue": "Success", "OperationName": "x"}),
        body(record()).replace(b"operationName", b"\\u006fperationName").replace(b"JOBS", b"J\\u004fBS"),
        body(record(more=float("nan"))),
        body(record(more="\ud800")),
    ],
    ids=range(17),
)
def test_every_shape_is_judged(judge: StreamJudge, data: bytes) -> None:
    judged = judge.judge([data], NOW)
    assert [rule.path.rpartition("/")[2] for rule, _ in judged.found] == ["serverless-script-execution.yaml"]
    assert judged.damaged == ()
    assert judged.candidates == 1


def test_what_nobody_watches_is_no_candidate(judge: StreamJudge) -> None:
    judged = judge.judge([body(*[record(operationName="Microsoft.Compute/virtualMachines/write")] * 10)] * 3, NOW)
    assert (judged.records, judged.candidates, judged.found) == (30, 0, ())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ""),
        (b"\x1f\x8b", "gzip"),
        (gzip.compress(body(record()), mtime=0)[:-9], "gzip"),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip"),
        (body(record())[:-40], "not JSON"),
        (body("text"), "not a record"),
        (b'{"records": [' + b"[" * 100_000, "record 1"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_damage_costs_no_other_body(judge: StreamJudge, data: bytes, reason: str) -> None:
    judged = judge.judge([body(record()), data, body(record(operationName="x"))], NOW)
    assert len(judged.found) == 1
    # A record's own bytes where it has any, else the body's.
    own = b'"text"' if data == body("text") else data
    assert [(found.body_index, found.data) for found in judged.damaged] == ([(1, own)] if reason else [])
    assert all(reason in found.reason for found in judged.damaged)


def test_a_good_record_beside_a_bad_one_is_judged(judge: StreamJudge) -> None:
    data = body(record(), record(operationName="x")).replace(b'"x"', b'"x')
    judged = judge.judge([data], NOW)
    assert len(judged.found) == 1
    assert [found.data for found in judged.damaged] == [data]


def test_decompression_is_bounded(judge: StreamJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGEST_BODY", 1000)
    data = gzip.compress(b" " * 1001)
    (damaged,) = judge.judge([data], NOW).damaged
    assert "more than 1000 bytes" in damaged.reason
    assert damaged.data == data


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_bytes_make_it_raise(judge: StreamJudge, data: st.DataObject) -> None:
    whole = bytearray(body(record(), record(operationName=data.draw(OPERATION))))
    for where, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[where] = value
    cut = data.draw(st.integers(0, len(whole)))
    judged = judge.judge([bytes(whole[:cut]), data.draw(st.binary(max_size=60)), body(record())], NOW)
    assert any(rule.path.endswith("serverless-script-execution.yaml") for rule, _ in judged.found)


def test_text_that_the_database_cannot_hold_is_judged() -> None:
    rule = next(rule for rule in RULES if rule.path.endswith("serverless-script-execution.yaml"))
    judge = StreamJudge([rule])
    judged = judge.judge([body(record(time="2026-03-14T02:07:31.1234567Z"), record(correlationId="\0"))], NOW)
    assert len(judged.found[0][1]) == 2


def test_a_rule_that_is_not_for_the_stream_is_left_out() -> None:
    others = [rule for rule in BOOK.rules if not rule.detector.stream]
    judge = StreamJudge(others)
    assert others
    assert judge.judge([body(record())], NOW).candidates == 0
