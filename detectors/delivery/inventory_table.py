"""The table ``AutomationInventory_CL``: rows of the inventory, through the Logs Ingestion API.

Rows come at least once. ``AutomationInventory_CL | summarize take_any(*) by ChangeId`` is each change once. The service
replaces a ``TimeGenerated`` that is more than two days old, so rows that wait longer for it lose their time.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from detectors.delivery.destination import DeliveryError
from detectors.delivery.ingestion import MAX_CALL_BYTES, MAX_VALUE_BYTES, Ingestion, calls, size
from detectors.delivery.log_table import Column
from detectors.delivery.text import encode_json, fit_fields, plain, shrink
from detectors.state.objects import Objects

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_log = logging.getLogger(__name__)

TABLE: Final = "AutomationInventory_CL"
STREAM: Final = f"Custom-{TABLE}"
REFUSED: Final = "refused-"
"""Objects of the inventory whose name begins so hold rows that the workspace will not take."""
TRIMMED: Final = "_trimmed"
"""Property of a Before or After that did not fit: it says so."""

_MOST_LISTED = 1_000
# Room for the two notes.
_NOTE_BYTES = 500

COLUMNS: Final[tuple[Column, ...]] = (
    Column("TimeGenerated", "datetime", "When the newer snapshot was taken."),
    Column("ChangeId", "string", "The same for the same change: deduplicate by it."),
    Column("ChangeType", "string", "Added, Modified, Removed, or Baseline: found at the first visit."),
    Column("ObjectType", "string", "Account, Watcher, Runbook, RunbookContent, Webhook, Job and so on."),
    Column("ObjectName", "string", "Its name."),
    Column("ObjectId", "string", "Its resource id in lower case."),
    Column("AccountId", "string", "Resource id of the automation account in lower case."),
    Column("AccountName", "string", "Name of the automation account."),
    Column("ResourceGroup", "string", "Its resource group."),
    Column("SubscriptionId", "string", "Its subscription."),
    Column("Location", "string", "Its region."),
    Column("ChangedProperties", "dynamic", "Names of the properties that differ: list."),
    Column("Before", "dynamic", "The object in the older snapshot; null when there was none."),
    Column("After", "dynamic", "The object in the newer snapshot; null when it is gone."),
    Column("RunbookName", "string", "What the object is, runs or starts."),
    Column("RunOn", "string", "Hybrid worker group; empty for Azure's sandbox."),
    Column("ContentSha256", "string", "Of the text of a runbook, after the change."),
    Column("ChangedBy", "string", "Who changed it, where the Automation API says so."),
    Column("ChangedAt", "datetime", "When it was changed, where the Automation API says so."),
    Column("PreviousSnapshot", "string", "Id of the older snapshot."),
    Column("Snapshot", "string", "Id of the newer snapshot."),
)
"""What is sent: the table's columns without those that the workspace adds."""


def build_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """*row* with exactly :data:`COLUMNS`, as JSON within the service's limits.

    A ``Before`` or ``After`` beyond :data:`detectors.delivery.ingestion.MAX_VALUE_BYTES` keeps its shape, is cut, and
    says so in its property :data:`TRIMMED`.
    """
    values = {column.name: row.get(column.name) for column in COLUMNS}
    values |= {name: _bounded(values[name]) for name in ("Before", "After")}
    fitted, cut = fit_fields(values, MAX_VALUE_BYTES, MAX_CALL_BYTES - 2 * _NOTE_BYTES, size)
    for name in ("Before", "After"):
        if name in cut:
            fitted[name] = _with_note(fitted[name], values[name])
    return fitted


def _bounded(value: Any) -> Any:
    if len(encode_json(plain(value))) <= MAX_VALUE_BYTES:
        return value
    return _with_note(shrink(value, MAX_VALUE_BYTES - _NOTE_BYTES)[0], value)


def _with_note(smaller: Any, whole: Any) -> Any:
    if isinstance(smaller, dict) and TRIMMED in smaller:
        return smaller
    note = f"{len(encode_json(plain(whole)))} bytes do not fit into a column; the detector's snapshot has all of it"
    # First: what has to become smaller still loses its end.
    return {TRIMMED: note, **smaller} if isinstance(smaller, dict) else {TRIMMED: note}


