"""What is simulated."""

from datetime import UTC, datetime, timedelta

from detectors.delivery.destination import RateLimit
from tests.simulation.world import LoggedRow, Scenario, logged_row

START = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REST_SHAPE = {
    "ActivityStatusValue": "Succeeded",
    "OperationNameValue": "Microsoft.Automation/automationAccounts/runbooks/write",
}


def steady() -> Scenario:
    """A few actions, each in the log after three to twenty minutes."""
    rows = [logged_row(n, START + 2 * n * MINUTE, (3 + 5 * n % 18) * MINUTE) for n in range(4)]
    return Scenario(name="steady", rows=tuple(rows), start=START, busy=30 * MINUTE)


def flood() -> Scenario:
    """More than the limit of a run in one minute: summaries, and more than Teams takes: digests."""
    rows = [logged_row(n, START + MINUTE, 4 * MINUTE) for n in range(14)]
    return Scenario(
        name="flood",
        rows=tuple(rows),
        start=START,
        busy=20 * MINUTE,
        alert_limit=8,
        teams_limit=RateLimit(4, 300),
        digest_size=3,
    )


def outage() -> Scenario:
    """The app comes back after fourteen hours; the gap is read in several windows."""
    rows = [logged_row(n, START - timedelta(minutes=30 + 7 * n), 3 * MINUTE) for n in range(4)]
    return Scenario(name="outage", rows=tuple(rows), start=START, busy=15 * MINUTE)


def crowd() -> Scenario:
    """Two processes with different clocks, rows late and twice and in both shapes."""
    rows: list[LoggedRow] = []
    for number in range(4):
        at = START + 3 * number * MINUTE
        rows.append(logged_row(number, at, (4 + 4 * number) * MINUTE))
        rows.append(logged_row(number, at, (9 + 4 * number) * MINUTE, **REST_SHAPE))
    # Later than any overlap: only the sweep sees it.
    rows.append(logged_row(9, START + MINUTE, 50 * MINUTE))
    return Scenario(
        name="crowd", rows=tuple(rows), start=START, busy=25 * MINUTE, processes=2, skew=timedelta(seconds=100)
    )


ALL = (steady(), flood(), outage(), crowd())
