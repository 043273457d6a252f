"""The demo's own words in the terminal: what happens, what came of it, and whether that was right."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.model import Alert
from sandbox.report.log_file import EXPORT, SEARCH, LogFile
from sandbox.report.outcome import Comparison, Delivered, by_rule
from sandbox.report.terminal import heading, indented, print_again, print_alert, print_brief, table
from sandbox.report.text import moment, shortened, span, visible
from sandbox.report.view import Section, build, worst_first

BAD_RECORDS_SHOWN = 5
TOLD_IN_FULL = 3
"""Alerts of a person's own log that the terminal tells in full; the page tells all."""
BRIEF = 20

NO_CONTENTS = (
    "Runbook contents, jobs and watchers cannot be fetched here: the demo's Azure does not know your accounts. "
    "Deployed, the detector reads them with its own identity, and severity depends on them. "
    "When something was found is the time of this replay: just after the last event."
)
NOT_IN_THE_DEMO = "the demo's Azure does not know your accounts; a deployed detector fetches it."


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What one run of the detector against one sandbox gave. ``problems`` are sentences; empty is good."""

    name: str
    sections: list[Section] = dataclasses.field(default_factory=list)
    alerts: list[Alert] = dataclasses.field(default_factory=list)
    comparisons: tuple[Comparison, ...] = ()
    deliveries: tuple[Delivered, ...] = ()
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        """Everything that is not as it should be, one sentence each."""
        found = [*self.problems, *(str(line) for line in self.comparisons if not line.met)]
        return found + [str(line) for line in self.deliveries if not line.met]


class Teller:
    """Prints alerts as they come, each in full the first time that its rule or its script appears."""

    def __init__(self, target: Console) -> None:
        self._target = target
        self._told: set[str] = set()

    def tell(self, alerts: Sequence[Alert], *, indent: int = 2) -> None:
        """Print *alerts*, those that repeat what was told before without rule, links and ids."""
        if not alerts:
            self._target.print(indented(Text("No alert.", style="dim"), indent))
            self._target.print()
        for alert in alerts:
            known = {alert.rule_id, *(code.sha256 for found in alert.evidence for code in found.code)}
            if known <= self._told:
                print_again(self._target, build(alert), indent=indent)
            else:
                print_alert(self._target, build(alert), indent=indent)
            self._told |= known


def print_log_file(target: Console, log: LogFile) -> None:
    """What was read of a person's own log, and what was not."""
    target.print(heading(f"Your Activity Log: {visible(str(log.path))}"))
    count = f"{len(log.rows):,} record{'' if len(log.rows) == 1 else 's'}"
    length = span((log.last - log.first).total_seconds())
    target.print(indented(Text(f"{count}, from {moment(log.first)} to {moment(log.last)} ({length}).")))
    if log.bad:
        left_out = "record was" if len(log.bad) == 1 else "records were"
        target.print(indented(Text(f"{len(log.bad):,} {left_out} left out:")))
        for bad in log.bad[:BAD_RECORDS_SHOWN]:
            target.print(indented(Text(f"record {bad.position}: {shortened(bad.reason, 200)}"), 4))
        if len(log.bad) > BAD_RECORDS_SHOWN:
            target.print(indented(Text(f"and {len(log.bad) - BAD_RECORDS_SHOWN:,} more"), 4))
    target.print(indented(Text(NO_CONTENTS)))
    target.print()


def without_sandbox_reasons(alert: Alert) -> Alert:
    """*alert* of a person's own log with the true reason for missing evidence.

    The detector asked an Azure that never had the account, and was told that it was deleted.
    """
    evidence = tuple(
        piece if piece.missing is None else msgspec.structs.replace(piece, missing=NOT_IN_THE_DEMO)
        for piece in alert.evidence
    )
    return msgspec.structs.replace(alert, evidence=evidence)


def print_own_alerts(target: Console, alerts: Sequence[Alert]) -> None:
    """The alerts of a person's own log: the worst in full, some more by title, the rest by number."""
    if not alerts:
        target.print(Text("No rule found anything in it."))
        target.print()
    ordered = worst_first(alerts)
    for alert in ordered[:TOLD_IN_FULL]:
        print_alert(target, build(alert))
    rest = ordered[TOLD_IN_FULL:]
    for alert in rest[:BRIEF]:
        print_brief(target, build(alert))
    if len(rest) > BRIEF:
        target.print(Text(f"… {len(rest) - BRIEF:,} more alerts on the page"))
    if rest:
        target.print()


def print_result(target: Console, outcomes: Sequence[Outcome], page: Path, *, own_log: bool) -> None:
    """The tables at the end, what differs from what was expected, and what to do next."""
    alerts = [alert for outcome in outcomes for alert in outcome.alerts]
    target.print(heading("Alerts by rule"))
    rows = [(Text(str(count)), Text(rule)) for rule, count in by_rule(alerts).items()]
    target.print(indented(table(("Alerts", "Rule"), rows) if rows else Text("none")))
    for outcome in outcomes:
        if outcome.comparisons:
            target.print()
            target.print(heading(f"Expected and got: {outcome.name}"))
            target.print(indented(_comparisons(outcome.comparisons)))
    target.print()
    target.print(heading("Delivered, as the receivers saw it"))
    arrived = [(Text(outcome.name), *map(_arrived, outcome.deliveries)) for outcome in outcomes]
    target.print(indented(table(("", *(line.destination for line in outcomes[0].deliveries)), arrived)))
    target.print()
    differences = [f"{outcome.name}: {line}" for outcome in outcomes for line in outcome.differences]
    if differences:
        target.print(Text("Not as expected", style="bold red"))
        for line in differences:
            target.print(indented(Text(visible(line))))
    else:
        done = "Done: every alert arrived at the demo's receivers." if own_log else "Everything was as expected."
        target.print(Text(done, style="bold green"))
    target.print()
    target.print(Text("The alerts as a page:"))
    target.print(indented(Text(visible(str(page)), style="bold")))
    if not own_log:
        target.print(Text("Next, your own log:"))
        for command in (EXPORT, SEARCH):
            target.print(indented(Text(command, style="bold")))
    target.print(Text("Lint, types and every test: ").append("make test", style="bold"))


def _comparisons(lines: Sequence[Comparison]) -> Table:
    return table(
        ("", "Got", "Expected", "Rule, and the end of the resource"),
        [
            (
                _mark(met=line.met),
                Text(str(line.got)),
                Text(str(line.expected)),
                Text(visible(line.rule)).append(f"\n{visible(line.resource)}", style="dim"),
            )
            for line in lines
        ],
    )


def _arrived(line: Delivered) -> Text:
    count = Text(f"{line.arrived} of {line.alerts}")
    return count if line.met else count.append(" DIFFERS", style="bold red")


def _mark(*, met: bool) -> Text:
    return Text("ok", style="green") if met else Text("DIFFERS", style="bold red")
