"""The sandbox itself: starts the servers, sends each request to its endpoint, and plays scenarios."""

import base64
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.accounts import Account
from sandbox.activity import rows_of
from sandbox.certificate import write_certificate
from sandbox.directory import AccountList, Subscription
from sandbox.endpoints.automation import AutomationEndpoint
from sandbox.endpoints.control import ControlEndpoint
from sandbox.endpoints.ingestion import IngestionEndpoint
from sandbox.endpoints.logs import LogsEndpoint
from sandbox.endpoints.pagerduty import PagerDutyEndpoint
from sandbox.endpoints.sentinel import PROVIDER, SentinelEndpoint
from sandbox.endpoints.teams import TeamsEndpoint, failed_action
from sandbox.endpoints.token import TokenEndpoint
from sandbox.endpoints.webhook import WebhookEndpoint
from sandbox.faults import Fault, Faults, Partial, Reset, Slow, response_of
from sandbox.ledger import Asked, Ledger
from sandbox.rows import Rows, tables
from sandbox.scenario import Scenario, Step, actions_of, load_scenario, offset, start_of
from sandbox.tokens import TokenIssuer
from sandbox.wire import LoopbackServer, Request, Response, error_response, tls_context

WORKSPACE = "0b6f7f3a-52a5-4d9e-9c38-6a1f3c0de001"
"""The workspace of a sandbox without a scenario."""
SUBSCRIPTION = "7d1c2a90-3c4e-4b7f-8f5a-2e9b6d0c1a02"
RESOURCE_GROUP = "rg-automation"
ACCOUNT = "aa-operations"

RULE_ID = "dcr-00000000000000000000000000000001"
STREAM = "Custom-AutomationDetections_CL"
SENTINEL_WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/rg-security/providers/Microsoft.OperationalInsights/workspaces/"
    "law-security"
)

