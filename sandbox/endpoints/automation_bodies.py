"""The bodies of the Automation API, as Microsoft's examples of api-version 2024-10-23 show them.

What they leave out or show as null is left out or null here too: a list of jobs has no ``startedBy``, no watcher
tells its author, a list of watchers tells no status.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.accounts import Account, Item, JobStream
from sandbox.directory import Subscription

Body = dict[str, Any]
YEAR = timedelta(days=365)


def time_text(moment: datetime) -> str:
    """A time as the Automation API writes it: seven fraction digits and a numeric offset."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0+00:00"


def _ticks(moment: datetime) -> int:
    return 621_355_968_000_000_000 + int(moment.timestamp() * 1_000_000) * 10


def times(item: Item) -> Body:
    """When the item was made and last changed."""
    return {"creationTime": time_text(item.created), "lastModifiedTime": time_text(item.modified)}


def reference(name: object) -> Body | None:
    """How one resource names another one."""
    return None if name is None else {"name": name}


def subscription_body(subscription: Subscription) -> Body:
    """A subscription, as ``GET /subscriptions`` of api-version 2022-12-01 lists it."""
    return {
        "id": f"/subscriptions/{subscription.id}",
        "subscriptionId": subscription.id,
        "displayName": subscription.display_name,
        "state": subscription.state,
    }


def _if_said(item: Item, name: str) -> Body:
    return {name: item.get(name)} if item.get(name) is not None else {}


def account_summary(account: Account) -> Body:
    """An account in a list. What the account's settings do not say is left out."""
    settings = dict(account.settings)
    envelope = {name: settings.pop(name) for name in ("identity", "tags") if settings.get(name) is not None}
    if source := settings.pop("encryptionKeySource", None):
        settings["encryption"] = {"keySource": source}
    return {
        "id": account.id,
        "location": account.location,
        "name": account.name,
        "type": "Microsoft.Automation/AutomationAccounts",
        **envelope,
        "properties": {
            "creationTime": time_text(account.created),
            "lastModifiedTime": time_text(account.modified),
            **{name: value for name, value in settings.items() if name != "identity"},
        },
    }


def account_body(account: Account) -> Body:
    """An account by itself."""
    body: Body = {"tags": {}} | account_summary(account)
    body["properties"] = {
        "sku": {"name": "Basic"},
        "state": "Ok",
        "lastModifiedBy": account.last_modified_by,
        **body["properties"],
    }
    return body


def runbook_state(runbook: Item) -> str:
    """New (never published), Edit (published, with a draft) or Published, unless the runbook says another one."""
    if "state" in runbook.properties:
        return str(runbook.get("state"))
    if runbook.get("published") is None:
        return "New"
    return "Published" if runbook.get("draft") is None else "Edit"


def runbook_summary(account: Account, runbook: Item) -> Body:
    """A runbook in a list."""
    return {
        "name": runbook.name,
        "type": "Microsoft.Automation/AutomationAccounts/Runbooks",
        "id": f"{account.id}/runbooks/{runbook.name}",
        "location": account.location,
        "properties": {
            **times(runbook),
            "logActivityTrace": 0,
            "logProgress": False,
            "logVerbose": False,
            "runbookType": runbook.get("runbookType", "PowerShell"),
            "runtimeEnvironment": runbook.get("runtimeEnvironment"),
            "state": runbook_state(runbook),
        },
    }


def runbook_body(account: Account, runbook: Item) -> Body:
    """A runbook by itself."""
    body = runbook_summary(account, runbook)
    jobs = [job for job in account.items("jobs") if str(job.get("runbook")).casefold() == runbook.name.casefold()]
    body["tags"] = runbook.get("tags", {})
    body["etag"] = f'"{_ticks(runbook.modified)}"'
    body["properties"] |= {
        "description": runbook.get("description", ""),
        "parameters": runbook.get("parameters", {}),
        "jobCount": len(jobs),
        "provisioningState": "Succeeded",
        "outputTypes": [],
        "lastModifiedBy": runbook.get("lastModifiedBy", account.last_modified_by),
    }
    return body


