"""Job schedules: which schedule starts which runbook, and where. The API gives them neither times nor an author."""

from typing import Final

from detectors.inventory.account_reader import AccountReader, Section, build, permissions
from detectors.inventory.answers import name_of, properties_of
from detectors.inventory.sections.values import Convert, name_in, parameter_names, pick, word
from detectors.inventory.snapshot import InventoryObject

PROPERTIES: Final[dict[str, Convert]] = {"runbook": name_in, "schedule": name_in, "runOn": word}
VOLATILE: Final[dict[str, str]] = {}


async def _read(reader: AccountReader) -> list[InventoryObject]:
    found = []
    for entry in await reader.list_all("jobSchedules"):
        values = properties_of(entry)
        properties = pick(values, PROPERTIES, reader.mask)
        if names := parameter_names(values.get("parameters"), reader.mask):
            properties["parameterNames"] = names
        key = word(values.get("jobScheduleId"), reader.mask) or name_of(entry)
        name = f"{properties.get('runbook', '?')} on {properties.get('schedule', '?')}"
        found.append(build("JobSchedule", name, reader.id_of("jobSchedules", key), properties))
    return found


SECTION: Final = Section(
    name="jobSchedules", kinds=("JobSchedule",), permissions=permissions("jobSchedules"), read=_read, volatile=VOLATILE
)
