"""Times of Event Hub messages, read without ``strptime`` as long as ``azure.functions`` reads them in the known way.

The library tries 13 formats for the time of each message that has no zone, which is nearly all that decoding a batch
costs. Its reader is private, so it is replaced only where it gives the same times.
docs/decisions/0010-event-hub-dates.md says why it is replaced at all.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

_METHOD: Final = "_parse_datetime"

# Narrower than fromisoformat, which also takes week dates, commas, a space for the T and, in newer Pythons, hour 24:
# the library refuses these. With any other offset than zero it refuses the time as well.
_SHAPE: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-]00:00)?", re.ASCII)

KNOWN: Final = (
    "2025-02-19T16:25:39.992",
    "2025-02-19T16:25:39",
    "2025-02-19T16:25:39.9921239",
    "2024-02-29T23:59:59.999999Z",
    "2025-12-31T00:00:00Z",
    "2025-02-19T16:25:39.9921239Z",
    "2025-02-19T16:25:39.9+00:00",
    "2025-02-19T16:25:39-00:00",
)
"""Times that both readers must agree on, each form once: a worker pays for this list at its start. The host sends the
forms without a zone and with Z."""


def read(text: object) -> datetime | None:
    """The time that *text* names, aware where *text* has a zone; None where it is not of the usual form."""
    if not isinstance(text, str) or _SHAPE.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def install(converter: Any = None) -> str:
    """Have *converter*, by default the library's own for Event Hub triggers, read times of the usual form with
    :func:`read` and every other one as before.

    Returns "" when that is done, or had been, and otherwise why everything was left as it is. Never raises.
    """
    try:
        import azure.functions as library

        version = getattr(library, "__version__", "of unknown version")
    except ImportError as error:
        return f"azure.functions cannot be imported: {error}"
    try:
        reason = _install(converter)
    except Exception as error:  # noqa: BLE001 - it is private code that is called here, and may raise anything
        reason = f"{type(error).__name__}: {error}"
    if not reason:
        return ""
    return (
        f"azure-functions {version} is not what this app knows: {reason}. It goes on reading the times of Event Hub "
        "messages by itself, several times as slowly; nothing else changes. Pin the version that requirements.txt "
        "names, or adapt detectors/fast_dates.py"
    )


def _install(converter: Any) -> str:
    if converter is None:
        from azure.functions.eventhub import EventHubTriggerConverter

        converter = EventHubTriggerConverter
    original: Callable[[Any], datetime | None] | None = getattr(converter, _METHOD, None)
    if original is None:
        return f"{converter.__name__} has no {_METHOD}"
    if getattr(original, "__module__", "") == __name__:
        return ""
    for text in KNOWN:
        expected, found = original(text), read(text)
        # A naive and an aware time are never equal, so this compares the zone as well.
        if expected != found:
            return f"{_METHOD} reads {text!r} as {expected!r} and not as {found!r}"

    def parse_datetime(_: type, datetime_str: Any) -> datetime | None:
        found = read(datetime_str)
        return original(datetime_str) if found is None else found

    setattr(converter, _METHOD, classmethod(parse_datetime))
    return ""
