"""What is shown of an alert, and in which order: decided once, so terminal and page never disagree.

Everything in a view is text that is safe to print (:func:`sandbox.report.text.visible`) and still has to be escaped
for the medium it goes to. Nothing here knows an enrichment or a rule by name.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence

from detectors.model import Alert, AlertKind, Code, Evidence, Severity, Source
from sandbox.report import markdown
from sandbox.report.text import lines, moment, shortened, size, span, visible

WHOLE_LINES = 300
"""A script up to this many lines is shown whole; of a longer one the beginning and what surrounds its focus lines."""
HEAD_LINES = 120
CONTEXT_LINES = 4
LINE_CHARACTERS = 400
VALUE_CHARACTERS = 2000
_SENTENCE = re.compile(r".{20,}?[.!?](?=\s)", re.DOTALL)
ROW_CHARACTERS = 20_000


@dataclasses.dataclass(frozen=True)
class Field:
    """A label of ours and a value that may be the attacker's."""

    label: str
    value: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a script; ``reason`` is set on the lines to read first."""

    number: int
    text: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeView:
    """A script or output. ``lines`` may have gaps (see ``omitted``); they are empty when ``same_as`` names a twin."""

    title: str
    anchor: str
    language: str
    summary: str
    lines: tuple[Line, ...]
    omitted: int = 0
    same_as: str = ""

    @property
    def focus(self) -> tuple[Line, ...]:
        """The lines to read first, in the order of the script."""
        return tuple(line for line in self.lines if line.reason)


@dataclasses.dataclass(frozen=True)
class EvidenceView:
    """One result of triage that was found."""

    title: str
    fields: tuple[Field, ...]
    code: tuple[CodeView, ...]

    @property
    def only(self) -> str:
        """The one sentence that is all there is to say, such as "None starts this runbook"; else empty."""
        if self.code or len(self.fields) > 1:
            return ""
        if not self.fields:
            return "nothing found"
        return self.fields[0].value if self.fields[0].label == self.title else ""


@dataclasses.dataclass(frozen=True)
class Link:
    """An https address and what a person finds there."""

    label: str
    url: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlertView:
    """One alert, ready to be shown: the attributes are in reading order."""

    anchor: str
    severity: Severity
    kind: str
    title: str
    when: str
    who: str
    lead: tuple[Field, ...]
    message: str
    """What the detector says about itself or about a batch; empty when one action was matched."""
    reasons: tuple[str, ...]
    facts_heading: str
    facts: tuple[Field, ...]
    evidence: tuple[EvidenceView, ...]
    missing: tuple[Field, ...]
    items: tuple[Field, ...]
    first_steps: tuple[Field, ...]
    background: str
    """What the rule looks for; empty when there is a message instead."""
    triage: tuple[markdown.Block, ...]
    response: tuple[markdown.Block, ...]
    false_positives: tuple[str, ...]
    links: tuple[Link, ...]
    ids: tuple[Field, ...]
    query: tuple[str, ...]
    row: tuple[str, ...]

    @property
    def focus(self) -> tuple[tuple[CodeView, tuple[Line, ...]], ...]:
        """Every script that has lines to read first, with those lines."""
        return tuple((code, code.focus) for found in self.evidence for code in found.code if code.focus)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the report: a heading of ours, a note, tables, and the alerts that belong under it."""

    title: str
    note: str = ""
    fields: tuple[Field, ...] = ()
    alert_ids: tuple[str, ...] = ()


def text_of(value: str) -> str:
    """A single value, made visible and bounded."""
    return shortened(visible(value.strip()), VALUE_CHARACTERS)


