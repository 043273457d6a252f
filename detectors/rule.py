"""A detection rule as the rest of the detector sees it: frozen, validated, ready to run.

The file format is Microsoft Sentinel's analytics-rule YAML plus the top-level key ``detector:``;
:mod:`detectors.rulebook` reads it.
"""

import dataclasses
from datetime import timedelta

from detectors.model import Severity


@dataclasses.dataclass(frozen=True)
class EntityMapping:
    """A Sentinel entity and the result columns that identify it: ``fields`` maps identifier to column."""

    entity_type: str
    fields: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """The ``detector:`` key: what Sentinel's format has no word for."""

    stream: bool = False
    identity: tuple[str, ...] = ()
    """Result columns that make two matches the same action. Empty: the entity columns and the whole row."""
    enrich: tuple[str, ...] = ()
    """Names of the enrichments to collect (:mod:`detectors.triage.enrichment`)."""
    risk_score: int | None = None
    """0 to 100."""
    references: tuple[str, ...] = ()
    false_positives: tuple[str, ...] = ()
    triage: str = ""
    """Markdown, our own words: what a responder checks that a machine could not."""
    response: str = ""
    """Markdown: what to do when it is real."""
    summary: tuple[str, ...] = ()
    """Result columns that lead the alert."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One detection. ``query`` is the text of the YAML file, byte for byte."""

    id: str
    kind: str
    """``Scheduled`` or ``NRT``."""
    name: str
    description: str
    severity: Severity
    query: str
    query_frequency: timedelta
    query_period: timedelta
    trigger_operator: str = "gt"
    trigger_threshold: int = 0
    tactics: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Values of Sentinel's ``tags`` maps, such as ``AZT504``."""
    entity_mappings: tuple[EntityMapping, ...] = ()
    custom_details: tuple[tuple[str, str], ...] = ()
    """(name shown, result column)."""
    title_format: str | None = None
    """``alertDetailsOverride.alertDisplayNameFormat``: text with ``{{Column}}``."""
    description_format: str | None = None
    """``alertDetailsOverride.alertDescriptionFormat``, of plain rules only."""
    severity_column: str = ""
    """Result column whose value is the alert's severity where it is one; empty: the rule's own."""
    tactics_column: str = ""
    """Result column that holds the alert's tactics; empty: the rule's own."""
    suppression: timedelta = timedelta(0)
    """How long the rule does not run after a run that made a new alert."""
    plain: bool = False
    """Whether it is somebody's Sentinel rule, read tolerantly: its columns may be absent from a result."""
    version: str = "1.0.0"
    path: str = ""
    """The file it came from, for messages."""
    detector: DetectorOptions = dataclasses.field(default_factory=DetectorOptions)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every result column that the rule names anywhere, once each, in order of first mention."""
        named = [column for mapping in self.entity_mappings for _, column in mapping.fields]
        named += [column for _, column in self.custom_details]
        named += [*self.detector.identity, *self.detector.summary]
        return tuple(dict.fromkeys(named))

    @property
    def takes_any_row(self) -> bool:
        """Whether each row is a match by itself: the trigger is "more than 0"."""
        return (self.trigger_operator, self.trigger_threshold) == ("gt", 0)

    def triggers(self, rows: int) -> bool:
        """Whether *rows*, the number of rows of one window, meets the trigger."""
        threshold = self.trigger_threshold
        return {"gt": rows > threshold, "lt": rows < threshold, "eq": rows == threshold, "ne": rows != threshold}[
            self.trigger_operator
        ]
