"""Packages of each runtime environment. After the environments, which it takes from what they found."""

import functools
from typing import Any, Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.children import of_each
from detectors.inventory.sections.values import Convert, moment, number, pick, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {"version": word, "sizeInBytes": number}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "properties.provisioningState": "passes through a dozen states while a package is imported",
}
_ENVIRONMENTS: Final = "runtimeEnvironments"
_NAME: Final = "packages"


async def _read(reader: AccountReader) -> list[InventoryObject]:
    environments = reader.of_section(_ENVIRONMENTS, "RuntimeEnvironment")
    return await of_each(reader, _NAME, environments, functools.partial(_packages, reader))


async def _packages(reader: AccountReader, environment: InventoryObject) -> list[InventoryObject]:
    shared: dict[str, Any] = {"runtimeEnvironment": environment.name}
    if language := environment.properties.get("language"):
        shared["language"] = language
    found = []
    for entry in await reader.list_all(_ENVIRONMENTS, environment.name, _NAME):
        name, values = name_of(entry), properties_of(entry)
        # The API's model has the times under "allOf", which looks like a slip of its specification.
        system = {**properties_of(values, "allOf"), **properties_of(entry, "systemData")}
        times = {
            "creationTime": moment(system.get("createdAt"), reader.mask),
            "lastModifiedTime": moment(system.get("lastModifiedAt"), reader.mask),
        }
        properties = shared | pick(values, PROPERTIES, reader.mask)
        properties |= {key: value for key, value in times.items() if value}
        found.append(build("Package", name, reader.id_of(_ENVIRONMENTS, environment.name, _NAME, name), properties))
    return found


SECTION: Final = Section(
    name=_NAME,
    kinds=("Package",),
    permissions=permissions("runtimeEnvironments/packages"),
    read=_read,
    within=_ENVIRONMENTS,
    volatile=VOLATILE,
)
