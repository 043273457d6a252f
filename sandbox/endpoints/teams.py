"""A Teams workflow with the trigger "When a Teams webhook request is received", open to anyone with its URL."""

import hmac

from sandbox.wire import Request, Response, error_response

LIMIT = 28 * 1024
"""Bytes of one message. Above it the trigger still answers 202; the action after it fails."""


class TeamsEndpoint:
    """``POST /workflows/...``: 202 with an empty body, before anything is posted."""

    def __init__(self, signature: str) -> None:
        self._signature = signature

    def answer(self, request: Request) -> Response:
        """Only the URL's own signature opens the workflow; a token closes it."""
        if "authorization" in request.headers:
            return error_response(
                401,
                "DirectApiInvalidAuthorizationScheme",
                "The request has both SAS authentication scheme and another authorization scheme. Only one is allowed.",
            )
        if not hmac.compare_digest(request.query.get("sig", "").encode(), self._signature.encode()):
            return error_response(
                401,
                "DirectApiAuthorizationRequired",
                "The request must be authenticated only by Shared Access scheme.",
            )
        if request.method != "POST":
            return error_response(405, "MethodNotAllowed", "The trigger takes POST.")
        return Response(202)


def failed_action(request: Request) -> str | None:
    """Why the flow's action fails to post a message that its trigger accepted; None when it does not."""
    if len(request.body) > LIMIT:
        return f"Request Entity too large: {len(request.body)} bytes, the limit is {LIMIT}."
    match request.decoded():
        case {
            "type": "message",
            "attachments": [
                {"contentType": "application/vnd.microsoft.card.adaptive", "content": {"type": "AdaptiveCard"}},
                *_,
            ],
        }:
            return None
    return "The body is no message with an Adaptive Card attached."
