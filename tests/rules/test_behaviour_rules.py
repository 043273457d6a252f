"""A finding of a behaviour rule stays the same finding: an hour later, in a longer window, after late rows.

Such a rule reads days or hours again at every run, so what it finds comes again and again; only its identity keeps
one action from becoming an alert per run.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detectors import rulebook
from detectors.kql.engine import Engine
from detectors.rule import Rule
from detectors.sources import activity_log
from detectors.triage.identity import identity_of, match_id

NAMES = (
    "automation-caller-first-seen",
    "runbook-created-published-and-executed",
    "runbook-deleted-after-job",
    "execution-from-new-address",
)
BOOK = {Path(rule.path).stem: rule for rule in rulebook.load(check_query=False).rules}
BASELINE = ("automation-caller-first-seen", "execution-from-new-address")
AUTOMATION = "Microsoft.Automation/automationAccounts/"
ACCOUNT = f"/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-ops/providers/{AUTOMATION}aa-prod"
STORAGE = ACCOUNT.replace(f"{AUTOMATION}aa-prod", "Microsoft.Storage/storageAccounts/contosodata")
ELSEWHERE = "198.51.100.9"
NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)

ENGINE = Engine()


def record(
    ago: timedelta, operation: str, resource: str, *, caller: str, address: str = "203.0.113.7"
) -> dict[str, Any]:
    moment = (NOW - ago).isoformat()
    return {
        "time": moment,
        "operationName": operation.upper(),
        "resourceId": resource.upper(),
        "resultType": "Success",
        "caller": caller,
        "callerIpAddress": address,
        "correlationId": f"{operation} {resource} {moment}",
        "properties": {"entity": resource},
    }


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def days(count: int) -> timedelta:
    return timedelta(days=count)


def attack(ago: int, operation: str, resource: str) -> dict[str, Any]:
    """What mallory did that many minutes ago, from an address that is not hers."""
    return record(
        minutes(ago), AUTOMATION + operation, f"{ACCOUNT}/{resource}", caller="mallory@contoso.com", address=ELSEWHERE
    )


def works(ago: int) -> list[dict[str, Any]]:
    """What alice and mallory did that many days ago, as always."""
    return [
        record(days(ago), AUTOMATION + "schedules/write", f"{ACCOUNT}/schedules/Daily", caller="alice@contoso.com"),
        record(days(ago), "Microsoft.Storage/storageAccounts/write", STORAGE, caller="mallory@contoso.com"),
    ]


OLDER = works(20)
PAST = works(9)
ATTACK = [
    attack(50, "runbooks/write", "runbooks/Nightly"),
    attack(45, "runbooks/publish/action", "runbooks/Nightly"),
    attack(40, "jobs/write", "jobs/6d4c1c5f"),
    attack(30, "runbooks/delete", "runbooks/Nightly"),
]
LATER = [
    attack(-20, "webhooks/write", "webhooks/Deploy"),
    record(minutes(-30), AUTOMATION + "schedules/write", f"{ACCOUNT}/schedules/Daily", caller="alice@contoso.com"),
]


def found(rule: Rule, records: Sequence[Mapping[str, Any]], *, start: datetime, end: datetime) -> set[str]:
    """Identities of what *rule* finds when it runs at *end* over the rows of the window, as the hunt runs it."""
    rows = [activity_log.to_row(item) for item in records]
    ENGINE.load(activity_log.TABLE, [row for row in rows if start <= row["TimeGenerated"] <= end])
    result = ENGINE.run(rule.query, now=end).dicts()
    return {match_id(rule.id, identity_of(rule, row)) for row in json.loads(json.dumps(result, default=str))}


@pytest.mark.parametrize("name", NAMES)
def test_a_finding_is_the_same_in_every_run_that_sees_it(name: str) -> None:
    rule = BOOK[name]
    everything = [*OLDER, *PAST, *ATTACK, *LATER]
    first = found(rule, everything, start=NOW - rule.query_period, end=NOW)
    assert len(first) == 1
    hour = NOW + timedelta(hours=1)
    assert found(rule, everything, start=hour - rule.query_period, end=hour) == first
    assert found(rule, everything, start=NOW - days(30), end=NOW) == first
    assert found(rule, everything, start=NOW - days(30), end=hour) == first


@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_the_day_says_the_same_or_nothing(name: str) -> None:
    rule = BOOK[name]
    everything = [*OLDER, *PAST, *ATTACK, *LATER]
    seen: set[str] = set()
    for hours in range(30):
        end = NOW + timedelta(hours=hours)
        seen |= found(rule, everything, start=end - rule.query_period, end=end)
    assert len(seen) == 1


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_arrive_late_or_out_of_order_make_no_second_finding(name: str) -> None:
    rule = BOOK[name]
    known = found(rule, [*PAST, *ATTACK], start=NOW - rule.query_period, end=NOW)
    for missing in ATTACK:
        partial = [*PAST, *(item for item in ATTACK if item is not missing)]
        assert found(rule, partial, start=NOW - rule.query_period, end=NOW) <= known


def test_an_earlier_write_or_job_that_arrives_late_does_not_change_what_was_found() -> None:
    early = [
        record(minutes(44), AUTOMATION + "jobs/write", f"{ACCOUNT}/jobs/5c3b0b4e", caller="Mallory@contoso.com"),
        record(minutes(55), AUTOMATION + "runbooks/write", f"{ACCOUNT}/runbooks/Nightly", caller="MALLORY@contoso.com"),
    ]
    late_job = record(minutes(35), AUTOMATION + "jobs/write", f"{ACCOUNT}/jobs/7e5d2d60", caller="mallory@contoso.com")
    deleted = BOOK["runbook-deleted-after-job"]
    once = found(deleted, ATTACK, start=NOW - deleted.query_period, end=NOW)
    assert found(deleted, [*ATTACK, *early, late_job], start=NOW - deleted.query_period, end=NOW) == once
    executed = BOOK["runbook-created-published-and-executed"]
    once = found(executed, ATTACK, start=NOW - executed.query_period, end=NOW)
    assert found(executed, [*ATTACK, early[1]], start=NOW - executed.query_period, end=NOW) == once


@pytest.mark.parametrize("name", BASELINE)
def test_a_baseline_rule_says_nothing_without_a_past(name: str) -> None:
    rule = BOOK[name]
    assert found(rule, ATTACK, start=NOW - rule.query_period, end=NOW) == set()


@pytest.mark.parametrize("name", BASELINE)
def test_a_baseline_rule_says_nothing_of_who_did_the_same_from_there_13_days_ago(name: str) -> None:
    rule = BOOK[name]
    before = record(
        days(13), AUTOMATION + "jobs/write", f"{ACCOUNT}/jobs/1", caller="MALLORY@CONTOSO.COM", address=ELSEWHERE
    )
    assert found(rule, [*PAST, before, *ATTACK], start=NOW - rule.query_period, end=NOW) == set()


@pytest.mark.parametrize("name", NAMES)
def test_behaviour_rules_run_in_the_hunt_only_and_within_sentinels_limits(name: str) -> None:
    rule = BOOK[name]
    assert not rule.detector.stream
    expected = (timedelta(hours=1), days(14)) if name in BASELINE else (minutes(5), timedelta(hours=2))
    assert (rule.query_frequency, rule.query_period) == expected
    assert ("ago(" in rule.query) == (name in BASELINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_result_has_the_columns_that_an_alert_shows(name: str) -> None:
    columns = {column for column, _ in ENGINE.translate(BOOK[name].query).columns}
    assert set(activity_log.to_row({})) <= columns
    assert not {column for column in columns if column.endswith(("Key1", "Key2"))}