class InventoryTable:
    """Uploads rows of the inventory.

    *endpoint*, *rule_id* and *scope* are those of :class:`detectors.delivery.log_table.LogTableDestination`: one data
    collection rule takes both streams. The caller owns and closes *credential*. Raises ValueError when *endpoint* is
    not an https URL.
    """

    def __init__(
        self,
        endpoint: str,
        rule_id: str,
        credential: "AsyncTokenCredential",
        *,
        clock: Callable[[], datetime],
        stream: str = STREAM,
        scope: str = "https://monitor.azure.com/.default",
        name: str = "inventory-table",
        connection_verify: str | bool = True,
    ) -> None:
        self._ingestion = Ingestion(
            endpoint,
            rule_id,
            stream,
            credential,
            clock=clock,
            scope=scope,
            name=name,
            connection_verify=connection_verify,
        )
        self.name = name

    async def send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Upload *rows* in as many calls as they need.

        Raises :class:`detectors.delivery.destination.DeliveryError`; the calls before have then arrived.
        """
        for part in calls(build_row(row) for row in rows):
            await self._ingestion.upload(part)

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._ingestion.close()


class KeptRows(Protocol):
    """:class:`detectors.inventory.repository.Repository`: rows that the workspace does not have yet."""

    async def unsent(self, limit: int) -> list[str]:
        """Names of sets of rows, oldest first."""

    async def rows(self, name: str) -> list[dict[str, Any]] | None:
        """The rows of one; None when it is gone or cannot be read."""

    async def sent(self, name: str) -> None:
        """Forget one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShipReport:
    """What one run did. Counts are of sets of rows, one for each visit of an account, except ``rows``."""

    sent: int = 0
    rows: int = 0
    set_aside: int = 0
    """Refused for good, or not readable: kept under another name, and not tried again."""
    left: int = 0
    """Of at most 1,000 that were listed."""
    error: str = ""
    """Why some are left that were tried."""


class InventoryRows:
    """Sends what the inventory keeps for the workspace; at least once, oldest first.

    *objects* are those of the namespace ``inventory``, which *kept* is made of.
    """

    def __init__(self, *, kept: KeptRows, objects: Objects, table: InventoryTable) -> None:
        self._kept = kept
        self._objects = objects
        self._table = table

    async def ship(self, limit: int) -> ShipReport:
        """Send at most *limit* sets of rows and forget each that the workspace took.

        One that it refuses for good holds up none of the others. It is set aside when the workspace took another one
        in this run: a workspace that refuses all lacks the stream or a column, and all wait until that is repaired.
        Raises :class:`detectors.state.store.StoreUnavailable`; what was sent by then may be sent again.
        """
        names = await self._kept.unsent(_MOST_LISTED)
        sent: list[int] = []
        aside = gone = 0
        refused: list[tuple[str, DeliveryError]] = []
        error: DeliveryError | None = None
        # When the oldest are all refused, the newest one tells whether that is about them or about the workspace.
        for name in [*names[:limit], *names[limit:][-1:]]:
            if name not in names[:limit] and (sent or not refused):
                break
            rows = await self._kept.rows(name)
            if rows is None:
                kept = await self._set_aside(name, "they cannot be read")
                aside, gone = aside + kept, gone + (not kept)
                continue
            try:
                await self._table.send(rows)
            except DeliveryError as caught:
                if not caught.permanent:
                    error = caught
                    break
                refused.append((name, caught))
                continue
            await self._kept.sent(name)
            sent.append(len(rows))
        if sent:
            for name, why in refused:
                aside += await self._set_aside(name, str(why))
        elif refused:
            error = error or refused[0][1]
        if error:
            _log.warning("inventory: rows wait for the workspace, the next run tries again: %s", error)
        return ShipReport(
            sent=len(sent),
            rows=sum(sent),
            set_aside=aside,
            left=len(names) - len(sent) - aside - gone,
            error=str(error or ""),
        )

    async def _set_aside(self, name: str, why: str) -> bool:
        """Keep the object under a name that is not tried; whether it was still there."""
        data = await self._objects.get_object(name)
        if data is not None:
            await self._objects.put_object(f"{REFUSED}{name}", data)
            _log.error(
                "inventory: the rows %s are not sent to the workspace and are kept as %s%s: %s",
                name,
                REFUSED,
                name,
                why,
            )
        await self._kept.sent(name)
        return data is not None
