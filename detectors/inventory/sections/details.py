"""What a list leaves out and only the object by itself says: asked for when the list's entry is new or has moved."""

from collections.abc import Collection, Mapping
from typing import Any

from detectors.inventory.snapshot import InventoryObject

LEFT = "left for the next visit"
"""Why something was not read: the visit's time or memory was used up before its turn."""


def merged(
    given: Mapping[str, Any], before: InventoryObject | None, *, of_list: Collection[str], of_get: Collection[str]
) -> tuple[dict[str, Any], bool]:
    """(properties, whether the object is new or has moved), from what the list gave and the snapshot before.

    *of_list* are the properties that lists give. Those of them in *of_get* may be missing in a list although the object
    has them: then they are those of before, unless the object has moved and they may be of another time.
    """
    if before is None:
        return dict(given), True
    known = before.properties
    if any(given.get(name) != known.get(name) for name in of_list if name in given or name not in of_get):
        return dict(given), True
    return {**{name: known[name] for name in of_get if name in known}, **given}, False
