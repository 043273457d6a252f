"""What Azure's answers and refusals are: pure functions, none of which repeats what an answer holds.

The text of an error of azure-core may end with the body of the answer that it could not read, and with it the value of
a variable. So no such text is kept or logged; Azure's own error messages are.
"""

import contextlib
import math
import traceback
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, cast

from detectors.automation.texts import label

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.core.rest import AsyncHttpResponse

UNSUPPORTED: Final = frozenset({"InvalidResourceType", "NoRegisteredProviderFound"})
"""Error codes by which Azure says that it has no such kind of object, here or in this API version."""


class UnreadableAnswer(Exception):
    """Azure answered, but not with what was asked for. The message holds nothing of the answer."""


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of a listed object. Raises UnreadableAnswer for one without."""
    name, object_id = entry.get("name"), entry.get("id")
    if isinstance(name, str) and name.strip():
        return name
    # The name is null in some of Microsoft's published examples; the id always ends with it.
    if isinstance(object_id, str) and (last := object_id.rstrip("/").rsplit("/", 1)[-1]).strip():
        return last
    raise UnreadableAnswer("An object of the list has neither name nor id.")


def properties_of(entry: Mapping[str, Any], part: str = "properties") -> Mapping[str, Any]:
    """The object *part* of *entry*, empty when there is none."""
    value = entry.get(part)
    return value if isinstance(value, Mapping) else {}


def requestable(name: str) -> str:
    """*name*, if it may be one segment of a path. Raises UnreadableAnswer: ``..`` survives quoting and changes it."""
    if name.strip() in {"", ".", ".."} or any(c in "/\\" or unicodedata.category(c) in {"Cc", "Cs"} for c in name):
        raise UnreadableAnswer(f"An object is called {label(ascii(name), 200)}, which cannot be part of a request.")
    return name


def status_of(error: Exception) -> tuple[int | None, str]:
    """(status, error code) of Azure's refusal; (None, "") for an error that is none."""
    from azure.core.exceptions import HttpResponseError

    # A 200 that the SDK could not read is of this class as well.
    if not isinstance(error, HttpResponseError) or error.response is None or error.status_code == 200:
        return None, ""
    return error.status_code, _code(error)


def is_unanswered(error: Exception) -> bool:
    """Whether *error* says that no answer came at all: no sign-in, no connection, no time."""
    from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

    if isinstance(error, ClientAuthenticationError):
        return error.response is None
    return isinstance(error, TimeoutError | ServiceRequestError | ServiceResponseError)


def cause(error: Exception) -> str:
    """A few words on *error* that are the same whenever it happens again, so that repeating it is no change."""
    if isinstance(error, UnreadableAnswer):
        return label(str(error), 200)
    status, _ = status_of(error)
    if status is not None:
        return f"Azure answered {status}"
    return "no answer" if is_unanswered(error) else f"not readable ({type(error).__name__})"


def where(error: Exception) -> str:
    """The place in the code where *error* was raised. Its text and its frames' values may hold secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"


def wait_of(error: "HttpResponseError", now: datetime) -> float | None:
    """Seconds that a 429 asks to wait, or None when it does not say."""
    headers = cast("AsyncHttpResponse", error.response).headers
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit
            if math.isfinite(seconds):
                return max(seconds, 0.0)
    with contextlib.suppress(ValueError, TypeError):
        return max((parsedate_to_datetime(headers.get("retry-after", "")) - now).total_seconds(), 0.0)
    return None


def _code(error: "HttpResponseError") -> str:
    code = error.error.code if error.error else ""
    return label(code or "", 100)
