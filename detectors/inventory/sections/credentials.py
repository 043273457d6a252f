"""Credentials: that they are there and when they were written. Never whose or what."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, moment

PROPERTIES: Final[dict[str, Convert]] = {"creationTime": moment, "lastModifiedTime": moment}
VOLATILE: Final[dict[str, str]] = {}

SECTION: Final = plain("credentials", "Credential", PROPERTIES, volatile=VOLATILE)
