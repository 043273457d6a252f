"""Reads one automation account into a snapshot."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from detectors.automation.failures import Refused
from detectors.inventory.account_reader import (
    AccountGone,
    AccountReader,
    ContentJudgement,
    ReadingEnded,
    Section,
    Throttled,
    Unreachable,
)
from detectors.inventory.answers import UNSUPPORTED, UnreadableAnswer, is_unanswered, status_of, where
from detectors.inventory.sections import SECTIONS
from detectors.inventory.sections.account import account_object
from detectors.inventory.sections.jobs import SECTION as JOBS
from detectors.inventory.snapshot import AccountReference, InventoryObject, Snapshot, in_order

if TYPE_CHECKING:
    from azure.mgmt.automation.aio import AutomationClient

__all__ = ["AccountGone", "ContentJudgement", "Reading", "ReadingEnded", "Throttled", "Unreachable", "read_account"]

_GIVE_UP_AFTER = 3
"""Sections from the first on that got no answer at all, before the account counts as not reached."""
_OWN_FAULT = frozenset({401, 408})
"""Refusals that are about the detector's token or connection, and say nothing of the account."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reading:
    """``contents`` are the texts of runbooks that are new in ``snapshot``, by the SHA-256 of their bytes."""

    snapshot: Snapshot
    contents: dict[str, bytes]


async def read_account(
    client: "AutomationClient",
    account: AccountReference,
    listed: Mapping[str, Any],
    previous: Snapshot | None,
    *,
    mask: Callable[[str], str],
    judge_content: Callable[[bytes, str], ContentJudgement],
    cap_bytes: int,
    clock: Callable[[], datetime],
    section_timeout: float,
) -> Reading:
    """What the account holds now, compared with *previous* as far as that saves requests.

    An account in which nothing has changed costs only lists. A section that cannot be read keeps its objects of
    *previous* and is named in ``unread``, also when all are refused.

    :param client: the Automation client of the account's subscription.
    :param listed: the account as the list of its subscription gave it, an ``AutomationAccount`` of the SDK.
    :param mask: takes secrets out of a text.
    :param judge_content: (bytes of a runbook, its type) to what is noticed in them.
    :param cap_bytes: how much of a runbook's text is read.
    :param section_timeout: seconds for the lists of one section, and again for what it asks about single objects.

    Raises :class:`Throttled` on a 429, :class:`AccountGone` when the account does not exist any more, and
    :class:`Unreachable` when no answer says anything about it. Nothing of the reading counts then.
    """
    reader = AccountReader(
        client,
        account,
        listed,
        previous,
        mask=mask,
        judge_content=judge_content,
        cap_bytes=cap_bytes,
        clock=clock,
        section_timeout=section_timeout,
    )
    jobs: tuple[InventoryObject, ...] = ()
    silent = 0
    for section in SECTIONS:
        found, error = await _read_section(reader, section)
        if error is not None:
            silent += is_unanswered(error)
            if not reader.answered and silent == len(reader.unread) == _GIVE_UP_AFTER:
                break
        if section is JOBS:
            jobs = tuple(found)
        else:
            reader.found += found
    if not reader.answered:
        raise Unreachable(next(iter(reader.unread.values())))
    unread = reader.unread
    snapshot = Snapshot(
        account=account,
        sequence=previous.sequence + 1 if previous else 1,
        taken_at=reader.now,
        objects=in_order([*reader.found, account_object(reader)]),
        unread=unread,
        jobs=jobs,
        seen_jobs=reader.seen_jobs,
        jobs_read_at=reader.jobs_read_at,
        never_read=tuple(sorted(name for name in unread if name in reader.failed and reader.never_read(name))),
        first_read=tuple(sorted(reader.first_read)),
    )
    return Reading(snapshot, reader.contents)


async def _read_section(reader: AccountReader, section: Section) -> tuple[list[InventoryObject], Exception | None]:
    """What the section found, or what it found in the snapshot before and why it could not be read."""
    try:
        reader.start_section()
        found = await section.read(reader)
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - logged below, without the answer that azure-core puts into its errors
        status, code = status_of(error)
        known_unread = reader.previous is not None and section.name in reader.previous.unread
        if status == 404 and code not in UNSUPPORTED and not known_unread:
            await _raise_if_gone(reader)
        if status is not None and 400 <= status < 500 and status not in _OWN_FAULT:
            reader.answered = True
            reader.refused.add(section.name)
        reader.unread[section.name] = reader.reason(error, section.name)
        reader.failed.add(section.name)
        # Unexpected errors are told every time; for the others it is enough to tell when they begin.
        unexpected = status is None and not is_unanswered(error) and not isinstance(error, UnreadableAnswer | Refused)
        level = logging.WARNING if unexpected else logging.DEBUG if known_unread else logging.INFO
        _log.log(
            level, "inventory of %s: %s unread: %s (%s)",
            reader.account.id, section.name, reader.unread[section.name], where(error),
        )  # fmt: skip
        before = reader.previous.objects if reader.previous else ()
        return [each for each in before if section.yields(reader.account, each)], error
    if reader.previous is not None and reader.never_read(section.name):
        reader.first_read |= {(each.kind, each.id) for each in found}
    return found, None


async def _raise_if_gone(reader: AccountReader) -> None:
    """Raise AccountGone if the 404 of a section is one of the whole account."""
    try:
        gone = await reader.is_gone()
    except ReadingEnded:
        raise
    except Exception as error:  # noqa: BLE001 - no answer is no proof; the section's own error is told
        _log.debug("inventory of %s: whether it is gone is unknown (%s)", reader.account.id, where(error))
        return
    if gone:
        raise AccountGone(f"Automation account {reader.account.id} does not exist any more (404).")
