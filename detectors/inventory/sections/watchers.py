"""Watchers, and their actions where the API answers.

The published list of watchers leaves the status empty, so a watcher by itself is asked for it when its entry in the
list is new or has moved. No published specification has watcher actions, only the permissions do: one watcher is asked,
and if there is no answer the account is asked again only when one of its watchers is new or has moved.
"""

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import Any, Final

from detectors.automation import texts
from detectors.inventory.account_reader import AccountReader, ReadingEnded, Section, build, permissions
from detectors.inventory.answers import UNSUPPORTED, cause, name_of, properties_of, requestable, status_of, where
from detectors.inventory.sections.details import LEFT, merged
from detectors.inventory.sections.values import (
    Convert,
    masked_values,
    moment,
    name_in,
    number,
    parameter_names,
    pick,
    plain_fields,
    prose,
    word,
)
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {
    "scriptName": word,
    "scriptParameters": masked_values,
    "scriptRunOn": word,
    "executionFrequencyInSeconds": number,
    "status": word,
    "description": prose,
    "creationTime": moment,
    "lastModifiedTime": moment,
    "lastModifiedBy": word,
}
VOLATILE: Final = {"etag": "a stamp without meaning"}

ACTIONS_API_VERSION: Final = "2015-10-31"
"""The oldest that knows watchers: a guess, and a refusal is an answer."""
AVAILABLE: Final = "available"
NOT_AVAILABLE: Final = "not available"

_OF_GET: Final = ("status", "lastModifiedBy", "scriptParameters", "description")
_NOTE: Final = "watcherActions"
_VOLATILE_OF_ACTION: Final = frozenset({"etag", "lastRunTime", "nextRunTime"})

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Watcher:
    name: str
    id: str
    properties: dict[str, Any]
    moved: bool
    actions: list[InventoryObject]
    unread: str = ""

    def objects(self) -> list[InventoryObject]:
        properties = dict(self.properties)
        runbooks = {str(action.properties.get("scriptName", "")) for action in self.actions} - {""}
        if runbooks:
            properties["actions"] = sorted(runbooks)
        if self.unread:
            properties["detailsUnread"] = self.unread
        return [build("Watcher", self.name, self.id, properties), *self.actions]


async def _read(reader: AccountReader) -> list[InventoryObject]:
    watchers = [_listed(reader, entry) for entry in await reader.list_all("watchers")]
    pending = [watcher for watcher in watchers if watcher.unread]
    # What failed before comes last: it must not use up the time of what was never tried.
    pending.sort(key=lambda watcher: watcher.unread != LEFT)
    await reader.in_time([functools.partial(_read_details, reader, watcher) for watcher in pending])
    await _read_actions(reader, watchers)
    return [each for watcher in watchers for each in watcher.objects()]


def _listed(reader: AccountReader, entry: Mapping[str, Any]) -> _Watcher:
    name = name_of(entry)
    object_id = reader.id_of("watchers", name)
    before = reader.before("Watcher", object_id)
    given = pick(properties_of(entry), PROPERTIES, reader.mask)
    properties, moved = merged(given, before, of_list=PROPERTIES, of_get=_OF_GET)
    unread = LEFT if moved else str(before.properties.get("detailsUnread", "")) if before else ""
    if "status" in given:
        unread = ""
    previous = reader.previous.objects if reader.previous else ()
    actions = [each for each in previous if each.kind == "WatcherAction" and each.id.startswith(f"{object_id}/")]
    return _Watcher(name, object_id, properties, moved, actions, unread)


async def _read_details(reader: AccountReader, watcher: _Watcher) -> None:
    try:
        with reader.asking():
            single = await reader.client.watcher.get(*reader.names, requestable(watcher.name))
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - logged below, without the answer that azure-core puts into its errors
        watcher.unread = cause(error)
        _tell(reader, f"watcher {texts.label(watcher.name, 100)}", watcher.unread, error)
        return
    said = pick(properties_of(single), PROPERTIES, reader.mask)
    # What the list gives is kept as the list gave it, for the next list is compared with it.
    watcher.properties |= {name: said[name] for name in _OF_GET if name in said and name not in watcher.properties}
    watcher.unread = ""


async def _read_actions(reader: AccountReader, watchers: list[_Watcher]) -> None:
    account = reader.before("Account", reader.account.id)
    known = account.properties.get(_NOTE) if account else None
    # An action may change although its watcher does not; so where there is an answer, it is asked for every time.
    if known == NOT_AVAILABLE and not any(watcher.moved for watcher in watchers):
        return
    first = sorted(watchers, key=lambda watcher: not watcher.moved)
    await reader.in_time([functools.partial(_read_actions_of, reader, watcher, known) for watcher in first])


async def _read_actions_of(reader: AccountReader, watcher: _Watcher, known: object) -> None:
    if reader.account_notes.get(_NOTE) == NOT_AVAILABLE:
        return
    path = ("watchers", watcher.name, "watcherActions")
    try:
        entries = await reader.list_all(*path, api_version=ACTIONS_API_VERSION, retries=0)
        watcher.actions = [_action(reader, watcher, entry) for entry in entries]
        reader.account_notes[_NOTE] = AVAILABLE
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - logged below, without the answer that azure-core puts into its errors
        status, code = status_of(error)
        answered = AVAILABLE in {known, reader.account_notes.get(_NOTE)}
        # Where others have answered, a 404 is about this watcher: it was deleted since it was listed.
        if code in UNSUPPORTED or (status == 404 and not answered):
            reader.account_notes[_NOTE] = NOT_AVAILABLE
        else:
            _tell(reader, f"actions of watcher {texts.label(watcher.name, 100)}", cause(error), error)


def _action(reader: AccountReader, watcher: _Watcher, entry: Mapping[str, Any]) -> InventoryObject:
    name, values = name_of(entry), properties_of(entry)
    fields = plain_fields(values, reader.mask)
    properties: dict[str, Any] = {key: value for key, value in fields.items() if key not in _VOLATILE_OF_ACTION}
    properties["watcher"] = texts.label(watcher.name, 260)
    script = next(
        filter(None, (word(values.get("scriptName"), reader.mask), word(values.get("runbookName"), reader.mask))),
        name_in(values.get("runbook"), reader.mask),
    )
    if script:
        properties["scriptName"] = script
    if names := parameter_names(values.get("scriptParameters") or values.get("parameters"), reader.mask):
        properties["parameterNames"] = names
    return build("WatcherAction", name, reader.id_of("watchers", watcher.name, "watcherActions", name), properties)


def _tell(reader: AccountReader, what: str, why: str, error: Exception) -> None:
    _log.info("inventory of %s: %s unread: %s (%s)", reader.account.id, what, why, where(error))


SECTION: Final = Section(
    name="watchers",
    kinds=("Watcher", "WatcherAction"),
    permissions=permissions("watchers", "watchers/watcherActions"),
    read=_read,
    volatile=VOLATILE,
)
