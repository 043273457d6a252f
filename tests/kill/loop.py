"""The loop: actions appear, the worker is started and killed until it is left in peace, and the ledger is judged.

A seed gives the actions and the kill plans. Which request is the n-th is up to real processes and sockets, so a run is
repeated in kind, not to the byte.
"""

import dataclasses
import random
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from detectors import rulebook
from detectors.rule import Rule
from detectors.rulebook.operations import operations_of
from detectors.triage.identity import identity_of, match_id
from sandbox.activity import Action, rows_of, stable_id
from tests.clock import Clock
from tests.kill.life import End, WorkerBroken, live
from tests.kill.servers import StoreName, WatchedSandbox, state
from tests.kill.switch import Moment, Plan
from tests.kill.verdict import Verdict, compare, read
from tests.kill.worker import RULES

_ACTIONS = 3
"""New ones in each round: few enough that Teams gets a card for each."""

_OPERATIONS = (
    ("Microsoft.Automation/automationAccounts/runbooks/write", "runbooks"),
    ("Microsoft.Automation/automationAccounts/runbooks/publish/action", "runbooks"),
    ("Microsoft.Automation/automationAccounts/jobs/write", "jobs"),
    ("Microsoft.Automation/automationAccounts/watchers/write", "watchers"),
    ("Microsoft.Automation/automationAccounts/watchers/delete", "watchers"),
)

_WEIGHTS = {"store": 8, "teams": 3, "ingestion": 3, "webhook": 3, "automation": 2, "logs": 2, "token": 1}
"""How often a kill is planned at each place. Most steps of the pipeline are writes to the store."""

_USUAL = {"store": 60, "teams": 3, "ingestion": 3, "webhook": 3, "automation": 9, "logs": 4, "token": 2}
"""Requests of a life, until one has been seen."""

_MOST_IN_VAIN = 20

_LATEST = 0.03
"""Seconds after an answer within which the moment of a :attr:`Moment.LATER` lies; recording takes about as long."""

_RESTARTS = (timedelta(0), timedelta(seconds=90), timedelta(minutes=6))
"""How much later a killed worker comes back: its leases of five minutes still hold, or have run out."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run of the loop did and found."""

    kills: int
    starts: int
    places: Counter[str]
    """Kills by place and moment."""
    verdict: Verdict


