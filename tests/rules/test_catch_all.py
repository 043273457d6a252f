"""The catch-all reports exactly what no other rule names, and each of it once per operation, account and day."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import rulebook
from detectors.kql.engine import Engine
from detectors.rule import Rule
from detectors.sources import activity_log
from detectors.triage.identity import identity_of, match_id

BOOK = {Path(rule.path).stem: rule for rule in rulebook.load(check_query=False).rules}
CATCH_ALL = BOOK["automation-operation-unnamed"]
ACCOUNT = "Microsoft.Automation/automationAccounts/"
NAMED = re.compile(r'"Microsoft\.Automation/((?:[\w.]+/)*(?:write|delete|action|read))"', re.IGNORECASE)
LISTED = re.compile(r'"((?:\w+/)*(?:write|delete|action))"')
RESOURCE = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-ops/providers/" + ACCOUNT

ENGINE = Engine()


def named_by_the_other_rules() -> set[str]:
    """Names below the provider, lower case, without reads: the catch-all leaves out every read."""
    names = {name.lower() for rule in BOOK.values() if rule is not CATCH_ALL for name in NAMED.findall(rule.query)}
    return {name for name in names if not name.endswith("/read")}


def listed_by_the_catch_all() -> set[str]:
    """What the query leaves out, in the same form."""
    below_account = CATCH_ALL.query.split("AccountOperation !in~ (")[1].split(")")[0]
    of_provider = re.findall(r'ProviderOperation !~ "([^"]+)"', CATCH_ALL.query)
    return {f"automationaccounts/{name.lower()}" for name in LISTED.findall(below_account)} | set(of_provider)


def matches(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ENGINE.load(activity_log.TABLE, [activity_log.to_row(record) for record in records])
    return ENGINE.run(CATCH_ALL.query).dicts()


def ids(records: Sequence[Mapping[str, Any]], rule: Rule = CATCH_ALL) -> set[str]:
    # The hunt and the stream both hand over JSON values.
    rows = json.loads(json.dumps(matches(records), default=str))
    return {match_id(rule.id, identity_of(rule, row)) for row in rows}


def record(operation: str, **fields: Any) -> dict[str, Any]:
    return {
        "time": "2026-03-14T02:07:31Z",
        "resourceId": RESOURCE + "aa-prod/gadgets/wheel",
        "operationName": operation,
        "resultType": "Success",
        "caller": "mallory@contoso.com",
        **fields,
    }


def test_the_list_has_no_name_that_no_rule_reports() -> None:
    assert listed_by_the_catch_all() - named_by_the_other_rules() == set()


def test_every_name_that_a_rule_reports_is_in_the_list() -> None:
    assert named_by_the_other_rules() - listed_by_the_catch_all() == set()


def test_the_list_is_read_whole_and_has_no_name_twice() -> None:
    quoted = re.findall(r'"[^"]+"', CATCH_ALL.query.split("AccountOperation !in~ (")[1].split(")")[0])
    assert len(quoted) == len({name.lower() for name in quoted}) == len(listed_by_the_catch_all()) - 1
    assert len(quoted) >= 87


def test_the_catch_all_names_no_operation_itself() -> None:
    assert NAMED.findall(CATCH_ALL.query) == []


@pytest.mark.parametrize("status", ["Success", "Succeeded", "SUCCESS"])
def test_no_operation_of_another_rule_is_reported_twice(status: str) -> None:
    names = named_by_the_other_rules()
    assert names
    assert matches([record(f"Microsoft.Automation/{name}", resultType=status) for name in sorted(names)]) == []


@settings(max_examples=40, deadline=None)
@given(
    part=st.from_regex(r"[a-z][a-zA-Z0-9]{0,19}(/[a-zA-Z0-9]{1,12}){0,3}/(write|delete|action)", fullmatch=True),
    flips=st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=5),
    callers=st.lists(st.sampled_from(["mallory@contoso.com", "alice@contoso.com", ""]), min_size=1, max_size=5),
    hours=st.lists(st.integers(0, 23), min_size=1, max_size=5),
)
def test_an_invented_operation_is_one_match_whatever_its_rows_callers_and_casings(
    part: str, flips: list[list[bool]], callers: list[str], hours: list[int]
) -> None:
    if f"automationaccounts/{part.lower()}" in listed_by_the_catch_all():
        return

    def cased(text: str, flip: list[bool]) -> str:
        pairs = zip(text, itertools.cycle(flip), strict=False)
        return "".join(letter.upper() if upper else letter.lower() for letter, upper in pairs)

    records = [
        record(
            cased(ACCOUNT + part, flip),
            caller=caller,
            time=f"2026-03-14T{hour:02d}:00:00Z",
            resourceId=cased(RESOURCE + "aa-prod/gadgets/wheel", flip),
            correlationId=f"00000000-0000-4000-8000-{number:012d}",
        )
        for number, (flip, caller, hour) in enumerate(itertools.product(flips, callers, hours))
    ]
    together = ids(records)
    assert len(together) == 1
    # A later run sees other rows of the same day, a batch of the stream sees one: still the same match.
    assert ids(records[-1:]) == ids(records[:1]) == together


def test_day_account_and_operation_each_make_another_match() -> None:
    spin = ACCOUNT + "gadgets/spin/action"
    other_account = RESOURCE + "aa-test/gadgets/wheel"
    records = [
        record(spin),
        record(spin, time="2026-03-15T00:00:00Z"),
        record(spin, resourceId=other_account),
        record(spin, resourceId=other_account.replace("rg-ops", "rg-dev")),
        record(ACCOUNT + "gadgets/write"),
        record("Microsoft.Automation/gadgets/write", resourceId="/subscriptions/11111111-2222-3333-4444-555555555555"),
    ]
    assert len(ids(records)) == len(records)
    assert ids(records) == set().union(*(ids([one]) for one in records))


def test_the_earliest_row_stands_for_the_day() -> None:
    spin = ACCOUNT + "gadgets/spin/action"
    late, early = record(spin, time="2026-03-14T09:00:00Z"), record(spin, time="2026-03-14T01:00:00Z", caller="first")
    (row,) = matches([late, early])
    assert (row["Caller"], row["TimeGenerated"]) == ("first", datetime.fromisoformat("2026-03-14T01:00:00+00:00"))