def anchor(alert_id: str) -> str:
    """An id for the page that holds letters, digits and hyphens only, whatever the alert's id holds."""
    if re.fullmatch(r"[A-Za-z0-9-]{1,64}", alert_id):
        return f"alert-{alert_id}"
    return "alert-" + hashlib.sha256(alert_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _lead(alert: Alert) -> tuple[Field, ...]:
    delay = (alert.found_at - alert.event_time).total_seconds()
    found = "found at once" if abs(delay) < 1 else f"found {span(delay)} later"
    when = f"{moment(alert.event_time)} ({found} by {alert.source})"
    if alert.kind is not AlertKind.DETECTION:
        return (Field("When", when),)
    account = [alert.account or "not an automation account"]
    account += [f"resource group {alert.resource_group}"] if alert.resource_group else []
    account += [f"subscription {alert.subscription_id}"] if alert.subscription_id else []
    what = ", ".join(part for part in (alert.operation, alert.outcome) if part)
    return (
        Field("Who", _who(alert)),
        Field("From", text_of(alert.caller_ip) or "not recorded"),
        Field("What", text_of(what) or "not recorded"),
        Field("Resource", _resource_name(alert.resource_id) or "not recorded"),
        Field("Account", text_of(", ".join(account))),
        Field("When", when),
    )


def _who(alert: Alert) -> str:
    if alert.kind is AlertKind.HEALTH:
        return "the detector itself"
    callers = dict.fromkeys([alert.caller] if alert.caller else [item.caller for item in alert.items if item.caller])
    if len(callers) > 1:
        return f"{len(callers)} callers"
    return text_of(next(iter(callers), "")) or "not recorded"


def _resource_name(resource_id: str) -> str:
    """The part of a resource id after the account or site: ``runbooks/Sync-Inventory``."""
    segments = [segment for segment in resource_id.split("/") if segment]
    for index, segment in enumerate(segments):
        if segment.casefold() == "providers" and len(segments) > index + 4:
            return text_of("/".join(segments[index + 4 :]))
    return text_of("/".join(segments[-2:]))


def _facts(alert: Alert) -> tuple[Field, ...]:
    """The rule's facts, without those whose value already leads the alert."""
    led = {
        value.strip().casefold()
        for value in (
            *(alert.caller, alert.caller_ip, alert.operation, alert.outcome, alert.resource_id, alert.account),
            *(alert.subscription_id, alert.resource_group, *alert.identity.values(), *alert.resource_id.split("/")),
        )
    }
    shown = [Field(text_of(fact.label), text_of(fact.value)) for fact in alert.facts]
    return tuple(
        field
        for field, fact in zip(shown, alert.facts, strict=True)
        if field.value and fact.value.strip().casefold() not in led
    )


def _chosen(total: int, focus: set[int]) -> list[int]:
    if total <= WHOLE_LINES:
        return list(range(1, total + 1))
    near = {number + step for number in focus for step in range(-CONTEXT_LINES, CONTEXT_LINES + 1)}
    return [number for number in range(1, total + 1) if number <= HEAD_LINES or number in near]


def _code(code: Code, place: str, seen: dict[str, str]) -> CodeView:
    title = text_of(code.title)
    body = lines(code.text)
    count = f"{len(body):,} line" + ("" if len(body) == 1 else "s")
    cut = ", cut off there" if code.truncated else ""
    summary = f"{code.language}, {count}, {size(code.size)}{cut}, SHA-256 {visible(code.sha256)[:16]}"
    if not code.size:
        summary = "empty"
    view = CodeView(title=title, anchor=place, language=code.language, summary=summary, lines=())
    twin = seen.setdefault(code.sha256 + code.text, title)
    if twin != title and body:
        return dataclasses.replace(view, same_as=twin)
    reasons: dict[int, str] = {}
    for focus in code.focus:
        if 1 <= focus.number <= len(body):
            earlier = reasons.get(focus.number)
            reasons[focus.number] = f"{earlier}; {visible(focus.reason)}" if earlier else visible(focus.reason)
    numbers = _chosen(len(body), set(reasons))
    shown = tuple(
        Line(number, shortened(body[number - 1], LINE_CHARACTERS), reasons.get(number, "")) for number in numbers
    )
    return dataclasses.replace(view, lines=shown, omitted=len(body) - len(shown))


def _evidence(alert: Alert, found: Sequence[Evidence]) -> tuple[EvidenceView, ...]:
    seen: dict[str, str] = {}
    views: list[EvidenceView] = []
    for position, evidence in enumerate(found, start=1):
        fields = tuple(Field(text_of(fact.label), text_of(fact.value)) for fact in evidence.facts)
        code = tuple(
            _code(piece, f"{anchor(alert.id)}-code-{position}-{index}", seen)
            for index, piece in enumerate(evidence.code, start=1)
        )
        views.append(EvidenceView(text_of(evidence.title), fields, code))
    return tuple(views)


def _missing(alert: Alert) -> tuple[Field, ...]:
    """Evidence that is missing, with the reason; pieces that one cause took away share a line."""
    by_reason: dict[str, list[str]] = {}
    for found in alert.evidence:
        if found.missing is not None:
            by_reason.setdefault(text_of(found.missing), []).append(text_of(found.title))
    return tuple(Field(", ".join(titles), reason) for reason, titles in by_reason.items())


def _first_steps(triage: tuple[markdown.Block, ...], response: tuple[markdown.Block, ...]) -> tuple[Field, ...]:
    """Two lines for somebody who was asleep a minute ago: the first check, and the first thing to do when real."""
    chosen = (("Check first", markdown.steps(triage)), ("If it is real", markdown.steps(response)))
    return tuple(Field(label, _first_sentence(markdown.plain(found[0]))) for label, found in chosen if found)


def _first_sentence(text: str) -> str:
    """What to do, without why; very short beginnings are abbreviations, not sentences."""
    found = _SENTENCE.match(text)
    return found[0] if found else text


def _links(alert: Alert) -> tuple[Link, ...]:
    named = [("Open the resource in the Azure portal", alert.portal_url), ("Open the query", alert.query_url)]
    named += [(reference, reference) for reference in alert.references]
    return tuple(Link(visible(label), url) for label, url in named if markdown.safe_url(url))


def _ids(alert: Alert) -> tuple[Field, ...]:
    named = {
        "Alert": alert.id,
        "Rule": f"{alert.rule_name} {alert.rule_version} ({alert.rule_id})",
        "Resource id": alert.resource_id,
        "Correlation id": str(alert.row.get("CorrelationId") or ""),
        "Workspace": alert.workspace or "",
        "ATT&CK": ", ".join((*alert.tactics, *alert.techniques)),
        "Tags": ", ".join(alert.tags),
    }
    return tuple(Field(label, text_of(value)) for label, value in named.items() if value)


def _row(alert: Alert) -> tuple[str, ...]:
    if not alert.row:
        return ()
    filled = {key: value for key, value in alert.row.items() if value not in (None, "", [], {})}
    text = json.dumps(filled, indent=2, ensure_ascii=False, default=str)
    return tuple(lines(shortened(text, ROW_CHARACTERS)))


def build(alert: Alert) -> AlertView:
    """*alert* as a person reads it: how bad, who, where, when, why; the lines to read; the rest; what to do."""
    triage, response = markdown.parse(alert.triage), markdown.parse(alert.response)
    return AlertView(
        anchor=anchor(alert.id),
        severity=alert.severity,
        kind={AlertKind.SUMMARY: "summary", AlertKind.HEALTH: "detector health"}.get(alert.kind, ""),
        title=text_of(alert.title),
        when=moment(alert.event_time),
        who=_who(alert),
        lead=_lead(alert),
        message="" if alert.kind is AlertKind.DETECTION else text_of(alert.description),
        reasons=tuple(text_of(reason) for reason in alert.severity_reasons),
        # What changed in an account may be in no log at all.
        facts_heading="From the account" if alert.source is Source.INVENTORY else "From the log",
        facts=_facts(alert),
        evidence=_evidence(alert, [found for found in alert.evidence if found.missing is None]),
        missing=_missing(alert),
        items=tuple(
            Field(
                moment(item.event_time),
                text_of(f"{item.operation} by {item.caller or 'an unrecorded caller'} on {item.resource}"),
            )
            for item in alert.items
        ),
        first_steps=_first_steps(triage, response),
        background=text_of(alert.description) if alert.kind is AlertKind.DETECTION else "",
        triage=triage,
        response=response,
        false_positives=tuple(text_of(reason) for reason in alert.false_positives),
        links=_links(alert),
        ids=_ids(alert),
        query=tuple(lines(alert.query)),
        row=_row(alert),
    )


def worst_first(alerts: Sequence[Alert]) -> list[Alert]:
    """The order of an overview: the most severe first, then the order in which things happened."""
    return sorted(alerts, key=lambda alert: (-alert.severity.rank, alert.event_time, alert.id))
