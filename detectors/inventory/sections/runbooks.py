"""Runbooks, and the text of each, published and draft.

A list says little of a runbook. The rest and the texts are asked for when its entry is new or has moved, as many as
the time of the section and :data:`MAX_CONTENT_BYTES` allow; what is left is noted on the runbook and read by the next
visit. A text that cannot be read leaves the one before in place, noted as well.

The notes are properties of the Runbook: ``contentUnread`` (published or draft, to why its text was not read),
``detailsUnread`` (why the runbook itself was not), and ``contentBaseline`` while texts are unread that were there at
the first reading.
"""

import asyncio
import dataclasses
import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from detectors.automation import texts
from detectors.inventory.account_reader import (
    AccountReader,
    ContentJudgement,
    ReadingEnded,
    Section,
    build,
    permissions,
)
from detectors.inventory.answers import cause, name_of, properties_of, requestable, where
from detectors.inventory.sections.details import LEFT, merged
from detectors.inventory.sections.values import Convert, Mask, flag, moment, parameter_names, pick, prose, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {
    "runbookType": word,
    "state": word,
    "runtimeEnvironment": word,
    "description": prose,
    "creationTime": moment,
    "lastModifiedTime": moment,
    "lastModifiedBy": word,
}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "properties.jobCount": "moves with every job",
    "properties.provisioningState": "passes through states while a runbook is imported",
}

MAX_CONTENT_BYTES: Final = 16 * 1024 * 1024
"""Of the texts that one visit reads, for they are in memory until it ends."""
MAX_LINES: Final = 12

_DERIVED: Final = ("parameterNames", "draftInEdit", "draftLastModifiedTime")
_OF_GET: Final = ("description", "lastModifiedBy", "parameterNames", "draftLastModifiedTime")
_TEXTS: Final = {"published": "content", "draft": "draft/content"}
# A list may know of a runbook before its text can be read everywhere. Later than this, there is none.
_APPEARS_WITHIN: Final = timedelta(hours=1)
# Above this, judging takes long enough to be felt by everybody else on the event loop.
_THREAD_ABOVE: Final = 50_000

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Runbook:
    """A runbook while it is read. ``unread`` is part (details, published, draft) to why it has not been read.

    ``base_line``: its texts were there already at the first reading of the runbooks, for all that is known.
    """

    name: str
    id: str
    properties: dict[str, Any]
    base_line: bool
    contents: dict[str, InventoryObject] = dataclasses.field(default_factory=dict)
    unread: dict[str, str] = dataclasses.field(default_factory=dict)
    due: list[str] = dataclasses.field(default_factory=list)

    def objects(self) -> list[InventoryObject]:
        properties = dict(self.properties)
        texts_unread = {part: why for part, why in sorted(self.unread.items()) if part != "details"}
        if texts_unread:
            properties["contentUnread"] = texts_unread
            if self.base_line:
                properties["contentBaseline"] = True
        if "details" in self.unread:
            properties["detailsUnread"] = self.unread["details"]
        return [build("Runbook", self.name, self.id, properties), *self.contents.values()]


async def _read(reader: AccountReader) -> list[InventoryObject]:
    runbooks = [_listed(reader, entry) for entry in await reader.list_all("runbooks")]
    refused: set[str] = set()
    steps: list[tuple[bool, Callable[[], Awaitable[None]]]] = [
        # What failed before comes last: it must not use up the time of what was never tried.
        (runbook.unread[part] != LEFT, functools.partial(_step, reader, runbook, part, refused))
        for runbook in runbooks
        for part in runbook.due
    ]
    await reader.in_time([step for _, step in sorted(steps, key=lambda each: each[0])])
    return [each for runbook in runbooks for each in runbook.objects()]


def _listed(reader: AccountReader, entry: Mapping[str, Any]) -> _Runbook:
    name = name_of(entry)
    object_id = reader.id_of("runbooks", name)
    before = reader.before("Runbook", object_id)
    properties, moved = merged(
        _properties(properties_of(entry), reader.mask), before, of_list=(*PROPERTIES, *_DERIVED), of_get=_OF_GET
    )
    noted: dict[str, str] = dict(before.properties.get("contentUnread", {})) if before else {}
    if before and (why := before.properties.get("detailsUnread")):
        noted["details"] = why
    base_line = "contentBaseline" in before.properties and not moved if before else reader.never_read("runbooks")
    runbook = _Runbook(name, object_id, properties, base_line)
    for part in ("details", *_versions(properties)):
        known = None if part == "details" else reader.before("RunbookContent", reader.id_of(*_path(name, part)))
        if known:
            runbook.contents[part] = known
        if moved or (part != "details" and known is None and part not in noted):
            runbook.unread[part] = LEFT
            runbook.due.append(part)
        elif part in noted:
            runbook.unread[part] = noted[part]
            if _worth_asking_again(noted[part], properties, reader.now):
                runbook.due.append(part)
    return runbook


