"""Every permission that reading Azure Automation needs: why, and what is missing without it.

``infra/role-actions.json`` and the table of docs/security.md come from here. A test runs every enrichment and a whole
inventory and derives the permissions from the requests that were made: the list has each of them and no other.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

_ACCOUNTS: Final = "Microsoft.Automation/automationAccounts"

DRAFTS: Final = f"{_ACCOUNTS}/runbooks/*/read"
"""Azure refuses a role that names an operation which the provider does not list; of the text of a draft it lists the
writing and not the reading. A pattern is taken as long as it matches some listed operation; this one matches
``runbooks/content/read`` and ``runbooks/draft/read``. Whether it lets a draft be read has not been tried on Azure."""

EVERYTHING_BELOW: Final = f"{_ACCOUNTS}/*/read"
"""The narrowest pattern that matches a listed operation and the runtime environments too, of which none is listed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """One permission.

    ``used_by`` names the parts of the detector that make the requests: enrichment, inventory. ``granted_by`` is the
    action to name in a role, where that is another one than the permission itself.
    """

    used_by: tuple[str, ...]
    why: str
    without: str
    granted_by: str = ""


_BOTH: Final = ("enrichment", "inventory")
_ENRICHMENT: Final = ("enrichment",)
_INVENTORY: Final = ("inventory",)

