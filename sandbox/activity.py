"""Activity Log rows: one action of a scenario becomes the rows that a workspace really gets for it.

Forms of the columns: Azure-Sentinel's training-lab rows of ``AzureActivity`` (real rows of 2021), Microsoft's
schema of the Activity Log export, and the two shapes that a workspace can hold side by side.
"""

import dataclasses
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sandbox.rows import iso

Shape = Literal["diagnostic", "rest"]

STATUSES: Mapping[str, tuple[str, str, str]] = {
    # status of the diagnostic shape: (status of the REST shape, usual substatus, usual HTTP status)
    "Start": ("Started", "", ""),
    "Accept": ("Accepted", "Accepted", "Accepted"),
    "Success": ("Succeeded", "OK", "OK"),
    "Failure": ("Failed", "Forbidden", "Forbidden"),
}

# Between the rows of one operation: what the real rows show for a deletion, rounded.
_GAPS = (timedelta(0), timedelta(milliseconds=225), timedelta(milliseconds=2460), timedelta(milliseconds=4500))

_PORTAL = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"
_TENANT = "5e0c4c5a-7d5b-4b40-9b0e-2a1de1c4f9d7"
_NAMESPACE = uuid.UUID("6f1c8f4e-0c1b-4f0e-8a53-5f8f3c1c7d10")
_OBJECT_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
_TENANT_ID = "http://schemas.microsoft.com/identity/claims/tenantid"
_UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
_NAME = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
_NAME_ID = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"


