"""Scenarios: one YAML file tells what happens, when, and what a correct detector says about it.

Times in a file are offsets from the scenario's start, such as ``90s`` or ``12m``. :func:`start_of` anchors them so
that everything is already ingested at the moment of playing and still inside a rule's 25 minutes.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from sandbox.accounts import AccountPatch, JobPatch, RunbookPatch, TextFile
from sandbox.activity import STATUSES, Action, Shape, stable_id

SCENARIOS = Path(__file__).parent / "scenarios"

_LONGEST = timedelta(minutes=20)
_WINDOW = timedelta(minutes=25)
_GUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Guid = Annotated[str, msgspec.Meta(pattern=_GUID)]
Offset = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}[sm]$")]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Status = Literal["Start", "Accept", "Success", "Failure"]


class ScenarioError(Exception):
    """A scenario file is wrong. The message names the file, the key and the fix."""


class _Part(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of everything in a scenario file: a misspelt key is an error, never silence."""


class Activity(_Part, frozen=True, kw_only=True):
    """One operation in the Activity Log.

    ``resource`` is a full resource id, or what follows the automation account's. ``after`` is the offset from the
    step. Actions of one scenario with the same ``correlation`` share one CorrelationId.
    """

    operation: Name
    resource: str = ""
    status: list[Status] = msgspec.field(default_factory=lambda: ["Start", "Success"])
    substatus: str | None = None
    caller: Name
    ip: Name
    after: Offset = "0s"
    correlation: str | None = None
    claims: dict[str, str] = {}
    role: str = "Automation Contributor"
    shape: Shape = "diagnostic"


class Step(_Part, frozen=True, kw_only=True):
    """What somebody does at one moment: the rows that it leaves, and what it changes in the account."""

    title: Name
    at: Offset
    activity: list[Activity] = []
    ingestion_delay: Offset = "3m"
    account: AccountPatch = msgspec.field(default_factory=AccountPatch)


class Expectation(_Part, frozen=True, kw_only=True):
    """How many alerts a correct detector gives for a rule (its id or file stem) on resources ending in *resource*."""

    rule: Name
    resource: str
    count: int = 1