def draft_body(runbook: Item) -> Body:
    """A runbook's draft."""
    return {
        **times(runbook),
        "inEdit": True,
        "outputTypes": [],
        "parameters": runbook.get("parameters", {}),
    }


def job_summary(account: Account, job: Item) -> Body:
    """A job in a list: without ``startedBy``, ``runOn`` and ``parameters``."""
    status = job.get("status", "Completed")
    environment = job.get("runtimeEnvironment")
    return {
        "name": job.name,
        "type": "Microsoft.Automation/AutomationAccounts/Jobs",
        "id": f"{account.id}/jobs/{job.name}",
        "properties": {
            **times(job),
            "startTime": job.get("startTime", time_text(job.created)),
            "endTime": job.get("endTime", time_text(job.created) if status == "Completed" else None),
            "jobId": job.name,
            "jobRuntimeEnvironment": {"runtimeEnvironmentName": environment} if environment else None,
            "provisioningState": "Succeeded" if status == "Completed" else "Processing",
            "runbook": reference(job.get("runbook")),
            "status": status,
        },
    }


def job_body(account: Account, job: Item) -> Body:
    """A job by itself."""
    body = job_summary(account, job)
    body["properties"] |= {
        "exception": job.get("exception"),
        "lastStatusModifiedTime": time_text(job.modified),
        "parameters": job.get("parameters", {}),
        "runOn": job.get("runOn", ""),
        "startedBy": job.get("startedBy"),
        "statusDetails": "None",
    }
    return body


def stream_id(job: Item, number: int) -> str:
    """The id of a job's stream record, counted from 1."""
    return f"{job.name}_{_ticks(job.created):020d}_{number:020d}"


def stream_body(account: Account, job: Item, number: int, stream: JobStream, *, in_list: bool) -> Body:
    """A stream record; its text is only told by itself, not in a list."""
    properties: Body = {
        "jobStreamId": stream_id(job, number),
        "summary": stream.summary,
        "time": time_text(job.created),
        "streamType": stream.stream_type,
    }
    if not in_list:
        properties |= {"streamText": stream.text, "value": {}}
    return {"id": f"{account.id}/jobs/{job.name}/streams/{stream_id(job, number)}", "properties": properties}


def watcher_summary(account: Account, watcher: Item) -> Body:
    """A watcher in a list."""
    return {
        "id": f"{account.id}/watchers/{watcher.name}",
        "name": watcher.name,
        "properties": {
            "executionFrequencyInSeconds": watcher.get("executionFrequencyInSeconds", 300),
            "scriptName": watcher.get("scriptName"),
            "scriptParameters": watcher.get("scriptParameters"),
            "description": watcher.get("description", ""),
            "status": None,
            "scriptRunOn": watcher.get("scriptRunOn"),
            "lastModifiedBy": None,
            **times(watcher),
        },
    }


def watcher_body(account: Account, watcher: Item) -> Body:
    """A watcher by itself."""
    body = watcher_summary(account, watcher) | {"type": None, "etag": None, "location": None, "tags": {}}
    body["properties"] |= {
        "scriptParameters": watcher.get("scriptParameters") or {},
        "status": watcher.get("status", "New"),
    }
    return body


def watcher_action_body(account: Account, watcher: Item, action: Item) -> Body:
    """An action of a watcher, in a list or by itself.

    The shape is made up: no specification, SDK or example of Azure has watcher actions, only its permissions do. The
    names are those of a watcher.
    """
    return {
        "id": f"{account.id}/watchers/{watcher.name}/watcherActions/{action.name}",
        "name": action.name,
        "properties": {
            "scriptName": action.get("scriptName"),
            "scriptParameters": action.get("scriptParameters"),
            "scriptRunOn": action.get("scriptRunOn"),
            "lastModifiedBy": None,
            **times(action),
        },
    }


def webhook_summary(account: Account, webhook: Item) -> Body:
    """A webhook in a list. Its URI is told at creation and never again."""
    return {
        "id": f"{account.id}/webhooks/{webhook.name}",
        "name": webhook.name,
        "properties": {
            "isEnabled": webhook.get("isEnabled", True),
            "expiryTime": webhook.get("expiryTime", time_text(webhook.created + YEAR)),
            "runbook": reference(webhook.get("runbook")),
            "lastInvokedTime": webhook.get("lastInvokedTime"),
            "runOn": webhook.get("runOn"),
            "parameters": webhook.get("parameters"),
            **_if_said(webhook, "description"),
            "uri": None,
            "lastModifiedBy": "",
            **times(webhook),
        },
    }


