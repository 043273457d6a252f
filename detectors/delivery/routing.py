"""Which destinations there are, and which alert goes where.

Without ``DESTINATIONS_PATH`` the plain settings name at most one destination of each kind, and every alert goes to
all of them. With it, one YAML file names any number of them and the routes (``docs/destinations.example.yaml``).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from detectors import strict_yaml
from detectors.delivery.catalog import KINDS, STREAM, Kind, Option
from detectors.model import Alert, AlertKind, Severity

APP_ROOT = Path(__file__).resolve().parents[2]
"""What a relative ``DESTINATIONS_PATH`` is relative to: the folder that is deployed."""

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# In YAML's {flow: style} a plain ${NAME} would end at its brace. Until the file is parsed, two characters that nobody
# types stand for the braces; the values themselves come in after that, so that they are never read as YAML.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([A-Za-z0-9_]+){_CLOSE}")


class DestinationsError(Exception):
    """The destinations file is wrong; ``problems`` holds one line for each, naming file, key, cause and fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the destinations file, "
            "so the detector does not start:\n" + "\n".join(f"  {problem}" for problem in problems)
        )


@dataclass(frozen=True)
class DestinationSpec:
    """One configured destination: ``kind`` and its ``options`` are those of :data:`detectors.delivery.catalog.KINDS`.

    Options hold secrets, so they are not part of its repr.
    """

    name: str
    kind: str
    options: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Route:
    """Alerts that meet every given condition also go to ``to``; a condition with several values is met by any."""

    to: tuple[str, ...]
    severity: Severity | None = None
    """This or worse."""
    tags: frozenset[str] = frozenset()
    """Case-folded."""
    subscriptions: frozenset[str] = frozenset()
    """Case-folded."""
    kinds: frozenset[AlertKind] = frozenset()

    def matches(self, alert: Alert) -> bool:
        """Whether every condition holds for *alert*."""
        return (
            (self.severity is None or alert.severity.rank >= self.severity.rank)
            and (not self.tags or not self.tags.isdisjoint(tag.casefold() for tag in alert.tags))
            and (not self.subscriptions or alert.subscription_id.casefold() in self.subscriptions)
            and (not self.kinds or alert.kind in self.kinds)
        )


@dataclass(frozen=True)
class Configuration:
    """Destinations, the routes in their order, and the names that every alert goes to."""

    destinations: tuple[DestinationSpec, ...]
    routes: tuple[Route, ...]
    default: tuple[str, ...]


