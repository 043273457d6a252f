"""Schedules: when something starts by itself. What it starts is a job schedule's business."""

from typing import Final

from detectors.inventory.sections.plain import plain
from detectors.inventory.sections.values import Convert, flag, moment, number, prose, recurrence, word

PROPERTIES: Final[dict[str, Convert]] = {
    "frequency": word,
    "interval": number,
    "startTime": moment,
    "expiryTime": moment,
    "isEnabled": flag,
    "timeZone": word,
    "advancedSchedule": recurrence,
    "description": prose,
    "creationTime": moment,
    "lastModifiedTime": moment,
}
VOLATILE: Final = {
    "properties.nextRun": "moves with every run",
    "properties.nextRunOffsetMinutes": "moves with daylight saving time",
    "properties.startTimeOffsetMinutes": "moves with daylight saving time",
    "properties.expiryTimeOffsetMinutes": "moves with daylight saving time",
}

SECTION: Final = plain("schedules", "Schedule", PROPERTIES, volatile=VOLATILE)
