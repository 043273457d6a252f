"""The loop: actions appear, the worker is started and killed until it is left in peace, and the ledger is judged.

In a round of the hunt they appear in the workspace; in one of the stream in an Event Hub, among damaged messages, and
half of them in the workspace too, where a hunt may run beside. Then the quarantine is judged as well.

A seed gives the actions and the kill plans. Which request is the n-th is up to real processes and sockets, so a run is
repeated in kind, not to the byte.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from detectors import rulebook
from detectors.rule import Rule
from detectors.rulebook.operations import operations_of
from detectors.triage import health
from detectors.triage.identity import identity_of, match_id
from sandbox.activity import Action, rows_of, stable_id
from sandbox.ledger import Received
from tests.clock import Clock
from tests.kill.hub import HUB, NAME, PARTITION, Hub, HubMessage, Sender, compare_quarantine
from tests.kill.life import End, WorkerBroken, live
from tests.kill.servers import StoreName, WatchedSandbox, quarantined, state
from tests.kill.switch import Moment, Plan
from tests.kill.verdict import Verdict, compare, read
from tests.kill.worker import RULES

Source = Literal["hunt", "stream"]

_ACTIONS = 3
"""New ones in each round: few enough that Teams gets a card for each."""

_OPERATIONS = (
    ("Microsoft.Automation/automationAccounts/runbooks/write", "runbooks"),
    ("Microsoft.Automation/automationAccounts/runbooks/publish/action", "runbooks"),
    ("Microsoft.Automation/automationAccounts/jobs/write", "jobs"),
    ("Microsoft.Automation/automationAccounts/watchers/write", "watchers"),
    ("Microsoft.Automation/automationAccounts/watchers/delete", "watchers"),
)

_WEIGHTS = {
    "store": 8,
    "teams": 3,
    "ingestion": 3,
    "webhook": 3,
    "automation": 2,
    "logs": 2,
    "token": 1,
    "checkpoint": 2,
}
"""How often a kill is planned at each place. Most steps of the pipeline are writes to the store."""

_USUAL: Mapping[Source, Mapping[str, int]] = {
    "hunt": {"store": 60, "teams": 3, "ingestion": 3, "webhook": 3, "automation": 9, "logs": 4, "token": 2},
    "stream": {"store": 50, "teams": 3, "ingestion": 3, "webhook": 3, "automation": 9, "token": 2, "checkpoint": 2},
}
"""Requests of a life at each place, until one has been seen."""

_VERBS: Mapping[Source, tuple[tuple[str, int], ...]] = {
    "hunt": (("hunt", 6), ("both", 3), ("sweep", 1)),
    "stream": (("stream", 6), ("beside", 4)),
}
"""What a life begins with, and how often."""

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

    Rounds are of the hunt and of the stream in turn. Raises :class:`WorkerBroken` when the worker fails by itself,
    hangs, never comes to rest, or will not be hit.
    """
    with _loop(folder, store, seed) as loop:
        for source in itertools.cycle(_USUAL):
            loop.round(source, loop.plans(source, kills - loop.kills), progress=progress)
            if loop.kills >= kills:
                break
        return loop.outcome()


def run_plans(
    folder: Path, store: StoreName, source: Source, verb: str, plans: Sequence[Plan], *, seed: int
) -> Outcome:
    """One round of *source* in which each life begins with *verb* and is killed as the next one of *plans* says.

    Raises :class:`WorkerBroken` as :func:`run` does, and for a plan that came to nothing.
    """
    with _loop(folder, store, seed) as loop:
        loop.round(source, plans, verb=verb)
        if loop.kills < len(plans):
            raise WorkerBroken(f"the worker came to rest without {plans[loop.kills]}")
        return loop.outcome()


@contextlib.contextmanager
def _loop(folder: Path, store: StoreName, seed: int) -> "Iterator[Loop]":
    clock = Clock()
    with WatchedSandbox.start(folder, None, clock) as sandbox, state(store, folder, sandbox.switch) as settings:
        yield Loop(sandbox, clock, settings, folder, seed)


