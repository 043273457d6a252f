"""What started a job is inferred from the most certain sign that there is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.inventory.snapshot import InventoryObject
from detectors.inventory.triggers import Trigger, Triggers, is_principal

CREATED = "2026-03-02T02:30:00Z"


def make(kind: str, name: str, **properties: Any) -> InventoryObject:
    return InventoryObject(kind=kind, name=name, id=f"/{kind}/{name}".lower(), properties=properties)


WEBHOOK = make("Webhook", "hook", runbook="Deploy", lastInvokedTime="2026-03-02T02:29:00Z")
WATCHER = make("Watcher", "watch", scriptName="deploy", scriptRunOn="Hybrid-Ops")
LINK = make("JobSchedule", "deploy on nightly", runbook="DEPLOY", schedule="nightly")


def of(*objects: InventoryObject, asked: bool = True, **job: Any) -> tuple[str, str]:
    found = Triggers(objects).of({"runbook": "deploy", "creationTime": CREATED, **job}, asked=asked)
    return found.kind, found.name


def test_nothing_points_to_a_trigger() -> None:
    assert of() == ("", "")
    assert of(WEBHOOK, WATCHER, LINK, runbook="other", runOn="hybrid-ops") == ("", "")
    assert Triggers([WEBHOOK, WATCHER, LINK]).of({}, asked=True) == Trigger()


@pytest.mark.parametrize(
    ("invoked", "near"),
    [
        ("2026-03-02T02:25:00Z", True),
        ("2026-03-02T02:35:00Z", True),
        ("2026-03-02T02:24:59Z", False),
        ("2026-03-02T02:35:01Z", False),
        ("never", False),
        (None, False),
    ],
)
def test_a_webhook_that_was_invoked_next_to_the_job(invoked: str | None, near: bool) -> None:
    webhook = make("Webhook", "hook", runbook="deploy", lastInvokedTime=invoked)
    assert of(webhook) == (("Webhook", "hook") if near else ("", ""))


def test_of_several_webhooks_the_nearest() -> None:
    far = make("Webhook", "a", runbook="deploy", lastInvokedTime="2026-03-02T02:27:00Z")
    near = make("Webhook", "z", runbook="deploy", lastInvokedTime="2026-03-02T02:30:01Z")
    assert of(far, near, WEBHOOK) == ("Webhook", "z")


def test_a_watcher_of_the_group_where_the_job_ran() -> None:
    assert of(WATCHER, runOn="hybrid-ops") == ("Watcher", "watch")
    assert of(WATCHER, runOn="hybrid-ops", asked=False) == ("Watcher", "watch")
    assert of(WATCHER, runOn="other") == ("", "")
    assert of(WATCHER) == ("", "")
    assert of(make("Watcher", "watch", scriptName="deploy")) == ("", "")


def test_a_watcher_starts_its_actions_too() -> None:
    watcher = make("Watcher", "watch", scriptName="look", scriptRunOn="hybrid-ops", actions=["Deploy"])
    assert of(watcher, runOn="hybrid-ops") == ("Watcher", "watch")


@pytest.mark.parametrize(
    ("started_by", "trigger"),
    [
        (None, ("Schedule", "nightly")),
        ("", ("Schedule", "nightly")),
        ("Schedule", ("Schedule", "nightly")),
        ("eve@contoso.com", ("", "")),
        ("11111111-2222-3333-4444-555555555555", ("", "")),
    ],
)
def test_a_schedule_when_no_user_or_application_started_the_job(
    started_by: str | None, trigger: tuple[str, str]
) -> None:
    assert of(LINK, startedBy=started_by) == trigger


def test_no_schedule_when_nobody_asked_who_started_the_job() -> None:
    assert of(LINK, asked=False) == ("", "")


def test_no_schedule_that_is_disabled_or_runs_elsewhere() -> None:
    assert of(LINK, make("Schedule", "Nightly", isEnabled=False)) == ("", "")
    assert of(LINK, make("Schedule", "Nightly", isEnabled=True)) == ("Schedule", "nightly")
    assert of(LINK, runOn="hybrid-ops") == ("", "")
    elsewhere = make("JobSchedule", "x", runbook="deploy", schedule="nightly", runOn="Hybrid-Ops")
    assert of(elsewhere, runOn="hybrid-ops") == ("Schedule", "nightly")
    assert of(elsewhere) == ("", "")


def test_the_most_certain_sign_counts() -> None:
    assert of(LINK, WATCHER, WEBHOOK, runOn="hybrid-ops") == ("Webhook", "hook")
    link = make("JobSchedule", "x", runbook="deploy", schedule="nightly", runOn="hybrid-ops")
    assert of(link, WATCHER, runOn="hybrid-ops") == ("Watcher", "watch")


def test_the_order_of_objects_does_not_count() -> None:
    others = [make("JobSchedule", name, runbook="deploy", schedule=name) for name in "cab"]
    assert of(*others) == of(*reversed(others)) == ("Schedule", "a")
    watchers = [make("Watcher", name, scriptName="deploy", scriptRunOn="g") for name in "cab"]
    assert of(*watchers, runOn="g") == ("Watcher", "a")


@given(
    st.dictionaries(st.sampled_from(["runbook", "runOn", "creationTime", "startedBy"]), st.one_of(st.none(), st.text()))
)
def test_no_properties_make_it_fail(properties: dict[str, Any]) -> None:
    everything = [
        make("Webhook", "w", **properties, lastInvokedTime="x"),
        make("Watcher", "w", scriptName=properties.get("runbook"), scriptRunOn=properties.get("runOn"), actions="x"),
        make("JobSchedule", "j", **properties),
        make("Schedule", "s", **properties),
    ]
    assert Triggers(everything).of(properties, asked=True).kind in {"", "Watcher", "Schedule"}


def test_who_is_a_principal() -> None:
    assert is_principal("eve@contoso.com")
    assert is_principal("ABCDEF00-2222-3333-4444-555555555555")
    assert not is_principal(None)
    assert not is_principal("nobody")
