"""Access tokens that name their audience, and the check that every endpoint makes of them."""

import base64
import hashlib
import hmac
import secrets

import msgspec


class _Claims(msgspec.Struct):
    aud: str
    exp: int


class TokenIssuer:
    """Issues and reads the tokens of one sandbox. A token of another run is not valid."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def _signature(self, payload: str) -> str:
        digest = hmac.new(self._key, payload.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def issue(self, resource: str, expires_on: int) -> str:
        """A token for *resource*, valid until *expires_on* (Unix seconds)."""
        claims = msgspec.json.encode(_Claims(resource.rstrip("/"), expires_on))
        payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        return f"sandbox.{payload}.{self._signature(payload)}"

    def audience(self, token: str) -> str | None:
        """The resource that *token* is for, None when this sandbox did not issue it."""
        kind, _, rest = token.partition(".")
        payload, _, signature = rest.partition(".")
        if kind != "sandbox" or not hmac.compare_digest(signature.encode(), self._signature(payload).encode()):
            return None
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims).aud
