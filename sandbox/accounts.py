"""The contents of simulated automation accounts, and the patches that change them.

Keys are the wire names of the Automation API. What a patch leaves out stays as it is; ``null`` removes.
"""

import dataclasses
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class _Patch(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True, omit_defaults=True):
    """Base of what a patch may say of one item: every field can be left out."""


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


class WatcherPatch(_Patch, frozen=True):
    script_name: str | UnsetType = UNSET
    script_parameters: dict[str, str] | UnsetType | None = UNSET
    script_run_on: str | UnsetType | None = UNSET
    execution_frequency_in_seconds: int | UnsetType = UNSET
    status: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


class WebhookPatch(_Patch, frozen=True):
    runbook: str | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    expiry_time: str | UnsetType = UNSET
    last_invoked_time: str | UnsetType | None = UNSET
    run_on: str | UnsetType | None = UNSET
    parameters: dict[str, str] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


class SchedulePatch(_Patch, frozen=True):
    frequency: str | UnsetType = UNSET
    interval: int | UnsetType | None = UNSET
    start_time: str | UnsetType = UNSET
    expiry_time: str | UnsetType = UNSET
    next_run: str | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
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
    group_type: str | UnsetType = UNSET
    credential: str | UnsetType | None = UNSET
    created_by: str | UnsetType = UNSET
    workers: dict[str, WorkerPatch | None] | UnsetType = UNSET


class AccountPatch(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """What changes in an account, by kind and name; None removes the item."""

    runbooks: dict[str, RunbookPatch | None] = {}
    watchers: dict[str, WatcherPatch | None] = {}
    webhooks: dict[str, WebhookPatch | None] = {}
    schedules: dict[str, SchedulePatch | None] = {}
    job_schedules: dict[str, JobSchedulePatch | None] = {}
    jobs: dict[str, JobPatch | None] = {}
    hybrid_runbook_worker_groups: dict[str, WorkerGroupPatch | None] = {}


KINDS: tuple[str, ...] = tuple(field.encode_name for field in msgspec.structs.fields(AccountPatch))
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
            for field in msgspec.structs.fields(AccountPatch):
                for name, change in getattr(patch, field.name).items():
                    _change(items[field.encode_name], name, change, moment)
            # After all kinds, so that a job started in the same step executes the text published in it.
            for name in patch.jobs:
                _set_executed(items, name)
            self._items = items
            self.modified = moment


def _change(items: dict[str, Item], name: str, change: _Patch | None, moment: datetime) -> None:
    key = name.casefold()
    if change is None:
        items.pop(key, None)
        return
    known = items.get(key)
    values = {
        field.encode_name: getattr(change, field.name)
        for field in msgspec.structs.fields(type(change))
        if getattr(change, field.name) is not UNSET
    }
    for field, value in values.items():
        if isinstance(value, TextFile):
            raise TextFileError(f"{name}: {field} names the file {value.file!r}; only a scenario file can do that")
    children = dict(known.children) if known else {}
    for child, child_change in values.pop("workers", {}).items():
        _change(children, child, child_change, moment)
    properties = {**(known.properties if known else {}), **values}
    items[key] = Item(known.name if known else name, properties, known.created if known else moment, moment, children)


def _set_executed(items: dict[str, dict[str, Item]], name: str) -> None:
    job = items["jobs"].get(name.casefold())
    if job is None or "content" in job.properties:
        return
    runbook = items["runbooks"].get(str(job.get("runbook", "")).casefold())
    published = runbook.get("published") if runbook else None
    items["jobs"][name.casefold()] = dataclasses.replace(job, properties={**job.properties, "content": published})
