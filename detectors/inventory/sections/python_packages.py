"""Python packages of the account as a whole, one list for each language version."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, moment, number, word

PROPERTIES: Final[dict[str, Convert]] = {
    "version": word,
    "sizeInBytes": number,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "properties.activityCount": "counted again while a package is imported",
    "properties.provisioningState": "passes through a dozen states while a package is imported",
}

PYTHON2: Final = plain("python2Packages", "Package", PROPERTIES, volatile=VOLATILE, always={"language": "Python2"})
PYTHON3: Final = plain("python3Packages", "Package", PROPERTIES, volatile=VOLATILE, always={"language": "Python3"})
