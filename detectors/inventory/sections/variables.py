"""Variables: that they are there, whether encrypted, and when they were written. Never the value."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, flag, moment

PROPERTIES: Final[dict[str, Convert]] = {
    "isEncrypted": flag,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final[dict[str, str]] = {}

SECTION: Final = plain("variables", "Variable", PROPERTIES, volatile=VOLATILE)
