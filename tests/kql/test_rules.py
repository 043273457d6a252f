"""The built-in rules give the same rows without the database as with it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from detectors.kql.engine import Engine
from detectors.kql.preselection import preselect
from detectors.kql.rowwise import compile_row_query
from detectors.rule import Rule
from tests.kql.samples import (
    ACTIVITY,
    NARROW,
    RESOURCE,
    RULES,
    UNSURE,
    activity,
    case_rows,
    compiled,
    database,
    differences,
    ours,
)

SUMS_ROWS_UP = "rules/automation-operation-unnamed.yaml"
ROW_BY_ROW = [rule for rule in RULES if rule.path != SUMS_ROWS_UP]
# Each has a case of a request body that is cut off.
READ_BODIES = {"rules/hybrid-worker-added-or-moved.yaml", "rules/webhook-created-or-modified.yaml"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({NARROW.name: NARROW})


def test_every_rule_of_the_stream_compiles_but_the_one_that_sums_rows_up() -> None:
    refused = {rule.path for rule in RULES if compile_row_query(rule.query, ACTIVITY) is None}
    assert refused == {SUMS_ROWS_UP}
    assert len(ROW_BY_ROW) >= 35


def test_the_cases_hold_rows_enough_to_tell_a_rule_from_another() -> None:
    assert len(case_rows()) > 1000


@pytest.mark.parametrize("rule", ROW_BY_ROW, ids=lambda rule: rule.path)
def test_a_rule_finds_the_same_in_the_cases_of_every_rule(engine: Engine, rule: Rule) -> None:
    rows = case_rows()
    wanted = database(engine, NARROW, rule.query, rows)
    got = ours(compiled(rule.query), rows)
    assert differences(got, wanted, rows) == []
    assert any(answer is not None for answer in wanted)
    assert got.count(UNSURE) <= (1 if rule.path in READ_BODIES else 0)


def test_the_names_and_types_of_computed_columns_are_those_of_the_database(engine: Engine) -> None:
    plain = {name for name, _ in NARROW.columns}
    for rule in ROW_BY_ROW:
        columns = engine.translate(rule.query).columns
        assert compiled(rule.query).columns == tuple(column for column in columns if column[0] not in plain)


OPERATIONS = sorted({name for rule in ROW_BY_ROW for name in preselect(rule.query).operations or ()})
RESPELLED: list[Callable[[str], str]] = [str, str.upper, str.lower, str.title, str.swapcase]
CASE = st.sampled_from(RESPELLED)
PLAIN = st.text("aK-_. 0", min_size=1, max_size=6)
ODD = st.sampled_from(
    [
        "",
        "\n",
        "é",
        "\u212a",
        "\u017f",
        "İ",
        "\0",
        "\ud800",
        "\U0001f511",
        '"',
        "'",
        "\\",
        "%",
        "//",
        "\x0b",
        "\r\n",
        "?",
    ]
)
SEGMENT = st.sampled_from(sorted({part for name in OPERATIONS for part in name.split("/")[1:]}))


@st.composite
def resource_ids(draw: st.DrawFn, name: st.SearchStrategy[str]) -> str:
    """A path as of Azure Resource Manager, of an account or a site, or nearly one."""
    parts = [RESOURCE, draw(st.sampled_from(["Microsoft.Automation/automationAccounts", "Microsoft.Web/sites", "x"]))]
    for _ in range(draw(st.integers(0, 3))):
        parts += [draw(name), draw(SEGMENT)]
    return draw(CASE)("/".join([*parts, draw(name)])) + draw(st.sampled_from(["", "", "/", "//", "\n"]))


def bodies(name: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Bodies of requests and answers: what the rules look for in them, and what has nothing of it."""
    inner = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.fixed_dictionaries(
                {}, optional={"runbook": st.fixed_dictionaries({"name": name}), "vmResourceId": name}
            ),
            "runbook": st.fixed_dictionaries({"name": name}),
            "schedule": st.fixed_dictionaries({"name": name | st.integers()}),
            "hybridRunbookWorkerGroupName": name | st.none() | st.booleans() | st.integers(),
        },
    )
    return inner | inner.map(json.dumps) | inner.map(lambda body: json.dumps(body, indent=1, ensure_ascii=False))


@st.composite
def rows(draw: st.DrawFn, operations: list[str], name: st.SearchStrategy[str], other: st.SearchStrategy[Any]) -> Any:
    operation = draw(st.sampled_from(operations))
    body = bodies(name) | other
    properties = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "entity": resource_ids(name) | resource_ids(name) | other,
                "requestbody": body,
                "responseBody": body,
            },
        )
    )
    return activity(
        operationName=draw(CASE)(draw(st.sampled_from([operation, operation, operation.replace("k", draw(name))]))),
        resultType=draw(st.sampled_from(["Success", "succeeded", "Succeeded", "Start", "", "Succe\u017fs"])),
        resultSignature=draw(st.sampled_from(["Succeeded.Created", "Succeeded.created", "Succeeded.", "OK"])),
        resourceId=draw(resource_ids(name)),
        properties=draw(st.sampled_from([properties, properties, json.dumps(properties)])),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=16, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_a_rule_finds_the_same_in_hostile_rows(engine: Engine, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(ROW_BY_ROW), min_size=4, max_size=4, unique_by=lambda rule: rule.path))
    operations = sorted({name for rule in chosen for name in preselect(rule.query).operations or OPERATIONS})
    found = data.draw(st.lists(rows(operations, PLAIN | ODD, JSON | ODD), min_size=1, max_size=20))
    for rule in chosen:
        wanted = database(engine, NARROW, rule.query, found)
        assert differences(ours(compiled(rule.query), found), wanted, found) == []


@settings(max_examples=8, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_a_rule_is_sure_of_every_row_of_plain_text(engine: Engine, data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from(ROW_BY_ROW))
    operations = sorted(preselect(rule.query).operations or OPERATIONS)
    found = data.draw(st.lists(rows(operations, PLAIN, bodies(PLAIN)), min_size=5, max_size=20))
    plain = [row for row in found if row["ActivityStatusValue"].isascii()]
    got = ours(compiled(rule.query), plain)
    assert UNSURE not in got
    assert differences(got, database(engine, NARROW, rule.query, plain), plain) == []


def test_one_rule_of_all_finds_a_watcher_and_says_what_it_is() -> None:
    entity = f"{RESOURCE}/Microsoft.Automation/automationAccounts/aa-prod/watchers/Nightly"
    row = activity(
        operationName="MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE", properties={"entity": entity}
    )
    answers = {rule.path: compiled(rule.query).run(row) for rule in ROW_BY_ROW}
    assert {path: answer for path, answer in answers.items() if answer is not None} == {
        "rules/watcher-task-created-or-started.yaml": {
            "Entity": entity,
            "AccountName": "aa-prod",
            "WatcherName": "Nightly",
            "WatcherActionName": "",
            "Change": "created or modified",
            "ResourceName": "Nightly",
        }
    }
