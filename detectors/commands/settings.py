"""``settings``: what the detector is told, and what is wrong with it. Needs no detector, because it may not start."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from detectors.commands.failure import CommandError
from detectors.delivery.routing import DestinationsError, configuration_of
from detectors.settings import SettingsError, describe, load_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingValue:
    """One setting. A secret's ``value`` is ``set`` or ``not set``; ``given`` is False when it is the default."""

    name: str
    value: str
    given: bool
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingsReport:
    """Every setting, and one line for each problem."""

    settings: tuple[SettingValue, ...]
    problems: tuple[str, ...]


def report_settings(environment: Mapping[str, str]) -> SettingsReport:
    """The settings in *environment*."""
    problems: tuple[str, ...] = ()
    try:
        configuration_of(load_settings(environment), environment)
    except (SettingsError, DestinationsError) as error:
        problems = tuple(error.problems)
    values = []
    for info in describe():
        text = environment.get(info.name, "").strip()
        shown = ("set" if text else "not set") if info.secret else text or info.default or "not set"
        values.append(SettingValue(name=info.name, value=shown, given=bool(text), description=info.description))
    return SettingsReport(settings=tuple(values), problems=problems)


def read_settings_file(path: Path) -> dict[str, str]:
    """The ``Values`` of a Functions settings file such as local.settings.json. Raises :class:`CommandError`."""
    try:
        # The Functions tools write a byte order mark on Windows.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}; name a file such as local.settings.json") from error
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}; correct it there") from error
    values = content.get("Values") if isinstance(content, dict) else None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise CommandError(f'{path} has no "Values" with texts; see local.settings.sample.json for the shape')
    if content.get("IsEncrypted") is True:
        raise CommandError(f"the values of {path} are encrypted; run: func settings decrypt")
    return values
