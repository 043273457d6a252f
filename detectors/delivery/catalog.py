"""The kinds of destination there are: what each is configured with, and how it is built.

A new kind is its own file and one line in :data:`KINDS`. Classes are imported when one of their kind is built.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from detectors.delivery.formats import FORMATS
from detectors.delivery.http import Poster, checked_url
from detectors.delivery.pagerduty import EVENTS_URL, checked_routing_key
from detectors.delivery.webhook import signing_keys

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from detectors.delivery.destination import Destination
    from detectors.delivery.routing import Configuration

STREAM = "Custom-AutomationDetections_CL"

_WORKSPACE = re.compile(
    r"/subscriptions/[^/?#]+/resourceGroups/[^/?#]+/providers/Microsoft\.OperationalInsights/workspaces/[^/?#]+",
    re.IGNORECASE,
)


class Endpoints(Protocol):
    """What a destination needs to know of an Azure cloud (:class:`detectors.settings.Cloud` is one)."""

    @property
    def arm(self) -> str:
        """Azure Resource Manager, which is also the audience of its tokens."""

    @property
    def ingestion_audience(self) -> str:
        """Audience of tokens for Logs Ingestion."""


@dataclass(frozen=True)
class Tools:
    """What destinations share. *arm_endpoint* may be empty: the cloud's own."""

    credential: "AsyncTokenCredential"
    poster: Poster
    clock: Callable[[], datetime]
    cloud: Endpoints
    arm_endpoint: str
    connection_verify: str | bool


@dataclass(frozen=True)
class Option:
    """One thing a destination is configured with.

    ``check`` raises ValueError with the cause and the fix, never with the value. ``default`` None means required. A
    ``secret`` is not written into a file.
    """

    check: Callable[[str], object]
    default: str | None = None
    secret: bool = False


Build = Callable[[str, Mapping[str, str], Tools], "Destination"]


@dataclass(frozen=True)
class Kind:
    """A kind of destination; ``build`` takes its name, its options (all of them, checked) and the tools."""

    options: Mapping[str, Option]
    build: Build


def build(
    configuration: "Configuration",
    *,
    credential: "AsyncTokenCredential",
    poster: Poster,
    clock: Callable[[], datetime],
    cloud: Endpoints,
    arm_endpoint: str,
    connection_verify: str | bool,
) -> "tuple[Destination, ...]":
    """The destinations of *configuration*, in its order. The caller closes them, and owns *credential*.

    Raises ValueError when one refuses its options; a configuration that was loaded has been checked for that.
    """
    tools = Tools(credential, poster, clock, cloud, arm_endpoint, connection_verify)
    return tuple(KINDS[spec.kind].build(spec.name, spec.options, tools) for spec in configuration.destinations)


def _teams(name: str, options: Mapping[str, str], tools: Tools) -> "Destination":
    from detectors.delivery.teams import TeamsDestination

    return TeamsDestination(options["url"], poster=tools.poster, name=name)


def _log_table(name: str, options: Mapping[str, str], tools: Tools) -> "Destination":
    from detectors.delivery.log_table import LogTableDestination

    return LogTableDestination(
        options["endpoint"],
        options["rule_id"],
        options["stream"],
        tools.credential,
        scope=f"{tools.cloud.ingestion_audience}/.default",
        clock=tools.clock,
        connection_verify=tools.connection_verify,
        name=name,
    )


def _webhook(name: str, options: Mapping[str, str], tools: Tools) -> "Destination":
    from detectors.delivery.webhook import WebhookDestination

    return WebhookDestination(
        options["url"],
        options["secret"],
        clock=tools.clock,
        poster=tools.poster,
        name=name,
        body_format=options["format"],
    )


def _sentinel(name: str, options: Mapping[str, str], tools: Tools) -> "Destination":
    from detectors.delivery.sentinel import SentinelDestination

    return SentinelDestination(
        options["workspace"],
        tools.credential,
        base_url=tools.arm_endpoint or tools.cloud.arm,
        scope=f"{tools.cloud.arm}/.default",
        clock=tools.clock,
        connection_verify=tools.connection_verify,
        name=name,
    )


def _pagerduty(name: str, options: Mapping[str, str], tools: Tools) -> "Destination":
    from detectors.delivery.pagerduty import PagerDutyDestination

    return PagerDutyDestination(options["routing_key"], poster=tools.poster, name=name, url=options["url"])


def _url(text: str) -> object:
    return checked_url(text, "it")


def _matching(pattern: str | re.Pattern[str], fix: str) -> Callable[[str], object]:
    expression = re.compile(pattern)

    def check(text: str) -> object:
        if not expression.fullmatch(text):
            raise ValueError(fix)
        return text

    return check


KINDS: Mapping[str, Kind] = {
    "teams": Kind({"url": Option(_url, secret=True)}, _teams),
    "log-table": Kind(
        {
            "endpoint": Option(_url),
            "rule_id": Option(_matching(r"dcr-[0-9A-Za-z-]+", "write the rule's immutable id, dcr-...")),
            "stream": Option(_matching(r"Custom-[A-Za-z0-9_]+", "write the stream's name, Custom-..."), STREAM),
        },
        _log_table,
    ),
    "webhook": Kind(
        {
            "url": Option(_url),
            "secret": Option(signing_keys, secret=True),
            "format": Option(_matching("|".join(FORMATS), f"write one of {', '.join(FORMATS)}"), "native"),
        },
        _webhook,
    ),
    "sentinel": Kind(
        {"workspace": Option(_matching(_WORKSPACE, "write the workspace's resource id, /subscriptions/..."))},
        _sentinel,
    ),
    "pagerduty": Kind(
        {"routing_key": Option(checked_routing_key, secret=True), "url": Option(_url, EVENTS_URL)}, _pagerduty
    ),
}
"""Kind to its options and its builder."""
