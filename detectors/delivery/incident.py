"""An alert as a Microsoft Sentinel incident or as a comment on one: the pure part of the Sentinel destination.

The alerts of one story share an incident. Its title, severity and description are those of the first alert; from then
on it belongs to the analysts, and each further alert is a comment.
"""

import html
import re
import uuid
from collections.abc import Iterable
from typing import Any

from detectors.delivery.card_elements import PLAIN_URL
from detectors.delivery.card_text import lead_facts, paragraphs, times_of
from detectors.delivery.text import clip, lines_of, visible
from detectors.model import ALSO_REPORTED, Alert, AlertKind, Evidence, Fact

MAX_DESCRIPTION = 5_000
"""Characters (Microsoft Learn, "Microsoft Sentinel service limits"). Counted in bytes here, which are never fewer."""
MAX_COMMENT = 30_000
"""Characters, as above. Comments stay far below: the earliest ones fall out of the 64 KB of a SecurityIncident row."""
MAX_COMMENTS = 100

_NAMESPACE = uuid.UUID("6d0f2a55-6a53-5d0c-9a3e-1f6f0f6b9c41")
"""Never change it: a story would get a second incident."""
_TITLE = 256
_VALUE = 500
_LABEL = 120
_MAX_LABELS = 40
_MAX_ITEMS = 100
_MAX_FOCUS = 10
_ID_LABEL = "AlertId "

