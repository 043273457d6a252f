"""The contents of simulated automation accounts, and the patches that change them.

Keys are the wire names of the Automation API. What a patch leaves out stays as it is; ``null`` removes.
"""

import dataclasses
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType


class _Patch(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True, omit_defaults=True):
    """Base of what a patch may say of one item: every field can be left out.

    ``children`` is the field that holds the items below this one. What happens to them, or to a field ``by_itself``
    names, does not move the item's own ``lastModifiedTime``.
    """

    children: ClassVar[str] = ""
    by_itself: ClassVar[frozenset[str]] = frozenset()


class TextFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A text kept beside the scenario: ``{file: name}``."""

    file: str


Text = str | TextFile | UnsetType | None


class RunbookPatch(_Patch, frozen=True):
    """``published`` and ``draft`` are the texts; ``encoding`` and ``contentType`` are how they are sent."""

    published: Text = UNSET
    draft: Text = UNSET
    encoding: str | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    runbook_type: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    runtime_environment: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    last_modified_by: str | UnsetType | None = UNSET


class WatcherActionPatch(_Patch, frozen=True):
    script_name: str | UnsetType = UNSET
    script_parameters: dict[str, str] | UnsetType | None = UNSET
    script_run_on: str | UnsetType | None = UNSET


class WatcherPatch(_Patch, frozen=True):
    children: ClassVar[str] = "actions"

    script_name: str | UnsetType = UNSET
    script_parameters: dict[str, str] | UnsetType | None = UNSET
    script_run_on: str | UnsetType | None = UNSET
    execution_frequency_in_seconds: int | UnsetType = UNSET
    status: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    actions: dict[str, WatcherActionPatch | None] | UnsetType = UNSET


class WebhookPatch(_Patch, frozen=True):
    by_itself: ClassVar[frozenset[str]] = frozenset({"lastInvokedTime"})

    runbook: str | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    expiry_time: str | UnsetType = UNSET
    last_invoked_time: str | UnsetType | None = UNSET
    run_on: str | UnsetType | None = UNSET
    parameters: dict[str, str] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


class SchedulePatch(_Patch, frozen=True):
    by_itself: ClassVar[frozenset[str]] = frozenset({"nextRun"})

    frequency: str | UnsetType = UNSET
    interval: int | UnsetType | None = UNSET
    start_time: str | UnsetType = UNSET
    expiry_time: str | UnsetType = UNSET
    next_run: str | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    advanced_schedule: dict[str, Any] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


class JobSchedulePatch(_Patch, frozen=True):
    """Its key is the job schedule's id."""

    runbook: str | UnsetType = UNSET
    schedule: str | UnsetType = UNSET
    run_on: str | UnsetType | None = UNSET
    parameters: dict[str, str] | UnsetType | None = UNSET


