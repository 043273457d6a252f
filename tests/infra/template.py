"""What the templates say, read where their text has a fixed form, and how it differs from what the code says.

No reader of Bicep: that is the compiler's work. Tables, columns and role actions are JSON files that the templates
load. App settings stand one in a line between two marks. Whatever does not have its form is a difference.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from detectors.delivery import inventory_table, log_table
from detectors.settings import describe
from detectors.state.azure import AzureStore
from detectors.state.objects import Namespace
from tests.infra.__main__ import generated

ROOT: Final = Path(__file__).parents[2]

PLATFORM: Final = frozenset(
    {
        *(f"AzureWebJobsStorage__{each}" for each in ("accountName", "credential", "clientId")),
        *(f"AzureWebJobsStorage__{each}ServiceUri" for each in ("blob", "queue", "table")),
        *(f"ACTIVITY_LOG_HUB__{each}" for each in ("fullyQualifiedNamespace", "credential", "clientId")),
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    }
)
"""App settings that the Functions host reads, not this code. An identity needs all three of its parts: without one the
host fails at its start and says nothing."""

OTHER_CLOUDS: Final = frozenset(f"AzureWebJobsStorage__{each}ServiceUri" for each in ("blob", "queue", "table"))
"""In the public cloud these make the host start before it has a token, and must be empty."""

NEVER_SET: Final = frozenset({"STATE_CONNECTION_STRING", "STATE_PATH", "ACTIVITY_LOG_HUB"})
"""Settings for development. On Azure they would win over the identity."""

FORBIDDEN: Final = frozenset(
    {
        # Even an empty one wins over the identity.
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__managedIdentityResourceId",
        # Ignored or harmful on Flex Consumption.
        "AzureWebJobsDashboard",
        "ENABLE_ORYX_BUILD",
        "FUNCTIONS_EXTENSION_VERSION",
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_WORKER_RUNTIME_VERSION",
        "FUNCTIONS_MAX_HTTP_CONCURRENCY",
        "FUNCTIONS_WORKER_PROCESS_COUNT",
        "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
        "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
        "WEBSITE_CONTENTOVERVNET",
        "WEBSITE_CONTENTSHARE",
        "WEBSITE_DNS_SERVER",
        "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
        "WEBSITE_MOUNT_ENABLED",
        "WEBSITE_NODE_DEFAULT_VERSION",
        "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
        "WEBSITE_USE_PLACEHOLDER_DOTNETISOLATED",
        "WEBSITE_VNET_ROUTE_ALL",
    }
)

LOCAL: Final = frozenset({"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"})
"""What only a local run needs."""

# Role definitions by the file that assigns them. The custom role of automation-reader.bicep has no fixed id.
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "events.bicep": frozenset({"a638d3c7-ab3a-418d-83e6-5f17a39d4fde"}),  # Azure Event Hubs Data Receiver
    "ingestion.bicep": frozenset({"3913510d-42f4-4e42-8a64-420c390055eb"}),  # Monitoring Metrics Publisher
    "monitoring.bicep": frozenset({"3913510d-42f4-4e42-8a64-420c390055eb"}),
    "storage.bicep": frozenset(
        {
            "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",  # Storage Blob Data Owner
            "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",  # Storage Table Data Contributor
        }
    ),
    "vault.bicep": frozenset({"4633458b-17de-408a-b874-0445c86b69e6"}),  # Key Vault Secrets User
    "workspace-access.bicep": frozenset(
        {
            "73c42c96-874c-492b-b04d-ab87d138a893",  # Log Analytics Reader
            "3e150937-b8fe-4cfb-8069-0eaf05ecd056",  # Microsoft Sentinel Responder
        }
    ),
    "automation-reader.bicep": frozenset(),
}

GRANTED: Final = (
    "{ actions: union(permissions.actions, readRuntimeEnvironments ? permissions.runtimeEnvironmentActions : []) "
    "notActions: readRuntimeEnvironments ? permissions.runtimeEnvironmentNotActions : [] "
    "dataActions: [] notDataActions: [] }"
)
"""The permissions of the custom role as automation-reader.bicep writes them, in one line."""

# What Log Analytics takes as a column of a custom table, and the names that it keeps for itself.
_COLUMN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,44}")
_RESERVED: Final = frozenset(
    {"_resourceid", "_subscriptionid", "id", "tenantid", "title", "type", "uniqueid", "sourcesystem"}
)
_STREAM_TYPES: Final = frozenset({"string", "int", "long", "real", "boolean", "datetime", "dynamic"})

_GUID: Final = re.compile(r"'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'")
_PARAMETER: Final = re.compile(r"^param (\w+) [\w?\[\]]+( = (.+))?$", re.MULTILINE)
_VALUE: Final = re.compile(r"\$\{(\w+)(=([^}]*))?\}")


class FormError(Exception):
    """A part of a template does not have the form in which it can be read. The message names file, part and form."""


def settings(text: str) -> dict[str, str]:
    """App settings of ``app.bicep``: name to the expression as written. Raises :class:`FormError`."""
    form = "app.bicep: the settings stand between '// settings: begin' and '// settings: end', one in a line"
    found = re.findall(r"^// settings: begin\nvar settings = \{\n(.*?)^\}\n// settings: end$", text, re.M | re.S)
    if len(found) != 1:
        raise FormError(form)
    values: dict[str, str] = {}
    for line in found[0].splitlines():
        if line.startswith("  // "):
            continue
        match = re.fullmatch(r"  (\w+): (\S.*)", line)
        if match is None or match[1] in values:
            raise FormError(f"{form}: {line!r}")
        values[match[1]] = match[2]
    return values


def overrides(text: str) -> tuple[str, ...]:
    """App settings that ``main.bicep`` lets be set to another value. Raises :class:`FormError`."""
    form = "main.bicep: 'type settingOverrides = {' is sealed and has one 'NAME: string?' in a line"
    found = re.findall(
        r"^@sealed\(\)\n@description\([^\n]*\)\ntype settingOverrides = \{\n(.*?)^\}$", text, re.M | re.S
    )
    if len(found) != 1:
        raise FormError(form)
    names = [re.fullmatch(r"  (\w+): string\?", line) for line in found[0].splitlines()]
    if not all(names):
        raise FormError(form)
    return tuple(name[1] for name in names if name)


def parameters(text: str) -> dict[str, str | None]:
    """Parameters of a template: name to the default as written, None where one has to be given."""
    found = {name: default or None for name, _, default in _PARAMETER.findall(text)}
    if len(found) != len(re.findall(r"^param ", text, re.M)):
        raise FormError("a parameter is 'param name type' or 'param name type = default', in one line")
    return found


def blocks(text: str, kind: str) -> list[str]:
    """The text of each resource of *kind*, up to the line that closes it."""
    return re.findall(rf"^resource \w+ '{re.escape(kind)}@.*?^[\]}}]$", text, re.M | re.S)


def items(text: str, name: str) -> list[str]:
    """Items of ``var <name> = [ ... ]``, one in a line. Raises :class:`FormError`."""
    found = re.findall(rf"^var {name} = \[\n(.*?)^\]$", text, re.M | re.S)
    if len(found) != 1:
        raise FormError(f"'var {name} = [' has one item in a line")
    return [line.strip().strip("'") for line in found[0].splitlines()]


class Template:
    """The files of a checkout or of a copy of one. Reading them raises OSError, ValueError and :class:`FormError`."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.infra = root / "infra"

    def text(self, name: str) -> str:
        """The text of a file of ``infra/``."""
        return (self.infra / name).read_text(encoding="utf-8")

    def module(self, name: str) -> str:
        """The text of a module."""
        return self.text(f"modules/{name}.bicep")

    @property
    def bicep(self) -> list[Path]:
        """All templates."""
        return sorted(self.infra.rglob("*.bicep"))

    def differences(self) -> list[str]:
        """How the files differ from the code and from each other, one sentence each."""
        return [
            *self._settings(),
            *self._local_settings(),
            *self._generated(),
            *self._columns(),
            *self._parameters(),
            *self._azd(),
            *self._role_assignments(),
            *self._names(),
        ]

    def _settings(self) -> list[str]:
        found = settings(self.module("app"))
        described = {each.name: each for each in describe()}
        changeable = overrides(self.text("main.bicep"))
        problems = _sets(
            "settings in app.bicep alone", found, "settings that app.bicep lacks", described.keys() | PLATFORM
        )
        kept = {name for name in described if found.get(name) == "''"} - NEVER_SET
        problems += _sets(
            "overrides of what app.bicep sets itself", changeable, "settings that no override changes", kept
        )
        problems += [f"{name} must be ''" for name in sorted(NEVER_SET) if found.get(name, "''") != "''"]
        for name, value in found.items():
            if name in OTHER_CLOUDS and not value.startswith("hostStorageByName ? '' : "):
                problems.append(f"{name} is set in the public cloud too")
            secret = name in described and described[name].secret
            if value != "''" and secret != ("@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/" in value):
                problems.append(f"{name} is {'a secret and no' if secret else 'no secret but a'} Key Vault reference")
            if name in described and described[name].required and value == "''":
                problems.append(f"{name} is required and empty")
        for path in self.bicep:
            keys = set(re.findall(r"^\s*'?(\w+)'?: ", path.read_text(encoding="utf-8"), re.M))
            problems += [f"{path.name} sets {name}, which breaks the app" for name in sorted(keys & FORBIDDEN)]
        return problems

    def _local_settings(self) -> list[str]:
        sample = json.loads((self.root / "local.settings.sample.json").read_text(encoding="utf-8"))["Values"]
        wanted = {each.name for each in describe()} | LOCAL
        return _sets("local settings that nothing reads", sample, "settings that the local sample lacks", wanted)

    def _generated(self) -> list[str]:
        problems = [
            f"infra/{name} is not what the code says; run `make infra` and look at what changed"
            for name, text in generated().items()
            if self.text(name) != text
        ]
        for module, loaded in (("ingestion", "tables.json"), ("automation-reader", "role-actions.json")):
            if f"loadJsonContent('../{loaded}')" not in self.module(module):
                problems.append(f"{module}.bicep does not load {loaded}")
        granted = re.search(r"^    permissions: \[\n(.*?)^    \]$", self.module("automation-reader"), re.M | re.S)
        if granted is None or " ".join(granted[1].split()) != GRANTED:
            problems.append("automation-reader.bicep does not grant what role-actions.json says and nothing else")
        return problems

    def _columns(self) -> list[str]:
        tables: dict[str, list[dict[str, str]]] = json.loads(self.text("tables.json"))
        ingestion = self.module("ingestion")
        mapped = re.search(r"^var tableTypes = \{\n(.*?)^\}$", ingestion, re.M | re.S)
        types = dict(re.findall(r"^  (\w+): '(\w+)'$", mapped[1], re.M)) if mapped else {}
        problems = []
        for table, columns in tables.items():
            names = [each["name"] for each in columns]
            folded = [name.lower() for name in names]
            problems += [f"{table}.{name}: no name of a column" for name in names if not _COLUMN.fullmatch(name)]
            problems += [f"{table}.{name} is reserved" for name in names if name.lower() in _RESERVED]
            problems += [f"{table}.{name} is there twice" for name in names if folded.count(name.lower()) > 1]
            problems += [
                f"{table}.{each['name']}: no type of a stream" for each in columns if each["type"] not in _STREAM_TYPES
            ]
            if not columns or columns[0]["name"] != "TimeGenerated" or columns[0]["type"] != "datetime":
                problems.append(f"{table}: the first column is TimeGenerated, a datetime")
            # A table spells one type otherwise than a stream does.
            wanted = {each["type"]: "dateTime" if each["type"] == "datetime" else each["type"] for each in columns}
            problems += [
                f"ingestion.bicep: no {kind} in tableTypes" for kind in wanted if types.get(kind) != wanted[kind]
            ]
            for line, times in (
                # The resource and, in its schema, the table itself.
                (f"name: '{table}'", 2),
                # The columns of the table and those of the stream.
                (f"for column in columns.{table}: {{", 2),
                (f"'Custom-{table}': {{", 1),
                (f"streams: ['Custom-{table}']", 1),
                (f"outputStream: 'Custom-{table}'", 1),
            ):
                if len(re.findall(rf"^\s+{re.escape(line)}$", ingestion, re.M)) != times:
                    problems.append(f"ingestion.bicep does not have {line!r} {times} times")
        return problems

    def _parameters(self) -> list[str]:
        wanted = parameters(self.text("main.bicep"))
        given: dict[str, dict[str, Any]] = json.loads(self.text("main.parameters.json"))["parameters"]
        problems = _sets(
            "parameters that main.bicep lacks", given, "parameters that main.parameters.json lacks", wanted
        )
        for name in given.keys() & wanted.keys():
            value, default = given[name]["value"], wanted[name]
            form = _VALUE.fullmatch(value) if isinstance(value, str) else None
            if default is None:
                if form is None or form[2] is not None:
                    problems.append(f"main.parameters.json: {name} has no default, so its value is ${{NAME}}")
            elif isinstance(value, dict):
                if value or default != "{}":
                    problems.append(f"main.parameters.json: {name} is {value} and not {default}")
            elif form is None or form[2] is None or form[3] != default.strip("'"):
                problems.append(f"main.parameters.json: {name} has another default than main.bicep, {default}")
        return problems

    def _azd(self) -> list[str]:
        project = yaml.safe_load((self.root / "azure.yaml").read_text(encoding="utf-8"))
        problems = []
        if not (self.root / project["infra"]["path"] / f"{project['infra']['module']}.bicep").exists():
            problems.append("azure.yaml: infra names no template")
        for name, service in project["services"].items():
            if (service["host"], service["language"], service["project"]) != ("function", "python", "."):
                problems.append(f"azure.yaml: {name} is no Function App in Python at the root")
        tagged = {
            name
            for path in self.bicep
            for name in re.findall(r"'azd-service-name': '([\w-]+)'", path.read_text(encoding="utf-8"))
        }
        problems += _sets("services without a resource", project["services"], "tags without a service", tagged)
        for name in tagged:
            sites = blocks(self.module("app"), "Microsoft.Web/sites")
            if sum(f"'azd-service-name': '{name}'" in site for site in sites) != 1:
                problems.append(f"app.bicep: the Function App itself has the tag azd-service-name: {name}")
        return problems

    def _role_assignments(self) -> list[str]:
        problems = []
        assigning = {}
        for path in self.bicep:
            text = path.read_text(encoding="utf-8")
            found = blocks(text, "Microsoft.Authorization/roleAssignments")
            if len(found) != text.count("'Microsoft.Authorization/roleAssignments@"):
                problems.append(f"{path.name}: a role assignment could not be read")
            if found:
                assigning[path.name] = frozenset(_GUID.findall(text))
            of_subscription = "targetScope = 'subscription'" in text
            for block in found:
                # Left out, it is the whole resource group.
                if not of_subscription and not re.search(r"^\s+scope: \w+$", block, re.M):
                    problems.append(f"{path.name}: a role assignment has no scope")
                if not re.search(r"^\s+principalType: 'ServicePrincipal'$", block, re.M):
                    problems.append(f"{path.name}: a role assignment has no principalType")
                if not re.search(r"^\s+principalId: principalId$", block, re.M):
                    problems.append(
                        f"{path.name}: a role is assigned to another principal than the detector's identity"
                    )
        problems += _sets(
            "templates that are not expected to assign roles", assigning, "templates that assign no role", ROLES
        )
        problems += [
            f"{name} assigns other roles than those that this test expects"
            for name in assigning.keys() & ROLES.keys()
            if assigning[name] != ROLES[name]
        ]
        return problems

    def _names(self) -> list[str]:
        main, storage, app = self.text("main.bicep"), self.module("storage"), self.module("app")
        described = {each.name: each.default for each in describe()}
        found = settings(app)
        problems = []
        prefix = inspect.signature(AzureStore.__init__).parameters["table_prefix"].default
        containers = {
            "deploymentContainer",
            *(f"{prefix.lower()}-{each}" for each in ("records", *get_args(Namespace))),
        }
        problems += _sets(
            "containers that the code does not use",
            items(storage, "containerNames"),
            "containers that are lacking",
            containers,
        )
        tables = {f"{prefix}{each}" for each in ("Records", "Work", "Documents")}
        problems += _sets(
            "tables that the code does not use", items(storage, "tableNames"), "tables that are lacking", tables
        )
        hubs = re.findall(r"^    hubName: '([^']+)'$", main, re.M)
        if hubs != [described["ACTIVITY_LOG_HUB_NAME"]]:
            problems.append(f"main.bicep: the hub is {hubs} and not {described['ACTIVITY_LOG_HUB_NAME']}")
        # Another reader of the same group would take events away.
        groups = re.findall(r"^    consumerGroupName: '([^']+)'$", main, re.M)
        if len(groups) != 1 or groups == ["$Default"] or not re.fullmatch(r"[\w.-]{1,50}", groups[0]):
            problems.append(f"main.bicep: the consumer group is {groups}")
        events = self.module("events")
        for given, read, declared in (
            ("eventHubName", "ACTIVITY_LOG_HUB_NAME", "name: hubName"),
            ("eventHubConsumerGroup", "ACTIVITY_LOG_HUB_CONSUMER_GROUP", "name: consumerGroupName"),
        ):
            if found.get(read) != given or declared not in events:
                problems.append(f"{read} is not what events.bicep creates")
            output = {"eventHubName": "hubName", "eventHubConsumerGroup": "consumerGroupName"}[given]
            if f"    {given}: events.outputs.{output}\n" not in main:
                problems.append(f"main.bicep: {given} does not come from events.bicep")
        for name, stream in (
            ("LOGS_INGESTION_STREAM", f"Custom-{log_table.TABLE}"),
            ("INVENTORY_STREAM", inventory_table.STREAM),
        ):
            if found.get(name) != f"'{stream}'" or described[name] != stream:
                problems.append(f"{name} is {found.get(name)} and not '{stream}'")
        if log_table.COLUMNS[0].name != "TimeGenerated":
            problems.append("the first column of the alerts is not TimeGenerated")
        function = re.findall(r"^    name: 'function:(\w+)'$", app, re.M)
        source = (self.root / "function_app.py").read_text(encoding="utf-8")
        if len(function) != 1 or not re.search(rf"^ *(?:async )?def {function[0]}\(", source, re.M):
            problems.append(f"app.bicep keeps {function} ready, which is no function of function_app.py")
        return problems


def _sets(more: str, found: Iterable[str], fewer: str, wanted: Iterable[str]) -> list[str]:
    found, wanted = set(found), set(wanted)
    named = ((more, sorted(found - wanted)), (fewer, sorted(wanted - found)))
    return [f"{what}: {', '.join(names)}" for what, names in named if names]
