"""Hybrid workers: the machines of each group. After the groups, which it takes from what they found."""

import functools
from typing import Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.children import of_each
from detectors.inventory.sections.values import Convert, moment, pick, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {
    "workerName": word,
    "ip": word,
    "vmResourceId": word,
    "workerType": word,
    "registeredDateTime": moment,
}
VOLATILE: Final = {
    "properties.lastSeenDateTime": "moves with every sign of life",
    "systemData.lastModifiedAt": "moves with what the service itself writes",
}
_GROUPS: Final = "hybridRunbookWorkerGroups"
_NAME: Final = "hybridRunbookWorkers"


async def _read(reader: AccountReader) -> list[InventoryObject]:
    groups = reader.of_section(_GROUPS, "HybridWorkerGroup")
    # Update Management made one group of this type for each machine, hundreds in an account, each a request more.
    # Nobody can choose such a group to run anything on.
    chosen = [group for group in groups if group.properties.get("groupType") != "System"]
    return await of_each(reader, _NAME, chosen, functools.partial(_workers, reader))


async def _workers(reader: AccountReader, group: InventoryObject) -> list[InventoryObject]:
    found = []
    for entry in await reader.list_all(_GROUPS, group.name, _NAME):
        key = name_of(entry)
        properties = {"group": group.name} | pick(properties_of(entry), PROPERTIES, reader.mask)
        object_id = reader.id_of(_GROUPS, group.name, _NAME, key)
        found.append(build("HybridWorker", properties.get("workerName", key), object_id, properties))
    return found


SECTION: Final = Section(
    name=_NAME,
    kinds=("HybridWorker",),
    permissions=permissions("hybridRunbookWorkerGroups/hybridRunbookWorkers"),
    read=_read,
    within=_GROUPS,
    volatile=VOLATILE,
)