def webhook_body(account: Account, webhook: Item) -> Body:
    """A webhook by itself."""
    body = webhook_summary(account, webhook)
    body["properties"]["uri"] = ""
    return body


def schedule_body(account: Account, schedule: Item) -> Body:
    """A schedule, in a list or by itself."""
    start = schedule.get("startTime", time_text(schedule.created))
    return {
        "name": schedule.name,
        "id": f"{account.id}/schedules/{schedule.name}",
        "properties": {
            **times(schedule),
            "description": schedule.get("description"),
            "expiryTime": schedule.get("expiryTime", "9999-12-31T23:59:00+00:00"),
            "expiryTimeOffsetMinutes": 0,
            "frequency": schedule.get("frequency", "Hour"),
            "interval": schedule.get("interval", 1),
            "isEnabled": schedule.get("isEnabled", True),
            "nextRun": schedule.get("nextRun", start),
            "nextRunOffsetMinutes": 0,
            "startTime": start,
            "startTimeOffsetMinutes": 0,
            "timeZone": schedule.get("timeZone", "UTC"),
            **_if_said(schedule, "advancedSchedule"),
        },
    }


def job_schedule_body(account: Account, link: Item) -> Body:
    """The link of a runbook to a schedule: no times, no author."""
    return {
        "id": f"{account.id}/jobSchedules/{link.name}",
        "properties": {
            "jobScheduleId": link.name,
            "parameters": link.get("parameters"),
            "runOn": link.get("runOn"),
            "runbook": reference(link.get("runbook")),
            "schedule": reference(link.get("schedule")),
        },
    }


def system_data(account: Account, item: Item) -> Body:
    """Who made and changed the item, and when: where the API has no ``creationTime``."""
    author = item.get("createdBy", account.last_modified_by)
    return {
        "createdAt": time_text(item.created),
        "createdBy": author,
        "createdByType": "User",
        "lastModifiedAt": time_text(item.modified),
        "lastModifiedBy": author,
        "lastModifiedByType": "User",
    }


def worker_group_body(account: Account, group: Item) -> Body:
    """A hybrid worker group, in a list or by itself."""
    return {
        "name": group.name,
        "id": f"{account.id}/hybridRunbookWorkerGroups/{group.name}",
        "location": account.location,
        "properties": {
            "credential": reference(group.get("credential")),
            "groupType": group.get("groupType", "User"),
        },
        "systemData": system_data(account, group),
    }


def worker_body(account: Account, group: Item, worker: Item) -> Body:
    """A hybrid worker, in a list or by itself."""
    return {
        "name": worker.name,
        "type": "Microsoft.Automation/AutomationAccounts/HybridRunbookWorkerGroups/HybridRunbookWorkers",
        "id": f"{account.id}/hybridRunbookWorkerGroups/{group.name}/hybridRunbookWorkers/{worker.name}",
        "location": account.location,
        "properties": {
            "ip": worker.get("ip", "10.0.0.4"),
            "lastSeenDateTime": time_text(worker.modified),
            "registeredDateTime": time_text(worker.created),
            "vmResourceId": worker.get("vmResourceId"),
            "workerName": worker.get("workerName", worker.name),
            "workerType": worker.get("workerType", "HybridV2"),
        },
        "systemData": system_data(account, worker),
    }


BODIES: Mapping[str, tuple[Callable[[Account, Item], Body], Callable[[Account, Item], Body]]] = {
    # kind: (by itself, in a list)
    "runbooks": (runbook_body, runbook_summary),
    "jobs": (job_body, job_summary),
    "watchers": (watcher_body, watcher_summary),
    "webhooks": (webhook_body, webhook_summary),
    "schedules": (schedule_body, schedule_body),
    "jobSchedules": (job_schedule_body, job_schedule_body),
    "hybridRunbookWorkerGroups": (worker_group_body, worker_group_body),
}
