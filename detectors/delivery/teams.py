"""Microsoft Teams, through a workflow with the trigger "When a Teams webhook request is received".

A flow answers 202 before its card is posted: a receipt means accepted, not shown. Severity limits and digests
(a flow bot posts about 25 cards in five minutes) are the outbox's business.
"""

from typing import Any

from detectors.delivery.card import LEVELS, adaptive_card
from detectors.delivery.destination import Receipt
from detectors.delivery.http import Poster, checked_url
from detectors.delivery.text import clip, encode_json, visible
from detectors.model import Alert

MAX_BYTES = 20_000
"""Teams takes about 28 KB, and a flow that finds a card too large has already answered 202: it would just vanish."""


def build_card(alert: Alert, *, possible_repeat: bool = False) -> dict[str, Any]:
    """The message that a Teams workflow posts: an Adaptive Card in its envelope.

    At most :data:`MAX_BYTES` of UTF-8 JSON, whatever the alert holds. What did not fit is named in the card, with the
    place where the whole is.
    """
    message: dict[str, Any] = {}
    for limits in LEVELS:
        message = _envelope(adaptive_card(alert, limits, possible_repeat=possible_repeat))
        if len(encode_json(message)) <= MAX_BYTES:
            break
    return message


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    content_type = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}]}


class TeamsDestination:
    """Posts a card per alert. *url* is the workflow's, its ``sig`` parameter the credential.

    Raises ValueError when *url* is not one that alerts may go to.
    """

    def __init__(self, url: str, *, poster: Poster, name: str = "teams") -> None:
        self._url = checked_url(url, f"the URL of {name}")
        self._poster = poster
        self.name = name

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        """Send one alert. Teams cannot deduplicate, so the card of a possible repeat says so.

        ``remote_id`` is the run of the workflow, under which its owner finds what became of the card.
        """
        body = encode_json(build_card(alert, possible_repeat=possible_repeat))
        # No Authorization header, ever: with one, a trigger open to "Anyone" refuses the POST.
        response = await self._poster.post(self.name, self._url, body, {"Content-Type": "application/json"})
        run = response.headers.get("x-ms-workflow-run-id")
        return Receipt(remote_id=clip(visible(run), 200) if run else None)

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._poster.close()
