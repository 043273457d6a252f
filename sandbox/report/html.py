"""Alerts as one HTML page that needs nothing else: no script, no font, no picture, no request.

Every text goes through :func:`html.escape` at the place where it meets markup, and a Content-Security-Policy in the
page refuses everything but its own style sheet, so that a mistake here would still not run anything.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from detectors.model import Alert, Severity
from sandbox.report import markdown
from sandbox.report.style import STYLE
from sandbox.report.text import moment, visible
from sandbox.report.view import (
    AlertView,
    CodeView,
    EvidenceView,
    Field,
    Link,
    Section,
    build,
    text_of,
    worst_first,
)

SHORT = 10
"""Scripts and outputs of up to this many lines are not folded away."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_CLASS = {
    Severity.HIGH: "high",
    Severity.MEDIUM: "medium",
    Severity.LOW: "low",
    Severity.INFORMATIONAL: "informational",
}


def _badge(severity: Severity) -> str:
    return f'<span class="badge {_CLASS[severity]}">{escape(severity)}</span>'


def _fields(fields: Sequence[Field], *, css: str = "") -> str:
    if not fields:
        return ""
    rows = "".join(f"<div><dt>{escape(row.label)}</dt><dd>{escape(row.value)}</dd></div>" for row in fields)
    return f'<dl class="{css}">{rows}</dl>' if css else f"<dl>{rows}</dl>"


def _missing(fields: Sequence[Field]) -> str:
    items = "".join(f"<li><strong>{escape(row.label)}</strong>: {escape(row.value)}</li>" for row in fields)
    return f'<ul class="missing">{items}</ul>' if items else ""


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _link(link: Link) -> str:
    return f'<a href="{escape(link.url)}" rel="noopener noreferrer">{escape(link.label)}</a>'


def _spans(line: Iterable[markdown.Span]) -> str:
    written: list[str] = []
    for span in line:
        text = escape(span.text)
        if span.style == "code":
            text = f"<code>{text}</code>"
        elif span.style == "bold":
            text = f"<strong>{text}</strong>"
        elif span.style == "link":
            text = _link(Link(span.text, span.url))
        written.append(text)
    return "".join(written)


def _blocks(blocks: Iterable[markdown.Block]) -> str:
    written: list[str] = []
    for block in blocks:
        items = [_spans(item) for item in block.items]
        if block.kind in {"numbered", "bulleted"}:
            tag = "ol" if block.kind == "numbered" else "ul"
            written.append(f"<{tag}>" + "".join(f"<li>{item}</li>" for item in items) + f"</{tag}>")
        elif block.kind == "code":
            text = escape("\n".join(markdown.plain(item) for item in block.items))
            written.append(f'<pre class="plain">{text}</pre>')
        elif block.kind == "heading":
            written += [f"<p><strong>{item}</strong></p>" for item in items]
        else:
            written += [f"<p>{item}</p>" for item in items]
    return "".join(written)


def _details(summary: str, body: str, *, opened: bool = False) -> str:
    """A part that can be folded away. *summary* and *body* are markup already."""
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{body}</details>"


def _code(code: CodeView) -> str:
    if code.same_as:
        return f"<p><strong>{escape(code.title)}</strong>: the same text as “{escape(code.same_as)}”.</p>"
    title = f'<strong>{escape(code.title)}</strong> <span class="muted">{escape(code.summary)}</span>'
    if not code.lines:
        return f"<p>{title}</p>"
    written: list[str] = []
    expected = 1
    for line in code.lines:
        if line.number != expected:
            written.append(f'<li class="gap">{line.number - expected:,} lines not shown</li>')
        expected = line.number + 1
        focus = ' class="focus"' if line.reason else ""
        reason = f'<span class="why">Line {line.number}: {escape(line.reason)}</span>' if line.reason else ""
        written.append(
            f'<li id="{code.anchor}-line-{line.number}" value="{line.number}"{focus}>'
            f'<span class="number">{line.number}</span>'
            f"<code>{escape(line.text) or ' '}</code>{reason}</li>"
        )
    last = code.lines[-1].number
    total = len(code.lines) + code.omitted
    if last < total:
        written.append(f'<li class="gap">{total - last:,} lines not shown</li>')
    return _details(title, f'<ol class="code">{"".join(written)}</ol>', opened=bool(code.focus) or total <= SHORT)


def _focus(view: AlertView) -> str:
    if not view.focus:
        return ""
    parts = ["<h4>Read these lines first</h4>"]
    for code, focus in view.focus:
        items = "".join(
            f'<li><a href="#{code.anchor}-line-{line.number}">Line {line.number}</a> {escape(line.reason)}'
            f"<code>{escape(line.text.strip())}</code></li>"
            for line in focus
        )
        parts.append(f'<p class="muted">In {escape(code.title)}:</p><ul class="lines">{items}</ul>')
    return "".join(parts)


