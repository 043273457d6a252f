"""``make demo``: the detector finds an attack on a simulated Azure, or looks through a person's own Activity Log.

The detector is the real one with its real Azure SDK clients; only the other end is simulated, on this machine. The
exit code is 0 when the detector did exactly what the scenarios expect, 1 when it did not, and 2 when what was asked
for cannot be done at all.
"""

import argparse
import asyncio
import contextlib
import logging
import math
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from detectors.model import Alert, DeliveryState
from sandbox.report import story
from sandbox.report.html import render
from sandbox.report.log_file import LogFile, LogFileError, read_log
from sandbox.report.outcome import compare, delivered
from sandbox.report.story import Outcome
from sandbox.report.terminal import console, heading, indented
from sandbox.report.text import moment, visible
from sandbox.report.view import Field, Section
from sandbox.scenario import ScenarioError, load_scenario

if TYPE_CHECKING:
    from detectors.app import Detector
    from sandbox.server import Sandbox

SCENARIOS = ("setup-then-execute", "quiet-day", "watcher-without-log")
DELIVERY_RUNS = 10
"""Deliveries after a hunt until nothing is left; each has the detector's own time budget."""


class _LogLines(logging.Handler):
    """What the detector logs, on the demo's own console, with hostile names made visible."""

    def __init__(self, target: Console) -> None:
        super().__init__(logging.WARNING)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        self._target.print(Text(f"{record.levelname.lower()}: {visible(record.getMessage())}", style="yellow"))


@contextlib.contextmanager
def _azure_environment(given: Mapping[str, str]) -> Iterator[None]:
    """The process environment of a Functions app with a managed identity.

    azure-identity reads it from ``os.environ`` and nowhere else. Loopback is kept away from a proxy that the
    machine may have set.
    """
    wanted = {name: value for name, value in given.items() if name.startswith("IDENTITY_")}
    wanted |= {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}
    before = {name: os.environ.get(name) for name in (*wanted, "IDENTITY_SERVER_THUMBPRINT")}
    os.environ.pop("IDENTITY_SERVER_THUMBPRINT", None)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.asynccontextmanager
