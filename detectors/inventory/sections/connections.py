"""Connections: that they are there, of which type, and when they were written. Never a field's value."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, moment, name_in

PROPERTIES: Final[dict[str, Convert]] = {
    "connectionType": name_in,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final[dict[str, str]] = {}

SECTION: Final = plain("connections", "Connection", PROPERTIES, volatile=VOLATILE)
