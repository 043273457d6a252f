"""PagerDuty Events API v2: an alert triggers, and one story is one incident.

The service answers 202 and works later; 400 is not to be repeated, 429 and 5xx are; an event is at most 512 KB
(PagerDuty developer documentation, "Events API v2 Overview" and "Send an alert event").
"""

import hashlib
import re
from typing import Any

from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.http import Poster, checked_url, origin
from detectors.delivery.text import clip, encode_json, excerpts, fit_fields, redact, visible
from detectors.model import Alert, Code, Evidence, Fact, Severity

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
"""The US service region; accounts of the EU region use https://events.eu.pagerduty.com/v2/enqueue."""
MAX_BYTES = 512_000
SUMMARY_LIMIT = 1024
DEDUP_KEY_LIMIT = 255
_CLIENT = "Azure Automation detector"
_SEVERITIES = {
    Severity.HIGH: "critical",
    Severity.MEDIUM: "error",
    Severity.LOW: "warning",
    Severity.INFORMATIONAL: "info",
}
_ROUTING_KEY = re.compile(r"[0-9A-Za-z]{32}")
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?")
_MAX_LINK = 4_000
_FIELD = 255
_DETAIL = 64_000
# The incident's page shows the details as a table: half of what the service takes is more than anybody reads there.
_DETAILS = MAX_BYTES // 2
_VALUE = 1_000
_CODE_LINES = 30
_CODE_LINE = 300
_MOST = 200


def dedup_key(alert: Alert) -> str:
    """What makes two events one PagerDuty alert: the story, else the alert's own id. At most 255 characters."""
    return _bounded_key(alert.story or alert.id)


def build_event(alert: Alert) -> dict[str, Any]:
    """The ``trigger`` event, without ``routing_key``; at most :data:`MAX_BYTES` as compact UTF-8 JSON.

    High is critical, Medium error, Low warning, Informational info. ``custom_details`` hold what a responder reads
    first, every text made visible; what was cut is named in its ``trimmed``.
    """
    reason = f" - {alert.severity_reasons[0]}" if alert.severity_reasons else ""
    links = _links(alert)
    return {
        "event_action": "trigger",
        "dedup_key": dedup_key(alert),
        "payload": {
            "summary": _shown(f"{alert.title or alert.rule_name or 'Alert'}{reason}", SUMMARY_LIMIT),
            "source": _shown(alert.account or alert.resource_id or _CLIENT, _FIELD),
            "severity": _SEVERITIES[alert.severity],
            "timestamp": alert.event_time.isoformat(),
            "component": _shown("/".join(alert.resource_id[:2_000].split("/")[-2:]), _FIELD),
            "group": _shown(alert.resource_group, _FIELD),
            "class": _shown(alert.rule_name, _FIELD),
            "custom_details": _details(alert),
        },
        "client": _CLIENT,
        **({"client_url": alert.portal_url} if _is_link(alert.portal_url) else {}),
        **({"links": links} if links else {}),
    }


def build_resolve(key: str) -> dict[str, Any]:
    """The ``resolve`` event, without ``routing_key``, for the incident that events with the deduplication key made."""
    return {"event_action": "resolve", "dedup_key": _bounded_key(key)}


def _bounded_key(key: str) -> str:
    return key if len(key) <= DEDUP_KEY_LIMIT else hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _details(alert: Alert) -> dict[str, Any]:
    details: dict[str, Any] = {
        "severity": alert.severity.value,
        "why": [_shown(reason, _VALUE) for reason in alert.severity_reasons[:_MOST]],
        "meaning": _shown(alert.description, 8_000),
        "operation": _shown(alert.operation, _VALUE),
        "outcome": _shown(alert.outcome, _VALUE),
        "caller": _shown(alert.caller, _VALUE),
        "caller_ip": _shown(alert.caller_ip, _VALUE),
        "resource": _shown(alert.resource_id, _VALUE),
        "event_time": alert.event_time.isoformat(),
        "facts": _facts(alert.facts),
        "evidence": [_evidence(evidence) for evidence in alert.evidence[:_MOST]],
        "items": [
            f"{item.event_time.isoformat()} {_shown(item.operation, 200)} {_shown(item.caller, 200)} "
            f"{_shown(item.resource, 500)}"
            for item in alert.items
        ],
        "check": _shown(alert.triage, 8_000),
        "respond": _shown(alert.response, 8_000),
        "rule": _shown(f"{alert.rule_name} {alert.rule_version}", _VALUE),
        "techniques": [_shown(name, _VALUE) for name in (*alert.techniques, *alert.tags)],
        "alert_id": _shown(alert.id, _VALUE),
    }
    present = {name: value for name, value in details.items() if value}
    fitted, trimmed = fit_fields(present, _DETAIL, _DETAILS, lambda value: len(encode_json(value)))
    return {**fitted, **({"trimmed": trimmed} if trimmed else {})}