def stable_id(*parts: str) -> str:
    """A GUID that is the same for the same *parts*."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """One operation on one resource, as the log tells it.

    ``operation`` and ``resource_id`` have their original case. ``statuses`` are names of :data:`STATUSES`, one row
    each. ``caller`` is a UPN, or the object id of a service principal.
    """

    operation: str
    resource_id: str
    statuses: tuple[str, ...]
    caller: str
    ip: str
    time: datetime
    correlation_id: str
    seed: str
    """Makes the event ids: distinct for each action and play."""
    substatus: str | None = None
    shape: Shape = "diagnostic"
    claims: Mapping[str, str] = dataclasses.field(default_factory=dict)
    role: str = "Automation Contributor"


def rows_of(action: Action, workspace: str) -> list[dict[str, Any]]:
    """The rows of *action*, one for each status, with all 37 columns of ``AzureActivity``."""
    return [
        _row(action, workspace, status, action.time + _GAPS[min(number, len(_GAPS) - 1)], number)
        for number, status in enumerate(action.statuses)
    ]


def _row(action: Action, workspace: str, status: str, time: datetime, number: int) -> dict[str, Any]:
    rest_status, substatus, status_code = STATUSES[status]
    # The substatus that a scenario names is that of the outcome, not of the rows on the way to it.
    if action.substatus is not None and status in ("Success", "Failure"):
        substatus = status_code = action.substatus
    diagnostic = action.shape == "diagnostic"

    def cased(text: str) -> str:
        return text.upper() if diagnostic else text

    event_id = stable_id(action.seed, "event", str(number))
    subscription = _part(action.resource_id, "subscriptions")
    group = _part(action.resource_id, "resourceGroups")
    resource = action.resource_id.rsplit("/", 1)[-1]
    provider = action.operation.split("/", 1)[0]
    authorization = _authorization(action, subscription)
    claims = _claims(action)
    http_request = {
        "clientRequestId": stable_id(action.seed, "request"),
        "clientIpAddress": action.ip,
        "method": "PUT" if action.operation.lower().endswith("/write") else "POST",
    }
    properties = {
        "statusCode": status_code,
        "serviceRequestId": stable_id(action.seed, "service", str(number)) if status != "Start" else "",
        "eventCategory": "Administrative",
        "entity": action.resource_id,
        "message": action.operation,
        "hierarchy": _TENANT,
        "caller": action.caller,
        "eventDataId": event_id,
        "eventSubmissionTimestamp": iso(time),
        "httpRequest": json.dumps(http_request),
        "resource": resource.lower(),
        "resourceGroup": cased(group),
        "resourceProviderValue": cased(provider),
        "subscriptionId": subscription.lower(),
        "activityStatusValue": status if diagnostic else rest_status,
        "activitySubstatusValue": substatus,
    }
    return {
        "TimeGenerated": iso(time),
        "EventSubmissionTimestamp": iso(time),
        "OperationNameValue": cased(action.operation),
        "ActivityStatusValue": properties["activityStatusValue"],
        "ActivitySubstatusValue": substatus,
        "CategoryValue": "Administrative",
        "ResourceProviderValue": cased(provider),
        "ResourceGroup": cased(group),
        "SubscriptionId": subscription,
        "Caller": action.caller,
        "CallerIpAddress": action.ip,
        "CorrelationId": action.correlation_id,
        "EventDataId": event_id,
        "Authorization": json.dumps(authorization, indent=2),
        "Authorization_d": authorization,
        "Claims": json.dumps(claims),
        "Claims_d": claims,
        "HTTPRequest": json.dumps(http_request),
        "Properties": json.dumps({**properties, "subscriptionId": subscription.upper()}),
        "Properties_d": properties,
        "Hierarchy": _TENANT,
        # The service leaves these empty; their *Value twins hold the text.
        "Level": "",
        "OperationId": "",
        "OperationName": "",
        "ActivityStatus": "",
        "ActivitySubstatus": "",
        "Category": "",
        "ResourceProvider": "",
        "Resource": "",
        "ResourceId": "",
        "SourceSystem": "Azure",
        "TenantId": workspace,
        "Type": "AzureActivity",
        "_BilledSize": float(2000 + len(json.dumps(claims))),
        "_IsBillable": "False",
        "_ResourceId": action.resource_id.lower(),
        "_SubscriptionId": subscription.lower(),
    }


def _part(resource_id: str, name: str) -> str:
    segments = resource_id.split("/")
    folded = [segment.lower() for segment in segments]
    return segments[folded.index(name.lower()) + 1] if name.lower() in folded[:-1] else ""


def _undashed(*parts: str) -> str:
    return stable_id(*parts).replace("-", "")


def _authorization(action: Action, subscription: str) -> dict[str, Any]:
    is_user = "@" in action.caller
    return {
        "scope": action.resource_id,
        "action": action.operation,
        "evidence": {
            "role": action.role,
            "roleAssignmentScope": f"/subscriptions/{subscription}",
            "roleAssignmentId": _undashed(action.caller, "assignment"),
            "roleDefinitionId": _undashed(action.role, "definition"),
            "principalId": _undashed(action.caller, "object") if is_user else action.caller.replace("-", ""),
            "principalType": "User" if is_user else "ServicePrincipal",
        },
    }


def _claims(action: Action) -> dict[str, str]:
    issued = int(action.time.timestamp()) - 600
    claims = {
        "aud": "https://management.core.windows.net/",
        "iss": f"https://sts.windows.net/{_TENANT}/",
        "iat": str(issued),
        "nbf": str(issued),
        "exp": str(issued + 5400),
        "ipaddr": action.ip,
        "uti": _undashed(action.seed, "uti")[:22],
        "ver": "1.0",
        _TENANT_ID: _TENANT,
        _NAME_ID: _undashed(action.caller, "nameidentifier"),
    }
    if "@" in action.caller:
        user = action.caller.split("@", 1)[0]
        claims |= {
            _OBJECT_ID: stable_id(action.caller, "object"),
            _UPN: action.caller,
            _NAME: action.caller,
            "name": user.replace(".", " ").title(),
            "puid": _undashed(action.caller, "puid")[:16].upper(),
            "appid": _PORTAL,
            "appidacr": "2",
            "groups": stable_id(action.caller, "group"),
        }
    else:
        claims |= {
            _OBJECT_ID: action.caller,
            "appid": stable_id(action.caller, "application"),
            "appidacr": "2",
            "idtyp": "app",
        }
    return claims | dict(action.claims)
