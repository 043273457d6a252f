"""What several tests of the sandbox share: a clock that stands still, and requests without an SDK."""

import http.client
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sandbox.server import Sandbox

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
WORKSPACE_SCOPE = "https://api.loganalytics.io"
ARM = "https://management.azure.com"


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        self.now += timedelta(**units)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def send(
    sandbox: Sandbox,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    plain: bool = False,
) -> Answer:
    """One request over a connection of its own."""
    if plain:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(sandbox.plain_url).port or 0)
    else:
        context = ssl.create_default_context(cafile=str(sandbox.ca_bundle))
        connection = http.client.HTTPSConnection("localhost", urlsplit(sandbox.url).port or 0, context=context)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def token_for(sandbox: Sandbox, resource: str) -> str:
    """A token from the sandbox's identity endpoint."""
    answer = send(
        sandbox,
        "GET",
        f"/msi/token?api-version=2019-08-01&resource={resource}",
        headers={"X-IDENTITY-HEADER": sandbox.environment()["IDENTITY_HEADER"]},
        plain=True,
    )
    return str(answer.json()["access_token"])


def activity(
    minutes_ago: float, operation: str = "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/JOBS/WRITE"
) -> dict[str, Any]:
    """A row of AzureActivity, so long before :data:`NOW`."""
    return {
        "TimeGenerated": (NOW - timedelta(minutes=minutes_ago)).isoformat(),
        "OperationNameValue": operation,
        "ActivityStatusValue": "Success",
        "_ResourceId": "/subscriptions/s/resourcegroups/g/providers/microsoft.automation/automationaccounts/a/jobs/j",
        "Properties_d": {"entity": "/subscriptions/S", "count": 2},
        "_BilledSize": 1536.5,
    }