class Router:
    """Decides where an alert goes. Pure: the same alert always goes to the same names."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def names(self, alert: Alert) -> tuple[str, ...]:
        """Names of the destinations of *alert*: the default ones, then those of every matching route, each once."""
        routed = (name for route in self._configuration.routes if route.matches(alert) for name in route.to)
        return tuple(dict.fromkeys((*self._configuration.default, *routed)))


class PlainSettings(Protocol):
    """The settings that name destinations (:class:`detectors.settings.Settings` has them)."""

    @property
    def destinations_path(self) -> str: ...
    @property
    def teams_webhook_url(self) -> str: ...
    @property
    def logs_ingestion_endpoint(self) -> str: ...
    @property
    def logs_ingestion_rule_id(self) -> str: ...
    @property
    def logs_ingestion_stream(self) -> str: ...
    @property
    def webhook_url(self) -> str: ...
    @property
    def webhook_secret(self) -> tuple[str, ...]: ...
    @property
    def webhook_format(self) -> str: ...
    @property
    def pagerduty_routing_key(self) -> str: ...
    @property
    def sentinel_workspace_resource_id(self) -> str: ...


def configuration_of(settings: PlainSettings, environment: Mapping[str, str]) -> Configuration:
    """The configuration of the app: from the file, where ``DESTINATIONS_PATH`` names one, else from the settings.

    Raises :class:`DestinationsError`.
    """
    if settings.destinations_path:
        return read_destinations(settings.destinations_path, environment)
    return plain_configuration(settings)


def plain_configuration(settings: PlainSettings) -> Configuration:
    """One destination for each kind whose settings are given, named after its kind; every alert to all of them."""
    given: list[tuple[str, str, dict[str, str]]] = [
        ("teams", settings.teams_webhook_url, {"url": settings.teams_webhook_url}),
        (
            "log-table",
            settings.logs_ingestion_endpoint,
            {
                "endpoint": settings.logs_ingestion_endpoint,
                "rule_id": settings.logs_ingestion_rule_id,
                "stream": settings.logs_ingestion_stream or STREAM,
            },
        ),
        (
            "webhook",
            settings.webhook_url,
            {
                "url": settings.webhook_url,
                "secret": " ".join(settings.webhook_secret),
                "format": settings.webhook_format,
            },
        ),
        ("pagerduty", settings.pagerduty_routing_key, {"routing_key": settings.pagerduty_routing_key}),
        ("sentinel", settings.sentinel_workspace_resource_id, {"workspace": settings.sentinel_workspace_resource_id}),
    ]
    specs = tuple(
        DestinationSpec(kind, kind, _with_defaults(KINDS[kind], options)) for kind, is_set, options in given if is_set
    )
    return Configuration(specs, (), tuple(spec.name for spec in specs))


def read_destinations(path: str | Path, environment: Mapping[str, str]) -> Configuration:
    """:func:`load_destinations` of the file at *path*, which may be relative to :data:`APP_ROOT`."""
    try:
        text = strict_yaml.read_text(APP_ROOT / path)
    except strict_yaml.YamlProblem as problem:
        raise DestinationsError([f"{path}: {problem}. Check DESTINATIONS_PATH"]) from problem
    return load_destinations(text, environment, file=Path(path).name)


def load_destinations(text: str, environment: Mapping[str, str], *, file: str = "destinations.yaml") -> Configuration:
    """The configuration in *text* (YAML), ``${NAME}`` in a destination's options taken from *environment*.

    Raises :class:`DestinationsError` with every problem at once, *file* named in each; no value is ever shown.
    """
    loader = _Loader(environment, file)
    configuration = loader.load(text)
    if loader.problems:
        raise DestinationsError(loader.problems)
    return configuration


def _with_defaults(kind: Kind, options: Mapping[str, str]) -> dict[str, str]:
    defaults = {name: option.default for name, option in kind.options.items() if option.default is not None}
    return {**defaults, **options}


class _Loader:
    """One file being read; collects what is wrong with it."""

    def __init__(self, environment: Mapping[str, str], file: str) -> None:
        self._environment = environment
        self._file = file
        self._named: tuple[str, ...] = ()
        self.problems: list[str] = []

    def load(self, text: str) -> Configuration:
        empty = Configuration((), (), ())
        if _OPEN in text or _CLOSE in text:
            self._problem("", "holds the character U+E000 or U+E001; remove it")
            return empty
        try:
            document = strict_yaml.parse(_VARIABLE.sub(rf"{_OPEN}\1{_CLOSE}", text))
        except strict_yaml.YamlProblem as problem:
            self._problem("", str(problem))
            return empty
        top = self._mapping("", document, ("destinations", "routes", "default"))
        described = top.get("destinations")
        if not isinstance(described, dict) or not described:
            self._problem("destinations", "must map at least one name to a destination")
            described = {}
        self._named = tuple(described)
        specs = [self._destination(name, value) for name, value in described.items()]
        routes = top.get("routes", [])
        if not isinstance(routes, list):
            self._problem("routes", f"is {strict_yaml.kind_of(routes)}; it is a list of routes")
            routes = []
        configuration = Configuration(
            tuple(spec for spec in specs if spec),
            tuple(self._route(f"routes[{number}]", value) for number, value in enumerate(routes, 1)),
            self._targets("default", top.get("default")),
        )
        self._check_use(configuration)
        return configuration

    def _destination(self, name: str, value: object) -> DestinationSpec | None:
        key = f"destinations.{name}"
        if not _NAME.fullmatch(name):
            self._problem(key, "is no name; write 1 to 40 of a-z, 0-9 and -")
        if not isinstance(value, dict):
            self._problem(key, f"is {strict_yaml.kind_of(value)}; it is a mapping with the key kind")
            return None
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            self._problem(f"{key}.kind", f"must be one of {', '.join(KINDS)}")
            return None
        options = KINDS[kind].options
        self._mapping(key, value, ("kind", *options))
        texts = {name: self._option(f"{key}.{name}", option, value.get(name)) for name, option in options.items()}
        return DestinationSpec(name, kind, texts)

    def _option(self, key: str, option: Option, value: object) -> str:
        if value is None and option.default is not None:
            return option.default
        if value is None:
            self._problem(key, "is missing")
            return ""
        if not isinstance(value, str):
            self._problem(key, f"is {strict_yaml.kind_of(value)}, not text; put it in quotes")
            return ""
        if option.secret and not _MARKED.search(value):
            self._problem(key, "is a secret in a file; write ${NAME} and make NAME an app setting")
            return ""
        text = self._filled(key, value)
        if text is None:
            return ""
        try:
            option.check(text)
        except ValueError as error:
            self._problem(key, str(error))
        return text

    def _filled(self, key: str, template: str) -> str | None:
        """*template* with its variables' values; None, and a problem for each, when one has none."""
        if "${" in template:
            self._problem(key, "has a ${ that begins no ${NAME}; NAME is letters, digits and _")
            return None
        values = {name: self._environment.get(name, "").strip() for name in _MARKED.findall(template)}
        for name, value in values.items():
            if not value:
                self._problem(key, f"needs the app setting {name}, which is not set; set it or remove the destination")
            elif value.startswith("@Microsoft.KeyVault("):
                self._problem(
                    key,
                    f"the app setting {name} is a Key Vault reference that Azure could not resolve; "
                    "give the app's identity the role Key Vault Secrets User, and check the reference",
                )
                values[name] = ""
        return _MARKED.sub(lambda match: values[match[1]], template) if all(values.values()) else None

    def _route(self, key: str, value: object) -> Route:
        route = self._mapping(key, value, ("severity", "tags", "subscriptions", "kinds", "to"))
        if isinstance(value, dict) and set(route) <= {"to"}:
            self._problem(key, "has no condition; to send every alert there, put the names into default")
        subscriptions = self._texts(f"{key}.subscriptions", route.get("subscriptions"))
        for text in subscriptions:
            if not _GUID.fullmatch(text):
                self._problem(f"{key}.subscriptions", f"{self._shown(text)} is not a GUID; write the subscription's id")
        return Route(
            to=self._targets(f"{key}.to", route.get("to")),
            severity=self._severity(f"{key}.severity", route.get("severity")),
            tags=frozenset(tag.casefold() for tag in self._texts(f"{key}.tags", route.get("tags"))),
            subscriptions=frozenset(text.casefold() for text in subscriptions),
            kinds=self._kinds(f"{key}.kinds", route.get("kinds")),
        )

    def _severity(self, key: str, value: object) -> Severity | None:
        if value is None:
            return None
        if isinstance(value, str) and value in set(Severity):
            return Severity(value)
        self._problem(key, f"must be one of {', '.join(Severity)}; it means this or worse")
        return None

    def _kinds(self, key: str, value: object) -> frozenset[AlertKind]:
        texts = self._texts(key, value)
        known = frozenset(AlertKind(text) for text in texts if text in set(AlertKind))
        if len(known) < len(set(texts)):
            self._problem(key, f"takes {', '.join(AlertKind)} only")
        return known

    def _targets(self, key: str, value: object) -> tuple[str, ...]:
        if value is None:
            self._problem(key, "is missing; name at least one destination")
            return ()
        names = tuple(dict.fromkeys(self._texts(key, value)))
        for name in names:
            if name not in self._named:
                known = ", ".join(map(self._shown, self._named)) or "none"
                self._problem(key, f"{self._shown(name)} is not a destination of this file (known: {known})")
        return names

    def _texts(self, key: str, value: object) -> list[str]:
        """A list of text that is not empty; nothing at all is no condition."""
        if value is None:
            return []
        if not isinstance(value, list) or not value:
            self._problem(key, f"is {'empty' if value == [] else strict_yaml.kind_of(value)}; it is a list of texts")
            return []
        texts = [item.strip() for item in value if isinstance(item, str) and item.strip()]
        if len(texts) < len(value):
            self._problem(key, "holds something that is empty or not text; put each entry in quotes")
        return texts

    def _check_use(self, configuration: Configuration) -> None:
        used = {*configuration.default, *(name for route in configuration.routes for name in route.to)}
        for name in self._named:
            if name not in used:
                self._problem(f"destinations.{name}", "is in no route and not in default, so no alert would go there")

    def _mapping(self, key: str, value: object, known: Iterable[str]) -> dict[str, object]:
        """*value* if it is a mapping, its unknown keys reported."""
        if not isinstance(value, dict):
            self._problem(key, f"is {strict_yaml.kind_of(value)}; it is a mapping of {', '.join(known)}")
            return {}
        for name in value:
            if name not in known:
                self._problem(f"{key}.{name}" if key else name, f"is unknown here; the keys are {', '.join(known)}")
        return value

    def _problem(self, key: str, cause: str) -> None:
        self.problems.append(self._shown(": ".join(part for part in (self._file, key, cause) if part)))

    @staticmethod
    def _shown(text: str) -> str:
        """*text* as the file has it: variables in their own form."""
        return _MARKED.sub(r"${\1}", text)
