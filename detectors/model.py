"""The domain's nouns: plain, frozen data that every layer may import.

Everything here survives a round trip through ``msgspec.json`` (see :mod:`detectors.state`), so a crash between
two steps finds what the step before it knew.
"""

import enum
from datetime import datetime
from typing import Any

import msgspec


class Severity(enum.StrEnum):
    """Microsoft Sentinel's four severities; there is no Critical."""

    INFORMATIONAL = "Informational"
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"

    @property
    def rank(self) -> int:
        """0 (Informational) to 3 (High), for comparing."""
        return list(Severity).index(self)

    def raised(self, steps: int = 1) -> "Severity":
        """This severity, *steps* higher, High at most."""
        members = list(Severity)
        return members[min(self.rank + steps, len(members) - 1)]


class Source(enum.StrEnum):
    """Where a row came from."""

    HUNT = "hunt"
    STREAM = "stream"
    INVENTORY = "inventory"
    DETECTOR = "detector"


class AlertKind(enum.StrEnum):
    """Why an alert exists."""

    DETECTION = "detection"
    """One action that a rule matched."""
    SUMMARY = "summary"
    """The matches of one run beyond the limit, each named in :attr:`Alert.items`."""
    HEALTH = "health"
    """The detector reports on itself."""


ALSO_REPORTED = "also_reported"
"""Name of the evidence that holds another match of the same action (:mod:`detectors.triage.joining`)."""


class Fact(msgspec.Struct, frozen=True):
    """A label of ours beside a value that may be the attacker's: show the value as text, never as markup."""

    label: str
    value: str


class FocusLine(msgspec.Struct, frozen=True):
    """A line worth reading first: ``number`` counts from 1, ``reason`` is our own sentence."""

    number: int
    reason: str


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """A script or output collected as evidence. Hostile text: shown, never run.

    ``text`` is decoded and has its secrets masked. ``sha256`` and ``size`` are of the bytes as the service sent
    them, up to the cap (``truncated`` says whether there was more). ``language`` is one of ``PowerShell``,
    ``Python``, ``PlainText``.
    """

    title: str
    text: str
    language: str = "PlainText"
    sha256: str
    size: int
    truncated: bool = False
    focus: tuple[FocusLine, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One named result of triage: either what was found, or a stated reason why it is missing.

    ``missing`` is ``None`` when the evidence was found; otherwise a sentence for the responder that names the
    cause and, where there is one, the remedy. ``facts`` and ``code`` are what a person reads, ``data`` is the
    same for machines (JSON values, wire names of the Automation API), so a renderer needs to know no enrichment
    by name.
    """

    name: str
    title: str
    missing: str | None = None
    facts: tuple[Fact, ...] = ()
    code: tuple[Code, ...] = ()
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One row that a rule's KQL returned, with its identity.

    ``id`` is derived from ``identity`` (:mod:`detectors.triage.identity`): two rows with the same id are one
    action. ``row`` holds JSON values only: datetimes as ISO 8601 text, dynamic columns as dicts and lists. ``reports``
    are other matches of the same action that came before this one was triaged.
    """

    id: str
    rule_id: str
    identity: dict[str, str]
    source: Source
    row: dict[str, Any]
    event_time: datetime
    found_at: datetime
    workspace: str | None = None
    reports: tuple[Evidence, ...] = ()


class Entity(msgspec.Struct, frozen=True):
    """A Sentinel entity: ``type`` such as Account, IP, AzureResource; ``fields`` such as {"FullName": ...}."""

    type: str
    fields: dict[str, str]


class SummaryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One match that a summary alert names instead of going out alone."""

    match_id: str
    event_time: datetime
    operation: str
    caller: str
    resource: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A match after triage: everything a destination needs, with nothing left to look up.

    Texts that came from the log or the Automation API (``caller``, ``resource_id``, ``facts`` values, evidence)
    are hostile; texts of the rule (``title``, ``description``, ``triage``, ``response``) are ours and Markdown.
    """

    id: str
    kind: AlertKind
    rule_id: str
    rule_name: str
    rule_version: str
    severity: Severity
    severity_reasons: tuple[str, ...] = ()
    title: str
    description: str
    tactics: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: Source
    workspace: str | None = None
    event_time: datetime
    found_at: datetime
    created_at: datetime
    operation: str = ""
    outcome: str = ""
    caller: str = ""
    caller_ip: str = ""
    resource_id: str = ""
    subscription_id: str = ""
    resource_group: str = ""
    account: str = ""
    """Name of the automation account (or Function App); empty when the resource is neither."""
    identity: dict[str, str] = msgspec.field(default_factory=dict)
    entities: tuple[Entity, ...] = ()
    facts: tuple[Fact, ...] = ()
    """The rule's summary columns and custom details that lead the alert."""
    evidence: tuple[Evidence, ...] = ()
    items: tuple[SummaryItem, ...] = ()
    triage: str = ""
    response: str = ""
    false_positives: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    query: str = ""
    portal_url: str = ""
    query_url: str = ""
    row: dict[str, Any] = msgspec.field(default_factory=dict)
    story: str = ""
    """Key that alerts of one actor on one automation account within a day share; empty for health alerts."""
    updates: int = 0
    """How often evidence was added after triage; the destinations may have the alert as it was before."""
    updated_at: datetime | None = None
    """When that was last; None while ``updates`` is 0."""


class DeliveryState(enum.StrEnum):
    """The life of one alert at one destination."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One alert's state at one destination.

    ``claimed_until`` is set while a deliverer works on it; a claim that is never released runs out by itself.
    ``started_at`` is set before a send and cleared by its outcome: when it is still there on the next attempt, the
    process died between sending and recording, and the destination may already have the alert.
    """

    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    next_attempt: datetime | None = None
    claimed_until: datetime | None = None
    started_at: datetime | None = None
    pending_since: datetime | None = None
    """From when the time after which it is given up counts: its creation, or the last time somebody revived it."""
    sent_at: datetime | None = None
    remote_id: str | None = None
    error: str | None = None
    outdated: bool = False
    """Whether the alert was updated after it was sent, or while it was being sent."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the store keeps for one identity: the match, then the alert, then the state of its deliveries.

    ``due`` is when somebody has to look at it again, ``None`` when nothing is left to do. ``alert`` is ``None``
    until triage has run. ``match`` is ``None`` for alerts of kind summary and health. ``summarised_by`` names the
    summary alert that speaks for this match, which then has no alert of its own; ``joined_to`` in the same way names
    the alert of the same action, found by another source.
    """

    id: str
    due: datetime | None
    created_at: datetime
    match: Match | None = None
    alert: Alert | None = None
    summarised_by: str | None = None
    joined_to: str | None = None
    deliveries: dict[str, Delivery] = msgspec.field(default_factory=dict)
    triage_attempts: int = 0
