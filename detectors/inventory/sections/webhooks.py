"""Webhooks: who holds such a URL starts the runbook without signing in. The URL is never read back, nor kept."""

from typing import Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.values import Convert, flag, moment, name_in, parameter_names, pick, prose, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {
    "runbook": name_in,
    "isEnabled": flag,
    "expiryTime": moment,
    "runOn": word,
    "lastInvokedTime": moment,
    "creationTime": moment,
    "lastModifiedTime": moment,
    "lastModifiedBy": word,
    "description": prose,
}
VOLATILE: Final = {"etag": "a stamp without meaning"}


async def _read(reader: AccountReader) -> list[InventoryObject]:
    found = []
    for entry in await reader.list_all("webhooks"):
        name, values = name_of(entry), properties_of(entry)
        properties = pick(values, PROPERTIES, reader.mask)
        if names := parameter_names(values.get("parameters"), reader.mask):
            properties["parameterNames"] = names
        found.append(build("Webhook", name, reader.id_of("webhooks", name), properties))
    return found


SECTION: Final = Section(
    name="webhooks", kinds=("Webhook",), permissions=permissions("webhooks"), read=_read, volatile=VOLATILE
)
