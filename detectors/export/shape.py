"""What an export is made of: where it goes, what it holds, and what it could not hold."""

import dataclasses
import enum
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

_VERSION: Final = re.compile(r"\d{1,5}\.\d{1,5}\.\d{1,5}", re.ASCII)


class Target(enum.StrEnum):
    """What a rule is exported as."""

    SENTINEL = "sentinel"
    """An ARM template with a Microsoft Sentinel analytics rule."""
    AZURE_MONITOR = "azure-monitor"
    """An ARM template with an Azure Monitor scheduled query rule."""
    BICEP = "bicep"
    """A Bicep module with a Microsoft Sentinel analytics rule."""

    @property
    def suffix(self) -> str:
        """The ending of a file's name."""
        return ".bicep" if self is Target.BICEP else ".json"


@dataclasses.dataclass(frozen=True)
class NotCarried:
    """A key of the rule file that the export does not hold, or not as it was, and what follows from that."""

    key: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Expression:
    """Code of the template's own language, such as ``parameters('workspace')``: it stands as it is, unquoted."""

    code: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource:
    """An exported rule without the template around it. ``properties`` may hold :class:`Expression`."""

    name: str
    kind: str
    api_version: str
    properties: Mapping[str, Any]
    not_carried: tuple[NotCarried, ...]


class CannotExport(Exception):
    """The target cannot do what the rule does. Says why, without the rule's name."""


def is_version(text: str) -> bool:
    """Whether *text* is three numbers, as templates need it; the rules of others may hold anything."""
    return _VERSION.fullmatch(text) is not None


def iso_duration(delta: timedelta) -> str:
    """*delta*, which is not negative, as ISO 8601: ``PT5M``, ``PT1H30M``, ``P14D``."""
    minutes, seconds = divmod(delta.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    time = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if number)
    if not delta.days and not time:
        return "PT0S"
    return "P" + (f"{delta.days}D" if delta.days else "") + (f"T{time}" if time else "")
