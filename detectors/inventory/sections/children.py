"""A section that has one list for each object of another section."""

from collections.abc import Awaitable, Callable

from detectors.inventory.account_reader import AccountReader, ReadingEnded
from detectors.inventory.snapshot import InventoryObject


async def of_each(
    reader: AccountReader,
    section: str,
    parents: list[InventoryObject],
    read_one: Callable[[InventoryObject], Awaitable[list[InventoryObject]]],
) -> list[InventoryObject]:
    """What *read_one* finds of each of *parents*.

    A parent whose list cannot be read keeps what was found below it before, and *section* is noted as unread: one that
    answers 404 for ever must not hide what changes in the others. Raises what *read_one* does when all fail.
    """
    found: list[InventoryObject] = []
    failed: list[Exception] = []
    for parent in parents:
        try:
            found += await read_one(parent)
        except (ReadingEnded, TimeoutError):
            raise
        except Exception as error:
            failed.append(error)
            if len(failed) == len(parents):
                raise
            before = reader.previous.objects if reader.previous else ()
            found += [each for each in before if each.id.startswith(f"{parent.id}/")]
            reader.unread[section] = (
                f"{len(failed)} of {len(parents)} lists could not be read. {reader.reason(failed[0], section)}"
            )
    return found
