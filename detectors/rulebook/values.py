"""What the two readings of a rule file share: the format's words and limits, durations, and values taken from YAML."""

import difflib
import re
import uuid
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from detectors import strict_yaml

DEFAULT_FREQUENCY: Final = timedelta(minutes=5)
DEFAULT_PERIOD: Final = timedelta(minutes=25)
SHORTEST: Final = timedelta(minutes=5)
LONGEST: Final = timedelta(days=14)
LONGEST_SUPPRESSION: Final = timedelta(hours=24)
PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}")


def words(text: str) -> frozenset[str]:
    """The words of *text*, which spaces part."""
    return frozenset(text.split())


OPERATORS: Final = {
    "gt": "gt",
    "lt": "lt",
    "eq": "eq",
    "ne": "ne",
    "greaterthan": "gt",
    "lessthan": "lt",
    "equal": "eq",
    "notequal": "ne",
}
TACTICS: Final = words(
    "Reconnaissance ResourceDevelopment InitialAccess Execution Persistence PrivilegeEscalation DefenseEvasion "
    "CredentialAccess Discovery LateralMovement Collection CommandAndControl Exfiltration Impact "
    "PreAttack ImpairProcessControl InhibitResponseFunction"
)
# Identifiers by entity type (Microsoft Sentinel entity types reference); None: a type that no rule here needs,
# whose identifiers are left to Sentinel.
ENTITIES: Final[dict[str, frozenset[str] | None]] = {
    "Account": words(
        "FullName Name NTDomain DnsDomain UPNSuffix Sid AadTenantId AadUserId PUID IsDomainJoined DisplayName "
        "ObjectGuid"
    ),
    "Host": words(
        "FullName HostName DnsDomain NTDomain NetBiosName AzureID OMSAgentID OSFamily OSVersion IsDomainJoined"
    ),
    "IP": frozenset({"Address", "AddressScope"}),
    "URL": frozenset({"Url"}),
    "AzureResource": frozenset({"ResourceId"}),
    "CloudApplication": frozenset({"AppId", "Name", "InstanceName"}),
    "FileHash": frozenset({"Algorithm", "Value"}),
    "File": frozenset({"Directory", "Name"}),
    "Process": frozenset({"ProcessId", "CommandLine", "ElevationToken", "CreationTimeUtc"}),
    "DNS": frozenset({"DomainName"}),
    "Malware": frozenset({"Name", "Category"}),
    "RegistryKey": frozenset({"Hive", "Key"}),
    "RegistryValue": frozenset({"Name", "Value", "ValueType"}),
    "SecurityGroup": frozenset({"DistinguishedName", "SID", "ObjectGuid"}),
    "IoTDevice": None,
    "Mailbox": None,
    "MailCluster": None,
    "MailMessage": None,
    "SubmissionMail": None,
    "SentinelEntities": None,
}
TECHNIQUE: Final = re.compile(r"T\d{4}(\.\d{3})?", re.ASCII)
VERSION: Final = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
COLUMN: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SHORT_DURATION: Final = re.compile(r"(\d{1,5})([mhd])", re.ASCII)
_TIME_SPAN: Final = re.compile(r"(?:(\d{1,3})\.)?(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_ISO_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,8})(?:\.\d{1,7})?S)?)?",
    re.ASCII | re.IGNORECASE,
)


def parse_duration(text: str) -> timedelta | None:
    """``5m``, ``1h``, ``14d`` or a .NET TimeSpan (``hh:mm:ss``, ``d.hh:mm:ss``); None when it is neither."""
    if match := _SHORT_DURATION.fullmatch(text):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
        return timedelta(**{unit: int(match[1])})
    if match := _TIME_SPAN.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if hours < 24 and minutes < 60 and seconds < 60:
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return None


def read_duration(text: str) -> timedelta | None:
    """``5m``, a .NET TimeSpan or ISO 8601 (``P1D``, ``PT5M``); None when it is none of them."""
    text = text.strip()
    if (duration := parse_duration(text.lower())) is not None:
        return duration
    match = _ISO_DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


class Reader:
    """Takes typed values out of a mapping and notes what is wrong, so that one pass finds every problem."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[str] = []

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.file}: {key}: {text}")

    def has_problem(self, key: str) -> bool:
        return any(line.startswith(f"{self.file}: {key}: ") for line in self.problems)

    def text(
        self, source: Mapping[str, Any], key: str, *, longest: int, prefix: str = "", required: bool = True
    ) -> str:
        value = source.get(key)
        if value is None:
            if required:
                self.problem(prefix + key, "is missing; add it")
            return ""
        if not isinstance(value, str):
            self.problem(prefix + key, f"is {strict_yaml.kind_of(value)}, not text; put it in quotes")
            return ""
        if required and not value.strip():
            self.problem(prefix + key, "is empty; write something")
        if len(value) > longest:
            self.problem(prefix + key, f"has {len(value)} characters; at most {longest} are allowed")
        return value

    def number(self, source: Mapping[str, Any], key: str, highest: int, prefix: str = "") -> int | None:
        value = source.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            self.problem(prefix + key, f"is {value!r}; it is a whole number from 0 to {highest}")
            return None
        return value

    def texts(self, source: Mapping[str, Any], key: str, prefix: str = "") -> tuple[str, ...]:
        value = source.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(prefix + key, f"is {strict_yaml.kind_of(value)}; it is a list of texts")
            return ()
        for item in value:
            if not isinstance(item, str):
                self.problem(prefix + key, f"holds {item!r}, which is {strict_yaml.kind_of(item)}; put it in quotes")
        return tuple(item for item in value if isinstance(item, str))

    def mapping(self, source: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = source.get(key)
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"is {strict_yaml.kind_of(value)}; it is a mapping of keys")
        return value if isinstance(value, dict) else {}

    def mappings(self, source: Mapping[str, Any], key: str, prefix: str = "") -> list[dict[str, Any]]:
        value = source.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            self.problem(prefix + key, "is not a list of mappings; write one '- key: value' per entry")
            return []
        return value or []


def is_guid(text: str) -> bool:
    """Whether *text* is a GUID written with dashes and without braces."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def meant(word: str, known: Collection[str]) -> str:
    """`` (did you mean X?)`` for the name of *known* that *word* is close to, else nothing."""
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return f" (did you mean {by_fold[close[0]]}?)" if close else ""
