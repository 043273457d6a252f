"""Azure resource ids: what they name, which Automation call they lead to, and their page in the portal.

Ids come from logs and are hostile text. Nothing here raises for one; what cannot be named safely is ``None``.
"""

import dataclasses
import re
import unicodedata
from urllib.parse import quote

MAX_ID_LENGTH = 2_048
MAX_NAME_LENGTH = 512
AUTOMATION = "microsoft.automation"

# The collections of an automation account whose singular is not the collection without its "s". The spelling on
# the right is what the rest of the detector compares with.
_KINDS = {
    "runbooks": "runbook",
    "jobs": "job",
    "watchers": "watcher",
    "webhooks": "webhook",
    "schedules": "schedule",
    "jobschedules": "jobSchedule",
    "hybridrunbookworkergroups": "hybridRunbookWorkerGroup",
    "sourcecontrols": "sourceControl",
    "runtimeenvironments": "runtimeEnvironment",
    "variables": "variable",
    "credentials": "credential",
    "certificates": "certificate",
    "connections": "connection",
    "connectiontypes": "connectionType",
    "modules": "module",
    "powershell72modules": "powerShell72Module",
    "python2packages": "python2Package",
    "python3packages": "python3Package",
    "configurations": "configuration",
    "nodeconfigurations": "nodeConfiguration",
    "compilationjobs": "compilationJob",
    "nodes": "node",
    "privateendpointconnections": "privateEndpointConnection",
}

_SUBSCRIPTION = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AzureResource:
    """What an ARM id names, in the case it was written in.

    ``types`` and ``names`` pair up; a last type without a name (``…/runbooks/x/draft``) leaves ``types`` one
    longer. ``extension`` holds the segments after a second ``providers`` (a role assignment on a resource).
    """

    subscription_id: str
    resource_group: str = ""
    provider: str = ""
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    extension: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """For example ``Microsoft.Automation/automationAccounts/runbooks``; empty for a subscription or group."""
        return "/".join((self.provider, *self.types)) if self.provider else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutomationTarget:
    """The object of an automation account that a match is about; every part is safe to put into an API path.

    ``kind`` is ``runbook``, ``job``, ``watcher``, ``webhook``, ``schedule``, ``jobSchedule``, another object of
    the account in the singular, or ``account`` (then ``name`` is empty).
    """

    subscription_id: str
    resource_group: str
    account: str
    kind: str = "account"
    name: str = ""

    @property
    def account_id(self) -> str:
        """The ARM id of the automation account."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Automation/automationAccounts/{self.account}"
        )


def is_safe_name(name: str) -> bool:
    """Whether *name* may become one segment of an API path.

    Quoting alone is not enough: ``..`` survives it and changes the path, and some servers undo ``%2F``.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH or name.strip() in {"", ".", ".."}:
        return False
    return not any(c in "/\\" or unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in name)


def parse(resource_id: str) -> AzureResource | None:
    """The parts of an ARM id in any case, or None when it is not below a subscription or is too long."""
    if not resource_id or len(resource_id) > MAX_ID_LENGTH:
        return None
    segments = [segment for segment in resource_id.strip().split("/") if segment]
    if len(segments) < 2 or segments[0].casefold() != "subscriptions":
        return None
    subscription_id, rest = segments[1], segments[2:]
    if not _SUBSCRIPTION.fullmatch(subscription_id):
        return None
    resource_group = ""
    if len(rest) > 1 and rest[0].casefold() == "resourcegroups":
        resource_group, rest = rest[1], rest[2:]
    if len(rest) < 2 or rest[0].casefold() != "providers":
        return AzureResource(subscription_id=subscription_id, resource_group=resource_group)
    provider, path, extension = rest[1], rest[2:], []
    # Only where a type may stand: an object may itself be called "providers".
    for index in range(0, len(path), 2):
        if path[index].casefold() == "providers":
            path, extension = path[:index], path[index + 1 :]
            break
    return AzureResource(
        subscription_id=subscription_id,
        resource_group=resource_group,
        provider=provider,
        types=tuple(path[0::2]),
        names=tuple(path[1::2]),
        extension=tuple(extension),
    )


def automation_target(resource_id: str, *, display: str | None = None) -> AutomationTarget | None:
    """The Automation object that *resource_id* names, or None when it is none or a name is unsafe in a path.

    *display* is the same id in its original case (``Properties_d.entity``). It is used only when it names the
    same object: a log field must not be able to point the enrichment at another one.
    """
    target = _automation_target(resource_id)
    original = _automation_target(display) if display else None
    return original if target and original and _folded(original) == _folded(target) else target


def portal_url(resource_id: str, portal: str = "https://portal.azure.com") -> str:
    """The portal's page of a resource, every segment percent-encoded; empty when the id does not parse."""
    resource = parse(resource_id)
    if resource is None:
        return ""
    segments = ["subscriptions", resource.subscription_id]
    if resource.resource_group:
        segments += ["resourceGroups", resource.resource_group]
    if resource.provider and resource.names:
        segments += ["providers", resource.provider]
        for kind, name in zip(resource.types, resource.names, strict=False):
            segments += [kind, name]
    # errors="replace": a lone surrogate from a log must not raise here.
    encoded = "/".join(quote(segment, safe="", errors="replace") for segment in segments)
    return f"{portal.rstrip('/')}/#resource/{encoded}"


def _automation_target(resource_id: str) -> AutomationTarget | None:
    resource = parse(resource_id)
    if resource is None or resource.provider.casefold() != AUTOMATION or not resource.names:
        return None
    if resource.types[0].casefold() != "automationaccounts":
        return None
    kind, name = "account", ""
    if len(resource.names) > 1:
        collection = resource.types[1]
        kind, name = _KINDS.get(collection.casefold(), collection), resource.names[1]
    parts = [resource.resource_group, resource.names[0], *([kind, name] if name else [])]
    if not all(is_safe_name(part) for part in parts):
        return None
    return AutomationTarget(
        subscription_id=resource.subscription_id,
        resource_group=resource.resource_group,
        account=resource.names[0],
        kind=kind,
        name=name,
    )


def _folded(target: AutomationTarget) -> tuple[str, ...]:
    return tuple(part.casefold() for part in dataclasses.astuple(target))
