"""One reading of one automation account: its requests, what was known before, and what has been found so far.

Lists are asked for through the SDK's client, with its authentication, retries and policies, but read without its
models: with them a page of 100 objects costs ten times the processor's time (14 ms, not 1.4; azure-mgmt-automation
2.0.0), and lists are all that a visit without changes does. It also tells an answer without a list from an empty list.
"""

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from detectors.automation import failures
from detectors.automation.texts import label
from detectors.inventory.answers import (
    UNSUPPORTED,
    UnreadableAnswer,
    is_unanswered,
    requestable,
    status_of,
    wait_of,
)
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot

if TYPE_CHECKING:
    from azure.core.rest import AsyncHttpResponse
    from azure.mgmt.automation.aio import AutomationClient

API_VERSION: Final = "2024-10-23"
MAX_LISTED: Final = 10_000
"""Objects of one list. Beyond, the list is not read: half of it would make the other half look removed."""
MAX_PAGES: Final = 1_000
MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
"""Of one page, or one object. A hundred variables may hold a megabyte each."""

_MAX_NAME: Final = 260
_MAX_REASON: Final = 400


class ReadingEnded(Exception):
    """The account cannot be read on. Nothing of the reading counts."""


class Throttled(ReadingEnded):
    """Azure answered 429. ``retry_after`` is what it asks to wait, in seconds; None when it does not say."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AccountGone(ReadingEnded):
    """The account does not exist any more."""


class Unreachable(ReadingEnded):
    """Azure gave no answer that says anything about the account: the message says why, and what to check."""


@dataclasses.dataclass(frozen=True)
class ContentJudgement:
    """What is noticed in the text of a runbook. ``lines`` are (line counted from 1, reason), the worst first."""

    suspicious: bool = False
    indicators: tuple[str, ...] = ()
    lines: tuple[tuple[int, str], ...] = ()


class AccountReader:
    """What the sections of one reading share.

    :param client: the Automation client of the account's subscription.
    :param listed: the account as the list of its subscription gave it.
    :param previous: the snapshot before, None at the first reading.
    :param mask: takes secrets out of a text.
    :param judge_content: (bytes, runbook type) to what is noticed in them.
    :param cap_bytes: how much of a runbook's text is read.
    :param clock: the time now, with a time zone; asked once.
    :param section_timeout: seconds for the lists of one section, and again for what it asks about single objects.

    Requests raise what the SDK raises, :class:`UnreadableAnswer`, ``TimeoutError`` and :class:`ReadingEnded`.
    """

    def __init__(
        self,
        client: "AutomationClient",
        account: AccountReference,
        listed: Mapping[str, Any],
        previous: Snapshot | None,
        *,
        mask: Callable[[str], str],
        judge_content: Callable[[bytes, str], ContentJudgement],
        cap_bytes: int,
        clock: Callable[[], datetime],
        section_timeout: float,
    ) -> None:
        self.client = client
        self.account = account
        self.listed = listed
        self.previous = previous
        self.mask = mask
        self.judge_content = judge_content
        self.cap_bytes = cap_bytes
        self.now = clock()
        self.section_timeout = section_timeout
        self.contents: dict[str, bytes] = {}
        """Texts of runbooks that were read this time, by the SHA-256 of their bytes."""
        self.found: list[InventoryObject] = []
        """Objects of the sections before: read, or carried over from the previous snapshot."""
        self.account_notes: dict[str, Any] = {}
        """Properties of the Account object that a section learnt."""
        self.seen_jobs: tuple[str, ...] = previous.seen_jobs if previous else ()
        self.jobs_read_at: datetime | None = previous.jobs_read_at if previous else None
        self.unread: dict[str, str] = {}
        """Sections so far that were not read, or not to their end, with the reason."""
        self.refused: set[str] = set()
        """Those of ``unread`` that Azure refused, this time."""
        self.failed: set[str] = set()
        """Those of ``unread`` of which nothing was read."""
        self.first_read: set[tuple[str, str]] = set()
        """(kind, id) of objects that no reading before could read, although they may have been there."""
        self.answered = False
        """Whether Azure has said anything about what is in the account."""
        self._clock = clock
        self._before = {(each.kind, each.id): each for each in previous.objects} if previous else {}
        self._deadline = math.inf

    @property
    def names(self) -> tuple[str, str]:
        """(resource group, account): the first two arguments of every SDK call."""
        return self.account.resource_group, self.account.name

    def start_section(self) -> None:
        """The lists that are asked for from now on have ``section_timeout`` seconds together."""
        self._deadline = asyncio.get_running_loop().time() + self.section_timeout

    def before(self, kind: str, object_id: str) -> InventoryObject | None:
        """The object of that kind and id in the previous snapshot."""
        return self._before.get((kind, object_id))

    def never_read(self, section: str) -> bool:
        """Whether no reading before could read that section."""
        return self.previous is None or section in self.previous.never_read

    def of_section(self, section: str, kind: str) -> list[InventoryObject]:
        """The objects of *kind* that *section*, one before this, has read. Raises UnreadableAnswer if it could not."""
        if section in self.unread:
            raise UnreadableAnswer(f"It needs {section}, which could not be read: {self.unread[section]}")
        return [each for each in self.found if each.kind == kind]

    def id_of(self, *path: str) -> str:
        """The id of what *path* names below the account. Built here: ids in answers are null or wrong in places."""
        return "/".join((self.account.id, *(_key(part) for part in path)))

    async def list_all(
        self, *path: str, api_version: str = API_VERSION, retries: int | None = None
    ) -> list[Mapping[str, Any]]:
        """Every object of the collection below the account, at most :data:`MAX_LISTED`, as JSON.

        *retries* replaces the client's own number.
        """
        entries: list[Mapping[str, Any]] = []
        async with (
            asyncio.timeout_at(None if math.isinf(self._deadline) else self._deadline),
            contextlib.aclosing(self.pages(*path, api_version=api_version, retries=retries)) as pages,
        ):
            async for page in pages:
                entries += page
                if len(entries) > MAX_LISTED:
                    raise UnreadableAnswer(f"There are more than {MAX_LISTED:,} {path[-1]}: too many to be read.")
        return entries

    async def pages(
        self, *path: str, api_version: str = API_VERSION, only: str | None = None, retries: int | None = None
    ) -> AsyncGenerator[list[Mapping[str, Any]]]:
        """The collection below the account page by page, without a limit of objects or time.

        *only* is what Azure is asked to filter by.
        """
        parameters: dict[str, list[str]] = {"api-version": [api_version]}
        if only:
            parameters["$filter"] = [quote(only, safe="")]
        url = self._url(*path)
        options = {} if retries is None else {"retry_total": retries}
        for _ in range(MAX_PAGES):
            body = await self._get_json(url, parameters, path[-1], options)
            entries = body.get("value")
            # An answer without a list is no empty list: everything would look removed.
            if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
                raise UnreadableAnswer(f"Azure's answer holds no list of {path[-1]}.")
            self.answered = True
            yield entries
            next_link = body.get("nextLink")
            if not next_link:
                return
            url, parameters = _next_page(next_link, api_version)
        raise UnreadableAnswer(f"The list of {path[-1]} does not end within {MAX_PAGES:,} pages.")

    async def in_time(self, steps: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Do *steps* one after the other for at most ``section_timeout`` seconds. What is left by then is not done."""
        self.start_section()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.section_timeout):
                for step in steps:
                    await step()

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Around every call of the SDK's own operations: a 429 ends the reading."""
        from azure.core.exceptions import HttpResponseError

        try:
            yield
        except HttpResponseError as error:
            if error.response is not None and error.status_code == 429:
                raise Throttled(failures.explain(error)[0], wait_of(error, self._clock())) from None
            raise

    def reason(self, error: Exception, what: str) -> str:
        """One line on why *what* could not be read. Holds nothing of an answer but Azure's own error message."""
        if isinstance(error, TimeoutError):
            return f"No answer within {self.section_timeout:g} seconds when asked for the {what}."
        if isinstance(error, UnreadableAnswer):
            return str(error)
        status, code = status_of(error)
        if code in UNSUPPORTED:
            return f"Azure has no {what} for this account ({status} {code})."
        if status is not None or is_unanswered(error) or isinstance(error, failures.Refused):
            return label(failures.explain(error)[0], _MAX_REASON)
        # Not the error's own text: azure-core puts the answer into it, and the answer may hold the value of a variable.
        return f"Azure's answer about the {what} could not be read ({type(error).__name__})."

    async def is_gone(self) -> bool:
        """Whether the account itself does not exist. Raises what the SDK raises for any other answer than 404."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            async with asyncio.timeout(self.section_timeout):
                with self.asking():
                    await self.client.automation_account.get(*self.names)
        except ResourceNotFoundError:
            return True
        return False

    def _url(self, *path: str) -> str:
        account = self.account
        below = "/".join(quote(requestable(part), safe="") for part in path)
        return (
            f"/subscriptions/{quote(account.subscription_id, safe='')}/resourceGroups/"
            f"{quote(account.resource_group, safe='')}/providers/Microsoft.Automation/automationAccounts/"
            f"{quote(account.name, safe='')}/{below}"
        )

    async def _get_json(
        self, url: str, parameters: dict[str, list[str]], what: str, options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest
        from azure.mgmt.core.exceptions import ARMErrorFormat

        request = HttpRequest("GET", url, params=dict(parameters), headers={"Accept": "application/json"})
        # Streamed, so that the SDK does not parse the body as well, and so that its size has a bound.
        response = await self.client.send_request(request, stream=True, **options)
        try:
            if response.status_code != 200:
                await response.read()
                with self.asking():
                    raise HttpResponseError(response=response, error_format=ARMErrorFormat)
            data = await _body(response, what)
        finally:
            await response.close()
        try:
            body = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableAnswer(f"Azure's answer about the {what} is no JSON ({type(error).__name__}).") from None
        if not isinstance(body, Mapping):
            raise UnreadableAnswer(f"Azure's answer holds no list of {what}.")
        return body


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """One part of an account that is read, or stays unread, by itself.

    ``name`` is the collection as a URL spells it, and stands in :attr:`Snapshot.unread`. ``permissions`` are the
    actions that its requests need. ``within`` is the collection below which its objects' ids stand, if that is another
    one: several sections may yield one kind. ``volatile`` names what of an answer is never kept because it changes by
    itself, with the reason.
    """

    name: str
    kinds: tuple[str, ...]
    permissions: tuple[str, ...]
    read: Callable[[AccountReader], Awaitable[list[InventoryObject]]]
    within: str = ""
    volatile: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def yields(self, account: AccountReference, each: InventoryObject) -> bool:
        """Whether *each*, an object of *account*, comes from this section."""
        return each.kind in self.kinds and each.id.startswith(f"{account.id}/{(self.within or self.name).lower()}/")


def build(kind: str, name: str, object_id: str, properties: Mapping[str, Any]) -> InventoryObject:
    """An object with its name cleaned."""
    return InventoryObject(kind=kind, name=label(name, _MAX_NAME), id=object_id, properties=dict(properties))


def permissions(*types: str) -> tuple[str, ...]:
    """The read actions of *types* below an account, such as ``runbooks/content``."""
    return tuple(f"Microsoft.Automation/automationAccounts/{each}/read" for each in types)


async def _body(response: "AsyncHttpResponse", what: str) -> bytes:
    data = bytearray()
    # iter_bytes() is declared as a coroutine, and is an asynchronous generator.
    chunks: Any = response.iter_bytes()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            data += chunk
            if len(data) > MAX_PAGE_BYTES:
                raise UnreadableAnswer(f"A page of {what} has more than {MAX_PAGE_BYTES:,} bytes: it is not read.")
    return bytes(data)


def _next_page(next_link: object, api_version: str) -> tuple[str, dict[str, list[str]]]:
    if not isinstance(next_link, str):
        raise UnreadableAnswer("Azure's answer names the next page by something that is no text.")
    parts = urlsplit(next_link)
    parameters = {
        quote(key, safe="$-"): [quote(value, safe="") for value in values]
        for key, values in parse_qs(parts.query).items()
    }
    # As the SDK does it. The braces: the client takes what stands in them for a placeholder.
    parameters["api-version"] = [api_version]
    path = parts.path.replace("{", "%7B").replace("}", "%7D")
    return f"{parts.scheme}://{parts.netloc}{path}", parameters


def _key(name: str) -> str:
    shown = label(name, 2 * _MAX_NAME)
    # Two names that differ only in what is not shown are two objects.
    digest = "" if shown == name else f"~{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"{shown.lower()}{digest}"
