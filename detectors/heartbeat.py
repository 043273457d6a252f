"""The heartbeat: after each hunt, how the detector itself is doing, for an outside rule to notice when it stops.

It goes to the custom table as a row of its own kind and to the log as one line of JSON.
"""

import asyncio
import hashlib
import json
import logging
import platform
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from detectors.condition import (
    Backlog,
    InventoryCondition,
    Progress,
    collect_backlog,
    problems_of,
    read_inventory,
    read_progress,
    seconds_of,
)
from detectors.delivery.destination import DeliveryError, Destination
from detectors.delivery.text import clip, visible
from detectors.rule import Rule
from detectors.sources.hunt import HuntReport
from detectors.state.newest import keep_newest, read_newest
from detectors.state.store import Conflict, Store, StoreUnavailable

_log = logging.getLogger(__name__)

VERSION = "0.1.0"
"""The project's version; the deployed app has no package metadata to read it from."""
LAST = "heartbeat/last"
"""Name of the document that keeps the newest heartbeat."""

STATE_SECONDS = 5.0
"""Time to read watermarks and backlog; what is not known by then is said to be unknown."""
SEND_SECONDS = 10.0
"""Time to send. Together a heartbeat delays the end of a hunt by at most 15 s."""

_PROBLEMS = 20
_ERROR_BYTES = 300

_Result = TypeVar("_Result")


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """One hunt and the state it left. A rule counts once for each workspace; None is "could not be read"."""

    id: str
    """Unique for each run."""
    started_at: datetime
    finished_at: datetime
    duration_seconds: float
    healthy: bool
    problems: tuple[str, ...]
    """Why it is not healthy: sentences that name the thing, the cause and the next step."""
    rules_run: int
    rules_failed: int
    queries: int
    rows: int
    new_alerts: int
    remaining_windows: int
    """Windows of an outage that the time budget left for the next run."""
    lag_seconds: float | None
    """How far the rule that is furthest behind has not read, beyond what its queryFrequency explains.

    None also when a rule was never read. Rules that wait for what a workspace lacks do not count.
    """
    pending_deliveries: int | None
    not_started_alerts: int | None
    oldest_pending_seconds: float | None
    """None also when nothing is pending."""
    dead_deliveries: int | None
    backlog_capped: bool
    """Whether the four numbers before are "at least"."""
    instance: str
    version: str
    rules_waiting: int = 0
    """Rules that wait for a table, column or function that a workspace lacks."""
    inventory_accounts: int | None = None
    """Automation accounts that the newest run of the inventory knew. None also when it never ran."""
    inventory_stalest_seconds: float | None = None
    """How long ago the account was read that was not read for the longest time; it also grows when no run comes.

    None also when there is no account.
    """


@runtime_checkable
class HeartbeatDestination(Destination, Protocol):
    """A destination that keeps heartbeats apart from alerts."""

    async def send_heartbeat(
        self,
        identifier: str,
        *,
        started_at: datetime,
        finished_at: datetime,
        healthy: bool,
        problems: Sequence[str],
        values: Mapping[str, Any],
    ) -> None:
        """Send one heartbeat; *values* are all its fields as JSON values. Raises :class:`DeliveryError`."""


def instance_name(environment: Mapping[str, str]) -> str:
    """Which machine this is: what Azure Functions calls the instance, else the host name; at most 64 characters."""
    names = (environment.get(name, "") for name in ("WEBSITE_INSTANCE_ID", "CONTAINER_NAME"))
    return next((name for name in names if name), platform.node())[:64]


