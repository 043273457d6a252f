"""The account itself, as the list of its subscription gave it, and what its sections learnt."""

from collections.abc import Mapping
from typing import Any, Final

from detectors.automation.texts import label
from detectors.inventory.account_reader import AccountReader, build
from detectors.inventory.answers import properties_of
from detectors.inventory.sections.values import MAX_ENTRIES, Convert, Mask, flag, masked_values, pick, word
from detectors.inventory.snapshot import InventoryObject

PERMISSION: Final = "Microsoft.Automation/automationAccounts/read"
TOP: Final[dict[str, Convert]] = {"location": word, "tags": masked_values}
PROPERTIES: Final[dict[str, Convert]] = {"publicNetworkAccess": flag, "disableLocalAuth": flag, "state": word}
VOLATILE: Final = {
    "etag": "a stamp without meaning",
    "properties.lastModifiedTime": "moves with any object below the account, whose own change says more",
}


def account_object(reader: AccountReader) -> InventoryObject:
    """The object of kind Account, after all sections.

    ``unread`` names those that Azure refuses, so that this is a change by itself. A section that failed otherwise,
    which may be over in five minutes, is in it only as long as nothing has answered since it was refused.
    """
    listed, mask = reader.listed, reader.mask
    values, identity = properties_of(listed), properties_of(listed, "identity")
    properties: dict[str, Any] = pick(listed, TOP, mask) | pick(values, PROPERTIES, mask)
    more = {
        "identityType": word(identity.get("type"), mask),
        "principalId": word(identity.get("principalId"), mask),
        "userAssignedIdentities": _ids(identity.get("userAssignedIdentities"), mask),
        "encryptionKeySource": word(properties_of(values, "encryption").get("keySource"), mask),
    }
    properties |= {name: value for name, value in more.items() if value is not None}
    before = reader.before("Account", reader.account.id)
    if before and "watcherActions" in before.properties:
        properties["watcherActions"] = before.properties["watcherActions"]
    properties |= reader.account_notes
    refused_before = before.properties.get("unread", []) if before else []
    properties["unread"] = sorted(reader.refused | reader.unread.keys() & set(refused_before))
    return build("Account", reader.account.name, reader.account.id, properties)


def _ids(identities: Any, mask: Mask) -> list[str] | None:  # noqa: ARG001 - as the other conversions
    if not isinstance(identities, Mapping):
        return None
    return sorted(label(each, 500).lower() for each in identities)[:MAX_ENTRIES] or None
