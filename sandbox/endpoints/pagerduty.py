"""PagerDuty's Events API v2, and the incidents that its events make."""

from typing import Any

from sandbox.wire import Request, Response, json_response

LIMIT = 512 * 1024
"""Bytes of one event."""
_REQUIRED = ("summary", "source", "severity")
_SEVERITIES = ("critical", "error", "warning", "info")


class PagerDutyEndpoint:
    """``POST /v2/enqueue``: 202 with the deduplication key, 400 with what is wrong with the event.

    ``incidents`` maps each deduplication key to ``triggered``, ``acknowledged`` or ``resolved``, oldest first. A
    trigger after a resolve opens a new incident; an acknowledge or resolve of an unknown key is accepted and does
    nothing.
    """

    def __init__(self, routing_key: str) -> None:
        self._routing_key = routing_key
        self.incidents: dict[str, str] = {}

    def answer(self, request: Request) -> Response:
        """Take an event that carries the integration's key."""
        if request.method != "POST" or request.segments != ("v2", "enqueue"):
            return json_response(404, {"status": "not found", "message": "The API takes POST /v2/enqueue."})
        if len(request.body) > LIMIT:
            return json_response(413, {"status": "invalid event", "message": "Event is larger than 512 KB"})
        event = request.decoded()
        problems = self._problems(event) if isinstance(event, dict) else ["The body is not a JSON object"]
        if problems:
            answer = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
            return json_response(400, answer)
        key = event.get("dedup_key") or f"made-{len(self.incidents) + 1}"
        self._apply(event["event_action"], key)
        return json_response(202, {"status": "success", "message": "Event processed", "dedup_key": key})

    def _apply(self, action: str, key: str) -> None:
        if action == "trigger":
            # An acknowledged incident stays acknowledged: a repeat only joins it.
            if self.incidents.get(key) in {None, "resolved"}:
                self.incidents[key] = "triggered"
        elif self.incidents.get(key) in {"triggered", "acknowledged"}:
            self.incidents[key] = "resolved" if action == "resolve" else "acknowledged"

    def _problems(self, event: dict[str, Any]) -> list[str]:
        problems = []
        key = event.get("routing_key")
        if not isinstance(key, str) or len(key) != 32:
            problems.append("Length of 'routing_key' is incorrect (should be 32 characters)")
        elif key != self._routing_key:
            problems.append("'routing_key' is not known")
        action = event.get("event_action")
        if action not in {"trigger", "acknowledge", "resolve"}:
            problems.append("'event_action' must be trigger, acknowledge or resolve")
        dedup_key = event.get("dedup_key")
        if dedup_key is None:
            problems += ["'dedup_key' is missing or blank"] if action in {"acknowledge", "resolve"} else []
        elif not isinstance(dedup_key, str) or not 0 < len(dedup_key) <= 255:
            problems.append("Length of 'dedup_key' must be 1 to 255 characters")
        return problems + (_payload_problems(event.get("payload")) if action == "trigger" else [])


def _payload_problems(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    problems = [
        f"'payload.{name}' is missing or blank"
        for name in _REQUIRED
        if not isinstance(payload.get(name), str) or not payload[name]
    ]
    if not problems and len(payload["summary"]) > 1024:
        problems.append("Length of 'payload.summary' must be at most 1024 characters")
    if not problems and payload["severity"] not in _SEVERITIES:
        problems.append(f"'payload.severity' must be one of {', '.join(_SEVERITIES)}")
    if not isinstance(payload.get("custom_details", {}), dict):
        problems.append("'payload.custom_details' must be an object")
    return problems