def _evidence(evidence: Evidence) -> dict[str, Any]:
    piece = {
        "title": _shown(evidence.title, _VALUE),
        "missing": _shown(evidence.missing or "", _VALUE),
        "facts": _facts(evidence.facts),
        "scripts": [_script(code) for code in evidence.code],
    }
    return {name: value for name, value in piece.items() if value}


def _script(code: Code) -> dict[str, Any]:
    lines = [
        f"{number}: {_shown(line, _CODE_LINE)}"
        for excerpt in excerpts(code, _CODE_LINES)
        for number, line in enumerate(excerpt.lines, excerpt.start)
    ]
    return {
        "title": _shown(code.title, _VALUE),
        "read_first": [f"{line.number}: {_shown(line.reason, _VALUE)}" for line in code.focus[:_CODE_LINES]],
        "lines": lines,
        "sha256": code.sha256,
    }


def _facts(facts: tuple[Fact, ...]) -> list[str]:
    # A list, not a mapping: of two facts with one label a mapping would keep the last.
    return [f"{_shown(fact.label, _FIELD)}: {_shown(fact.value, _VALUE)}" for fact in facts[:_MOST]]


def _links(alert: Alert) -> list[dict[str, str]]:
    candidates = [
        (alert.portal_url, "Open the resource in the Azure portal"),
        (alert.query_url, "Open the query in the Azure portal"),
        *((url, "Read about the technique") for url in alert.references[:3]),
    ]
    return [{"href": url, "text": text} for url, text in candidates if _is_link(url)]


def _is_link(url: str) -> bool:
    """A resource's name is part of its portal URL: only what a URL may hold becomes a link."""
    return len(url) <= _MAX_LINK and _LINK.fullmatch(url) is not None


def _shown(text: str, limit: int) -> str:
    return clip(visible(text[: limit + 1].strip(), keep_newlines=True), limit)


def checked_routing_key(key: str) -> str:
    """*key*, when it has the form of an integration key. Raises ValueError, which never shows it."""
    if not _ROUTING_KEY.fullmatch(key):
        raise ValueError(
            "the routing key must be 32 letters and digits; copy the integration key of an integration of the type "
            "'Events API v2'"
        )
    return key


class PagerDutyDestination:
    """Triggers an event per alert; events of one story become one incident.

    Raises ValueError when *routing_key* or *url* is unusable.
    """

    def __init__(self, routing_key: str, *, poster: Poster, name: str = "pagerduty", url: str = EVENTS_URL) -> None:
        self._routing_key = checked_routing_key(routing_key)
        self._url = checked_url(url, f"the URL of {name}")
        self._poster = poster
        self.name = name
        # An event with the same deduplication key is put to the same alert and notifies nobody while it is open.
        self.updates = True

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:  # noqa: ARG002 - dedup_key deduplicates
        """Trigger; ``remote_id`` is the deduplication key. Raises :class:`DeliveryError`."""
        return await self._enqueue(build_event(alert))

    async def resolve(self, key: str) -> Receipt:
        """Resolve the incident with the deduplication key (:func:`dedup_key`). Raises :class:`DeliveryError`.

        The service accepts a key that it does not know, and then does nothing.
        """
        return await self._enqueue(build_resolve(key))

    async def _enqueue(self, event: dict[str, Any]) -> Receipt:
        body = encode_json({"routing_key": self._routing_key, **event})
        try:
            response = await self._poster.post(self.name, self._url, body, {"Content-Type": "application/json"})
        except DeliveryError as error:
            raise self._explained(error) from None
        if response.status != 202:
            raise DeliveryError(
                f"{self.name}: {origin(self._url)} answered {response.status}, not 202 (Accepted). "
                "Check that the URL is that of the Events API; it is tried again.",
                may_have_arrived=True,
            )
        return Receipt(remote_id=event["dedup_key"])

    def _explained(self, error: DeliveryError) -> DeliveryError:
        """*error* without the routing key, should the service have repeated it, and with the likely remedy."""
        remedy = " If it names routing_key, copy the integration key again." if error.permanent else ""
        return DeliveryError(
            redact(str(error), [self._routing_key]) + remedy,
            permanent=error.permanent,
            retry_after=error.retry_after,
            may_have_arrived=error.may_have_arrived,
        )

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._poster.close()
