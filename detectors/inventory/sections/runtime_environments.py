"""Runtime environments: the language and default packages with which a runbook runs."""

from typing import Any, Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.values import Convert, moment, package_versions, pick, prose, word
from detectors.inventory.snapshot import InventoryObject

RUNTIME: Final[dict[str, Convert]] = {"language": word, "version": word}
PROPERTIES: Final[dict[str, Convert]] = {"defaultPackages": package_versions, "description": prose}
VOLATILE: Final = {"etag": "a stamp without meaning"}


async def _read(reader: AccountReader) -> list[InventoryObject]:
    found = []
    for entry in await reader.list_all("runtimeEnvironments"):
        name, values = name_of(entry), properties_of(entry)
        system = properties_of(entry, "systemData")
        # The only times it has; all other kinds have them among their properties.
        times: dict[str, Any] = {
            "creationTime": moment(system.get("createdAt"), reader.mask),
            "lastModifiedTime": moment(system.get("lastModifiedAt"), reader.mask),
        }
        properties = pick(properties_of(values, "runtime"), RUNTIME, reader.mask)
        properties |= pick(values, PROPERTIES, reader.mask)
        properties |= {key: value for key, value in times.items() if value}
        found.append(build("RuntimeEnvironment", name, reader.id_of("runtimeEnvironments", name), properties))
    return found


SECTION: Final = Section(
    name="runtimeEnvironments",
    kinds=("RuntimeEnvironment",),
    permissions=permissions("runtimeEnvironments"),
    read=_read,
    volatile=VOLATILE,
)
