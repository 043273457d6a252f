"""What each command says to a person. Pure: a result comes in, text goes out."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from detectors.commands.dead import DeadList, Revived
from detectors.commands.find import LISTED
from detectors.commands.lines import AlertLine, Arrival
from detectors.commands.plain import block, fields, indented, table
from detectors.commands.replay import Replayed
from detectors.commands.resolve import Resolution
from detectors.commands.run import DeliverResult, HuntResult
from detectors.commands.settings import SettingsReport
from detectors.commands.status import Status
from detectors.condition import Backlog, Progress, moment, waits_of
from detectors.delivery.card_text import duration
from detectors.inventory.report import InventoryReport

_SHOWN_DAMAGED = 50


def status_text(status: Status, state: str) -> str:
    """Health, what is wrong, and the numbers. *state* says where the state is kept."""
    problems = len(status.problems)
    lines = ["healthy" if status.healthy else f"unhealthy: {_count(problems, 'problem')}"]
    for problem in status.problems:
        lines += _bullet(problem)
    lines += ["", "rules"]
    columns = ("rule", "workspace", "read until", "behind", "failures")
    lines += indented(table(columns, (_progress_row(each, status.now) for each in status.progress)))
    errors = [each for each in status.progress if each.watermark and each.watermark.error]
    for each in errors:
        lines += _bullet(f"{each.rule_name}: {each.watermark.error if each.watermark else ''}")
    for wait in waits_of(status.progress):
        lines += _bullet(wait)
    lines += ["", "deliveries"]
    names = dict.fromkeys((*status.destinations, *status.backlog.pending, *status.backlog.dead))
    rows = [(name, _number(status.backlog.pending, name), _number(status.backlog.dead, name)) for name in names]
    lines += indented(table(("destination", "pending", "dead"), rows))
    lines += indented(fields(_backlog_fields(status.backlog)))
    lines += ["", *fields((("last heartbeat", _heartbeat(status)), ("state kept in", state)))]
    return _text(lines)


def hunt_text(result: HuntResult) -> str:
    """What ran, what failed, what is new and where it went."""
    columns = ("rule", "workspace", "queries", "rows", "new", "left", "outcome")
    rows = [
        (
            run.rule_name,
            run.outcome.workspace,
            str(run.outcome.windows),
            str(run.outcome.rows),
            str(len(run.outcome.new)),
            str(run.outcome.remaining),
            "failed" if run.outcome.error else "ok",
        )
        for run in result.runs
    ]
    lines = table(columns, rows)
    failed = [run for run in result.runs if run.outcome.error]
    for run in failed:
        lines += _bullet(f"{run.rule_name} on {run.outcome.workspace}: {run.outcome.error}")
    lines += ["", _count(result.new_alerts, "new alert")]
    return _text([*lines, *_alert_lines(result.alerts, result.new_alerts)])


def inventory_text(report: InventoryReport) -> str:
    """How many accounts were read, what came of it, and what went wrong."""
    where = f"{_count(report.accounts, 'account')} in {_count(report.subscriptions, 'subscription')}"
    found = f"{_count(report.changes, 'change')} in {_count(report.changed, 'account')}"
    lines = [
        f"{where}: {report.visited} read, {report.failed} failed, {report.left} left for the next run",
        f"{found}, {_count(report.new_alerts, 'new alert')}",
    ]
    if report.stalest is not None:
        lines += fields([("stalest", f"{report.stalest.name}, read {moment(report.stalest.since)}")])
    for error in report.errors:
        lines += _bullet(error)
    if report.more_errors:
        lines += _bullet(f"{report.more_errors} more")
    return _text(lines)


def deliver_text(result: DeliverResult) -> str:
    """What was due and where it is now."""
    left = f", {result.left} left for the next run" if result.left else ""
    first = f"{_count(result.looked_at, 'alert')} looked at{left}"
    return _text([first, *_alert_lines(result.alerts, len(result.alerts))])


def dead_text(dead: DeadList) -> str:
    """Each dead delivery with its last error, and how to send it again."""
    lines: list[str] = []
    for each in dead.deliveries:
        tries = _count(each.arrival.attempts, "attempt")
        lines += fields([(each.id, f"{each.severity}  {each.title}")])
        lines += indented(fields([(each.arrival.destination, f"{tries}: {each.arrival.error or 'no error was kept'}")]))
    lines.append(f"{_count(len(dead.deliveries), 'dead delivery', 'dead deliveries')}{_capped(capped=dead.capped)}")
    if dead.deliveries:
        lines.append("send again with: python -m detectors dead send ID ... (or --destination NAME, or --all)")
    return _text(lines)


def revived_text(result: Revived) -> str:
    """What was sent again and where it is now."""
    again = _count(len(result.revived), "delivery", "deliveries")
    lines = [f"{again} set pending again, {result.arrived} arrived{_capped(capped=result.capped)}"]
    for reason in result.left:
        lines += _bullet(reason)
    return _text([*lines, *_alert_lines(result.alerts, len(result.alerts))])


def replayed_text(result: Replayed) -> str:
    """What came back, what is still damaged, what is new and where it went."""
    lines = fields(
        [
            ("files", f"{result.files:,}"),
            ("quarantine entries", f"{result.entries:,}, {result.left_quarantine:,} of them gone: all good now"),
            ("messages", f"{result.bodies:,}"),
            ("records", f"{result.records:,}, {result.candidates:,} of them looked at by a rule"),
            ("still damaged", f"{len(result.damaged):,}"),
        ]
    )
    for each in result.damaged[:_SHOWN_DAMAGED]:
        lines += _bullet(each)
    if len(result.damaged) > _SHOWN_DAMAGED:
        lines.append(f"... and {len(result.damaged) - _SHOWN_DAMAGED:,} more")
    if result.capped:
        lines.append("more is in quarantine than one run takes; run the command again")
    lines += ["", _count(result.new_alerts, "new alert")]
    return _text([*lines, *_alert_lines(result.alerts, result.new_alerts)])


def resolution_text(result: Resolution) -> str:
    """Where the story is resolved and where a person has to close it."""
    rows = [("story", result.key), *([("found by", result.alert)] if result.alert else [])]
    rows += [(name, "resolved") for name in result.resolved]
    rows += [(name, f"failed: {cause}") for name, cause in result.failed]
    rows += [(name, "cannot be told; close it there by hand if it keeps a state") for name in result.cannot]
    lines = fields(rows)
    if not result.resolved and not result.failed:
        lines.append("no destination that keeps incidents is set up, so nothing was resolved")
    return _text(lines)


def settings_text(report: SettingsReport) -> str:
    """Every setting, then every problem."""
    rows = [(each.name, each.value, "" if each.given else "default") for each in report.settings]
    lines = table(("setting", "value", ""), rows)
    lines += ["", _count(len(report.problems), "problem") if report.problems else "no problem"]
    for problem in report.problems:
        lines += _bullet(problem)
    return _text(lines)


def arrival_text(arrival: Arrival) -> str:
    """``sent 2026-03-02 03:00:00 UTC`` or what keeps it from being sent."""
    match arrival.state:
        case "sent":
            return f"sent {moment(arrival.sent_at)}" if arrival.sent_at else "sent"
        case "dead":
            return f"dead after {_count(arrival.attempts, 'attempt')}: {arrival.error or 'no error was kept'}"
        case _:
            again = f", next attempt {moment(arrival.next_attempt)}" if arrival.next_attempt else ""
            error = f": {arrival.error}" if arrival.error else ""
            return f"pending after {_count(arrival.attempts, 'attempt')}{again}{error}"


def _alert_lines(alerts: Iterable[AlertLine], total: int) -> list[str]:
    lines: list[str] = []
    shown = 0
    for alert in alerts:
        shown += 1
        lines += fields([(alert.id, f"{alert.severity}  {alert.title}".strip())])
        arrivals = [(arrival.destination, arrival_text(arrival)) for arrival in alert.arrivals]
        lines += indented(fields(arrivals))
    if total > shown:
        lines.append(f"... and {total - shown:,} more")
    return lines


def _progress_row(progress: Progress, now: datetime) -> tuple[str, ...]:
    watermark = progress.watermark
    if watermark is None:
        return (progress.rule_name, progress.workspace, "never", "", "")
    behind = duration(progress.lag(now))
    return (progress.rule_name, progress.workspace, moment(watermark.end), behind, str(watermark.failures))


def _backlog_fields(backlog: Backlog) -> Iterable[tuple[str, str]]:
    yield "not triaged yet", str(backlog.not_started)
    if backlog.oldest_pending_seconds is not None:
        yield "oldest waits", duration(timedelta(seconds=backlog.oldest_pending_seconds))
    if backlog.capped:
        yield "note", "more is stored than was looked at: every number of deliveries is at least"


def _heartbeat(status: Status) -> str:
    beat = status.last_heartbeat
    if beat is None:
        return "never"
    health = "healthy" if beat.healthy else "unhealthy"
    age = duration(status.now - beat.finished_at)
    return f"{moment(beat.finished_at)} ({age} ago), {health}, by {beat.instance or 'unknown'}, version {beat.version}"


def _bullet(text: str) -> list[str]:
    first, *rest = block(text)
    return [f"  - {first}", *indented(rest, 4)]


def _number(counts: dict[str, int], name: str) -> str:
    return str(counts.get(name, 0))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _capped(*, capped: bool) -> str:
    return f" (of the first {LISTED:,} alerts that wait or are dead; there may be more)" if capped else ""


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
