"""Why a piece of evidence is missing, as a sentence for the responder: what, the cause, the next step."""

import re
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from detectors.automation import texts

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.core.rest import AsyncHttpResponse

_PROVIDER = "Microsoft.Automation/automationAccounts"
# Reading what a job executed is an action in Azure's permission list, although the request is a GET; Reader lacks it.
_ACTIONS = {"jobs/runbookcontent": "jobs/runbookContent/action"}
_NAMED_ACTION = re.compile(r"action '([\w./*-]{1,200})'")
_SINGULAR = {
    "runbooks": "runbook",
    "jobs": "job",
    "watchers": "watcher",
    "webhooks": "webhook",
    "schedules": "schedule",
    "jobschedules": "job schedule",
}
_PARTS = {
    "content": "published content of ",
    "draft": "draft of ",
    "draft/content": "draft content of ",
    "runbookcontent": "executed content of ",
    "output": "output of ",
}


class Missing(Exception):
    """The evidence does not exist or does not apply; the message is the sentence for the responder."""


class Refused(Exception):
    """The detector refused to send a request; the message says which and why."""


def explain(error: Exception) -> tuple[str, bool]:
    """(sentence, expected) for *error*. An unexpected one deserves a traceback in the log."""
    if isinstance(error, Missing | Refused):
        return str(error), True
    # Imported here because the registry of enrichments is read at start-up; whoever raised has loaded it already.
    from azure.core import exceptions

    # A 200 that could not be read arrives as the same class: that is unexpected.
    if isinstance(error, exceptions.HttpResponseError) and error.response is not None and error.status_code != 200:
        return _explain_status(error, error.status_code or 0), True
    cause = texts.label(error, 300)
    if isinstance(error, exceptions.ClientAuthenticationError):
        advice = "Check that its managed identity exists and that AZURE_CLIENT_ID, if set, names it."
        return f"The detector could not sign in to Azure: {cause} {advice}", True
    if isinstance(error, exceptions.ServiceRequestError | exceptions.ServiceResponseError):
        return (
            f"Azure could not be reached: {cause} Check name resolution and outbound rules of the detector's network.",
            True,
        )
    return f"Unexpected {type(error).__name__}: {cause} The traceback is in the detector's log.", False


def _explain_status(error: "HttpResponseError", status: int) -> str:
    what, action = _requested(error)
    code, message = _service_error(error)
    said = f" Azure says: {code + ': ' if code else ''}{message}" if code or message else ""
    match status:
        case 401:
            return f"Azure refused the detector's token (401).{said} Check the tenant of its managed identity."
        case 403:
            named = _NAMED_ACTION.search(message)
            permission = named[1] if named else action
            return (
                f"The detector may not read the {what} (403): permission {permission} is lacking. Give the detector's "
                f"identity a role with it on the automation account.{said}"
            )
        case 404:
            return _explain_not_found(what, code, said)
        case 429:
            wait = _response(error).headers.get("Retry-After")
            later = f" It asks to wait {texts.label(wait, 20)} seconds." if wait else ""
            return f"Azure throttled the detector while it read the {what} (429).{later}{said}"
        case _:
            return f"Azure answered {status} when asked for the {what}.{said} Read it in the portal, or later."


def _explain_not_found(what: str, code: str, said: str) -> str:
    if code in {"ResourceGroupNotFound", "SubscriptionNotFound"}:
        return f"The {what} cannot be read any more: its resource group or subscription is gone (404).{said}"
    if what.startswith(("job ", "executed content", "output of job")):
        return f"The {what} does not exist (404): Azure keeps job data for 30 days.{said}"
    if what.startswith(("published content", "draft")):
        return f"There is no {what} (404): it was never published, has no draft, or was deleted meanwhile.{said}"
    return f"The {what} does not exist any more (404): it was deleted or renamed after the event.{said}"


def _service_error(error: "HttpResponseError") -> tuple[str, str]:
    # Both shapes, {"error": {"code", "message"}} and {"code", "message"}, arrive here; a text body does not.
    described = error.error
    if described is None:
        return "", ""
    return texts.label(described.code or "", 100), texts.label(described.message or "", 300)


def _response(error: "HttpResponseError") -> "AsyncHttpResponse":
    # azure-core types it as what old and new responses have in common; the Automation client has new ones only.
    return cast("AsyncHttpResponse", error.response)


def _requested(error: "HttpResponseError") -> tuple[str, str]:
    """(what the failed request asked for, the permission it needs), from its URL."""
    path = urlsplit(str(_response(error).request.url)).path
    segments = [unquote(segment) for segment in path.split("/") if segment]
    folded = [segment.casefold() for segment in segments]
    if "automationaccounts" not in folded:
        return "automation account", f"{_PROVIDER}/read"
    below = segments[folded.index("automationaccounts") + 1 :]
    account = texts.label(below[0], 100) if below else ""
    if len(below) < 2:
        return f"automation account '{account}'", f"{_PROVIDER}/read"
    collection, name = below[1], below[2] if len(below) > 2 else ""
    part = "/".join(below[3:])
    types = f"{collection}/{part}" if part else collection
    action = _ACTIONS.get(types.casefold(), f"{types}/read")
    if not name:
        return f"{collection} of automation account '{account}'", f"{_PROVIDER}/{action}"
    kind = _SINGULAR.get(collection.casefold(), collection)
    return f"{_PARTS.get(part.casefold(), '')}{kind} '{texts.label(name, 100)}'", f"{_PROVIDER}/{action}"
