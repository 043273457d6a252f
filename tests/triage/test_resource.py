"""Resource ids from a log are read safely, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.triage.resource import AutomationTarget, automation_target, is_safe_name, parse, portal_url

ACCOUNT = "/subscriptions/1-2/resourceGroups/rg/providers/Microsoft.Automation/automationAccounts/aa"


def test_an_id_is_read_in_any_case_with_trailing_and_doubled_slashes() -> None:
    upper = parse(f"/{ACCOUNT.upper()}/RUNBOOKS//NIGHTLY/DRAFT/")
    assert upper is not None
    assert upper.subscription_id == "1-2"
    assert upper.resource_group == "RG"
    assert upper.provider == "MICROSOFT.AUTOMATION"
    assert upper.types == ("AUTOMATIONACCOUNTS", "RUNBOOKS", "DRAFT")
    assert upper.names == ("AA", "NIGHTLY")
    assert parse(ACCOUNT[1:] + "/runbooks/x") == parse(f"{ACCOUNT}/runbooks/x")


def test_the_type_of_a_resource_is_its_arm_type() -> None:
    resource = parse(f"{ACCOUNT}/watchers/w")
    assert resource is not None
    assert resource.type == "Microsoft.Automation/automationAccounts/watchers"


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("", "account", ""),
        ("/", "account", ""),
        ("/webhooks", "account", ""),
        ("/runbooks/nightly", "runbook", "nightly"),
        ("/RUNBOOKS/nightly/draft/testJob", "runbook", "nightly"),
        ("/jobs/3b1c/streams/s", "job", "3b1c"),
        ("/watchers/w/watcherActions/a", "watcher", "w"),
        ("/webhooks/w", "webhook", "w"),
        ("/schedules/every day", "schedule", "every day"),
        ("/jobSchedules/2f4d", "jobSchedule", "2f4d"),
        ("/hybridRunbookWorkerGroups/g/hybridRunbookWorkers/h", "hybridRunbookWorkerGroup", "g"),
        ("/newThings/n", "newThings", "n"),
        ("/providers/Microsoft.Insights/diagnosticSettings/d", "account", ""),
    ],
)
def test_every_object_of_an_account_becomes_a_target(path: str, kind: str, name: str) -> None:
    target = automation_target(ACCOUNT + path)
    assert target == AutomationTarget(subscription_id="1-2", resource_group="rg", account="aa", kind=kind, name=name)


def test_a_target_takes_its_original_case_from_the_display_id() -> None:
    target = automation_target(f"{ACCOUNT}/runbooks/nightly".upper(), display=f"{ACCOUNT}/runbooks/Nightly")
    assert target is not None
    assert (target.resource_group, target.account, target.name) == ("rg", "aa", "Nightly")
    assert target.account_id == ACCOUNT


def test_a_display_id_of_another_object_is_not_followed() -> None:
    target = automation_target(f"{ACCOUNT}/runbooks/nightly", display=f"{ACCOUNT}/runbooks/other")
    assert target is not None
    assert target.name == "nightly"


@pytest.mark.parametrize(
    "resource_id",
    [
        "",
        "/",
        "nightly",
        "/subscriptions/",
        "/subscriptions/../resourceGroups/rg/providers/Microsoft.Automation/automationAccounts/aa",
        "/providers/Microsoft.Management/managementGroups/g",
        "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Web/sites/f",
        "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Automation/automationAccounts/..",
        f"{ACCOUNT}/runbooks/..",
        f"{ACCOUNT}/runbooks/ . ",
        f"{ACCOUNT}/runbooks/a\r\nHost: evil.example",
        f"{ACCOUNT}/runbooks/a\\..\\b",
        f"{ACCOUNT}/runbooks/\ud800",
        f"{ACCOUNT}/runbooks/" + "x" * 2_048,
    ],
)
def test_what_cannot_be_asked_for_safely_is_no_target(resource_id: str) -> None:
    assert automation_target(resource_id) is None


@given(st.one_of(st.text(max_size=300), st.text(alphabet="/.\\\x00\ud800% aA", max_size=80).map(lambda t: ACCOUNT + t)))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    parse(text)
    url = portal_url(text)
    assert url == "" or url.isascii()
    target = automation_target(text)
    assert target is None or target.kind == "account" or is_safe_name(target.name)


def test_a_portal_link_encodes_every_segment() -> None:
    url = portal_url(f'{ACCOUNT}/runbooks/a b"><script>?#%', "https://portal.azure.us/")
    assert url.startswith("https://portal.azure.us/#resource/subscriptions/1-2/resourceGroups/rg/providers/")
    assert url.endswith("/runbooks/a%20b%22%3E%3Cscript%3E%3F%23%25")


def test_an_id_that_does_not_parse_has_no_portal_link() -> None:
    assert portal_url("javascript:alert(1)") == ""
