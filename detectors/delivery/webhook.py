"""A signed webhook in the form of Standard Webhooks 1.0.0, for automation that acts on alerts.

The receiver verifies ``webhook-signature`` with any Standard Webhooks library and drops repeats by ``webhook-id``,
which stays the same across retries.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.http import Poster, checked_url
from detectors.delivery.text import CUT, Excerpt, clip, encode_json, excerpts, first_that_fit, fit_fields, plain, shrink
from detectors.model import Alert

EVENT_TYPE = "azure_automation.alert"
MAX_BYTES = 20_000
"""The recommendation of Standard Webhooks; receivers may refuse more."""
_PREFIX = "whsec_"
_ENVELOPE = 400


def build_payload(alert: Alert) -> dict[str, Any]:
    """``{"type", "timestamp", "data"}``; the body is at most :data:`MAX_BYTES` as compact UTF-8 JSON.

    ``data`` is the alert as :class:`detectors.model.Alert` names its fields. When it is too large, scripts shrink to
    the lines around their findings first (as ``number: line``; ``sha256`` still names the whole), then the raw row,
    machine data, query, our own advice and the end of ``items`` go, the facts last. ``data.trimmed`` lists what was
    cut, and is empty when ``data`` is the whole alert.
    """
    data: dict[str, Any] = plain(msgspec.to_builtins(alert))
    data["trimmed"] = []
    limit = MAX_BYTES - _ENVELOPE
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
    return {"type": EVENT_TYPE, "timestamp": alert.created_at.isoformat(), "data": data}


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


def _keys(secret: str) -> list[bytes]:
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
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in _keys(secret)]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class WebhookDestination:
    """Posts each alert, signed, to *url*. Raises ValueError when *url* or *secret* is unusable."""

    def __init__(
        self, url: str, secret: str, *, clock: Callable[[], datetime], poster: Poster, name: str = "webhook"
    ) -> None:
        self._url = checked_url(url, f"the URL of {name}")
        _keys(secret)
        self._secret = secret
        self._clock = clock
        self._poster = poster
        self.name = name

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:  # noqa: ARG002 - webhook-id deduplicates
        """Send one alert. The timestamp is that of the attempt: receivers refuse one older than five minutes."""
        if not (alert.id.isascii() and alert.id.isprintable()):
            raise DeliveryError(f"{self.name}: an alert id must be printable ASCII to be a header", permanent=True)
        body = encode_json(build_payload(alert))
        timestamp = int(self._clock().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": alert.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, alert.id, timestamp, body),
        }
        await self._poster.post(self.name, self._url, body, headers)
        return Receipt(remote_id=alert.id)

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._poster.close()
