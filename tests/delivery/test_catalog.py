"""A configuration becomes destinations, each under its own name, and nothing heavy is loaded before one sends."""

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from detectors.delivery.catalog import KINDS, build
from detectors.delivery.destination import Destination
from detectors.delivery.formats import FORMATS
from detectors.delivery.http import Poster
from detectors.delivery.pagerduty import PagerDutyDestination
from detectors.delivery.routing import Configuration, DestinationSpec, load_destinations
from detectors.delivery.webhook import WebhookDestination
from detectors.settings import CLOUDS, Settings, SettingsError, load_settings
from tests.delivery.receiver import Receiver
from tests.factories import EVENT_TIME, SUBSCRIPTION, build_alert

SECRET = "whsec_" + "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
FILE = f"""
destinations:
  teams-a: {{kind: teams, url: ${{TEAMS}}}}
  teams-b: {{kind: teams, url: ${{TEAMS}}}}
  table: {{kind: log-table, endpoint: https://ingest.example, rule_id: dcr-1}}
  siem: {{kind: webhook, url: https://siem.example/hook, secret: ${{SECRET}}, format: cloudevents}}
  soc: {{kind: sentinel, workspace: {WORKSPACE}}}
  oncall: {{kind: pagerduty, routing_key: ${{KEY}}, url: https://events.eu.pagerduty.com/v2/enqueue}}
default: [teams-a, teams-b, table, siem, soc, oncall]
"""
ENVIRONMENT = {"TEAMS": "https://flow.example/workflows/1?sig=x", "SECRET": SECRET, "KEY": "k" * 32}


class Credential:
    """Never asked for anything in here."""

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError(scopes)

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    opened = Poster(clock=lambda: EVENT_TIME)
    yield opened
    await opened.close()


def built(configuration: Configuration, poster: Poster) -> tuple[Destination, ...]:
    return build(
        configuration,
        credential=Credential(),
        poster=poster,
        clock=lambda: EVENT_TIME,
        cloud=CLOUDS["public"],
        arm_endpoint="",
        connection_verify=True,
    )


async def test_every_kind_is_built_under_the_name_it_was_given(poster: Poster) -> None:
    destinations = built(load_destinations(FILE, ENVIRONMENT), poster)
    assert [(destination.name, type(destination).__name__) for destination in destinations] == [
        ("teams-a", "TeamsDestination"),
        ("teams-b", "TeamsDestination"),
        ("table", "LogTableDestination"),
        ("siem", "WebhookDestination"),
        ("soc", "SentinelDestination"),
        ("oncall", "PagerDutyDestination"),
    ]
    assert {spec.kind for spec in load_destinations(FILE, ENVIRONMENT).destinations} == set(KINDS)
    for destination in destinations:
        await destination.close()


async def test_options_reach_the_destination_and_messages_carry_its_name(receiver: Receiver) -> None:
    poster = Poster(clock=lambda: EVENT_TIME, connection_verify=str(receiver.certificate))
    specs = (
        DestinationSpec("siem", "webhook", {"url": receiver.url, "secret": SECRET, "format": "cloudevents"}),
        DestinationSpec("oncall", "pagerduty", {"url": receiver.url, "routing_key": "k" * 32}),
    )
    siem, oncall = built(Configuration(specs, (), ("siem", "oncall")), poster)
    assert isinstance(siem, WebhookDestination)
    assert isinstance(oncall, PagerDutyDestination)
    for destination in (siem, oncall):
        await destination.send(build_alert(), possible_repeat=False)
    for destination in (siem, oncall):
        await destination.close()
    assert receiver.received[0].headers["content-type"] == "application/cloudevents+json"
    assert b'"routing_key":"kkkk' in receiver.received[1].body


async def test_a_wrong_option_that_was_never_checked_still_names_the_destination(poster: Poster) -> None:
    spec = DestinationSpec("oncall", "pagerduty", {"url": "ftp://x.example", "routing_key": "k" * 32})
    with pytest.raises(ValueError, match="the URL of oncall must begin with https://"):
        built(Configuration((spec,), (), ("oncall",)), poster)


def test_the_setting_offers_exactly_the_formats_there_are() -> None:
    good = {
        "WORKSPACE_IDS": SUBSCRIPTION,
        "WEBHOOK_URL": "https://siem.example/hook",
        "WEBHOOK_SECRET": SECRET,
    }
    for name in FORMATS:
        assert load_settings(good | {"WEBHOOK_FORMAT": name}).webhook_format == name
    with pytest.raises(SettingsError, match=f"write one of {', '.join(FORMATS)}"):
        load_settings(good | {"WEBHOOK_FORMAT": "xml"})
    assert Settings.__dataclass_fields__["webhook_format"].metadata["default"] in FORMATS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGERDUTY_ROUTING_KEY", "k" * 32),
        ("SENTINEL_WORKSPACE_RESOURCE_ID", WORKSPACE),
        ("DESTINATIONS_PATH", "destinations.yaml"),
    ],
)
def test_each_new_setting_alone_is_a_place_to_send_to(name: str, value: str) -> None:
    assert getattr(load_settings({"WORKSPACE_IDS": SUBSCRIPTION, name: value}), name.lower()) == value


@pytest.mark.parametrize("name", ["PAGERDUTY_ROUTING_KEY", "SENTINEL_WORKSPACE_RESOURCE_ID"])
def test_a_wrong_value_of_a_new_setting_is_told_without_being_shown(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"WORKSPACE_IDS": SUBSCRIPTION, name: "hunter2"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: write the ")
    assert "hunter2" not in problem


def test_loading_a_configuration_imports_neither_azure_nor_aiohttp() -> None:
    script = (
        "import sys, detectors.delivery.routing, detectors.delivery.pagerduty\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'aiohttp', 'pydantic')])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
