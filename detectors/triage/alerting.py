"""From match to alert: look up the rule, collect the evidence, weigh it, and write it all down."""

import dataclasses
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from detectors.model import Alert, AlertKind, Entity, Evidence, Fact, Match, Severity
from detectors.rule import Rule
from detectors.triage import joining, links, mapped, severity
from detectors.triage.resource import automation_target, parse, portal_url
from detectors.triage.story import story_key

_log = logging.getLogger(__name__)

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LONGEST_FACT = 1_000
_LEADING_COLUMNS = (
    "Caller",
    "CallerIpAddress",
    "OperationNameValue",
    "ActivityStatusValue",
    "CorrelationId",
    "_ResourceId",
)
"""What every renderer shows of an alert before its facts."""

text = mapped.text

Collect = Callable[[Match, Rule], Awaitable[tuple[Evidence, ...]]]
"""Collects a match's evidence; a piece that is missing says so and nothing is raised."""


class Triage:
    """Makes the alert of a match. Never fails: an alert with a stated gap is better than none."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        collect: Collect,
        clock: Callable[[], datetime],
        portal: str,
        workspace_resource_id: Callable[[str | None], str],
    ) -> None:
        self._rules = {rule.id: rule for rule in rules}
        self._collect = collect
        self._clock = clock
        self._portal = portal
        self._workspace_resource_id = workspace_resource_id

    async def __call__(self, match: Match) -> Alert:
        """The alert of *match*."""
        rule = self._rules.get(match.rule_id) or _removed_rule(match)
        try:
            evidence = await self._collect(match, rule)
        except Exception as error:  # noqa: BLE001 - an alert goes out whatever enrichment does
            _log.exception("evidence for alert %s could not be collected; it goes out without", match.id)
            evidence = (
                Evidence(
                    name="evidence",
                    title="Evidence",
                    missing=f"Collecting it failed unexpectedly ({type(error).__name__}); the detector's log has more.",
                ),
            )
        query = links.responder_query(rule, match)
        return build_alert(
            rule,
            match,
            evidence,
            created_at=self._clock(),
            query=query,
            query_url=links.query_url(self._workspace_resource_id(match.workspace), query, portal=self._portal),
            portal=self._portal,
        )


def build_alert(
    rule: Rule,
    match: Match,
    evidence: tuple[Evidence, ...],
    *,
    created_at: datetime,
    query: str,
    query_url: str,
    portal: str,
) -> Alert:
    """The alert of *match* with *evidence*. Pure."""
    row = match.row
    resource_id = display_resource_id(rule, row)
    # The inventory often does not know who it was.
    reported_caller, reported_address = joining.who(match.reports)
    caller = mapped.caller(rule, row) or reported_caller
    resource = parse(resource_id)
    target = automation_target(resource_id)
    rule = dataclasses.replace(rule, severity=mapped.severity(rule, row))
    level, reasons = severity.assess(rule, evidence)
    return Alert(
        id=match.id,
        kind=AlertKind.DETECTION,
        rule_id=rule.id,
        rule_name=rule.name,
        rule_version=rule.version,
        severity=level,
        severity_reasons=reasons,
        title=fill(rule.title_format, row) if rule.title_format else rule.name,
        description=(
            fill(rule.description_format, row, longest=5_000) if rule.description_format else rule.description
        ),
        tactics=mapped.tactics(rule, row),
        techniques=rule.techniques,
        tags=rule.tags,
        source=match.source,
        workspace=match.workspace,
        event_time=match.event_time,
        found_at=match.found_at,
        created_at=created_at,
        operation=text(row.get("OperationNameValue")),
        outcome=text(row.get("ActivityStatusValue")),
        caller=caller,
        caller_ip=mapped.address(rule, row) or reported_address,
        resource_id=resource_id,
        subscription_id=resource.subscription_id if resource else text(row.get("SubscriptionId")),
        resource_group=resource.resource_group if resource else text(row.get("ResourceGroup")),
        account=target.account if target else (resource.names[0] if resource and resource.names else ""),
        identity=match.identity,
        entities=joining.with_caller(entities_of(rule, row), reported_caller, reported_address),
        facts=facts_of(rule, row, resource_id),
        evidence=(*evidence, *match.reports),
        triage=rule.detector.triage,
        response=rule.detector.response,
        false_positives=rule.detector.false_positives,
        references=rule.detector.references,
        query=query,
        query_url=query_url,
        portal_url=portal_url(resource_id, portal),
        row=row,
        story=story_key(
            caller=caller,
            account_id=target.account_id if target else resource_id,
            event_time=match.event_time,
        ),
    )


def display_resource_id(rule: Rule, row: Mapping[str, Any]) -> str:
    """The resource id in its original case where the log kept it (``Properties_d.entity``).

    ``entity`` is only taken when it is the same id: otherwise a forged property could name another resource.
    """
    resource_id = mapped.resource_id(rule, row)
    properties = row.get("Properties_d")
    entity = text(properties.get("entity")) if isinstance(properties, dict) else ""
    return entity if entity and entity.casefold() == resource_id.casefold() else resource_id


def fill(template: str, row: Mapping[str, Any], *, longest: int = 256) -> str:
    """*template* with ``{{Column}}`` replaced by the row's values, as Sentinel's alert display name format."""
    return _PLACEHOLDER.sub(lambda found: text(row.get(found[1])) or "(unknown)", template)[:longest]


def entities_of(rule: Rule, row: Mapping[str, Any]) -> tuple[Entity, ...]:
    """The rule's mapped entities with a value in every mapped field."""
    entities = []
    for mapping in rule.entity_mappings:
        fields = {identifier: text(row.get(column)) for identifier, column in mapping.fields if row.get(column)}
        if fields:
            entities.append(Entity(mapping.entity_type, fields))
    return tuple(entities)


def facts_of(rule: Rule, row: Mapping[str, Any], resource_id: str) -> tuple[Fact, ...]:
    """The rule's summary columns, then its custom details: each value once, and none that leads the alert anyway."""
    led = {text(row.get(column)).casefold() for column in _LEADING_COLUMNS}
    led |= {"", resource_id.casefold(), *resource_id.casefold().split("/")}
    labels = {column: column.lstrip("_") for column in rule.detector.summary}
    for name, column in rule.custom_details:
        labels.setdefault(column, name)
    facts = []
    for column, label in labels.items():
        value = text(row.get(column))[:_LONGEST_FACT]
        if value.casefold() not in led:
            facts.append(Fact(label, value))
            led.add(value.casefold())
    return tuple(facts)


def _removed_rule(match: Match) -> Rule:
    """Stands in for a rule that was removed after its match was stored."""
    from datetime import timedelta

    return Rule(
        id=match.rule_id,
        kind="Scheduled",
        name="A rule that is no longer in the rulebook",
        description="The rule that found this was removed before the alert was made. The row is attached.",
        severity=Severity.MEDIUM,
        query="",
        query_frequency=timedelta(minutes=5),
        query_period=timedelta(minutes=25),
    )
