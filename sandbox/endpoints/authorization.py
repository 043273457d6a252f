"""What each service says to a request without a token, or with a token for another audience."""

from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response

ARM_AUDIENCES = frozenset({"https://management.azure.com", "https://management.core.windows.net"})
LOGS_AUDIENCES = frozenset({"https://api.loganalytics.io", "https://api.loganalytics.azure.com"})
INGESTION_AUDIENCES = frozenset({"https://monitor.azure.com"})


def _token(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def refuse_logs(request: Request, issuer: TokenIssuer, own: str) -> Response | None:
    """The documented 401 of Logs Query without a token, and its 403 for one that is not for it; None lets pass."""
    token = _token(request)
    if not token:
        return error_response(
            401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        )
    # The client asks for a token for the endpoint that it was given, unless it is told another audience.
    if issuer.audience(token) not in LOGS_AUDIENCES | {own}:
        return error_response(403, "InvalidAuthenticationToken", "The access token is invalid.")
    return None


def refuse_arm(request: Request, issuer: TokenIssuer, own: str) -> Response | None:
    """Azure Resource Manager's 401s; None lets the request pass."""
    token = _token(request)
    if not token:
        return error_response(
            401,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    audience = issuer.audience(token)
    if audience is None:
        return error_response(
            401,
            "InvalidAuthenticationToken",
            "The access token is invalid.",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    if audience not in ARM_AUDIENCES | {own}:
        return error_response(
            401,
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{audience}'. It should exactly match "
            "with one of the allowed audiences 'https://management.core.windows.net','https://management.azure.com'.",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return None


def refuse_ingestion(request: Request, issuer: TokenIssuer) -> Response | None:
    """Logs Ingestion's 401; None lets the request pass."""
    if issuer.audience(_token(request)) in INGESTION_AUDIENCES:
        return None
    return error_response(401, "AuthenticationFailed", "A token for https://monitor.azure.com is needed.")
