"""The parts of an automation account, one module each. A new one is a module and a line in :data:`SECTIONS`."""

from typing import Final

from detectors.inventory.account_reader import Section
from detectors.inventory.sections import (
    account,
    certificates,
    connections,
    credentials,
    hybrid_worker_groups,
    hybrid_workers,
    job_schedules,
    jobs,
    modules,
    packages,
    python_packages,
    runbooks,
    runtime_environments,
    schedules,
    source_controls,
    variables,
    watchers,
    webhooks,
)

SECTIONS: Final[tuple[Section, ...]] = (
    runbooks.SECTION,
    watchers.SECTION,
    webhooks.SECTION,
    schedules.SECTION,
    job_schedules.SECTION,
    # Some sections read on from what others found: workers from groups, packages from environments, jobs from triggers.
    hybrid_worker_groups.SECTION,
    hybrid_workers.SECTION,
    modules.SECTION,
    python_packages.PYTHON2,
    python_packages.PYTHON3,
    runtime_environments.SECTION,
    packages.SECTION,
    source_controls.SECTION,
    credentials.SECTION,
    certificates.SECTION,
    connections.SECTION,
    variables.SECTION,
    jobs.SECTION,
)
"""In the order in which they are read, one after the other."""

PERMISSIONS: Final = tuple(
    sorted({account.PERMISSION, *(permission for section in SECTIONS for permission in section.permissions)})
)
"""Every action that reading an account needs, the list of accounts included."""

UNPUBLISHED_PERMISSIONS: Final = frozenset(
    f"Microsoft.Automation/automationAccounts/{each}/read"
    for each in ("runbooks/draft/content", "runtimeEnvironments", "runtimeEnvironments/packages")
)
"""Those of :data:`PERMISSIONS` that the provider's published list of operations lacks.

Azure takes no role that names an action which the provider does not list: a role has them by a pattern only, such as
``Microsoft.Automation/automationAccounts/*/read``. The built-in Reader has all.
"""
