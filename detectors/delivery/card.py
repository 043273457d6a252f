"""An alert as an Adaptive Card 1.5: the pure part of the Teams destination.

For a responder on a phone at three in the morning: the first screen says how bad, what, who, from where, on which
account and when; why it matters, the script's telling lines, the other evidence and the next steps follow. What may
stand where is the rule of :mod:`detectors.delivery.card_elements`.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from detectors.delivery.card_elements import (
    PLAIN_URL,
    STYLES,
    Element,
    card,
    code_block,
    column,
    header,
    heading,
    heading_run,
    markdown,
    muted,
    rich,
    run,
    safe_text,
)
from detectors.delivery.card_text import (
    duration,
    first_steps,
    group_items,
    lead_facts,
    paragraphs,
    short_title,
    teams_markdown,
)
from detectors.delivery.text import clip, excerpts, lines_of, visible
from detectors.model import Alert, AlertKind, Code, Evidence

_Entry = TypeVar("_Entry")

_MORE_STEPS = "more-steps"
_REPEAT = "This may be a repeat: an earlier attempt to post this alert may have arrived."
_MAX_SCRIPTS = 6


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of everything a card shows; lengths in bytes of UTF-8."""

    code_lines: int = 30
    code_line: int = 200
    focus: int = 8
    evidence: int = 24
    evidence_facts: int = 16
    facts: int = 20
    value: int = 500
    prose: int = 1500
    reasons: int = 8
    steps: int = 4000
    items: int = 2000
    item_name: int = 80
    url: int = 4000


def _levels() -> tuple[Limits, ...]:
    changes: tuple[dict[str, int], ...] = (
        {"code_lines": 16},
        {"code_lines": 10, "code_line": 140},
        {"code_lines": 5, "code_line": 100},
        {"code_lines": 0, "focus": 4},
        {"evidence_facts": 8, "value": 250},
        {"evidence_facts": 4, "value": 120, "facts": 10},
        {"evidence_facts": 1, "evidence": 12, "facts": 6, "value": 90},
        {"item_name": 40},
        {"item_name": 24, "steps": 2000},
        {"item_name": 14, "steps": 1000, "prose": 600},
        {"item_name": 9, "steps": 0, "url": 1500},
        {"items": 150, "evidence": 4, "prose": 300, "reasons": 3},
        {"items": 50, "focus": 1, "evidence": 2, "value": 60},
        {"items": 10, "evidence": 0, "facts": 2, "prose": 120, "url": 400, "reasons": 1},
    )
    levels = [Limits()]
    for change in changes:
        levels.append(dataclasses.replace(levels[-1], **change))
    return tuple(levels)


LEVELS = _levels()
"""From everything to the bare minimum: scripts shrink first, then facts, then items, then our own words."""


def adaptive_card(alert: Alert, limits: Limits, *, possible_repeat: bool) -> Element:
    """The card under *limits*. What it leaves out is named in its footer, with the place where the whole is."""
    return _Card(alert, limits).build(possible_repeat=possible_repeat)