async def _detector(
    sandbox: "Sandbox", folder: Path, clock: Callable[[], datetime], extra: Mapping[str, str]
) -> AsyncIterator["Detector"]:
    from detectors.app import Detector
    from detectors.settings import load_settings

    state = folder / "state.db"
    # The state of an earlier demo would know every alert already, and nothing would be said.
    for suffix in ("", "-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    environment = {**sandbox.environment(), "STATE_PATH": str(state), **extra}
    with _azure_environment(environment):
        detector = Detector(load_settings(environment), environment=environment, clock=clock)
        try:
            await detector.open()
            yield detector
        finally:
            await detector.close()


async def _hunt(detector: "Detector", outcome: Outcome) -> list[Alert]:
    """One hunt, then deliveries until nothing is left; the new alerts, oldest first."""
    report = await detector.hunt()
    outcome.problems += [f"rule {failed.rule_id} failed: {failed.error}" for failed in report.errors]
    await _deliver(detector)
    return await _alerts(detector, report.new_alerts, outcome)


async def _visit(detector: "Detector", sandbox: "Sandbox", outcome: Outcome) -> list[Alert]:
    """One reading of every automation account; otherwise as :func:`_hunt`."""
    known = {alert.id for alert in outcome.alerts}
    report = await detector.inventory()
    outcome.problems += [f"inventory: {error}" for error in report.errors]
    await _deliver(detector)
    # The report only counts the alerts: whoever wants to see them is a receiver.
    arrived = [entry.body["data"]["id"] for entry in sandbox.ledger.at("webhook") if entry.accepted]
    new = [identifier for identifier in dict.fromkeys(arrived) if identifier not in known]
    if len(new) != report.new_alerts:
        outcome.problems.append(f"inventory: reported {report.new_alerts} new alerts, and {len(new)} arrived")
    return await _alerts(detector, new, outcome)


async def _deliver(detector: "Detector") -> None:
    for _ in range(DELIVERY_RUNS):
        if not (await detector.deliver()).left:
            break


async def _alerts(detector: "Detector", identifiers: Sequence[str], outcome: Outcome) -> list[Alert]:
    alerts = []
    for identifier in identifiers:
        stored = await detector.store.read(identifier)
        if stored is None or stored.record.alert is None:
            outcome.problems.append(f"alert {identifier} was stored but never triaged")
            continue
        alerts.append(stored.record.alert)
        outcome.problems += [
            f"alert {identifier} is {delivery.state} at {name}: {delivery.error or 'not sent yet'}"
            for name, delivery in stored.record.deliveries.items()
            if delivery.state is not DeliveryState.SENT
        ]
    alerts.sort(key=lambda alert: (alert.event_time, alert.id))
    outcome.alerts += alerts
    return alerts


async def play(target: Console, name: str, folder: Path, clock: Callable[[], datetime]) -> Outcome:
    """Play the scenario *name* step by step: after each a hunt, and for some scenarios a reading of the accounts."""
    from sandbox.server import Sandbox

    scenario = load_scenario(name)
    outcome = Outcome(name=scenario.name)
    teller = story.Teller(target)

    def tell(title: str, alerts: list[Alert]) -> None:
        teller.tell(alerts)
        note = "" if alerts else "No alert."
        ids = tuple(alert.id for alert in alerts)
        outcome.sections.append(Section(title=f"{scenario.name}: {title}", note=note, alert_ids=ids))

    with Sandbox.start(folder, scenario, clock) as sandbox:
        target.print(heading(f"Scenario {scenario.name}"))
        target.print(indented(Text(scenario.description.strip())))
        target.print()
        async with _detector(sandbox, folder, clock, {}) as detector:
            if scenario.inventory:
                # What the account holds before the story is nothing new, and only who knows it sees what is.
                title = "The detector reads the automation account for the first time"
                target.print(heading(f"Before: {title}"))
                tell(title, await _visit(detector, sandbox, outcome))
            for number, step in enumerate(scenario.steps):
                target.print(heading(f"Step {number + 1} of {len(scenario.steps)}: {step.title}"))
                sandbox.play_step(number)
                alerts = await _hunt(detector, outcome)
                if scenario.inventory:
                    alerts += await _visit(detector, sandbox, outcome)
                tell(step.title, alerts)
            names = {rule.id: Path(rule.path).stem for rule in detector.rules}
        outcome.comparisons = compare(scenario.expect, outcome.alerts, names)
        outcome.deliveries = delivered(sandbox.ledger.entries, len(outcome.alerts))
    return outcome


async def search(target: Console, log: LogFile, folder: Path) -> Outcome:
    """Hunt through a person's own log, as if it were just after its last event."""
    from sandbox.server import Sandbox

    outcome = Outcome(name="your log")
    end = log.last + timedelta(seconds=1)
    hours = math.ceil((end - log.first) / timedelta(hours=1)) + 1
    with Sandbox.start(folder, clock=lambda: end) as sandbox:
        environment = sandbox.environment()
        sandbox.add_rows(environment["WORKSPACE_IDS"].split(",")[0], list(log.rows))
        # One window over everything: there is no service here whose limits would cut it off.
        lookback = {"HUNT_INITIAL_LOOKBACK": f"{hours}h", "HUNT_MAX_WINDOW": f"{hours}h"}
        async with _detector(sandbox, folder, lambda: end, lookback) as detector:
            await _hunt(detector, outcome)
        outcome.deliveries = delivered(sandbox.ledger.entries, len(outcome.alerts))
    outcome.alerts = alerts = [story.without_sandbox_reasons(alert) for alert in outcome.alerts]
    story.print_own_alerts(target, alerts)
    fields = (
        Field("Records read", f"{len(log.rows):,}"),
        Field("Records left out", f"{len(log.bad):,}"),
        Field("From", moment(log.first)),
        Field("To", moment(log.last)),
    )
    ids = tuple(alert.id for alert in alerts)
    title = f"Your Activity Log: {log.path.name}"
    outcome.sections.append(Section(title=title, note=story.NO_CONTENTS, fields=fields, alert_ids=ids))
    return outcome


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("--log", type=Path, metavar="FILE", help="look through this exported Activity Log instead")
    parser.add_argument("--scenario", metavar="NAME", help=f"play one scenario instead of {', '.join(SCENARIOS)}")
    parser.add_argument("--output", type=Path, default=Path(".demo"), metavar="DIR", help="folder for page and state")
    return parser.parse_args(given)


async def _run(target: Console, arguments: argparse.Namespace) -> tuple[str, list[Outcome]]:
    if arguments.log is not None:
        log = read_log(arguments.log)
        story.print_log_file(target, log)
        return "What the detector finds in your Activity Log", [await search(target, log, _folder(arguments, "log"))]
    names = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    outcomes = [await play(target, name, _folder(arguments, Path(name).stem), _utc_now) for name in names]
    return "Azure Automation detector: the demo's alerts", outcomes


def _folder(arguments: argparse.Namespace, name: str) -> Path:
    """A folder for one sandbox: its certificate and the detector's state."""
    folder: Path = arguments.output / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main(given: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code, see the module."""
    arguments = _arguments(given)
    target = console()
    log = logging.getLogger("detectors")
    handler = _LogLines(target)
    log.addHandler(handler)
    target.print(Text("Azure Automation detector: demo", style="bold"))
    target.print(Text("The real detector and a simulated Azure; nothing leaves this machine.", style="dim"))
    target.print()
    try:
        title, outcomes = asyncio.run(_run(target, arguments))
        alerts = [alert for outcome in outcomes for alert in outcome.alerts]
        sections = [section for outcome in outcomes for section in outcome.sections]
        page = arguments.output.resolve() / "alerts.html"
        page.write_text(render(alerts, title=title, generated_at=_utc_now(), sections=sections), encoding="utf-8")
    except (LogFileError, ScenarioError) as error:
        console(sys.stderr).print(Text(str(error), style="bold red"))
        return 2
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename or arguments.output}"
        console(sys.stderr).print(
            Text(f"The demo cannot write or listen: {visible(reason)}. Name a folder with --output.", style="bold red")
        )
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        log.removeHandler(handler)
    story.print_result(target, outcomes, page, own_log=arguments.log is not None)
    return 1 if any(outcome.differences for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
