"""Every setting: named, typed, validated once, all problems in one message.

A setting is one field of :class:`Settings`; its app-setting name is the field's name in upper case. README's table,
``local.settings.sample.json`` and (later) the Bicep are tested against this file.
"""

import base64
import binascii
import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_WORKSPACE_RESOURCE = re.compile(
    r"/subscriptions/[^/?#]+/resourceGroups/[^/?#]+/providers/Microsoft\.OperationalInsights/workspaces/[^/?#]+",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclasses.dataclass(frozen=True)
class Cloud:
    """Public endpoints and token audiences of one Azure cloud."""

    arm: str
    logs: str
    ingestion_audience: str
    portal: str


CLOUDS = {
    "public": Cloud(
        "https://management.azure.com",
        "https://api.loganalytics.io",
        "https://monitor.azure.com",
        "https://portal.azure.com",
    ),
    "usgovernment": Cloud(
        "https://management.usgovcloudapi.net",
        "https://api.loganalytics.us",
        "https://monitor.azure.us",
        "https://portal.azure.us",
    ),
    "china": Cloud(
        "https://management.chinacloudapi.cn",
        "https://api.loganalytics.azure.cn",
        "https://monitor.azure.cn",
        "https://portal.azure.cn",
    ),
}


class SettingsError(Exception):
    """One or more settings are wrong; ``problems`` holds one line for each, naming the setting and the fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} wrong, so the detector does not start:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def _text(value: str) -> str:
    return value


def _duration(value: str) -> timedelta:
    match = _DURATION.fullmatch(value.strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError("write a number and a unit, such as 30s, 25m, 6h or 14d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.strip().isdecimal() or not low <= int(value) <= high:
            raise ValueError(f"write a whole number from {low:,} to {high:,}")
        return int(value)

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.strip().lower() not in choices:
            raise ValueError(f"write one of {', '.join(choices)}")
        return value.strip().lower()

    return parse


def _items(value: str) -> list[str]:
    return [item for item in re.split(r"[,;\s]+", value) if item]


def _paths(value: str) -> tuple[str, ...]:
    # Not at spaces, as other lists are: the name of a folder may hold one.
    items = (item.strip() for item in re.split(f"[,{re.escape(os.pathsep)}]", value))
    return tuple(dict.fromkeys(item for item in items if item))


def _guid(value: str) -> str:
    if not _GUID.fullmatch(value.strip()):
        raise ValueError("write a GUID such as 00000000-0000-0000-0000-000000000000")
    return value.strip().lower()


def _guids(value: str) -> tuple[str, ...]:
    wrong = [item for item in _items(value) if not _GUID.fullmatch(item)]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is not a GUID; write the workspace's id (Overview, 'Workspace ID'), "
            "several separated by commas"
        )
    return tuple(dict.fromkeys(item.lower() for item in _items(value)))


def _subscriptions(value: str) -> tuple[str, ...]:
    wrong = [item for item in _items(value) if not _GUID.fullmatch(item)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a GUID; write subscription ids, several separated by commas")
    return tuple(dict.fromkeys(item.lower() for item in _items(value)))


def _workspace_resources(value: str) -> tuple[str, ...]:
    wrong = [item for item in _items(value) if not _WORKSPACE_RESOURCE.fullmatch(item)]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is not the resource id of a Log Analytics workspace; "
            "write /subscriptions/.../workspaces/NAME"
        )
    return tuple(_items(value))


def _workspace_resource(value: str) -> str:
    if not _WORKSPACE_RESOURCE.fullmatch(value):
        raise ValueError("write the resource id of a Log Analytics workspace, /subscriptions/.../workspaces/NAME")
    return value


def _routing_key(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]{32}", value):
        raise ValueError("write the 32 letters and digits of the integration key ('Events API v2')")
    return value


def _url(value: str) -> str:
    parts = urlsplit(value.strip())
    local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not (parts.scheme == "https" or local) or not parts.hostname or parts.username or parts.password:
        raise ValueError("write an https:// URL without user name or password")
    return value.strip()


def _endpoint(value: str) -> str:
    return _url(value).rstrip("/")


def _webhook_secrets(value: str) -> tuple[str, ...]:
    secrets = _items(value)
    for secret in secrets:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = b""
        if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError(
                "write whsec_ followed by 24 to 64 random bytes in Base64 "
                "(python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"); "
                "during a rotation two of them, separated by a space, the new one first"
            )
    return tuple(secrets)


def _setting(
    parse: Callable[[str], Any], default: str | None, description: str, *, required: bool = False, secret: bool = False
) -> Any:
    return dataclasses.field(
        metadata={
            "parse": parse,
            "default": default,
            "description": description,
            "required": required,
            "secret": secret,
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The detector's configuration. Build it with :func:`load_settings`."""

    workspace_ids: tuple[str, ...] = _setting(
        _guids, None, "Ids (GUIDs) of the Log Analytics workspaces to hunt in, separated by commas", required=True
    )
    workspace_resource_ids: tuple[str, ...] = _setting(
        _workspace_resources,
        "",
        "Resource ids of the same workspaces, in the same order: alerts then carry a button that opens the query",
    )
    azure_cloud: str = _setting(_choice(*CLOUDS), "public", "Azure cloud: public, usgovernment or china")
    azure_client_id: str = _setting(
        _guid, "", "Client id of the user-assigned managed identity; empty means the system-assigned one"
    )
    logs_endpoint: str = _setting(_endpoint, "", "Logs query endpoint, if not the cloud's own (private link, tests)")
    arm_endpoint: str = _setting(_endpoint, "", "Azure Resource Manager endpoint, if not the cloud's own")
    ca_bundle: str = _setting(_text, "", "PEM file of certificate authorities to trust, if not the system's")
    state_table_endpoint: str = _setting(
        _endpoint, "", "Table endpoint of the storage account that keeps alerts and watermarks"
    )
    state_blob_endpoint: str = _setting(_endpoint, "", "Blob endpoint of the same storage account")
    state_connection_string: str = _setting(
        _text, "", "Connection string instead of the two endpoints, for Azurite and development", secret=True
    )
    state_path: str = _setting(
        _text, ".state/detector.db", "SQLite file that keeps the state when no storage account is set"
    )
    teams_webhook_url: str = _setting(_url, "", "URL of a Teams Workflows webhook", secret=True)
    logs_ingestion_endpoint: str = _setting(
        _endpoint, "", "Logs ingestion endpoint of the data collection rule (or its endpoint resource)"
    )
    logs_ingestion_rule_id: str = _setting(_text, "", "Immutable id (dcr-...) of the data collection rule")
    logs_ingestion_stream: str = _setting(
        _text, "Custom-AutomationDetections_CL", "Stream of the data collection rule that takes alerts"
    )
    webhook_url: str = _setting(_url, "", "URL that receives every alert as signed JSON (Standard Webhooks)")
    webhook_secret: tuple[str, ...] = _setting(
        _webhook_secrets, "", "Signing secret of the webhook: whsec_ and Base64; two during a rotation", secret=True
    )
    webhook_format: str = _setting(
        _choice("native", "cloudevents", "ocsf", "azure-common-alert"),
        "native",
        "What the webhook's body looks like: native, cloudevents, ocsf or azure-common-alert",
    )
    pagerduty_routing_key: str = _setting(
        _routing_key, "", "Integration key of a PagerDuty service's Events API v2 integration", secret=True
    )
    sentinel_workspace_resource_id: str = _setting(
        _workspace_resource, "", "Resource id of the workspace whose Microsoft Sentinel gets an incident per story"
    )
    destinations_path: str = _setting(
        _text,
        "",
        "YAML file, deployed with the app, that names several destinations and routes; it replaces the "
        "destinations above",
    )
    rules_path: tuple[str, ...] = _setting(
        _paths,
        "",
        "Folders with Microsoft Sentinel rules (YAML) of your own, deployed with the app and separated by commas; "
        "they run besides the built-in ones",
    )
    hunt_concurrency: int = _setting(
        _integer(1, 5), "5", "Queries at once; the service queues more than 5 per identity"
    )
    hunt_overlap: timedelta = _setting(
        _duration, "25m", "How far a hunt reaches back before the last one, for rows that arrive late"
    )
    hunt_max_window: timedelta = _setting(
        _duration, "6h", "Longest window of one query while catching up after an outage"
    )
    hunt_initial_lookback: timedelta = _setting(_duration, "1h", "How far back the very first hunt looks")
    hunt_query_timeout: timedelta = _setting(_duration, "2m", "Time limit of one query, at most 10m")
    hunt_time_budget: timedelta = _setting(
        _duration, "4m", "Time after which a hunt starts no further window; the next run goes on from there"
    )
    hunt_alert_limit: int = _setting(
        _integer(1, 1000), "100", "Alerts per rule and run that go out one by one; the rest goes out as a summary"
    )
    sweep_lookback: timedelta = _setting(_duration, "1d", "How far back the hourly sweep re-reads")
    activity_log_hub: str = _setting(
        _text,
        "",
        "Connection string of the Event Hubs namespace that the Activity Log is exported to, for development; an app "
        "with a managed identity sets ACTIVITY_LOG_HUB__fullyQualifiedNamespace instead",
        secret=True,
    )
    activity_log_hub_name: str = _setting(_text, "insights-activity-logs", "Name of the Event Hub")
    activity_log_hub_consumer_group: str = _setting(
        _text, "$Default", "Consumer group of the Event Hub that nothing else reads with"
    )
    stream_time_budget: timedelta = _setting(
        _duration, "1m", "Time after which triage and sending of a batch are left to the next delivery run"
    )
    inventory_subscriptions: tuple[str, ...] = _setting(
        _subscriptions,
        "",
        "Ids of the subscriptions whose automation accounts are compared with what they were, separated by commas; "
        "empty means every subscription that the detector's identity sees",
    )
    inventory_concurrency: int = _setting(_integer(1, 32), "8", "Automation accounts that are read at once")
    inventory_time_budget: timedelta = _setting(
        _duration, "4m", "Time after which a run visits no further account; the next one goes on with the oldest"
    )
    inventory_stale_after: timedelta = _setting(
        _duration, "1h", "Age of the last visit of an account from which on an alert says that it is not watched"
    )
    inventory_stream: str = _setting(
        _text,
        "Custom-AutomationInventory_CL",
        "Stream of the data collection rule that takes the changes of automation accounts",
    )
    enrichment_timeout: timedelta = _setting(_duration, "10s", "Time limit of each piece of evidence")
    triage_deadline: timedelta = _setting(_duration, "30s", "Time after which an alert goes out with what it has")
    content_limit_bytes: int = _setting(
        _integer(1_000, 10_000_000), "1000000", "Bytes read of one runbook, draft or output"
    )
    delivery_time_budget: timedelta = _setting(
        _duration, "50s", "Time after which a delivery run starts nothing new; the next one goes on"
    )

    @property
    def cloud(self) -> Cloud:
        """Endpoints and audiences of the chosen cloud."""
        return CLOUDS[self.azure_cloud]

    def workspace_resource_id(self, workspace: str | None) -> str:
        """Resource id of a workspace of ``workspace_ids``; empty when it is not known."""
        return dict(zip(self.workspace_ids, self.workspace_resource_ids, strict=False)).get(workspace or "", "")


@dataclasses.dataclass(frozen=True)
class SettingInfo:
    """One row of the settings table."""

    name: str
    default: str | None
    description: str
    required: bool
    secret: bool


def describe() -> tuple[SettingInfo, ...]:
    """Every setting, in the order of :class:`Settings`."""
    return tuple(
        SettingInfo(
            name=field.name.upper(),
            default=field.metadata["default"],
            description=field.metadata["description"],
            required=field.metadata["required"],
            secret=field.metadata["secret"],
        )
        for field in dataclasses.fields(Settings)
    )


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from app settings (*environment*: name to text; absent and empty mean the default).

    Raises :class:`SettingsError` with every problem at once.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        name = field.name.upper()
        given = environment.get(name, "").strip()
        if not given and field.metadata["required"]:
            problems.append(f"{name} is not set. {field.metadata['description']}.")
            continue
        text = given or field.metadata["default"]
        if text == "":
            values[field.name] = () if field.type == tuple[str, ...] else ""
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            # The value itself may be a secret, so only the setting's name and the fix are shown.
            problems.append(f"{name}: {error}.")
    problems.extend(_combinations(values))
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


_DESTINATIONS = (
    "teams_webhook_url",
    "logs_ingestion_endpoint",
    "webhook_url",
    "pagerduty_routing_key",
    "sentinel_workspace_resource_id",
    "destinations_path",
)


def _combinations(values: Mapping[str, Any]) -> list[str]:
    """Problems that no single setting shows. A setting that failed alone is absent from *values*."""

    def given(name: str) -> bool:
        return bool(values.get(name, "wrong on its own"))

    problems = []
    for one, other in (
        ("logs_ingestion_endpoint", "logs_ingestion_rule_id"),
        ("webhook_url", "webhook_secret"),
        ("state_table_endpoint", "state_blob_endpoint"),
    ):
        if given(one) != given(other):
            present, absent = (one, other) if given(one) else (other, one)
            problems.append(f"{absent.upper()} is not set although {present.upper()} is; set both or neither.")
    if not any(given(name) for name in _DESTINATIONS):
        problems.append(
            "No destination is set, so alerts would reach nobody; set at least one of "
            f"{', '.join(name.upper() for name in _DESTINATIONS)}."
        )
    resources = values.get("workspace_resource_ids", ())
    if resources and len(resources) != len(values.get("workspace_ids", resources)):
        problems.append("WORKSPACE_RESOURCE_IDS must name as many workspaces as WORKSPACE_IDS, in the same order.")
    timeout = values.get("hunt_query_timeout", timedelta(0))
    if timeout > timedelta(minutes=10):
        problems.append("HUNT_QUERY_TIMEOUT: the service allows at most 10m.")
    return problems