def build_heartbeat(
    report: HuntReport,
    *,
    watermarks: Sequence[Progress],
    backlog: Backlog | None,
    finished_at: datetime,
    inventory: InventoryCondition | None = None,
    instance: str = "",
    version: str = VERSION,
    unknown: Sequence[str] = (),
) -> Heartbeat:
    """The heartbeat of *report*.

    *unknown* says why something could not be read: a detector that cannot tell does not count as healthy.
    """
    problems = [*unknown, *problems_of(watermarks, backlog, finished_at)]
    if len(problems) > _PROBLEMS:
        problems = [*problems[:_PROBLEMS], f"{len(problems) - _PROBLEMS} more; run: python -m detectors status"]
    running = [each for each in watermarks if each.waiting_for is None]
    complete = bool(running) and all(each.watermark for each in running)
    identity = f"heartbeat\n{report.started_at.isoformat()}\n{finished_at.isoformat()}\n{instance}"
    return Heartbeat(
        id=hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        started_at=report.started_at,
        finished_at=finished_at,
        duration_seconds=seconds_of(finished_at - report.started_at),
        healthy=not problems,
        problems=tuple(visible(problem) for problem in problems),
        rules_run=sum(outcome.due for outcome in report.outcomes),
        rules_failed=len(report.errors),
        queries=sum(outcome.windows for outcome in report.outcomes),
        rows=sum(outcome.rows for outcome in report.outcomes),
        new_alerts=len(report.new_alerts),
        remaining_windows=sum(outcome.remaining for outcome in report.outcomes),
        lag_seconds=max(seconds_of(each.lag(finished_at)) for each in running) if complete else None,
        pending_deliveries=sum(backlog.pending.values()) if backlog else None,
        not_started_alerts=backlog.not_started if backlog else None,
        oldest_pending_seconds=backlog.oldest_pending_seconds if backlog else None,
        dead_deliveries=sum(backlog.dead.values()) if backlog else None,
        backlog_capped=backlog.capped if backlog else False,
        rules_waiting=sum(each.waiting_for is not None for each in watermarks),
        inventory_accounts=inventory.accounts if inventory else None,
        inventory_stalest_seconds=(
            seconds_of(finished_at - inventory.stalest_since) if inventory and inventory.stalest_since else None
        ),
        instance=visible(instance),
        version=version,
    )


async def send_heartbeat(
    report: HuntReport,
    *,
    rules: Sequence[Rule],
    store: Store,
    destinations: Sequence[Destination],
    clock: Callable[[], datetime],
    instance: str = "",
    state_seconds: float = STATE_SECONDS,
    send_seconds: float = SEND_SECONDS,
) -> Heartbeat:
    """Build the heartbeat of *report*, log it, keep it in the store and send it to the destinations that take it.

    Best effort: what fails is logged with what happens next and never raised, and all of it ends after
    *state_seconds* plus *send_seconds*, because the next hunt sends its own.
    """
    finished_at = clock()
    unknown: list[str] = []
    workspaces = dict.fromkeys(outcome.workspace for outcome in report.outcomes)
    progress, backlog, inventory = await asyncio.gather(
        _known(read_progress(store, rules, workspaces), "the watermarks", state_seconds, unknown),
        _known(collect_backlog(store, finished_at), "the backlog", state_seconds, unknown),
        _known(read_inventory(store), "the inventory's last report", state_seconds, unknown),
    )
    beat = build_heartbeat(
        report,
        watermarks=progress or (),
        backlog=backlog,
        finished_at=finished_at,
        inventory=inventory,
        instance=instance,
        unknown=unknown,
    )
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(beat))
    _log.info("heartbeat %s", json.dumps(values, separators=(",", ":")))
    takers = [destination for destination in destinations if isinstance(destination, HeartbeatDestination)]
    await asyncio.gather(
        _best_effort(keep_newest(store, LAST, beat), "the store", send_seconds),
        *(
            _best_effort(
                taker.send_heartbeat(
                    beat.id,
                    started_at=beat.started_at,
                    finished_at=beat.finished_at,
                    healthy=beat.healthy,
                    problems=beat.problems,
                    values=values,
                ),
                taker.name,
                send_seconds,
            )
            for taker in takers
        ),
    )
    return beat


async def read_last(store: Store) -> Heartbeat | None:
    """The newest heartbeat, or None. Raises :class:`StoreUnavailable`, also when a newer version wrote it."""
    return await read_newest(store, LAST, Heartbeat, "heartbeat")


async def _known(
    reading: Coroutine[Any, Any, _Result], what: str, seconds: float, unknown: list[str]
) -> _Result | None:
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError:
        cause = f"the store did not answer within {seconds:.0f} s"
    except StoreUnavailable as error:
        cause = clip(str(error), _ERROR_BYTES)
    except Exception as error:  # noqa: BLE001 - a defect here must not fail the hunt, which is done
        _log.exception("heartbeat: %s could not be read; the hunt itself is not affected", what)
        cause = type(error).__name__
    unknown.append(f"{what} could not be read: {cause}; if it lasts, check the storage account and the app's roles")
    return None


async def _best_effort(sending: Awaitable[None], where: str, seconds: float) -> None:
    after = "this heartbeat is not sent again, the next hunt sends its own"
    try:
        async with asyncio.timeout(seconds):
            await sending
    except TimeoutError:
        _log.warning("heartbeat: %s did not answer within %.0f s; %s", where, seconds, after)
    except (DeliveryError, StoreUnavailable, Conflict) as error:
        _log.warning("heartbeat: it did not reach %s: %s; %s", where, error, after)
    except Exception:  # noqa: BLE001 - a defect here must not fail the hunt, which is done
        _log.exception("heartbeat: it did not reach %s; %s", where, after)
