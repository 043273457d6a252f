"""From Automation API objects to facts for a person and JSON for a machine, with nothing hostile left in them."""

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from detectors.automation import texts
from detectors.model import Fact
from detectors.triage import masking

CLOUD = "Azure sandbox (cloud)"
_MAX_TEXT = 4_096
_MAX_ENTRIES = 200
_MAX_DEPTH = 10


def facts(pairs: Iterable[tuple[str, object]]) -> tuple[Fact, ...]:
    """Facts from (label, value); a value that is None or empty is left out, the others are masked and bounded."""
    return tuple(
        Fact(label, texts.label(masking.mask(texts.readable(plain(value)[:_MAX_TEXT])[0])))
        for label, value in pairs
        if value is not None and value != ""
    )


def plain(value: object) -> str:
    """The text of a value; ``str()`` of the SDK's enums is ``RunbookState.EDIT``, this gives ``Edit``."""
    return str(value.value if isinstance(value, enum.Enum) else value)


def when(value: Any) -> str | None:
    """A time as ``2026-08-31 12:00:05 UTC``; anything else as text; None for None."""
    if not isinstance(value, datetime):
        return None if value is None else str(value)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return f"{aware.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def relative(value: Any, now: datetime) -> str | None:
    """:func:`when`, with the distance from *now*: ``… (in 364 days)``, ``… (3 hours ago)``."""
    text = when(value)
    if not isinstance(value, datetime):
        return text
    # What Azure stores for a schedule without an end.
    if value.year == 9999:
        return "never"
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    seconds = (aware - now).total_seconds()
    count, unit = next(
        (int(abs(seconds) // size), unit)
        for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
        if abs(seconds) >= size or size == 1
    )
    distance = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{text} (in {distance})" if seconds >= 0 else f"{text} ({distance} ago)"


def yes(value: object) -> str | None:
    """``yes`` or ``no``; None when the service did not say."""
    return None if value is None else "yes" if value else "no"


def run_on(value: Any) -> str:
    """Where it runs: the hybrid worker group, or the cloud sandbox when none is named."""
    return f"hybrid worker group {value}" if value else CLOUD


def parameters(values: Mapping[str, Any] | None) -> str | None:
    """``name=value`` pairs with secrets masked, or None when there are none."""
    masked = masking.mask_parameters(values)
    return ", ".join(f"{key}={value}" for key, value in list(masked.items())[:50]) or None


def wire(model: Any) -> dict[str, Any]:
    """An SDK model as JSON values under the API's wire names: masked, cleaned and bounded."""
    value = clean(model.as_dict() if hasattr(model, "as_dict") else model)
    return value if isinstance(value, dict) else {"value": value}


def clean(value: Any, *, secret: bool = False, depth: int = 0) -> Any:
    """Any JSON value with its texts masked, cleaned and bounded; *secret* masks every text in it."""
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            texts.label(key, 200): clean(item, secret=secret or masking.is_secret_name(str(key)), depth=depth + 1)
            for key, item in list(value.items())[:_MAX_ENTRIES]
        }
    if isinstance(value, list | tuple):
        return [clean(item, secret=secret, depth=depth + 1) for item in value[:_MAX_ENTRIES]]
    # An integer beyond 64 bits is legal JSON that the store cannot write.
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    text = texts.readable(plain(value)[:_MAX_TEXT])[0]
    return masking.MASK if secret and text else masking.mask(text)