_FAMILIES = {
    "msi": "token",
    "v1": "logs",
    "subscriptions": "automation",
    "datacollectionrules": "ingestion",
    "workflows": "teams",
    "webhook": "webhook",
    "v2": "pagerduty",
}
_RECEIVERS = frozenset({"ingestion", "teams", "webhook", "pagerduty", "sentinel"})
_FIELD_LIMIT = 64 * 1024


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Sandbox:
    """Azure on loopback. Use :meth:`start` as a context manager.

    ``faults`` and ``ledger`` may be used from any thread while clients are at work.
    """

    def __init__(self, folder: Path, scenario: Scenario | None, clock: Callable[[], datetime]) -> None:
        self.scenario = scenario
        self.faults = Faults()
        self.ledger = Ledger()
        self.directory = AccountList()
        self.accounts = self.directory.listed
        self.workspace = scenario.workspace if scenario else WORKSPACE
        self._clock = clock
        self._rows = Rows()
        self._rows.create(self.workspace)
        self._tables = tables()
        self._started: datetime | None = None
        self._next_step = 0
        self._playing = threading.RLock()
        self._identity_header = secrets.token_urlsafe(24)
        self._webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self._teams_signature = secrets.token_urlsafe(32)
        issuer = TokenIssuer()
        self._token = TokenEndpoint(issuer, self._identity_header)
        self.pagerduty_routing_key = secrets.token_hex(16)
        self.pagerduty = PagerDutyEndpoint(self.pagerduty_routing_key)
        self._teams = TeamsEndpoint(self._teams_signature)
        self._webhook = WebhookEndpoint(self._webhook_secret, clock)
        self._ingestion = IngestionEndpoint(issuer, RULE_ID, self._store_ingested)
        self._control = ControlEndpoint(self)
        self.logs = LogsEndpoint(self._rows, issuer, clock)
        self.automation = AutomationEndpoint(self.directory, issuer)
        self.automation.watcher_actions = scenario is not None and scenario.watcher_actions
        self._add_first_account()
        self.sentinel_workspace = SENTINEL_WORKSPACE.format(subscription=self.account.subscription)
        self.sentinel = SentinelEndpoint(self.sentinel_workspace, issuer, clock)

        certificate = write_certificate(folder)
        self.ca_bundle = certificate.certificate
        self._tls = LoopbackServer(self._answer, tls_context(str(certificate.certificate), str(certificate.key)))
        self._plain = LoopbackServer(self._answer)
        self.url = f"https://localhost:{self._tls.port}"
        self.plain_url = f"http://127.0.0.1:{self._plain.port}"
        self.pagerduty_url = f"{self.url}/v2/enqueue"
        self.logs.url = self.automation.url = self.sentinel.url = self.url

    @classmethod
    def start(
        cls,
        folder: str | Path,
        scenario: str | Path | Scenario | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> Self:
        """Start serving. *folder* takes the run's certificate; *scenario* is a file, a bundled name or loaded.

        *clock* (UTC-aware) decides which rows are ingested and what ``now()`` is in KQL. Raises
        :class:`~sandbox.scenario.ScenarioError`.
        """
        if scenario is not None and not isinstance(scenario, Scenario):
            scenario = load_scenario(scenario)
        return cls(Path(folder), scenario, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let waiting requests go, close every connection and stop. Idempotent."""
        self.faults.clear()
        self._tls.close()
        self._plain.close()
        self.logs.close()

    def environment(self) -> dict[str, str]:
        """The environment and app settings with which a detector works against this sandbox."""
        return {
            "IDENTITY_ENDPOINT": f"{self.plain_url}/msi/token",
            "IDENTITY_HEADER": self._identity_header,
            "WORKSPACE_IDS": ",".join(self._rows.workspaces),
            "LOGS_ENDPOINT": self.url,
            "ARM_ENDPOINT": self.url,
            "LOGS_INGESTION_ENDPOINT": self.url,
            "LOGS_INGESTION_RULE_ID": RULE_ID,
            "LOGS_INGESTION_STREAM": STREAM,
            "TEAMS_WEBHOOK_URL": (
                f"{self.url}/workflows/6f1a/triggers/manual/paths/invoke?api-version=2016-06-01"
                f"&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={self._teams_signature}"
            ),
            "WEBHOOK_URL": f"{self.url}/webhook",
            "WEBHOOK_SECRET": self._webhook_secret,
            "SENTINEL_WORKSPACE_RESOURCE_ID": self.sentinel_workspace,
            "CA_BUNDLE": str(self.ca_bundle),
        }

    @property
    def account(self) -> Account:
        """The first automation account: that of the scenario, if there is one."""
        return self.accounts[0]

    def add_account(self, name: str, resource_group: str = RESOURCE_GROUP, subscription: str | None = None) -> Account:
        """A further, empty automation account; by default in the first one's subscription."""
        account = Account(subscription or self.account.subscription, resource_group, name, self._clock())
        self.accounts.append(account)
        return account

    def add_subscription(self, subscription: str, *, state: str = "Enabled", display_name: str = "Contoso") -> None:
        """A subscription that the caller sees, or another state of one; :meth:`add_account` adds its own by itself."""
        self.directory.add(Subscription(subscription, display_name, state))

    def add_rows(
        self,
        workspace: str,
        rows: Iterable[Mapping[str, Any]],
        ingested_at: datetime | None = None,
        table: str = "AzureActivity",
    ) -> int:
        """Add rows in the columns of *table*; they can be queried from *ingested_at* (default: at once).

        Returns how many there were. Raises :class:`ValueError` naming the row and the column that is wrong; then
        none was added.
        """
        if table not in self._tables:
            raise ValueError(f"there is no table {table!r}; use one of {', '.join(sorted(self._tables))}")
        rows = list(rows)
        columns = {name for name, _ in self._tables[table].columns}
        for number, row in enumerate(rows, start=1):
            if unknown := sorted(set(row) - columns):
                raise ValueError(f"row {number} of {table} has the column {unknown[0]!r}, which the table has not")
        return self._rows.add(workspace, table, rows, ingested_at or self._clock())

    def rows(self, workspace: str) -> dict[str, list[Mapping[str, Any]]]:
        """The rows of *workspace* that a query sees now, by table."""
        visible = self._rows.visible([workspace], self._clock())
        return {table: [row.values for row in rows] for table, rows in visible.items()}

    def play_step(self, number: int) -> Step:
        """Play one step of the scenario, counted from 0: its rows and its changes to the account.

        The first step that is played anchors the scenario in time. Raises :class:`ValueError` when there is no such
        step.
        """
        with self._playing:
            scenario = self._scenario()
            if not 0 <= number < len(scenario.steps):
                raise ValueError(f"{scenario.name} has the steps 0 to {len(scenario.steps) - 1}, not {number}")
            if self._started is None:
                self._started = start_of(scenario, self._clock())
            step = scenario.steps[number]
            self.account.apply(step.account, self._started + offset(step.at))
            for action in actions_of(scenario, number, self._started):
                for row in rows_of(action, self.workspace):
                    ingested = datetime.fromisoformat(row["TimeGenerated"]) + offset(step.ingestion_delay)
                    self.add_rows(self.workspace, [row], ingested)
            self._next_step = number + 1
            return step

    def play_all(self) -> tuple[Step, ...]:
        """Play every step that has not been played yet."""
        with self._playing:
            return tuple(self.play_step(number) for number in range(self._next_step, len(self._scenario().steps)))

    def advance(self, steps: int | None) -> tuple[str, ...]:
        """Play that many further steps (None: all that are left) and give their titles."""
        with self._playing:
            left = len(self._scenario().steps) - self._next_step
            count = left if steps is None else min(steps, left)
            return tuple(self.play_step(self._next_step).title for _ in range(count))

    def state(self) -> dict[str, Any]:
        """What there is, as JSON values."""
        now = self._clock()
        return {
            "url": self.url,
            "now": now.isoformat(),
            "scenario": self.scenario.name if self.scenario else None,
            "steps": [step.title for step in self.scenario.steps] if self.scenario else [],
            "next_step": self._next_step,
            "rows": {
                workspace: {
                    "all": self._rows.total(workspace),
                    "visible": sum(map(len, self._rows.visible([workspace], now).values())),
                }
                for workspace in self._rows.workspaces
            },
            "accounts": [account.id for account in self.accounts],
            "faults": self.faults.active(),
            "requests": dict(self.ledger.counts),
        }

    def _scenario(self) -> Scenario:
        if self.scenario is None:
            raise ValueError("the sandbox was started without a scenario; name one in Sandbox.start")
        return self.scenario

    def _add_first_account(self) -> None:
        now = self._clock()
        if self.scenario is None:
            self.accounts.append(Account(SUBSCRIPTION, RESOURCE_GROUP, ACCOUNT, now))
            return
        # Long before the story, so that nothing of it looks new.
        begun = start_of(self.scenario, now) - timedelta(days=30)
        account = Account(
            self.scenario.subscription, self.scenario.resource_group, self.scenario.automation_account, begun
        )
        account.apply(self.scenario.before, begun)
        self.accounts.append(account)

    def _store_ingested(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Put ingested rows into the first workspace, as the data collection rule does.

        Columns that the table has not are dropped and long texts are cut, in silence, as the service does both.
        """
        schema = self._tables.get(table)
        if schema is None:
            return
        columns = {name for name, _ in schema.columns}
        now = self._clock()
        kept = [
            {"TimeGenerated": now}
            | {
                name: value[:_FIELD_LIMIT] if isinstance(value, str) else value
                for name, value in row.items()
                if name in columns
            }
            for row in rows
        ]
        self._rows.add(self.workspace, table, kept, now)

    def _answer(self, request: Request) -> Response | None:
        segments = request.segments
        first = segments[0].lower() if segments else ""
        if first == "sandbox":
            return self._control.answer(request)
        endpoint = _FAMILIES.get(first)
        if endpoint == "automation" and PROVIDER.lower() in request.path.lower().split("/"):
            endpoint = "sentinel"
        if endpoint is None:
            return error_response(404, "NotFound", "The sandbox has no such endpoint.")
        fault = self.faults.take(endpoint, request.path)
        if isinstance(fault, Slow):
            fault.arrived.set()
            fault.release.wait()
            fault = None
        response = self._respond(endpoint, request, fault)
        status = None if response is None else response.status
        self.ledger.ask(Asked(endpoint, request.method, request.path, status))
        # Sentinel is read as well as written to: only what is written is received.
        if endpoint in _RECEIVERS and (endpoint, request.method) != ("sentinel", "GET"):
            self._record(endpoint, request, status)
        return response

    def _respond(self, endpoint: str, request: Request, fault: Fault | None) -> Response | None:
        if isinstance(fault, Reset):
            return None
        if fault is not None and not isinstance(fault, Partial | Slow):
            return response_of(endpoint, fault)
        match endpoint:
            case "token":
                return self._token.answer(request)
            case "logs":
                return self.logs.answer(request, fault)
            case "automation":
                return self.automation.answer(request)
            case "ingestion":
                return self._ingestion.answer(request)
            case "teams":
                return self._teams.answer(request)
            case "pagerduty":
                return self.pagerduty.answer(request)
            case "sentinel":
                return self.sentinel.answer(request)
            case _:
                return self._webhook.answer(request)

    def _record(self, endpoint: str, request: Request, status: int | None) -> None:
        try:
            size = len(request.content())
        except ValueError:
            size = len(request.body)
        self.ledger.receive(
            endpoint=endpoint,
            time=self._clock(),
            path=request.path,
            headers=dict(request.headers),
            body=request.decoded(),
            size=size,
            status=status,
            failed_action=failed_action(request) if endpoint == "teams" and status == 202 else None,
        )
