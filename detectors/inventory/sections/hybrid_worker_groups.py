"""Hybrid worker groups: where something may run outside Azure's own sandbox."""

from typing import Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.values import Convert, moment, name_in, pick, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {"groupType": word, "credential": name_in}
SYSTEM_DATA: Final[dict[str, Convert]] = {"createdBy": word, "createdAt": moment, "lastModifiedBy": word}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "systemData.lastModifiedAt": "moves with what the service itself writes",
}


async def _read(reader: AccountReader) -> list[InventoryObject]:
    found = []
    for entry in await reader.list_all("hybridRunbookWorkerGroups"):
        name = name_of(entry)
        properties = pick(properties_of(entry), PROPERTIES, reader.mask)
        properties |= pick(properties_of(entry, "systemData"), SYSTEM_DATA, reader.mask)
        found.append(build("HybridWorkerGroup", name, reader.id_of("hybridRunbookWorkerGroups", name), properties))
    return found


SECTION: Final = Section(
    name="hybridRunbookWorkerGroups",
    kinds=("HybridWorkerGroup",),
    permissions=permissions("hybridRunbookWorkerGroups"),
    read=_read,
    volatile=VOLATILE,
)