def _properties(values: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    properties = pick(values, PROPERTIES, mask)
    draft = properties_of(values, "draft")
    if (in_edit := flag(draft.get("inEdit"), mask)) is None:
        in_edit = properties.get("state") in {"New", "Edit"}
    properties["draftInEdit"] = in_edit
    if draft_modified := moment(draft.get("lastModifiedTime"), mask):
        properties["draftLastModifiedTime"] = draft_modified
    if names := parameter_names(values.get("parameters"), mask):
        properties["parameterNames"] = names
    return properties


def _versions(properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Which texts there are: a published one unless the state says New, a draft while in edit."""
    published = () if properties.get("state") == "New" else ("published",)
    in_edit = properties.get("draftInEdit") or properties.get("state") in {"New", "Edit"}
    return (*published, "draft") if in_edit else published


def _path(name: str, version: str) -> tuple[str, ...]:
    return ("runbooks", name, *_TEXTS[version].split("/"))


def _worth_asking_again(why: str, properties: Mapping[str, Any], now: datetime) -> bool:
    if not why.endswith(" 404"):
        return True
    try:
        return now - datetime.fromisoformat(str(properties.get("lastModifiedTime"))) < _APPEARS_WITHIN
    except ValueError:
        return False


async def _step(reader: AccountReader, runbook: _Runbook, part: str, refused: set[str]) -> None:
    if part in refused:
        runbook.unread[part] = "Azure answered 403"
        return
    try:
        requestable(runbook.name)
        if part == "details":
            await _read_details(reader, runbook)
        else:
            await _read_text(reader, runbook, part)
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - logged below, without the answer that azure-core puts into its errors
        why = runbook.unread[part] = cause(error)
        if why == "Azure answered 403":
            # It is the account's permission: the other runbooks would answer the same.
            refused.add(part)
        _log.info(
            "inventory of %s: %s of runbook %s unread: %s (%s)",
            reader.account.id, part, texts.label(runbook.name, 100), why, where(error),
        )  # fmt: skip


async def _read_details(reader: AccountReader, runbook: _Runbook) -> None:
    with reader.asking():
        single = await reader.client.runbook.get(*reader.names, runbook.name)
    said = _properties(properties_of(single), reader.mask)
    # What the list gives is kept as the list gave it, for the next list is compared with it.
    missing: dict[str, Any] = {name: said[name] for name in _OF_GET if name in said and name not in runbook.properties}
    runbook.properties |= missing
    del runbook.unread["details"]


async def _read_text(reader: AccountReader, runbook: _Runbook, version: str) -> None:
    if sum(map(len, reader.contents.values())) > MAX_CONTENT_BYTES:
        return
    client = reader.client
    operation = client.runbook.get_content if version == "published" else client.runbook_draft.get_content
    with reader.asking():
        body = await texts.read(operation, *reader.names, runbook.name, cap=reader.cap_bytes)
    judgement, failure = await _judge(reader, body, str(runbook.properties.get("runbookType", "")))
    content = _content(reader, runbook, version, body, judgement)
    before = runbook.contents.get(version)
    # The same text written again is no change of the text: who wrote it and when stay as they were. Of a text that is
    # cut, what is beyond may have changed.
    if before is None or body.truncated or _text_of(before) != _text_of(content):
        runbook.contents[version] = content
        if before is None and runbook.base_line and reader.previous:
            reader.first_read.add((content.kind, content.id))
        reader.contents[content.properties["sha256"]] = body.data
    if failure:
        runbook.unread[version] = failure
    else:
        del runbook.unread[version]


async def _judge(reader: AccountReader, body: texts.Body, runbook_type: str) -> tuple[ContentJudgement | None, str]:
    """(judgement, "") or (None, why there is none): what cannot be judged has changed all the same."""
    try:
        if len(body.data) > _THREAD_ABOVE:
            return await asyncio.to_thread(reader.judge_content, body.data, runbook_type), ""
        return reader.judge_content(body.data, runbook_type), ""
    except Exception as error:  # noqa: BLE001 - the text of the error may hold what it was about
        _log.warning("inventory of %s: judging a text failed (%s)", reader.account.id, where(error))
        return None, f"not judged ({type(error).__name__})"


def _content(
    reader: AccountReader, runbook: _Runbook, version: str, body: texts.Body, judgement: ContentJudgement | None
) -> InventoryObject:
    of_runbook = runbook.properties
    modified = of_runbook.get("lastModifiedTime")
    if version == "draft":
        modified = of_runbook.get("draftLastModifiedTime", modified)
    properties: dict[str, Any] = {
        "runbook": texts.label(runbook.name, 260),
        "version": version,
        "sha256": hashlib.sha256(body.data).hexdigest(),
        "size": len(body.data),
        "truncated": body.truncated,
    }
    more = {
        "runbookType": of_runbook.get("runbookType"),
        "modifiedTime": modified,
        "modifiedBy": of_runbook.get("lastModifiedBy"),
    }
    properties |= {name: value for name, value in more.items() if value is not None}
    if judgement:
        properties |= {
            "suspicious": judgement.suspicious,
            "indicators": sorted(judgement.indicators),
            "lines": [{"line": line, "reason": reason} for line, reason in judgement.lines[:MAX_LINES]],
        }
    object_id = reader.id_of(*_path(runbook.name, version))
    return build("RunbookContent", f"{runbook.name} ({version})", object_id, properties)


def _text_of(content: InventoryObject) -> dict[str, Any]:
    return {name: value for name, value in content.properties.items() if name not in {"modifiedTime", "modifiedBy"}}


SECTION: Final = Section(
    name="runbooks",
    kinds=("Runbook", "RunbookContent"),
    permissions=permissions("runbooks", "runbooks/content", "runbooks/draft/content"),
    read=_read,
    volatile=VOLATILE,
)
