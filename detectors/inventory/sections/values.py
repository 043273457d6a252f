"""From what the Automation API says to what a snapshot may hold: plain JSON, bounded, and no secret in it.

A section names the properties that it keeps, and by what each becomes a value. Nothing else of an answer is looked at:
a property that is not named cannot leak. A value that is null, empty or not of the kind that is expected is left out.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from detectors.automation.texts import label, readable

Mask = Callable[[str], str]
Convert = Callable[[Any, Mask], Any]
"""(value, mask) to a JSON value, or None for one that is left out."""

MASKED = "«masked»"
MAX_TEXT = 1_000
MAX_ENTRIES = 200

_LONGEST = 20_000
_PROBE = "Qx7probe"
_AUTHORITY = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*:[/\\]{2})?(?P<authority>[^/\\?#]*)", re.IGNORECASE)
_PORT = re.compile(r"[^:]*(?::\d{0,5})?")
_CAMEL = re.compile(r"[a-z][A-Za-z0-9]{0,63}")


def pick(values: Mapping[str, Any], properties: Mapping[str, Convert], mask: Mask) -> dict[str, Any]:
    """*properties* of *values*, each converted; what converts to None is left out."""
    converted = {name: convert(values.get(name), mask) for name, convert in properties.items()}
    return {name: value for name, value in converted.items() if value is not None}


def word(value: Any, mask: Mask) -> str | None:  # noqa: ARG001 - every Convert takes a mask
    """A name or another word of the API. It is no place for a secret, and masking could change whose name it is."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return label(value, MAX_TEXT).strip() or None


def prose(value: Any, mask: Mask) -> str | None:
    """A text that somebody wrote, with secrets masked, as one line."""
    if not isinstance(value, str):
        return None
    if len(value) > _LONGEST:
        return f"({len(value):,} characters: not kept)"
    # Masked as lines, for a private key has several, and again as one: a secret may stand below its name.
    line = " ".join(mask(readable(value)[0]).split("\n")).strip()
    return label(mask(line), MAX_TEXT) or None


def flag(value: Any, mask: Mask) -> bool | None:  # noqa: ARG001 - every Convert takes a mask
    """True or False."""
    return value if isinstance(value, bool) else None


def number(value: Any, mask: Mask) -> float | str | None:
    """A number; text where the API gives it as one."""
    # An integer beyond 64 bits is legal JSON that the store cannot write.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return word(value, mask)


def moment(value: Any, mask: Mask) -> str | None:  # noqa: ARG001 - every Convert takes a mask
    """A time as RFC 3339 text in UTC, such as ``2026-03-02T03:00:00Z``, to the microsecond."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        in_utc = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return label(value, 64)
    # Year 1 is what .NET has for a time that was never set.
    return None if in_utc.year == 1 else f"{in_utc.replace(tzinfo=None).isoformat()}Z"


def name_in(value: Any, mask: Mask) -> str | None:
    """The name in a reference such as ``{"name": "nightly"}``."""
    return word(value.get("name"), mask) if isinstance(value, Mapping) else None


def parameter_names(value: Any, mask: Mask) -> list[str] | None:  # noqa: ARG001 - every Convert takes a mask
    """The names of parameters, sorted. Their values may be secrets, defaults included."""
    return _sorted_labels(value) if isinstance(value, Mapping) else None


def masked_values(value: Any, mask: Mask) -> dict[str, str] | None:
    """Name to value of a flat object, secrets masked by the look of the value and by the name it has."""
    if not isinstance(value, Mapping):
        return None
    pairs = sorted((str(name), item) for name, item in value.items())[:MAX_ENTRIES]
    return {label(name, 200): masked_value(name, item, mask) for name, item in pairs} or None


def masked_value(name: str, value: Any, mask: Mask) -> str:
    """*value* as text; :data:`MASKED` as a whole when *name* is one by which *mask* knows a secret."""
    if value is None or value == "":
        return ""
    probe = f"{label(name, 200).lstrip('$-/ ')}={_PROBE}"
    if mask(probe) != probe:
        return MASKED
    return prose(value if isinstance(value, str) else str(value), mask) or ""


def repository_url(value: Any, mask: Mask) -> str | None:
    """A URL without the user, the password or the token in it."""
    if not isinstance(value, str):
        return None
    line = label(value, _LONGEST).strip()
    parts = _AUTHORITY.match(line)
    scheme, authority = (parts["scheme"] or "", parts["authority"]) if parts else ("", "")
    # A password with a slash in it that nobody encoded ends the authority too early: "user:pa" is no host and port.
    user_ends = (authority if _PORT.fullmatch(authority) or "@" in authority else line).rfind("@")
    if user_ends >= 0:
        start = len(scheme) if "@" in authority else 0
        line = f"{scheme}{MASKED}{line[start + user_ends :]}"
    return prose(line, mask)


def package_versions(value: Any, mask: Mask) -> dict[str, str] | None:  # noqa: ARG001 - every Convert takes a mask
    """Name to version."""
    if not isinstance(value, Mapping):
        return None
    pairs = sorted((str(name), item) for name, item in value.items() if isinstance(item, str))[:MAX_ENTRIES]
    return {label(name, 200): label(item, 100) for name, item in pairs} or None


def recurrence(value: Any, mask: Mask) -> dict[str, Any] | None:
    """When in the week or month a schedule starts; lists in one order, for the API promises none."""
    if not isinstance(value, Mapping):
        return None
    found: dict[str, Any] = {}
    for name in ("weekDays", "monthDays"):
        days = value.get(name)
        days = [day for day in days if isinstance(day, str | int)][:MAX_ENTRIES] if isinstance(days, list) else []
        if days:
            found[name] = sorted((word(day, mask) if isinstance(day, str) else day for day in days), key=str)
    occurrences = value.get("monthlyOccurrences")
    if isinstance(occurrences, list):
        days_of = {"day": word, "occurrence": number}
        kept = [pick(each, days_of, mask) for each in occurrences if isinstance(each, Mapping)]
        if kept:
            found["monthlyOccurrences"] = sorted(kept, key=str)[:MAX_ENTRIES]
    return found or None


def plain_fields(values: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Every plain field of an object whose shape nobody has published: times as times, texts masked."""
    found: dict[str, Any] = {}
    for name, value in sorted(values.items())[:MAX_ENTRIES]:
        if not _CAMEL.fullmatch(name):
            continue
        converted: Any
        if isinstance(value, bool):
            converted = value
        elif name.endswith("Time"):
            converted = moment(value, mask)
        elif isinstance(value, int | float):
            converted = number(value, mask) if masked_value(name, "1", mask) != MASKED else MASKED
        else:
            converted = masked_value(name, value, mask) if isinstance(value, str) else None
        if converted not in {None, ""}:
            found[name] = converted
    return found


def _sorted_labels(values: Mapping[str, Any]) -> list[str] | None:
    return sorted({label(name, 200) for name in values})[:MAX_ENTRIES] or None