READS: Final[Mapping[str, Read]] = {
    f"{_ACCOUNTS}/read": Read(
        used_by=_INVENTORY,
        why="Which automation accounts there are, and whether one is gone.",
        without="The inventory finds no account and tells nothing but that.",
    ),
    f"{_ACCOUNTS}/certificates/read": Read(
        used_by=_INVENTORY,
        why="Names and times of certificates. Azure never answers with the private key.",
        without="An added or replaced certificate is not told.",
    ),
    f"{_ACCOUNTS}/connections/read": Read(
        used_by=_INVENTORY,
        why="Names, types and times of connections. Field values, where Azure answers with them, are not kept.",
        without="An added or changed connection is not told.",
    ),
    f"{_ACCOUNTS}/credentials/read": Read(
        used_by=_INVENTORY,
        why="Names and times of credentials. Azure never answers with the password.",
        without="An added or changed credential is not told.",
    ),
    f"{_ACCOUNTS}/hybridRunbookWorkerGroups/read": Read(
        used_by=_INVENTORY,
        why="The hybrid worker groups: where runbooks run outside Azure's sandbox.",
        without="A new group is not told, and the workers of no group are read.",
    ),
    f"{_ACCOUNTS}/hybridRunbookWorkerGroups/hybridRunbookWorkers/read": Read(
        used_by=_INVENTORY,
        why="The machines of each hybrid worker group.",
        without="A machine that is added to a group is not told.",
    ),
    f"{_ACCOUNTS}/jobs/read": Read(
        used_by=_BOTH,
        why="Which runbook a job runs, where, and who started it; and the jobs of watchers, which leave no row.",
        without="Alerts about jobs lack the runbook and the caller; jobs of watchers and schedules are not seen.",
    ),
    f"{_ACCOUNTS}/jobs/output/read": Read(
        used_by=_ENRICHMENT,
        why="What a job wrote, for the alert about it. Secrets in it are masked.",
        without="Alerts about jobs lack their output.",
    ),
    f"{_ACCOUNTS}/jobs/runbookContent/action": Read(
        used_by=_ENRICHMENT,
        why="The text that a job executed, even when the runbook has been changed since. The request is a GET; Azure "
        "lists it as an action, so Reader lacks it.",
        without="Alerts show the text of today, which the attacker may have replaced.",
    ),
    f"{_ACCOUNTS}/jobSchedules/read": Read(
        used_by=_BOTH,
        why="Which schedule starts which runbook.",
        without="Alerts do not say what starts a runbook again, and a new link of the two is not told.",
    ),
    f"{_ACCOUNTS}/modules/read": Read(
        used_by=_INVENTORY,
        why="Names and versions of PowerShell modules, which run inside every runbook that imports them.",
        without="An added or replaced module is not told.",
    ),
    f"{_ACCOUNTS}/python2Packages/read": Read(
        used_by=_INVENTORY,
        why="Names and versions of packages of Python 2.",
        without="An added or replaced package is not told.",
    ),
    f"{_ACCOUNTS}/python3Packages/read": Read(
        used_by=_INVENTORY,
        why="Names and versions of packages of Python 3.",
        without="An added or replaced package is not told.",
    ),
    f"{_ACCOUNTS}/runbooks/read": Read(
        used_by=_BOTH,
        why="The runbooks, their state, type and who changed them last.",
        without="Alerts lack the runbook, and a new runbook is not told.",
    ),
    f"{_ACCOUNTS}/runbooks/content/read": Read(
        used_by=_BOTH,
        why="The published text of a runbook: what it does, and that it has changed. Secrets in alerts are masked.",
        without="Alerts lack the script, and a changed script is not told.",
        granted_by=DRAFTS,
    ),
    f"{_ACCOUNTS}/runbooks/draft/content/read": Read(
        used_by=_BOTH,
        why="The draft of a runbook: a test job runs it without its being published.",
        without="A draft that was made to run as a test is not shown and not told.",
        granted_by=DRAFTS,
    ),
    f"{_ACCOUNTS}/runtimeEnvironments/read": Read(
        used_by=_INVENTORY,
        why="The runtime environments, which decide what a runbook loads.",
        without="An added or changed runtime environment is not told, and the packages of none are read.",
        granted_by=EVERYTHING_BELOW,
    ),
    f"{_ACCOUNTS}/runtimeEnvironments/packages/read": Read(
        used_by=_INVENTORY,
        why="Names and versions of the packages of each runtime environment.",
        without="A package that is added to an environment is not told.",
        granted_by=EVERYTHING_BELOW,
    ),
    f"{_ACCOUNTS}/schedules/read": Read(
        used_by=_BOTH,
        why="When something starts by itself.",
        without="Alerts do not say when a runbook runs next, and a new schedule is not told.",
    ),
    f"{_ACCOUNTS}/sourceControls/read": Read(
        used_by=_INVENTORY,
        why="The repositories that runbooks are taken from.",
        without="A repository of an attacker is not told.",
    ),
    f"{_ACCOUNTS}/variables/read": Read(
        used_by=_INVENTORY,
        why="Names, times and encryption of variables. Azure answers with the values that are not encrypted too; they "
        "are not kept.",
        without="An added variable, or one that lost its encryption, is not told.",
    ),
    f"{_ACCOUNTS}/watchers/read": Read(
        used_by=_BOTH,
        why="The watchers: which runbook each runs, how often, and where. They leave no row of what they do.",
        without="Alerts lack the watcher, and a watcher that was made while no log was kept is not told.",
    ),
    f"{_ACCOUNTS}/watchers/watcherActions/read": Read(
        used_by=_BOTH,
        why="What a watcher starts when it finds something, where Azure answers: nothing published says that it does.",
        without="The action of a watcher is not shown.",
    ),
    f"{_ACCOUNTS}/webhooks/read": Read(
        used_by=_BOTH,
        why="The webhooks: which runbook each starts and until when. Azure never answers with their URLs.",
        without="Alerts do not say which webhooks start a runbook, and a new one is not told.",
    ),
}
"""By the permission that Azure asks for."""

ALL_SUBSCRIPTIONS: Final = "Microsoft.Resources/subscriptions/read"
"""Needed, in every subscription, only where INVENTORY_SUBSCRIPTIONS is empty. The deployment names them."""

ROLE_ACTIONS: Final = tuple(
    sorted({read.granted_by or action for action, read in READS.items() if read.granted_by != EVERYTHING_BELOW})
)
"""Actions of the custom role: all of :data:`READS` but the runtime environments."""

RUNTIME_ENVIRONMENT_ACTIONS: Final = (EVERYTHING_BELOW,)
"""What the role has to have besides for the runtime environments. It is more than they need, so it is a choice."""

RUNTIME_ENVIRONMENT_NOT_ACTIONS: Final = tuple(
    f"{_ACCOUNTS}/{each}/read" for each in ("agentRegistrationInformation", "configurations/content", "jobs/streams")
)
"""What :data:`EVERYTHING_BELOW` must not grant: the keys that register nodes, and texts that are never read."""
