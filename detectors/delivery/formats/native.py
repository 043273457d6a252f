"""The native format: the alert as the detector names it, in the envelope that Standard Webhooks recommend."""

from collections.abc import Callable
from typing import Any

import msgspec

from detectors.delivery.text import CUT, Excerpt, clip, encode_json, excerpts, first_that_fit, fit_fields, plain, shrink
from detectors.model import Alert

EVENT_TYPE = "azure_automation.alert"
MAX_BYTES = 20_000
"""The recommendation of Standard Webhooks; receivers may refuse more. Every format stays below it."""
_ENVELOPE = 400


def build_payload(alert: Alert) -> dict[str, Any]:
    """``{"type", "timestamp", "data"}``; the body is at most :data:`MAX_BYTES` as compact UTF-8 JSON.

    ``data`` is :func:`trimmed_data`.
    """
    data = trimmed_data(alert, MAX_BYTES - _ENVELOPE)
    return {"type": EVENT_TYPE, "timestamp": alert.created_at.isoformat(), "data": data}


def trimmed_data(alert: Alert, limit: int) -> dict[str, Any]:
    """The alert as JSON of at most *limit* bytes (4,000 or more), fields as :class:`detectors.model.Alert` names them.

    When it is too large, scripts shrink to the lines around their findings first (as ``number: line``; ``sha256``
    still names the whole), then the raw row, machine data, query, our own advice and the end of ``items`` go, the
    facts last. ``trimmed`` lists what was cut, and is empty when this is the whole alert.
    """
    data: dict[str, Any] = plain(msgspec.to_builtins(alert))
    data["trimmed"] = []
    size = len(encode_json(data))
    for name, cut in _cuts(alert, limit):
        if size <= limit:
            break
        cut(data)
        before, size = size, len(encode_json(data))
        if size < before:
            data["trimmed"].append(name)
    if len(encode_json(data)) > limit:
        data = _bare(data, limit)
    return data


def _cuts(alert: Alert, limit: int) -> list[tuple[str, Callable[[dict[str, Any]], None]]]:
    """What to give up, in order: (its name in ``data.trimmed``, how)."""
    return [
        ("evidence.code.text: 40 lines", lambda data: _excerpt_code(data, alert, lines=40)),
        ("evidence.code.text: 10 lines", lambda data: _excerpt_code(data, alert, lines=10)),
        ("evidence.data", lambda data: _empty_evidence(data, "data", {})),
        ("row: shortened", lambda data: data.update(row=shrink(data["row"], 2_000)[0])),
        ("query", lambda data: data.update(query="")),
        ("row", lambda data: data.update(row={})),
        ("evidence.code.text", lambda data: _excerpt_code(data, alert, lines=0)),
        ("triage, response, false_positives", lambda data: data.update(triage="", response="", false_positives=[])),
        ("evidence.code", lambda data: _empty_evidence(data, "code", [])),
        ("items: the first ones", lambda data: _first_items(data, limit)),
    ]


def _excerpt_code(data: dict[str, Any], alert: Alert, *, lines: int) -> None:
    for evidence, original in zip(data["evidence"], alert.evidence, strict=True):
        for code, whole in zip(evidence["code"], original.code, strict=True):
            text = "\n".join(_numbered(excerpt) for excerpt in excerpts(whole, lines))
            code["text"] = clip(text, lines * 100, CUT)


def _numbered(excerpt: Excerpt) -> str:
    return "\n".join(f"{number}: {line}" for number, line in enumerate(excerpt.lines, excerpt.start))


def _first_items(data: dict[str, Any], limit: int) -> None:
    rest = len(encode_json({**data, "items": []}))
    data["items"] = first_that_fit(data["items"], limit - rest - _ENVELOPE)


def _empty_evidence(data: dict[str, Any], key: str, empty: Any) -> None:
    for evidence in data["evidence"]:
        evidence[key] = empty


def _bare(data: dict[str, Any], limit: int) -> dict[str, Any]:
    """*data* with its long texts and lists cut to what fits: the last resort, when the facts alone are too many."""
    trimmed = data.pop("trimmed")
    fitted, cut = fit_fields(data, limit, limit - 1_500, lambda value: len(encode_json(value)))
    return {**fitted, "trimmed": [*trimmed, *cut]}
