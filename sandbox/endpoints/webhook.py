"""A receiver of signed webhooks that checks the signature by itself, from the Standard Webhooks text (1.0.0)."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime

from sandbox.wire import Request, Response, error_response

TOLERANCE_SECONDS = 300


class WebhookEndpoint:
    """``POST /webhook``: 204, or 400 with what is wrong with the signature."""

    def __init__(self, secret: str, clock: Callable[[], datetime]) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._clock = clock

    def answer(self, request: Request) -> Response:
        """Take what is signed with the shared secret within five minutes of the sandbox's clock."""
        if request.method != "POST":
            return error_response(405, "MethodNotAllowed", "The receiver takes POST.")
        problem = self._problem(request)
        return Response(204) if problem is None else error_response(400, "InvalidSignature", problem)

    def _problem(self, request: Request) -> str | None:
        identifier = request.headers.get("webhook-id", "")
        timestamp = request.headers.get("webhook-timestamp", "")
        signatures = request.headers.get("webhook-signature", "")
        if not identifier or not signatures:
            return "webhook-id or webhook-signature is missing."
        if not timestamp.isdecimal():
            return f"webhook-timestamp is {timestamp!r}, not Unix seconds."
        age = self._clock().timestamp() - int(timestamp)
        if abs(age) > TOLERANCE_SECONDS:
            return f"webhook-timestamp is {age:.0f} s away from the receiver's clock."
        signed = f"{identifier}.{timestamp}.".encode() + request.body
        expected = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest())
        given = [text.removeprefix("v1,").encode() for text in signatures.split(" ") if text.startswith("v1,")]
        if not any(hmac.compare_digest(candidate, expected) for candidate in given):
            return "No v1 signature in webhook-signature matches the body."
        return None