class JobStream(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """One record of a job's streams; ``text`` is only given by the stream itself, never by the list."""

    text: str
    stream_type: str = "Output"
    summary: str | None = None


class JobPatch(_Patch, frozen=True):
    """Its key is the job's name, a GUID. ``content`` is what it executed: left out, what is published then."""

    runbook: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    started_by: str | UnsetType | None = UNSET
    run_on: str | UnsetType | None = UNSET
    runtime_environment: str | UnsetType | None = UNSET
    parameters: dict[str, str] | UnsetType | None = UNSET
    exception: str | UnsetType | None = UNSET
    start_time: str | UnsetType | None = UNSET
    end_time: str | UnsetType | None = UNSET
    content: Text = UNSET
    output: Text = UNSET
    streams: list[JobStream] | UnsetType = UNSET


class WorkerPatch(_Patch, frozen=True):
    """Its key is the worker's id, a GUID."""

    worker_name: str | UnsetType = UNSET
    ip: str | UnsetType = UNSET
    vm_resource_id: str | UnsetType = UNSET
    worker_type: str | UnsetType = UNSET


class WorkerGroupPatch(_Patch, frozen=True):
    children: ClassVar[str] = "workers"

    group_type: str | UnsetType = UNSET
    credential: str | UnsetType | None = UNSET
    created_by: str | UnsetType = UNSET
    workers: dict[str, WorkerPatch | None] | UnsetType = UNSET


class ModulePatch(_Patch, frozen=True):
    """A PowerShell module, or an account-wide Python package: the API has one shape for both."""

    version: str | UnsetType | None = UNSET
    size_in_bytes: int | UnsetType = UNSET
    activity_count: int | UnsetType = UNSET
    is_global: bool | UnsetType = UNSET
    is_composite: bool | UnsetType = UNSET
    provisioning_state: str | UnsetType = UNSET


class PackagePatch(_Patch, frozen=True):
    version: str | UnsetType | None = UNSET
    size_in_bytes: int | UnsetType = UNSET
    default: bool | UnsetType = UNSET
    provisioning_state: str | UnsetType = UNSET


class RuntimeEnvironmentPatch(_Patch, frozen=True):
    children: ClassVar[str] = "packages"

    language: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    default_packages: dict[str, str] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    packages: dict[str, PackagePatch | None] | UnsetType = UNSET


class SourceControlPatch(_Patch, frozen=True):
    repo_url: str | UnsetType = UNSET
    branch: str | UnsetType = UNSET
    folder_path: str | UnsetType = UNSET
    auto_sync: bool | UnsetType = UNSET
    publish_runbook: bool | UnsetType = UNSET
    source_type: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class CredentialPatch(_Patch, frozen=True):
    """The API tells the user name and never the password, so there is none here."""

    user_name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class CertificatePatch(_Patch, frozen=True):
    thumbprint: str | UnsetType = UNSET
    expiry_time: str | UnsetType = UNSET
    is_exportable: bool | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class ConnectionPatch(_Patch, frozen=True):
    connection_type: str | UnsetType = UNSET
    field_definition_values: dict[str, str] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class VariablePatch(_Patch, frozen=True):
    """``value`` is JSON in a text, such as ``"\\"x\\""``. The API tells it unless the variable is encrypted."""

    value: str | UnsetType | None = UNSET
    is_encrypted: bool | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class Identity(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True, omit_defaults=True):
    """The account's managed identities. Keys of ``user_assigned_identities`` are resource ids."""

    type: str
    principal_id: str | None = None
    tenant_id: str | None = None
    user_assigned_identities: dict[str, dict[str, str]] = {}


class SettingsPatch(_Patch, frozen=True):
    """What an account says of itself. ``encryption_key_source`` is Microsoft.Automation or Microsoft.Keyvault."""

    identity: Identity | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    state: str | UnsetType = UNSET
    public_network_access: bool | UnsetType | None = UNSET
    disable_local_auth: bool | UnsetType | None = UNSET
    encryption_key_source: str | UnsetType | None = UNSET


class AccountPatch(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """What changes in an account, by kind and name; None removes the item. ``settings`` are the account's own."""

    settings: SettingsPatch = msgspec.field(default_factory=SettingsPatch)
    runbooks: dict[str, RunbookPatch | None] = {}
    watchers: dict[str, WatcherPatch | None] = {}
    webhooks: dict[str, WebhookPatch | None] = {}
    schedules: dict[str, SchedulePatch | None] = {}
    job_schedules: dict[str, JobSchedulePatch | None] = {}
    jobs: dict[str, JobPatch | None] = {}
    hybrid_runbook_worker_groups: dict[str, WorkerGroupPatch | None] = {}
    modules: dict[str, ModulePatch | None] = {}
    python2_packages: dict[str, ModulePatch | None] = {}
    python3_packages: dict[str, ModulePatch | None] = {}
    runtime_environments: dict[str, RuntimeEnvironmentPatch | None] = {}
    source_controls: dict[str, SourceControlPatch | None] = {}
    credentials: dict[str, CredentialPatch | None] = {}
    certificates: dict[str, CertificatePatch | None] = {}
    connections: dict[str, ConnectionPatch | None] = {}
    variables: dict[str, VariablePatch | None] = {}


_KIND_FIELDS = tuple(field for field in msgspec.structs.fields(AccountPatch) if field.name != "settings")
KINDS: tuple[str, ...] = tuple(field.encode_name for field in _KIND_FIELDS)
"""Resource types below an account, as a URL names them."""


class TextFileError(Exception):
    """A patch names a file although nobody has put its text in; scenario files alone may name files."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One resource below an account: its name in original case, and its properties by wire name."""

    name: str
    properties: Mapping[str, Any]
    created: datetime
    modified: datetime
    children: Mapping[str, "Item"] = dataclasses.field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """One property."""
        return self.properties.get(name, default)


class Account:
    """One automation account. Names are found in any case, as Azure finds them. Safe to use from any thread."""

    def __init__(
        self, subscription: str, resource_group: str, name: str, created: datetime, location: str = "westeurope"
    ) -> None:
        self.subscription = subscription
        self.resource_group = resource_group
        self.name = name
        self.created = created
        self.modified = created
        self.location = location
        self.last_modified_by = "admin@contoso.example"
        self.settings: Mapping[str, Any] = {}
        """What the account says of itself, by the names of :class:`SettingsPatch` on the wire."""
        self._lock = threading.Lock()
        self._items: dict[str, dict[str, Item]] = {kind: {} for kind in KINDS}

    @property
    def id(self) -> str:
        """The resource id, in its original case."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Automation/automationAccounts/{self.name}"
        )

    def items(self, kind: str) -> list[Item]:
        """Everything of one kind, in order of creation."""
        with self._lock:
            return list(self._items[kind].values())

    def item(self, kind: str, name: str) -> Item | None:
        """One item, its name in any case."""
        with self._lock:
            return self._items[kind].get(name.casefold())

    def apply(self, patch: AccountPatch | Mapping[str, Any], moment: datetime) -> None:
        """Change the contents at *moment*. A mapping has the shape of :class:`AccountPatch`, in wire names.

        Raises :class:`msgspec.ValidationError` naming the key that is wrong, or :class:`TextFileError` for a text
        file that was not loaded; nothing has changed then.
        """
        if not isinstance(patch, AccountPatch):
            patch = msgspec.convert(patch, AccountPatch)
        with self._lock:
            items = {kind: dict(known) for kind, known in self._items.items()}
            for field in _KIND_FIELDS:
                for name, change in getattr(patch, field.name).items():
                    _change(items[field.encode_name], name, change, moment)
            # After all kinds, so that a job started in the same step executes the text published in it.
            for name in patch.jobs:
                _set_executed(items, name)
            self._items = items
            self.settings = {**self.settings, **_said(patch.settings)}
            self.modified = moment


def _said(patch: _Patch) -> dict[str, Any]:
    """What *patch* says, by wire name."""
    # Not msgspec.structs.fields: it evaluates every annotation again, which costs more than all the rest.
    names = zip(type(patch).__struct_fields__, type(patch).__struct_encode_fields__, strict=True)
    return {wire: getattr(patch, name) for name, wire in names if getattr(patch, name) is not UNSET}


def _change(items: dict[str, Item], name: str, change: _Patch | None, moment: datetime) -> None:
    key = name.casefold()
    if change is None:
        items.pop(key, None)
        return
    known = items.get(key)
    values = _said(change)
    for field, value in values.items():
        if isinstance(value, TextFile):
            raise TextFileError(f"{name}: {field} names the file {value.file!r}; only a scenario file can do that")
    itself = change.by_itself | {change.children}
    untouched = known is not None and bool(values) and values.keys() <= itself
    children = dict(known.children) if known else {}
    for child, child_change in values.pop(change.children, {}).items():
        _change(children, child, child_change, moment)
    items[key] = Item(
        name=known.name if known else name,
        properties={**(known.properties if known else {}), **values},
        created=known.created if known else moment,
        modified=known.modified if known and untouched else moment,
        children=children,
    )


def _set_executed(items: dict[str, dict[str, Item]], name: str) -> None:
    job = items["jobs"].get(name.casefold())
    if job is None or "content" in job.properties:
        return
    runbook = items["runbooks"].get(str(job.get("runbook", "")).casefold())
    published = runbook.get("published") if runbook else None
    items["jobs"][name.casefold()] = dataclasses.replace(job, properties={**job.properties, "content": published})
