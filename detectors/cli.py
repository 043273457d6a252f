"""The command line: ``python -m detectors COMMAND``. Reads arguments, runs one command, prints what it returned.

Each command is a function of :mod:`detectors.commands` that takes a :class:`detectors.app.Detector`, or files alone,
and returns plain data; what a person reads is made from that data in :mod:`detectors.commands.printing`.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from detectors.app import Detector, utc_now
from detectors.commands.failure import CommandError
from detectors.commands.settings import read_settings_file, report_settings
from detectors.delivery.routing import DestinationsError
from detectors.delivery.text import visible
from detectors.settings import Settings, SettingsError, load_settings
from detectors.state.store import StoreUnavailable

_log = logging.getLogger(__name__)

OK, UNHEALTHY, CANNOT_TELL = 0, 1, 2

_EPILOG = """exit codes:
  0  healthy, or everything that was asked for was done
  1  unhealthy, or a part of it was not done (the output says which)
  2  cannot tell: wrong arguments or settings, or the state cannot be read (the message says what to do)
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command returned, what it says to a person, and the exit code."""

    result: Any
    text: str
    exit_code: int


def build_parser() -> argparse.ArgumentParser:
    """The arguments; each command has its own ``--help``."""
    plain = argparse.ArgumentParser(add_help=False)
    plain.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
    plain.add_argument("--verbose", action="store_true", help="say on the error stream what is being done")
    common = argparse.ArgumentParser(add_help=False, parents=[plain])
    common.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings file of the Functions tools (local.settings.json); its values go before the environment's",
    )
    parser = argparse.ArgumentParser(
        prog="python -m detectors",
        description="Finds abuse of Azure Automation. Settings come from the environment.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, description: str, to: Any = commands) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = to.add_parser(
            name, help=description, description=description, parents=[common]
        )
        return added

    add("status", "Say how the detector is doing: rules, backlog, last heartbeat.")
    add("hunt", "Hunt once from the watermarks to now, and send what is found.")
    add("sweep", "Read the last day once more, for rows that arrived late.")
    add("inventory", "Read the automation accounts once, and send what has changed in them.")
    add("deliver", "Triage and send what is stored and due.")
    replay = add("replay", "Judge exported files, or what the stream set aside, once more.")
    replay.add_argument("file", type=Path, nargs="*", metavar="FILE", help="files of Activity Log records, gzip or not")
    replay.add_argument("--quarantine", action="store_true", help="everything that is in quarantine")
    show = add("show", "Show one alert: facts, evidence, where it has arrived.")
    show.add_argument("id", help="id of the alert, or its first 6 characters or more while it waits or is dead")
    show.add_argument("--full", action="store_true", help="show scripts from first line to last")
    resolve = add("resolve", "Close a story at the destinations that keep incidents.")
    resolve.add_argument("id", metavar="STORY|ALERT_ID", help="key of the story, or id of one of its alerts")
    add("settings", "List every setting with its value, and what is wrong.")
    dead = commands.add_parser("dead", help="List or send again what a destination did not take.")
    actions = dead.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = add("list", "List every alert that a destination will not get by itself, and why.", actions)
    listed.add_argument("--destination", metavar="NAME", help="only those of this destination")
    send = add("send", "Set dead deliveries pending again and deliver once.", actions)
    send.add_argument("id", nargs="*", metavar="ID", help="ids of alerts, or their first 6 characters or more")
    send.add_argument("--destination", metavar="NAME", help="only at this destination; without ids, all of its dead")
    send.add_argument("--all", action="store_true", help="every dead delivery")
    _add_rules(
        commands.add_parser("rules", help="List, read, check, test, begin and export rules. Needs no settings."), plain
    )
    return parser


def _add_rules(rules: argparse.ArgumentParser, plain: argparse.ArgumentParser) -> None:
    actions = rules.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, description: str, *, path: bool) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=description, description=description, parents=[plain])
        if path:
            added.add_argument("--path", type=Path, metavar="FOLDER", help="the rules of this folder, not the built-in")
        return added

    add("list", "List the rules, most severe first.", path=True)
    shown = add("show", "Show one rule whole: query, operations, evidence, tests, what to do.", path=True)
    shown.add_argument("id", metavar="ID", help="id of the rule, or the name of its file without .yaml")
    lint = add("lint", "Say every problem of rule files, one line each.", path=False)
    lint.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="rule files, or folders of them")
    test = add("test", "Run the cases beside the rules, on this machine.", path=True)
    test.add_argument("ids", nargs="*", metavar="ID", help="ids or file names of rules; without them, all")
    new = add("new", "Write a rule to start from, and its cases.", path=False)
    new.add_argument("name", metavar="NAME", help="name of the file without .yaml, such as webhook-created")
    new.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    export = add("export", "Write rules as Azure resources, for use without the detector.", path=True)
    export.add_argument("ids", nargs="*", metavar="ID", help="ids or file names of rules; without them, all")
    targets = ("sentinel", "azure-monitor", "bicep")
    export.add_argument("--to", choices=targets, required=True, dest="target", help="what to write")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")


def main(
    argv: Sequence[str],
    environment: Mapping[str, str],
    out: TextIO,
    *,
    err: TextIO | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> int:
    """Run the command *argv* with the settings in *environment*, print to *out*, and return the exit code.

    *err* (default: the process's error stream) takes log lines and, without ``--json``, what went wrong. Raises
    SystemExit for ``--help`` and wrong arguments, as argparse does.
    """
    options = build_parser().parse_args(argv)
    err = err or sys.stderr
    with _log_to(err, logging.INFO if options.verbose else logging.WARNING):
        try:
            outcome = _run(options, environment, clock)
        except (CommandError, SettingsError, DestinationsError, StoreUnavailable) as error:
            outcome = Outcome({"error": str(error)}, f"{visible(str(error), keep_newlines=True)}\n", CANNOT_TELL)
        except Exception as error:  # noqa: BLE001 - any defect ends here, told and with its own exit code
            # Python's own exit code for it is 1, which would say that the detector is unhealthy.
            _log.exception("%s failed unexpectedly; report it as a defect", options.command)
            cause = f"{type(error).__name__}: {error}"
            outcome = Outcome({"error": cause}, f"{visible(cause)}\n", CANNOT_TELL)
    stream = out if options.json or outcome.exit_code != CANNOT_TELL else err
    stream.write(_json(outcome.result) if options.json else outcome.text)
    stream.flush()
    return outcome.exit_code


def _run(options: argparse.Namespace, environment: Mapping[str, str], clock: Callable[[], datetime]) -> Outcome:
    if options.command == "rules":
        return _rules(options)
    if options.settings:
        environment = {**environment, **read_settings_file(options.settings)}
    if options.command == "settings":
        from detectors.commands.printing import settings_text

        report = report_settings(environment)
        return Outcome(report, settings_text(report), UNHEALTHY if report.problems else OK)
    return asyncio.run(_with_detector(options, load_settings(environment), environment, clock))


def _rules(options: argparse.Namespace) -> Outcome:
    from detectors.commands import rules, rules_check, rules_new, rules_text

    match options.action:
        case "list":
            listed = rules.list_rules(options.path)
            return Outcome(listed, rules_text.list_text(listed), UNHEALTHY if listed.problems else OK)
        case "show":
            details = rules.show_rule(options.id, options.path)
            return Outcome(details, rules_text.details_text(details), OK)
        case "lint":
            linted = rules_check.lint_rules(options.paths)
            return Outcome(linted, rules_text.lint_text(linted), UNHEALTHY if linted.problems else OK)
        case "test":
            tested = rules_check.run_cases(options.ids, options.path)
            failed = UNHEALTHY if tested.failures else OK
            return Outcome(tested, rules_text.cases_text(tested), CANNOT_TELL if tested.problems else failed)
        case "export":
            from detectors.commands import rules_export, rules_export_text
            from detectors.export.shape import Target

            exported = rules_export.export_rules(Target(options.target), options.output, options.ids, options.path)
            return Outcome(exported, rules_export_text.export_text(exported), OK if exported.whole else UNHEALTHY)
        case _:
            created = rules_new.new_rule(options.name, options.output, rule_id=uuid.uuid4())
            return Outcome(created, rules_text.new_text(created), OK)


async def _with_detector(
    options: argparse.Namespace, settings: Settings, environment: Mapping[str, str], clock: Callable[[], datetime]
) -> Outcome:
    detector = Detector(settings, environment=environment, clock=clock)
    try:
        try:
            await detector.open()
        except ValueError as error:
            # What only a client can see, such as an endpoint that it does not accept.
            raise CommandError(f"the detector does not start: {error}") from error
        return await _command(options, detector, settings, clock)
    finally:
        await detector.close()


async def _command(
    options: argparse.Namespace, detector: Detector, settings: Settings, clock: Callable[[], datetime]
) -> Outcome:
    from detectors.commands import dead, printing, resolve, run, show, status

    match options.command:
        case "status":
            condition = await status.status(detector, workspaces=settings.workspace_ids, now=clock())
            text = printing.status_text(condition, _place(settings))
            return Outcome(condition, text, OK if condition.healthy else UNHEALTHY)
        case "hunt" | "sweep":
            hunted = await (run.hunt if options.command == "hunt" else run.sweep)(detector)
            return Outcome(hunted, printing.hunt_text(hunted), UNHEALTHY if hunted.failed else OK)
        case "inventory":
            visited = await detector.inventory()
            whole = not (visited.errors or visited.failed or visited.left)
            return Outcome(visited, printing.inventory_text(visited), OK if whole else UNHEALTHY)
        case "deliver":
            delivered = await run.deliver(detector, clock())
            return Outcome(delivered, printing.deliver_text(delivered), UNHEALTHY if delivered.failed else OK)
        case "replay":
            from detectors.commands.replay import replay

            replayed = await replay(detector, options.file, quarantine=options.quarantine, now=clock())
            return Outcome(replayed, printing.replayed_text(replayed), OK if replayed.whole else UNHEALTHY)
        case "show":
            from detectors.commands.alert_text import record_text

            shown = await show.show(detector, options.id)
            return Outcome(shown, record_text(shown.record, whole=options.full), OK)
        case "resolve":
            resolution = await resolve.resolve(detector, options.id)
            done = resolution.resolved and not resolution.failed
            return Outcome(resolution, printing.resolution_text(resolution), OK if done else UNHEALTHY)
        case "dead" if options.action == "list":
            listed = await dead.list_dead(detector, destination=options.destination)
            return Outcome(listed, printing.dead_text(listed), OK)
        case _:
            revived = await dead.send_dead(
                detector, options.id, destination=options.destination, every=options.all, now=clock()
            )
            done = not revived.left and revived.arrived == len(revived.revived)
            return Outcome(revived, printing.revived_text(revived), OK if done else UNHEALTHY)


def _place(settings: Settings) -> str:
    """Where the state is; a connection string holds a key and is not shown."""
    if settings.state_connection_string:
        return "the storage account of STATE_CONNECTION_STRING"
    return settings.state_table_endpoint or settings.state_path


def _json(result: Any) -> str:
    # ASCII, because a terminal obeys control characters beyond it, and JSON lets them stand as they are.
    text = json.dumps(msgspec.to_builtins(result), indent=2, ensure_ascii=True)
    return text.replace("\x7f", "\\u007f") + "\n"


class _VisibleFormatter(logging.Formatter):
    """Log lines name alerts, and so hold what an attacker wrote."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), keep_newlines=True)


@contextlib.contextmanager
def _log_to(stream: TextIO, level: int) -> Iterator[None]:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    # On the root, because the Azure clients log as well, and without a handler logging prints what it gets as it is.
    root, ours = logging.getLogger(), logging.getLogger("detectors")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)