class Loop:
    """Rounds of one run, over one sandbox and one store."""

    def __init__(
        self, sandbox: WatchedSandbox, clock: Clock, settings: dict[str, str], folder: Path, seed: int
    ) -> None:
        self._sandbox = sandbox
        self._clock = clock
        rules, hub = folder / "rules", folder / "hub"
        self._rules = _rules_to(rules)
        self._settings = settings
        self._environment = sandbox.environment() | settings | {RULES: str(rules), HUB: str(hub)}
        self._log = folder / "worker.log"
        self._random = random.Random(seed)  # noqa: S311 - a test's choices, not a secret
        self._sender = Sender(Hub(hub), self._random)
        self._seed = seed
        self._actions = 0
        self._verdict = Verdict()
        self._usual: dict[Source, dict[str, int]] = {source: dict(usual) for source, usual in _USUAL.items()}
        self._seen: Counter[str] = Counter()
        self._starts = 0
        self._in_vain = 0
        self._places: Counter[str] = Counter()
        self.kills = 0

    def outcome(self) -> Outcome:
        """What happened so far."""
        return Outcome(self.kills, self._starts, self._places, self._verdict)

    def plans(self, source: Source, most: int) -> list[Plan]:
        """Two to six kills, or *most*, at places that a life of *source* usually gets to."""
        usual = self._usual[source]
        weights = [_WEIGHTS[place] for place in usual]
        plans = []
        for _ in range(min(most, self._random.randint(2, 6))):
            place = self._random.choices(tuple(usual), weights)[0]
            number, moment = self._random.randint(1, usual[place]), self._random.choice(tuple(Moment))
            plans.append(Plan(place, number, moment, self._random.uniform(0, _LATEST)))
        return plans

    def round(
        self,
        source: Source,
        plans: Sequence[Plan],
        *,
        verb: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """New actions, a life for each of *plans*, then one in peace, after which everything must be in order.

        Each life begins with *verb*, or with one of those of *source*.
        """
        if source == "stream":
            # One alert an hour says that messages are in quarantine: this hour has none yet.
            self._clock.now = self._clock.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        before, started = len(self._sandbox.ledger.entries), self._clock()
        rows, alerts = self._act()
        # A hunt that runs beside must know them again, and must not bring all of what the stream has lost.
        self._sandbox.add_rows(self._sandbox.workspace, rows if source == "hunt" else rows[: len(rows) // 2])
        messages = self._sender.send(rows) if source == "stream" else []
        kills = self._kill(source, plans, verb, progress)
        # Judged before anything else happens: a later sweep would bring what a hunt has lost.
        self._judge(self._sandbox.ledger.entries[before:], alerts, messages, kills, started)
        # The next round's cards have a rate window of their own.
        self._clock.advance(minutes=6)

    def _judge(
        self,
        entries: Sequence[Received],
        alerts: Sequence[str],
        messages: Sequence[HubMessage],
        kills: int,
        since: datetime,
    ) -> None:
        possible = _quarantine_alerts(since, self._clock()) if messages else []
        received = read(entries, [*alerts, *possible])
        arrived = {each.alert_id for mentions in received.values() for each in mentions}
        told = [each for each in possible if each in arrived]
        self._verdict += compare(dict.fromkeys([*alerts, *told], kills), received)
        if not messages:
            return
        self._verdict += compare_quarantine(messages, asyncio.run(quarantined(self._settings)))
        if not told:
            self._verdict += Verdict(lost=("no alert says that messages are in quarantine",))
        if self._sender.hub.read():
            self._verdict += Verdict(lost=("the worker came to rest with batches behind the checkpoint",))

    def _kill(self, source: Source, plans: Sequence[Plan], verb: str | None, progress: Callable[[int], None]) -> int:
        """Start workers until one has come to rest; how many were killed."""
        verbs, weights = zip(*_VERBS[source], strict=True)
        for count, plan in enumerate(plans):
            first = verb or self._random.choices(verbs, weights)[0]
            if self._live([first, "deliver"], plan) is not End.KILLED:
                # It came to rest, so it was the life in peace.
                self._rested(source, in_vain=True)
                return count
            self.kills += 1
            self._places[f"{plan.place}, {plan.moment.value}"] += 1
            progress(self.kills)
            self._clock.now += self._random.choice(_RESTARTS)
        self._live([source, "deliver"], None)
        self._rested(source, in_vain=False)
        return len(plans)

    def _act(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Rows of some actions that the rules look for, and the ids of the alerts they must lead to."""
        rows: list[dict[str, Any]] = []
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
            rows.append(row)
            alerts += ids
        return rows, alerts

    def _live(self, verbs: list[str], plan: Plan | None) -> End:
        self._starts += 1
        end = live(self._environment, verbs, switch=self._sandbox.switch, plan=plan, clock=self._clock, log=self._log)
        self._sandbox.drain()
        # The most of any life of this round: a plan beyond what a life asks for only ends the round early.
        self._seen |= self._sandbox.switch.counts
        return end

    def _rested(self, source: Source, *, in_vain: bool) -> None:
        self._in_vain = self._in_vain + 1 if in_vain else 0
        if self._in_vain > _MOST_IN_VAIN:
            raise WorkerBroken(f"{self._in_vain} kills in a row were planned at requests that never came")
        self._usual[source] = {place: max(self._seen[place], 1) for place in self._usual[source]}
        self._seen = Counter()


def _quarantine_alerts(since: datetime, until: datetime) -> list[str]:
    """Ids of the alerts that can say from *since* to *until* that messages are in quarantine: one an hour."""

    def identifier(now: datetime) -> str:
        return health.quarantined(
            hub=NAME, partition=PARTITION, pieces=0, size=0, reason="", entry="", whole=False, now=now
        ).id

    hours = int((until - since) / timedelta(hours=1)) + 1
    return [identifier(since + timedelta(hours=number)) for number in range(hours)]


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