class _Card:
    """One card in the making; remembers what it left out."""

    def __init__(self, alert: Alert, limits: Limits) -> None:
        self._alert = alert
        self._limits = limits
        self._cuts: dict[str, None] = {}

    def build(self, *, possible_repeat: bool) -> Element:
        actions = self._actions()
        body = [
            self._header(),
            *([rich(run(_REPEAT, italic=True))] if possible_repeat else []),
            *self._lead(),
            *self._why(),
            *self._items(),
            *self._scripts(),
            *self._evidence(),
            *self._steps(),
        ]
        # Last, because it says what the others left out.
        body += self._footer()
        return card(body, actions)

    def _show(self, text: str, limit: int, what: str) -> str:
        """*text* made visible and bounded; a cut is noted as *what*."""
        clipped, was_cut = safe_text(text, limit)
        if was_cut:
            self._cuts[what] = None
        return clipped

    def _few(self, entries: Sequence[_Entry], limit: int, what: str) -> Sequence[_Entry]:
        if len(entries) > limit:
            self._cuts[f"{len(entries) - limit} {what}"] = None
        return entries[:limit]

    def _header(self) -> Element:
        alert, limits = self._alert, self._limits
        health = alert.kind is AlertKind.HEALTH
        label = "Detector health" if health else alert.severity.upper()
        # The caller has a line of its own below; twice, a guest's long name fills half of a phone's screen.
        title = self._show(short_title(alert), min(300, limits.value), "the title")
        items = [rich(run(f"{label}  ", weight="bolder"), run(title, weight="bolder", size="medium"))]
        if alert.severity_reasons and not health:
            items.append(rich(run(self._show(alert.severity_reasons[0], limits.value, "reasons")), spacing="small"))
        # A health alert stays calm whatever its severity: nobody has broken in.
        return header("accent" if health else STYLES[alert.severity], *items)

    def _lead(self) -> list[Element]:
        alert = self._alert
        rows = [row for row in lead_facts(alert) if row.value]
        known = {row.value for row in rows}
        facts = [fact for fact in alert.facts if fact.value and fact.value not in known]
        rows += self._few(facts, self._limits.facts, "facts")
        return [
            {
                "type": "ColumnSet",
                "spacing": "small",
                "columns": [
                    column("88px", rich(run(self._show(row.label, 40, "facts"), isSubtle=True))),
                    column("stretch", rich(run(self._show(row.value, self._limits.value, "facts")))),
                ],
            }
            for row in rows
        ]

    def _why(self) -> list[Element]:
        alert, limits = self._alert, self._limits
        elements = [heading("What happened" if alert.kind is AlertKind.HEALTH else "Why it matters")]
        elements += [
            rich(run(self._show(part, limits.prose, "the description")), spacing="small")
            for part in self._few(paragraphs(alert.description), 4, "paragraphs of the description")
        ]
        # The first reason already stands in the header.
        later = alert.severity_reasons[1:] if alert.kind is not AlertKind.HEALTH else alert.severity_reasons
        reasons = self._few(later, limits.reasons, "reasons")
        elements += [rich(run(f"• {self._show(each, limits.value, 'reasons')}"), spacing="none") for each in reasons]
        attack = " · ".join((*alert.tactics, *alert.techniques))
        if attack:
            elements.append(muted(f"MITRE ATT&CK: {self._show(attack, 200, 'tactics')}"))
        return elements if len(elements) > 1 else []

    def _items(self) -> list[Element]:
        items = self._alert.items
        if not items:
            return []
        shown = self._few(items, self._limits.items, f"of {len(items)} items")
        elements = [heading(f"The {len(items)} matches")]
        for title, names in group_items(shown, lambda text: self._show(text, self._limits.item_name, "item names")):
            runs = [run(f"{title}: ", weight="bolder"), run(names)] if title else [run(names)]
            elements.append(rich(*runs, spacing="small"))
        return elements

    def _scripts(self) -> list[Element]:
        codes = [code for evidence in self._alert.evidence for code in evidence.code]
        # What has telling lines comes first; otherwise in the order in which it was collected.
        codes.sort(key=lambda code: not code.focus)
        elements: list[Element] = []
        titles: dict[str, str] = {}
        lines_left = 2 * self._limits.code_lines
        for code in self._few(codes, _MAX_SCRIPTS if self._limits.evidence else 1, "scripts"):
            title = self._show(code.title, 120, "script titles")
            if code.sha256 in titles:
                elements.append(muted(f"{title}: the same text as {titles[code.sha256]}"))
                continue
            titles[code.sha256] = title
            elements.append(heading_run(title))
            size = f"{code.size} bytes" + (", of which the first part was collected" if code.truncated else "")
            elements.append(muted(f"{size}, SHA-256 {clip(visible(code.sha256), 16, '')}…"))
            elements += self._focus(code)
            blocks, used = self._code_blocks(code, min(self._limits.code_lines, lines_left))
            elements += blocks
            lines_left -= used
        return elements

    def _focus(self, code: Code) -> list[Element]:
        lines = lines_of(code.text)
        elements = []
        for focus in self._few(code.focus, self._limits.focus, "of the telling lines"):
            runs = [run(f"Line {focus.number}: ", weight="bolder"), run(self._show(focus.reason, 200, "reasons"))]
            # Without a code block the line itself stands here, so that the reason can be checked at a glance.
            if self._limits.code_lines == 0 and 1 <= focus.number <= len(lines):
                line = self._show(lines[focus.number - 1], self._limits.value, "script text")
                runs.append(run(f"  {line}", fontType="monospace"))
            elements.append(rich(*runs, spacing="none"))
        return elements

    def _code_blocks(self, code: Code, limit: int) -> tuple[list[Element], int]:
        total = len(lines_of(code.text))
        blocks, used = [], 0
        for excerpt in excerpts(code, limit):
            used += len(excerpt.lines)
            # Indentation is meaning here, so the lines do not go through _show, which strips.
            lines = [
                clip(visible(line[: self._limits.code_line + 1]), self._limits.code_line) for line in excerpt.lines
            ]
            if any(len(line) > self._limits.code_line for line in excerpt.lines):
                self._cuts["long script lines"] = None
            blocks.append(code_block(code.language, excerpt.start, lines))
        if used < total:
            self._cuts["script text"] = None
            if blocks:
                blocks.append(muted(f"{used} of {total} lines shown"))
        return blocks, used

    def _evidence(self) -> list[Element]:
        found = [each for each in self._alert.evidence if each.missing is None and each.facts]
        missing = [each for each in self._alert.evidence if each.missing is not None]
        elements: list[Element] = []
        for evidence in self._few(found, self._limits.evidence, "pieces of evidence"):
            elements += self._evidence_facts(evidence)
        elements += [
            muted(
                f"not available: {self._show(each.title, 120, 'evidence')}: "
                f"{self._show(each.missing or '', min(300, self._limits.value), 'evidence')}"
            )
            for each in self._few(missing, self._limits.evidence, "notes about missing evidence")
        ]
        return elements

    def _evidence_facts(self, evidence: Evidence) -> list[Element]:
        return [
            heading_run(self._show(evidence.title, 120, "evidence")),
            *(
                rich(
                    run(f"{self._show(fact.label, 60, 'evidence')}: ", isSubtle=True),
                    run(self._show(fact.value, self._limits.value, "evidence")),
                    spacing="none",
                )
                for fact in self._few(evidence.facts, self._limits.evidence_facts, "facts of the evidence")
            ),
        ]

    def _steps(self) -> list[Element]:
        alert, limit = self._alert, self._limits.steps
        if not (alert.triage or alert.response):
            return []
        if limit == 0:
            self._cuts["the steps to take"] = None
            return []
        visible_part, hidden_part = [heading("What to do")], []
        for label, advice, count in (("", alert.triage, 3), ("**If it is real**", alert.response, 2)):
            first, rest = first_steps(teams_markdown(clip(advice, limit)), count)
            if clip(advice, limit) != advice:
                self._cuts["some of the steps"] = None
            visible_part += [markdown(part) for part in (label if first else "", first) if part]
            hidden_part += [markdown(part) for part in (label if rest else "", rest) if part]
        if not hidden_part:
            return visible_part
        toggle = {"type": "Action.ToggleVisibility", "title": "Show or hide all steps", "targetElements": [_MORE_STEPS]}
        container = {"type": "Container", "id": _MORE_STEPS, "isVisible": False, "items": hidden_part}
        return [*visible_part, container, {"type": "ActionSet", "actions": [toggle]}]

    def _footer(self) -> list[Element]:
        alert = self._alert
        elements: list[Element] = []
        identifier = self._show(alert.id, 100, "the id")
        if self._cuts:
            cuts = clip(", ".join(self._cuts), 400)
            whole = f'The whole alert is in the table AutomationDetections_CL, where AlertId is "{identifier}".'
            elements.append(muted(f"Left out here: {cuts}. {whole}"))
        rule = self._show(f"{alert.rule_id} {alert.rule_version}", 120, "the rule's name")
        line = f"Alert {clip(identifier, 12, '')} · rule {rule} · {alert.source}"
        if alert.kind is not AlertKind.HEALTH:
            line += f" · {duration(alert.created_at - alert.event_time)} after the event"
        return [*elements, {**muted(line), "separator": True}]

    def _actions(self) -> list[Element]:
        alert = self._alert
        links = [("Open resource in the portal", alert.portal_url), ("Open the query", alert.query_url)]
        references = [url for url in alert.references if PLAIN_URL.fullmatch(url)][:2]
        links += [(f"Reference: {clip(urlsplit(url).hostname or '', 60)}", url) for url in references]
        actions = []
        for title, url in links:
            if PLAIN_URL.fullmatch(url) and len(url) <= self._limits.url:
                actions.append({"type": "Action.OpenUrl", "title": title, "url": url})
            elif url:
                self._cuts["a link that is too long or no plain https address"] = None
        return actions
