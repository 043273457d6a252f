"""A stored alert as plain text: what a responder reads when the card is not at hand."""

from collections.abc import Iterable, Iterator

from detectors.commands.find import title_of
from detectors.commands.lines import arrivals_of
from detectors.commands.plain import block, fields, indented
from detectors.commands.printing import arrival_text
from detectors.condition import moment
from detectors.delivery.text import excerpts, lines_of
from detectors.model import Alert, Code, Evidence, Record

CODE_LINES = 40
"""Lines shown of one script: those worth reading first, and what is around them."""


def record_text(record: Record, *, whole: bool = False) -> str:
    """*record* with facts, evidence and where it has arrived; with *whole*, scripts from first line to last."""
    lines = list(_alert(record.alert, whole=whole) if record.alert else _untriaged(record))
    arrivals = [(each.destination, arrival_text(each)) for each in arrivals_of(record)]
    lines += _part("Delivered to", fields(arrivals) or ["nowhere yet"])
    return "\n".join(lines) + "\n"


def _alert(alert: Alert, *, whole: bool) -> Iterator[str]:
    yield from block(f"[{alert.severity.upper()}] {alert.title}")
    yield from indented(fields((label, value) for label, value in _lead(alert) if value))
    yield from _part("Why this severity", _bullets(alert.severity_reasons))
    yield from _part("What it is", _prose(alert.description))
    yield from _part("Facts", fields((fact.label, fact.value) for fact in alert.facts))
    items = ((moment(item.event_time), f"{item.operation}  {item.caller}  {item.resource}") for item in alert.items)
    yield from _part("Actions in this summary", fields(items))
    for evidence in alert.evidence:
        yield from _part(evidence.title, list(_evidence(evidence, whole=whole)))
    yield from _part("What to check", _prose(alert.triage))
    yield from _part("What to do when it is real", _prose(alert.response))
    yield from _part("When it is expected", _bullets(alert.false_positives))


def _lead(alert: Alert) -> Iterable[tuple[str, str]]:
    yield "id", alert.id
    yield "story", alert.story
    yield "kind", alert.kind.value
    yield "rule", f"{alert.rule_name} {alert.rule_version} ({alert.rule_id})"
    yield "happened", moment(alert.event_time)
    yield "found", f"{moment(alert.found_at)}, by {alert.source}"
    yield "caller", alert.caller
    yield "from", alert.caller_ip
    yield "operation", f"{alert.operation}  {alert.outcome}".strip()
    yield "account", alert.account
    yield "resource", alert.resource_id
    yield "tactics", ", ".join(alert.tactics)
    yield "techniques", ", ".join((*alert.techniques, *alert.tags))
    yield "portal", alert.portal_url
    yield "query", alert.query_url


def _evidence(evidence: Evidence, *, whole: bool) -> Iterator[str]:
    if evidence.missing is not None:
        yield from block(f"missing: {evidence.missing}")
    yield from fields((fact.label, fact.value) for fact in evidence.facts)
    for code in evidence.code:
        yield from _code(code, whole=whole)


def _code(code: Code, *, whole: bool) -> Iterator[str]:
    cut = ", cut" if code.truncated else ""
    yield from block(f"{code.title} ({code.language}, {code.size:,} bytes{cut}, SHA-256 {code.sha256})")
    lines = lines_of(code.text)
    reasons: dict[int, list[str]] = {}
    for focus in code.focus:
        reasons.setdefault(focus.number, []).append(focus.reason)
    digits = len(str(len(lines)))
    shown = 0
    for excerpt in excerpts(code, len(lines) if whole else CODE_LINES, context=len(lines) if whole else 2):
        if shown:
            yield f"  {'...':>{digits}}"
        for number, line in enumerate(excerpt.lines, start=excerpt.start):
            shown += 1
            mark = ">" if number in reasons else " "
            yield f"{mark} {number:>{digits}} | {' '.join(block(line))}".rstrip()
            yield from indented(
                (f"^ {part}" for reason in reasons.get(number, ()) for part in block(reason)), digits + 5
            )
    if shown < len(lines):
        yield f"  {len(lines) - shown:,} of {len(lines):,} lines are not shown; see them with --full"


def _untriaged(record: Record) -> Iterator[str]:
    yield title_of(record)
    rows = [("id", record.id), ("stored", moment(record.created_at))]
    if record.summarised_by:
        rows.append(("named in", f"the summary {record.summarised_by}"))
    if record.joined_to:
        rows.append(("joined to", f"the alert {record.joined_to}"))
    if record.match:
        rows += [("rule", record.match.rule_id), ("happened", moment(record.match.event_time))]
        rows += list(record.match.identity.items())
    yield from indented(fields(rows))


def _part(title: str, lines: Iterable[str]) -> list[str]:
    shown = indented(lines)
    return ["", *block(title), *shown] if shown else []


def _prose(text: str) -> list[str]:
    return block(text.strip()) if text.strip() else []


def _bullets(texts: Iterable[str]) -> list[str]:
    lines = []
    for text in texts:
        first, *rest = block(text)
        lines += [f"- {first}", *indented(rest)]
    return lines
