"""A signed webhook in the form of Standard Webhooks 1.0.0, for automation that acts on alerts.

The receiver verifies ``webhook-signature`` with any Standard Webhooks library and drops repeats by ``webhook-id``,
which stays the same across retries. What the body looks like is the format's business
(:mod:`detectors.delivery.formats`); every format is signed the same way.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime

from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.formats import FORMATS
from detectors.delivery.http import Poster, checked_url
from detectors.delivery.text import encode_json
from detectors.model import Alert

_PREFIX = "whsec_"


def signing_keys(secret: str) -> list[bytes]:
    """The keys in *secret*: one, or several separated by spaces while receivers change over.

    Raises ValueError, which never shows the secret.
    """
    keys = []
    for each in secret.split():
        if not each.startswith(_PREFIX):
            raise ValueError(f"a webhook secret must begin with {_PREFIX}; {_HOW}")
        try:
            key = base64.b64decode(each.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            # "from None": the cause would not help, and nothing of the secret belongs in a traceback.
            raise ValueError(f"a webhook secret must be base64 after {_PREFIX}; {_HOW}") from None
        if not 24 <= len(key) <= 64:
            raise ValueError(f"a webhook secret must hold 24 to 64 bytes, this one holds {len(key)}; {_HOW}")
        keys.append(key)
    if not keys:
        raise ValueError(f"a webhook needs a secret; {_HOW}")
    return keys


_HOW = "make one with: echo whsec_$(openssl rand -base64 32)"


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: ``v1,<base64 HMAC-SHA256>`` per secret, separated by spaces.

    *secret* is ``whsec_`` with base64 of 24 to 64 bytes, or several of them separated by spaces; *timestamp* is in Unix
    seconds. Raises ValueError for an unusable secret.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in signing_keys(secret)]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class WebhookDestination:
    """Posts each alert, signed, to *url*, in one of the formats of :data:`detectors.delivery.formats.FORMATS`.

    Evidence that is added later is not sent. Under the same ``webhook-id`` a receiver that keeps to the standard drops
    it; under another one, automation that acts on every message would act twice on one alert.

    Raises ValueError when *url*, *secret* or *body_format* is unusable.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        clock: Callable[[], datetime],
        poster: Poster,
        name: str = "webhook",
        body_format: str = "native",
    ) -> None:
        if body_format not in FORMATS:
            raise ValueError(f"the format of {name} must be one of {', '.join(FORMATS)}")
        self._format = FORMATS[body_format]
        self._url = checked_url(url, f"the URL of {name}")
        signing_keys(secret)
        self._secret = secret
        self._clock = clock
        self._poster = poster
        self.name = name

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:  # noqa: ARG002 - webhook-id deduplicates
        """Send one alert. The timestamp is that of the attempt: receivers refuse one older than five minutes."""
        if not (alert.id.isascii() and alert.id.isprintable()):
            raise DeliveryError(f"{self.name}: an alert id must be printable ASCII to be a header", permanent=True)
        body = encode_json(self._format.build(alert))
        timestamp = int(self._clock().timestamp())
        headers = {
            "Content-Type": self._format.content_type,
            "webhook-id": alert.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, alert.id, timestamp, body),
        }
        await self._poster.post(self.name, self._url, body, headers)
        return Receipt(remote_id=alert.id)

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._poster.close()
