"""PowerShell modules of the account: code that every runbook trusts. Hundreds are Microsoft's own (``isGlobal``)."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, flag, moment, number, word

PROPERTIES: Final[dict[str, Convert]] = {
    "version": word,
    "sizeInBytes": number,
    "isGlobal": flag,
    "provisioningState": word,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "properties.activityCount": "counted again while a module is imported",
}

SECTION: Final = plain("modules", "Module", PROPERTIES, volatile=VOLATILE)