# Portals draw comments as HTML and Markdown. An entity is a letter to both and the beginning of nothing to either.
_MARKUP = re.compile(r"[&<>\"'`*_\[\]()#!|~\\{}$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def incident_id(alert: Alert, number: int = 1) -> str:
    """The id of the story's incident: the same for every alert of it, in every process. *number* counts from 1."""
    # An alert without a story (the detector's own health) is its own.
    key = alert.story or alert.id
    return str(uuid.uuid5(_NAMESPACE, key if number == 1 else f"{key}#{number}"))


def comment_id(alert: Alert) -> str:
    """The id of the alert's comment."""
    return str(uuid.uuid5(_NAMESPACE, f"comment/{alert.id}"))


def update_id(alert: Alert) -> str:
    """The id of the comment with what was added to the alert since it was sent."""
    return str(uuid.uuid5(_NAMESPACE, f"comment/{alert.id}/update/{alert.updates}"))


def build_incident(alert: Alert, *, earlier: str = "") -> dict[str, Any]:
    """The body of the PUT that creates the story's incident (api-version 2025-09-01).

    *earlier* says, in our own words, which incident of the story this one goes on from. No owner: assigning it is the
    workspace's business. Tactics cannot be set on an incident that the API creates, so labels carry them.
    """
    first, last = times_of(alert)
    return {
        "properties": {
            "title": _text(alert.title, _TITLE) or "An alert without a title",
            "description": _fitting(_description(alert, earlier), _closing(alert), MAX_DESCRIPTION),
            # The detector's four severities are Sentinel's own.
            "severity": alert.severity.value,
            "status": "New",
            "labels": [{"labelName": label} for label in _labels(alert)],
            "firstActivityTimeUtc": f"{first:%Y-%m-%dT%H:%M:%SZ}",
            "lastActivityTimeUtc": f"{last:%Y-%m-%dT%H:%M:%SZ}",
        }
    }


def build_comment(alert: Alert) -> dict[str, Any]:
    """The body of the PUT that adds the alert to the story's incident. Text from outside cannot become markup."""
    lines = [f"<b>{_escaped(_heading(alert))}</b>"]
    lines += [_escaped(f"• {reason}", _VALUE) for reason in alert.severity_reasons]
    lines += [f"<b>{_escaped(fact.label, 60)}:</b> {_escaped(fact.value, _VALUE)}" for fact in _facts(alert)]
    lines += _reported(alert)
    for title, telling in _telling_lines(alert):
        lines.append(f"<b>Script: {_escaped(title, _LABEL)}</b>")
        lines += [f"{_escaped(reason)} <code>{_escaped(line, _VALUE)}</code>" for reason, line in telling]
    lines += [_escaped(line, _VALUE) for line in (*_items(alert), *_missing(alert))]
    links = (("Resource in the portal", alert.portal_url), ("The query", alert.query_url))
    lines += [f'<a href="{html.escape(url)}">{text}</a>' for text, url in links if PLAIN_URL.fullmatch(url)]
    return _comment(lines, alert)


def build_update(alert: Alert) -> dict[str, Any]:
    """The body of the PUT that adds to the incident what was added to the alert since: who else reported the action."""
    return _comment([f"<b>New evidence: {_escaped(_heading(alert))}</b>", *_reported(alert)], alert)


def _comment(lines: Iterable[str], alert: Alert) -> dict[str, Any]:
    closing = [_escaped(line) for line in _closing(alert)]
    return {"properties": {"message": _fitting(lines, closing, MAX_COMMENT, "<br>\n")}}


def _reported(alert: Alert) -> list[str]:
    lines = []
    for report in _reports(alert):
        lines.append(f"<b>{_escaped(report.title, _LABEL)}</b>")
        lines += [f"{_escaped(fact.label, 60)}: {_escaped(fact.value, _VALUE)}" for fact in report.facts]
    return lines


def _reports(alert: Alert) -> list[Evidence]:
    return [each for each in alert.evidence if each.name == ALSO_REPORTED]


def holds(incident: dict[str, Any], alert: Alert) -> bool:
    """Whether *incident* (as the API gives it) was created from *alert*, by its labels or its description.

    Both, because an analyst may edit either.
    """
    properties = incident.get("properties") or {}
    labels = properties.get("labels") or ()
    if any(label.get("labelName") == _ID_LABEL + alert.id for label in labels):
        return True
    # A whole line: no text from outside makes one, or the name of a runbook could pass for an alert that was sent.
    return _identity(alert) in (line.strip() for line in (properties.get("description") or "").splitlines())


def _identity(alert: Alert) -> str:
    return f'The whole alert is in the table AutomationDetections_CL, where AlertId is "{_text(alert.id, 100)}".'


def _closing(alert: Alert) -> list[str]:
    return [f"Rule: {_text(alert.rule_name, _LABEL)} {_text(alert.rule_version, 20)}", _identity(alert)]


def _labels(alert: Alert) -> list[str]:
    # The id comes first, so that no flood of tags can push it out.
    labels = [_ID_LABEL + alert.id, *alert.tags, *alert.tactics, *alert.techniques]
    return list(dict.fromkeys(_text(label, _LABEL) for label in labels if label.strip()))[:_MAX_LABELS]


def _heading(alert: Alert) -> str:
    label = "Detector health" if alert.kind is AlertKind.HEALTH else alert.severity.upper()
    return f"{label} {_text(alert.title, _TITLE)}"


def _description(alert: Alert, earlier: str) -> list[str]:
    """Lines of plain text, the most important first; every one that holds text from outside begins with our own."""
    lines = [earlier, ""] if earlier else []
    lines += [f"• {_text(reason, _VALUE)}" for reason in alert.severity_reasons]
    lines += ["", *(f"{_text(fact.label, 60)}: {_text(fact.value, _VALUE)}" for fact in _facts(alert))]
    for report in _reports(alert):
        lines += ["", _text(report.title, _LABEL)]
        lines += [f"{_text(fact.label, 60)}: {_text(fact.value, _VALUE)}" for fact in report.facts]
    for title, telling in _telling_lines(alert):
        lines += ["", f"Script: {_text(title, _LABEL)}"]
        lines += [f"{reason} {_text(line, _VALUE)}" for reason, line in telling]
    lines += ["", *(_text(line, _VALUE) for line in (*_items(alert), *_missing(alert)))]
    lines += ["", *(_text(part, 1_500) for part in paragraphs(alert.description))]
    if PLAIN_URL.fullmatch(alert.portal_url) and len(alert.portal_url) <= 1_000:
        lines += ["", f"Resource in the portal: {alert.portal_url}"]
    return [*lines, ""]


def _facts(alert: Alert) -> list[Fact]:
    leading = [fact for fact in lead_facts(alert) if fact.value]
    known = {fact.value for fact in leading}
    return leading + [fact for fact in alert.facts if fact.value and fact.value not in known]


def _telling_lines(alert: Alert) -> list[tuple[str, list[tuple[str, str]]]]:
    """Title of each script with telling lines, and ("Line 7: reason", the line itself) for the first few of them."""
    found = []
    seen: set[str] = set()
    for code in (code for evidence in alert.evidence for code in evidence.code):
        if not code.focus or code.sha256 in seen:
            continue
        seen.add(code.sha256)
        lines = lines_of(code.text)
        telling = [
            (f"Line {focus.number}: {_text(focus.reason, 200)}", lines[focus.number - 1])
            for focus in code.focus[:_MAX_FOCUS]
            if 1 <= focus.number <= len(lines)
        ]
        found.append((code.title, telling))
    return found


def _items(alert: Alert) -> list[str]:
    return [
        f"{item.event_time:%H:%M:%S} {item.operation} by {item.caller or 'unknown'}: {item.resource}"
        for item in alert.items[:_MAX_ITEMS]
    ]


def _missing(alert: Alert) -> list[str]:
    return [f"Not available: {each.title}: {each.missing}" for each in alert.evidence if each.missing is not None]


def _fitting(lines: Iterable[str], closing: list[str], limit: int, separator: str = "\n") -> str:
    """*lines* as far as they fit, whole, then *closing*. A cut says so."""
    cut = "… what did not fit is left out here."
    room = limit - len(separator.join(["", cut, *closing]).encode())
    kept: list[str] = []
    for line in lines:
        # A gap that opens the text, or a second one in a row, is none.
        if not line and (not kept or not kept[-1]):
            continue
        room -= len((line + separator).encode())
        if room < 0:
            kept.append(cut)
            break
        kept.append(line)
    return separator.join([*kept, *closing])


def _text(text: str, limit: int) -> str:
    """One bounded line in which nothing is invisible."""
    text = text.strip()
    return clip(visible(text[: limit + 1]), limit)


def _escaped(text: str, limit: int = 1_000) -> str:
    """:func:`_text` in which no character begins markup, for a place that draws HTML and Markdown."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", _text(text, limit))
