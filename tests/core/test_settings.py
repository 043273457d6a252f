"""Settings are checked once, and every problem is told at once."""

import os

import pytest

from detectors.settings import SettingsError, describe, load_settings

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkw"
GOOD = {
    "WORKSPACE_IDS": "63613592-b6f7-4c3d-a390-22ba13102111",
    "TEAMS_WEBHOOK_URL": "https://example.com/workflows/1?sig=abc",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(GOOD | changes)
    return caught.value.problems


def test_two_settings_are_enough_to_start() -> None:
    settings = load_settings(GOOD)
    assert settings.workspace_ids == ("63613592-b6f7-4c3d-a390-22ba13102111",)
    assert settings.hunt_overlap.total_seconds() == 1500
    assert settings.cloud.logs == "https://api.loganalytics.io"


def test_every_problem_is_in_one_message() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {"HUNT_OVERLAP": "soon", "HUNT_CONCURRENCY": "50", "AZURE_CLOUD": "mars", "WEBHOOK_URL": "https://e.org"}
        )
    message = str(caught.value)
    for name in ("WORKSPACE_IDS", "HUNT_OVERLAP", "HUNT_CONCURRENCY", "AZURE_CLOUD", "WEBHOOK_SECRET"):
        assert name in message
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKSPACE_IDS", "my-workspace"),
        ("TEAMS_WEBHOOK_URL", "http://example.com/x"),
        ("TEAMS_WEBHOOK_URL", "https://user:pass@example.com/x"),
        ("AZURE_CLIENT_ID", "detector"),
        ("HUNT_OVERLAP", "0m"),
        ("HUNT_OVERLAP", "-5m"),
        ("HUNT_OVERLAP", "25"),
        ("HUNT_CONCURRENCY", "0"),
        ("HUNT_QUERY_TIMEOUT", "11m"),
        ("CONTENT_LIMIT_BYTES", "lots"),
        ("WORKSPACE_RESOURCE_IDS", "/subscriptions/x"),
        ("STATE_TABLE_ENDPOINT", "https://account.table.core.windows.net"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting(name: str, value: str) -> None:
    found = problems(**{name: value})
    assert len(found) == 1
    assert name.split("_", maxsplit=1)[0] in found[0]


def test_a_secret_is_never_repeated_in_the_message() -> None:
    found = problems(WEBHOOK_URL="https://example.org/hook", WEBHOOK_SECRET="hunter2-not-a-signing-secret")
    assert "hunter2" not in "".join(found)
    assert "whsec_" in found[0]


def test_without_a_destination_it_does_not_start() -> None:
    with pytest.raises(SettingsError, match="alerts would reach nobody"):
        load_settings({"WORKSPACE_IDS": GOOD["WORKSPACE_IDS"]})


def test_two_secrets_serve_a_rotation() -> None:
    settings = load_settings(GOOD | {"WEBHOOK_URL": "https://example.org/hook", "WEBHOOK_SECRET": f"{SECRET} {SECRET}"})
    assert len(settings.webhook_secret) == 2


def test_a_sovereign_cloud_changes_every_endpoint() -> None:
    cloud = load_settings(GOOD | {"AZURE_CLOUD": "USGovernment"}).cloud
    assert "usgovcloudapi.net" in cloud.arm
    assert cloud.logs.endswith(".us")


def test_every_setting_is_described() -> None:
    for setting in describe():
        assert setting.name.isupper()
        assert len(setting.description) > 15


def test_folders_of_rules_are_separated_by_commas_or_as_the_system_does_and_may_hold_spaces() -> None:
    settings = load_settings(GOOD | {"RULES_PATH": f" my rules, /srv/b{os.pathsep}c ,,my rules"})
    assert settings.rules_path == ("my rules", "/srv/b", "c")
    assert load_settings(GOOD).rules_path == ()
