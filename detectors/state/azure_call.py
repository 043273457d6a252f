"""How :mod:`detectors.state.azure` reaches the service: options of the clients, one deadline, one kind of error."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from detectors.state.store import StoreUnavailable

CALL_SECONDS = 30.0
"""What one call to the service may take, its retries included."""

_DETAIL_LIMIT = 300

_MIB = 1024 * 1024

_GONE = {
    "TableNotFound",
    "TableBeingDeleted",
    "ContainerNotFound",
    "ContainerBeingDeleted",
    "ContainerDisabled",
    "AccountBeingCreated",
}
# These share their status, and so their exception, with an entity or blob that is missing or exists.


class Refused(Exception):
    """The service answered, and the condition does not hold: it exists already, is missing, or has changed."""


class Reaching(Protocol):
    """The signature of :func:`reaching`, which tests wrap to put faults between two calls."""

    def __call__(
        self, service: "Service", operation: str, *, conditional: bool = False
    ) -> contextlib.AbstractAsyncContextManager[None]: ...


class Service(NamedTuple):
    """One of the account's services, as error messages name it. ``endpoint`` holds no query (a SAS is a secret)."""

    name: str
    endpoint: str
    role: str


def tables_at(url: str) -> Service:
    """The table service at *url*."""
    return Service("Azure Tables", url.partition("?")[0].rstrip("/"), "Storage Table Data Contributor")


def blobs_at(url: str) -> Service:
    """The blob service at *url*."""
    return Service("Azure Blobs", url.partition("?")[0].rstrip("/"), "Storage Blob Data Contributor")


def table_options() -> dict[str, Any]:
    """Client options that let a dead service fail in seconds; the SDK's own give up after minutes."""
    return {
        "retry_total": 3,
        "retry_backoff_factor": 0.2,
        "retry_backoff_max": 2,
        "connection_timeout": 5,
        "read_timeout": 20,
        # The client takes any https://localhost for the Cosmos DB emulator and asks for a token for Cosmos DB.
        "audience": "https://storage.azure.com",
    }


def blob_options() -> dict[str, Any]:
    """The same for blobs, whose default policy waits 15 seconds before its first retry."""
    from azure.storage.blob.aio import LinearRetry

    return {
        "retry_policy": LinearRetry(backoff=1, retry_total=3, random_jitter_range=1),
        # aiohttp writes a body of bytes in one go and warns beyond 1 MiB, because that holds up the event loop.
        "max_single_put_size": _MIB,
        "max_block_size": _MIB,
        "connection_timeout": 5,
        "read_timeout": 20,
    }


@contextlib.asynccontextmanager
async def reaching(service: Service, operation: str, *, conditional: bool = False) -> AsyncIterator[None]:
    """Bound the time of one call, and turn each of its errors into one of two.

    Raises :class:`Refused` when the call is *conditional* (a read of what may be missing, an insert, a write or a
    delete with an etag) and its condition does not hold, :class:`StoreUnavailable` for everything else.
    """
    import aiohttp
    from azure.core.exceptions import AzureError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except (AzureError, aiohttp.ClientError, OSError) as error:
        outcome = isinstance(error, ResourceExistsError | ResourceModifiedError | ResourceNotFoundError)
        if conditional and outcome and _code(error) not in _GONE:
            raise Refused(f"{service.name}: {operation}: {_code(error)}") from error
        raise _unavailable(service, operation, error) from error


async def ensure(
    reach: Reaching,
    service: Service,
    operation: str,
    create: Callable[[], Awaitable[Any]],
    probe: Callable[[], Awaitable[Any]],
) -> None:
    """Call *create*; it may lose a race, and it may be forbidden as long as *probe* gets an answer.

    *probe* is a conditional read inside of what is to be created: that nothing is found is an answer too.
    """
    try:
        with contextlib.suppress(Refused):
            async with reach(service, operation, conditional=True):
                await create()
    except StoreUnavailable as forbidden:
        # Least privilege or a policy may forbid creating what the deployment has created already.
        try:
            with contextlib.suppress(Refused):
                async with reach(service, operation, conditional=True):
                    await probe()
        except StoreUnavailable:
            raise forbidden from None


def _unavailable(service: Service, operation: str, error: BaseException) -> StoreUnavailable:
    status = getattr(error, "status_code", None)
    code = _code(error)
    if isinstance(error, TimeoutError):
        cause = f"no answer within {CALL_SECONDS:.0f} seconds"
    elif status is not None:
        cause = " ".join(["status", str(status), code, _detail(error)]).strip()
    else:
        cause = f"{type(error).__name__}: {_detail(error)}"
    next_step = _next_step(service, status, code, error)
    return StoreUnavailable(f"{service.name} at {service.endpoint}: could not {operation}: {cause}. {next_step}")


def _next_step(service: Service, status: int | None, code: str, error: BaseException) -> str:
    from azure.core.exceptions import ClientAuthenticationError

    if status in {401, 403}:
        return (
            f"Give the detector's identity the role {service.role!r} on this storage account (a new assignment takes "
            "some minutes), and check that the account's network rules let it in."
        )
    if isinstance(error, ClientAuthenticationError):
        return "No token was issued: check that the managed identity is assigned and that its client id is the one set."
    if code in _GONE:
        return "Somebody deleted it while the detector runs, or open() was not called: restart the detector."
    if status is None:
        return "Check the endpoint's name, DNS, firewall and private endpoint. The next run repeats this step."
    if status in {408, 429} or status >= 500:
        return "The service is busy or down. The next run repeats this step; act only if it lasts."
    return "The service refuses the request itself: look the code up under 'Azure Storage error codes'."


def _code(error: BaseException) -> str:
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    # azure-data-tables 12.7.0: what create_entity raises has no error_code, only the answer's text.
    found = re.search(r'"code":\s*"(\w+)"|ErrorCode:(\w+)', str(getattr(error, "message", "")))
    return next((group for group in found.groups() if group), "") if found else ""


def _detail(error: BaseException) -> str:
    # The first line only: what follows repeats it, or holds parts of the signed request.
    line = next(iter(str(getattr(error, "message", None) or error).splitlines()), "")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line)[:_DETAIL_LIMIT].strip().rstrip(".")
