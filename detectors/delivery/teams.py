"""Microsoft Teams, through a workflow with the trigger "When a Teams webhook request is received".

A flow answers 202 before its card is posted: a receipt means accepted, not shown. When to send digests instead of
cards is the outbox's business; what it needs to know of Teams for that is here.
"""

from collections.abc import Sequence
from typing import Any

from detectors.delivery import digest_card
from detectors.delivery.card import LEVELS, adaptive_card
from detectors.delivery.destination import RateLimit, Receipt
from detectors.delivery.http import Poster, checked_url
from detectors.delivery.text import clip, encode_json, visible
from detectors.model import Alert

MAX_BYTES = 20_000
"""Teams takes about 28 KB, and a flow that finds a card too large has already answered 202: it would just vanish."""
DIGEST_SIZE = 50
"""So many alerts fit into one card with severity, time, what, who, account and id, whatever their texts hold."""
LIMIT = RateLimit(24, 300)
"""The flow bot posts 25 messages in 300 s and connection (Microsoft Teams connector, "Throttling limits"). A post above
that fails after the flow has answered 202: the card would vanish unseen. One is left for whatever else the owner's
connection posts, and for clocks that disagree about the window's end."""


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


def build_digest(alerts: Sequence[Alert], *, possible_repeats: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The message that names every alert of *alerts*, worst first, those in *possible_repeats* marked.

    At most :data:`MAX_BYTES` of UTF-8 JSON: titles and names are shortened until all fit, no alert is left out.
    Raises ValueError unless *alerts* are 1 to :data:`DIGEST_SIZE`.
    """
    if not 1 <= len(alerts) <= DIGEST_SIZE:
        raise ValueError(f"a digest names 1 to {DIGEST_SIZE} alerts, not {len(alerts)}; split them")
    message: dict[str, Any] = {}
    for limits in digest_card.LEVELS:
        message = _envelope(digest_card.digest_card(alerts, limits, possible_repeats=possible_repeats))
        if len(encode_json(message)) <= MAX_BYTES:
            break
    return message


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    content_type = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}]}


class TeamsDestination:
    """Posts a card per alert, or one for many. *url* is the workflow's, its ``sig`` parameter the credential.

    A workflow cannot change a card that it has posted, so evidence that is added later is not sent.

    Raises ValueError when *url* is not one that alerts may go to.
    """

    def __init__(self, url: str, *, poster: Poster, name: str = "teams") -> None:
        self._url = checked_url(url, f"the URL of {name}")
        self._poster = poster
        self.name = name
        self.limit = LIMIT
        self.digest_size = DIGEST_SIZE

    async def send(self, alert: Alert, *, possible_repeat: bool) -> Receipt:
        """Send one alert. Teams cannot deduplicate, so the card of a possible repeat says so.

        ``remote_id`` is the run of the workflow, under which its owner finds what became of the card.
        """
        return await self._post(build_card(alert, possible_repeat=possible_repeat))

    async def send_digest(self, alerts: Sequence[Alert], *, possible_repeats: frozenset[str]) -> Receipt:
        """Send one card that names every alert of *alerts* (1 to :attr:`digest_size`); ``remote_id`` as for one."""
        return await self._post(build_digest(alerts, possible_repeats=possible_repeats))

    async def _post(self, message: dict[str, Any]) -> Receipt:
        # No Authorization header, ever: with one, a trigger open to "Anyone" refuses the POST.
        headers = {"Content-Type": "application/json"}
        response = await self._poster.post(self.name, self._url, encode_json(message), headers)
        run = response.headers.get("x-ms-workflow-run-id")
        return Receipt(remote_id=clip(visible(run), 200) if run else None)

    async def close(self) -> None:
        """Release connections. Idempotent."""
        await self._poster.close()