def run(
    folder: Path, store: StoreName, *, kills: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Kill a worker *kills* times over an empty *store* in *folder*; *progress* is told how many are done.

    Raises :class:`WorkerBroken` when the worker fails by itself, hangs, never comes to rest, or will not be hit.
    """
    clock = Clock()
    with WatchedSandbox.start(folder, None, clock) as sandbox, state(store, folder, sandbox.switch) as settings:
        loop = Loop(sandbox, clock, settings, folder / "worker.log", folder / "rules", seed)
        while loop.kills < kills:
            loop.round(kills - loop.kills, progress)
        return loop.outcome()


class Loop:
    """Rounds of one run, over one sandbox and one store."""

    def __init__(
        self, sandbox: WatchedSandbox, clock: Clock, settings: dict[str, str], log: Path, folder: Path, seed: int
    ) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._rules = _rules_to(folder)
        self._environment = sandbox.environment() | settings | {RULES: str(folder)}
        self._log = log
        self._random = random.Random(seed)  # noqa: S311 - a test's choices, not a secret
        self._seed = seed
        self._actions = 0
        self._verdict = Verdict()
        self._usual = dict(_USUAL)
        self._seen: Counter[str] = Counter()
        self._starts = 0
        self._in_vain = 0
        self._places: Counter[str] = Counter()
        self.kills = 0

    def outcome(self) -> Outcome:
        """What happened so far."""
        return Outcome(self.kills, self._starts, self._places, self._verdict)

    def round(self, most: int, progress: Callable[[int], None]) -> None:
        """New actions, up to *most* kills, then a life in peace, after which everything must be in order."""
        before = len(self._sandbox.ledger.entries)
        alerts = self._act()
        kills = self._kill(min(most, self._random.randint(2, 6)), progress)
        # Judged before anything else happens: a later sweep would bring what a hunt has lost.
        received = read(self._sandbox.ledger.entries[before:], alerts)
        self._verdict += compare(dict.fromkeys(alerts, kills), received)
        # The next round's cards have a rate window of their own.
        self._clock.advance(minutes=6)

    def _kill(self, most: int, progress: Callable[[int], None]) -> int:
        """Start workers until one has come to rest, and kill at most *most* of them; how many were killed."""
        for count in range(most):
            plan = self._plan()
            verb = self._random.choices(("hunt", "both", "sweep"), (6, 3, 1))[0]
            if self._live([verb, "deliver"], plan) is not End.KILLED:
                # It came to rest, so it was the life in peace.
                self._rested(in_vain=True)
                return count
            self.kills += 1
            self._places[f"{plan.place}, {plan.moment.value}"] += 1
            progress(self.kills)
            self._clock.now += self._random.choice(_RESTARTS)
        self._live(["hunt", "deliver"], None)
        self._rested(in_vain=False)
        return most

    def _act(self) -> list[str]:
        """Log some actions that the rules look for; the ids of the alerts they must lead to."""
        alerts: list[str] = []
        for _ in range(_ACTIONS):
            self._actions += 1
            operation, kind = self._random.choice(_OPERATIONS)
            name = f"{self._seed}/{self._actions}"
            action = Action(
                operation=operation,
                resource_id=f"{self._sandbox.account.id}/{kind}/{stable_id(name, 'resource')}",
                statuses=("Success",),
                caller="dana@example.com",
                ip="192.0.2.7",
                time=self._clock() - timedelta(minutes=self._random.randint(1, 4)),
                correlation_id=stable_id(name, "correlation"),
                seed=name,
            )
            (row,) = rows_of(action, self._sandbox.workspace)
            ids = [
                match_id(rule.id, identity_of(rule, row))
                for rule in self._rules
                if operation in operations_of(rule.query)
            ]
            if not ids:
                raise ValueError(f"no rule names the operation {operation}; take another one")
            self._sandbox.add_rows(self._sandbox.workspace, [row])
            alerts += ids
        return alerts

    def _plan(self) -> Plan:
        place = self._random.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        return Plan(
            place,
            self._random.randint(1, self._usual[place]),
            self._random.choice(tuple(Moment)),
            self._random.uniform(0, _LATEST),
        )

    def _live(self, verbs: list[str], plan: Plan | None) -> End:
        self._starts += 1
        end = live(self._environment, verbs, switch=self._sandbox.switch, plan=plan, clock=self._clock, log=self._log)
        self._sandbox.drain()
        # The most of any life of this round: a plan beyond what a life asks for only ends the round early.
        self._seen |= self._sandbox.switch.counts
        return end

    def _rested(self, *, in_vain: bool) -> None:
        self._in_vain = self._in_vain + 1 if in_vain else 0
        if self._in_vain > _MOST_IN_VAIN:
            raise WorkerBroken(f"{self._in_vain} kills in a row were planned at requests that never came")
        self._usual = {place: max(self._seen[place], 1) for place in self._usual}
        self._seen = Counter()


def _rules_to(folder: Path) -> tuple[Rule, ...]:
    """Copy the rules on the operations of the loop to *folder*: what all the others ask would only cost time.

    Without those on behaviour, because what they make of a row depends on the others.
    """
    folder.mkdir()
    wanted = {operation for operation, _ in _OPERATIONS}
    for path in rulebook.rule_files(rulebook.BUILT_IN):
        rule = rulebook.load_rule(path, check_query=False)
        if rule.detector.stream and wanted.intersection(operations_of(rule.query)):
            shutil.copyfile(path, folder / path.name)
    return rulebook.load([folder], check_query=False).rules