class Scenario(_Part, frozen=True, kw_only=True):
    """A scenario file. ``before`` is what the account holds when the story begins.

    With ``inventory`` the detector reads the account before the story and after each step: what ``expect`` names can
    then be a rule over what changed in the account. ``watcher_actions`` is whether the sandbox answers when it is asked
    for watcher actions, which nothing published says of Azure.
    """

    name: Name
    description: Name
    workspace: Guid
    subscription: Guid
    resource_group: Name
    automation_account: Name
    inventory: bool = False
    watcher_actions: bool = False
    before: AccountPatch = msgspec.field(default_factory=AccountPatch)
    steps: list[Step]
    expect: list[Expectation]

    @property
    def account_id(self) -> str:
        """Resource id of the automation account."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Automation/automationAccounts/{self.automation_account}"
        )


def offset(text: str) -> timedelta:
    """``90s`` or ``12m`` as a duration."""
    return timedelta(**{{"s": "seconds", "m": "minutes"}[text[-1]]: int(text[:-1])})


def load_scenario(source: str | Path) -> Scenario:
    """A scenario from a file, or by the name of a bundled one. Raises :class:`ScenarioError`."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = SCENARIOS / f"{source}.yaml"
        if not path.is_file():
            bundled = ", ".join(sorted(known.stem for known in SCENARIOS.glob("*.yaml")))
            raise ScenarioError(f"there is no scenario {str(source)!r}; use one of {bundled}, or the path of a file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise ScenarioError(f"{path}: {place.strip('`').removeprefix('$.') or 'the file'}: {message}") from error
    if problem := next(_problems(scenario), None):
        raise ScenarioError(f"{path}: {problem}")
    return _with_files(scenario, path)


def _problems(scenario: Scenario) -> Iterator[str]:
    if not scenario.steps:
        yield "steps: has none; a scenario needs at least one"
        return
    before = timedelta(0)
    for number, step in enumerate(scenario.steps):
        if offset(step.at) < before:
            yield f"steps[{number}].at: {step.at} is before the step that it follows; put the steps in order"
        before = offset(step.at)
        for index, activity in enumerate(step.activity):
            place = f"steps[{number}].activity[{index}]"
            if not activity.status:
                yield f"{place}.status: has none; name one or more of {', '.join(STATUSES)}"
            if not re.fullmatch(r"[A-Za-z.]+(/[A-Za-z0-9._]+)+", activity.operation):
                yield (
                    f"{place}.operation: {activity.operation!r} is no operation name; write it with its provider and "
                    "in its own case, such as Microsoft.Automation/automationAccounts/runbooks/write"
                )
    if before >= _LONGEST:
        yield f"steps: the last one is at {before}; a scenario lasts less than 20m"
    if _length(scenario) > _WINDOW - timedelta(minutes=1):
        yield (
            f"steps: the last row is ingested {_length(scenario)} after the start; with more than 24m the first rows "
            "would fall out of a rule's 25m"
        )


def _with_files(scenario: Scenario, path: Path) -> Scenario:
    """Put the texts of the files that the scenario names into it."""

    def read(place: str, value: Any) -> Any:
        if not isinstance(value, TextFile):
            return value
        try:
            return (path.parent / value.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path}: {place}: the file {value.file!r} cannot be read: {error}") from error

    def item(place: str, change: RunbookPatch | JobPatch | None, fields: tuple[str, ...]) -> Any:
        if change is None:
            return None
        return msgspec.structs.replace(
            change, **{field: read(f"{place}.{field}", getattr(change, field)) for field in fields}
        )

    def patch(place: str, change: AccountPatch) -> AccountPatch:
        return msgspec.structs.replace(
            change,
            runbooks={
                name: item(f"{place}.runbooks.{name}", runbook, ("published", "draft"))
                for name, runbook in change.runbooks.items()
            },
            jobs={name: item(f"{place}.jobs.{name}", job, ("content", "output")) for name, job in change.jobs.items()},
        )

    return msgspec.structs.replace(
        scenario,
        before=patch("before", scenario.before),
        steps=[
            msgspec.structs.replace(step, account=patch(f"steps[{number}].account", step.account))
            for number, step in enumerate(scenario.steps)
        ],
    )


def _length(scenario: Scenario) -> timedelta:
    """From the start until the last row is ingested; a row's own rows take up to five seconds."""
    ends = [
        offset(step.at) + offset(activity.after) + offset(step.ingestion_delay) + timedelta(seconds=5)
        for step in scenario.steps
        for activity in step.activity
    ]
    return max([*ends, *(offset(step.at) for step in scenario.steps)])


def start_of(scenario: Scenario, now: datetime) -> datetime:
    """The moment at which *scenario* began, so that its last row is ingested at *now*."""
    return now - _length(scenario)


def actions_of(scenario: Scenario, number: int, start: datetime) -> list[Action]:
    """The actions of one step (counted from 0) of a scenario that began at *start*."""
    step = scenario.steps[number]
    # The start is part of every id: the same scenario played again is another attack, not a repeat.
    play = f"{scenario.name} {start.isoformat()}"
    return [
        Action(
            operation=activity.operation,
            resource_id=_resource_id(scenario, activity.resource),
            statuses=tuple(activity.status),
            caller=activity.caller,
            ip=activity.ip,
            time=start + offset(step.at) + offset(activity.after),
            correlation_id=stable_id(play, "correlation", activity.correlation or f"{number}.{index}"),
            seed=f"{play} {number}.{index}",
            substatus=activity.substatus,
            shape=activity.shape,
            claims=activity.claims,
            role=activity.role,
        )
        for index, activity in enumerate(step.activity)
    ]


def _resource_id(scenario: Scenario, resource: str) -> str:
    if resource.startswith("/"):
        return resource
    return f"{scenario.account_id}/{resource}" if resource else scenario.account_id
