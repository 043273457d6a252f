"""The section of a kind whose list says everything that is kept of it."""

from collections.abc import Mapping
from typing import Any

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.values import Convert, pick
from detectors.inventory.snapshot import InventoryObject


def plain(
    collection: str,
    kind: str,
    properties: Mapping[str, Convert],
    *,
    volatile: Mapping[str, str],
    always: Mapping[str, Any] | None = None,
) -> Section:
    """Objects of *kind*, one for each of *collection*, with *properties* by wire name, and *always* in each."""

    async def read(reader: AccountReader) -> list[InventoryObject]:
        found = []
        for entry in await reader.list_all(collection):
            name = name_of(entry)
            kept = {**(always or {}), **pick(properties_of(entry), properties, reader.mask)}
            found.append(build(kind, name, reader.id_of(collection, name), kept))
        return found

    return Section(name=collection, kinds=(kind,), permissions=permissions(collection), read=read, volatile=volatile)
