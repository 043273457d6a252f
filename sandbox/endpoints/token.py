"""The managed identity endpoint of App Service: ``GET /msi/token``, over plain http as there."""

import hmac
import time

from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, json_response

API_VERSION = "2019-08-01"


class TokenEndpoint:
    """Issues tokens that name their resource, to whoever knows the identity header."""

    def __init__(self, issuer: TokenIssuer, header: str) -> None:
        self._issuer = issuer
        self._header = header

    def answer(self, request: Request) -> Response:
        """A token that is valid for a day of the machine's clock, whatever time the sandbox plays.

        azure-identity compares ``expires_on`` with its own ``time.time()``.
        """
        if request.method != "GET":
            return json_response(405, {"statusCode": 405, "message": "Only GET gives a token."})
        if not hmac.compare_digest(request.headers.get("x-identity-header", "").encode(), self._header.encode()):
            return json_response(401, {"statusCode": 401, "message": "X-IDENTITY-HEADER is missing or wrong."})
        if request.query.get("api-version") != API_VERSION:
            return json_response(400, {"statusCode": 400, "message": f"api-version must be {API_VERSION}."})
        resource = request.query.get("resource", "")
        if not resource.startswith("https://"):
            return json_response(400, {"statusCode": 400, "message": "resource must be an https URL."})
        expires_on = int(time.time()) + 86_400
        return json_response(
            200,
            {
                "access_token": self._issuer.issue(resource, expires_on),
                "expires_on": str(expires_on),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": request.query.get("client_id", ""),
            },
        )