def _evidence(found: EvidenceView) -> str:
    body = _fields(found.fields) + "".join(_code(code) for code in found.code)
    if found.only:
        body = f"<p>{escape(found.only)}</p>"
    return f"<h4>{escape(found.title)}</h4>{body}"


def _part(title: str, body: str) -> str:
    return f"<h4>{escape(title)}</h4>{body}" if body else ""


def _alert(view: AlertView) -> str:
    kind = f' <span class="muted">{escape(view.kind)}</span>' if view.kind else ""
    links = "".join(f"<li>{_link(link)}</li>" for link in view.links)
    steps = _blocks(view.triage)
    response = _blocks(view.response)
    raw = "\n".join(view.row)
    query = "\n".join(view.query)
    return "".join(
        (
            f'<article class="{_CLASS[view.severity]}" id="{view.anchor}" aria-labelledby="{view.anchor}-title">',
            f'<h3 id="{view.anchor}-title">{_badge(view.severity)} {escape(view.title)}{kind}</h3>',
            _fields(view.lead, css="lead"),
            _part("Why this severity", _list(view.reasons) if view.reasons else ""),
            f"<p>{escape(view.message)}</p>" if view.message else "",
            _part(view.facts_heading, _fields(view.facts)),
            _part("Actions in this summary", _fields(view.items)),
            _focus(view),
            "".join(_evidence(found) for found in view.evidence),
            _part("Not available", _missing(view.missing)),
            _part("What to do", _fields(view.first_steps, css="first")),
            _part("What the rule looks for", f"<p>{escape(view.background)}</p>" if view.background else ""),
            _details("All checks", steps) if steps else "",
            _details("Response, if it is real", response) if response else "",
            _details("When this is harmless", _list(view.false_positives)) if view.false_positives else "",
            _part("Links", f"<ul>{links}</ul>" if links else ""),
            _part("Identifiers", _fields(view.ids, css="ids")),
            _details("The query that found it", f'<pre class="plain">{escape(query)}</pre>') if query else "",
            _details("The log row", f'<pre class="plain">{escape(raw)}</pre>') if raw else "",
            '<p><a href="#top">Back to the overview</a></p></article>',
        )
    )


def _overview(views: Sequence[AlertView]) -> str:
    if not views:
        return "<p>No alerts.</p>"
    rows = "".join(
        f'<tr><td data-label="Severity">{_badge(view.severity)}</td>'
        f'<td data-label="Alert"><a href="#{view.anchor}">{escape(view.title)}</a></td>'
        f'<td data-label="Who">{escape(view.who)}</td>'
        f'<td data-label="When">{escape(view.when)}</td></tr>'
        for view in views
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Severity", "Alert", "Who", "When"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _section(section: Section, views: dict[str, AlertView]) -> str:
    note = f"<p>{escape(visible(section.note))}</p>" if section.note else ""
    fields = [Field(visible(field.label), text_of(field.value)) for field in section.fields]
    alerts = "".join(_alert(views.pop(name)) for name in section.alert_ids if name in views)
    return f"<section><h2>{escape(visible(section.title))}</h2>{note}{_fields(fields)}{alerts}</section>"


def render(alerts: Sequence[Alert], *, title: str, generated_at: datetime, sections: Sequence[Section] = ()) -> str:
    """The page, as text to be written in UTF-8. Pure: the same arguments give the same page.

    An alert appears once, under the first of *sections* that names its id; those that none names follow at the end.
    """
    ordered = worst_first(list({alert.id: alert for alert in alerts}.values()))
    views = {alert.id: build(alert) for alert in ordered}
    overview = _overview(list(views.values()))
    chapters = [_section(section, views) for section in sections]
    if views:
        name = "Other alerts" if any(section.alert_ids for section in sections) else "Alerts"
        chapters.append(_section(Section(title=name, alert_ids=tuple(views)), dict(views)))
    heading = escape(visible(title))
    return (
        '<!DOCTYPE html>\n<html lang="en" id="top">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{heading}</h1>\n"
        f'<p class="muted">Written {escape(moment(generated_at))}. Times are UTC. '
        "Names, scripts and outputs are shown as they were found; characters that could steer a screen appear as "
        f"symbols.</p>\n<section><h2>Overview</h2>{overview}</section>\n"
        + "\n".join(chapters)
        + "\n</main>\n</body>\n</html>\n"
    )
