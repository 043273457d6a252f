"""Source controls: the repositories whose content becomes runbooks. Who writes there writes here."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, flag, moment, repository_url, word

PROPERTIES: Final[dict[str, Convert]] = {
    "repoUrl": repository_url,
    "branch": word,
    "folderPath": word,
    "autoSync": flag,
    "publishRunbook": flag,
    "sourceType": word,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final[dict[str, str]] = {}

SECTION: Final = plain("sourceControls", "SourceControl", PROPERTIES, volatile=VOLATILE)
