"""What the receivers got, compared with what they should have got. Pure."""

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sandbox.ledger import Received

TEAMS = "teams"
RECEIVERS = (TEAMS, "ingestion", "webhook")

_SHORT_ID = 12
_MENTION = re.compile(r"Alert ([0-9a-f]{12}) (· may be a repeat)?")
_CARD_MARK = "This may be a repeat"


@dataclasses.dataclass(frozen=True)
class Message:
    """One alert in one message that a receiver accepted; *marked* when the message calls it a possible repeat."""

    alert_id: str
    marked: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was wrong, in sentences, and how often what is allowed happened."""

    lost: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    """Messages that no action asked for, and repeats that no kill explains."""
    marked: int = 0
    """Repeats in Teams that say so."""
    by_id: int = 0
    """Repeats elsewhere, which their receivers recognise by the id."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that must not be."""
        return (*self.lost, *self.unmarked, *self.unexpected)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            lost=self.lost + other.lost,
            unmarked=self.unmarked + other.unmarked,
            unexpected=self.unexpected + other.unexpected,
            marked=self.marked + other.marked,
            by_id=self.by_id + other.by_id,
        )


def compare(expected: Mapping[str, int], received: Mapping[str, Sequence[Message]]) -> Verdict:
    """Judge what each receiver got, in order.

    *expected* maps the id of each alert to the number of kills since its action was logged: one kill explains at most
    one repeat of it at each receiver. Any other alert is one too many.
    """
    lost: list[str] = []
    unmarked: list[str] = []
    unexpected: list[str] = []
    marked = by_id = 0
    for receiver in RECEIVERS:
        by_alert: dict[str, list[Message]] = defaultdict(list)
        for message in received.get(receiver, ()):
            by_alert[message.alert_id].append(message)
        lost += [f"alert {each} never reached {receiver}" for each in expected if each not in by_alert]
        for alert_id, messages in by_alert.items():
            repeats = messages[1:]
            if alert_id not in expected:
                unexpected.append(f"{receiver} got an alert {alert_id} that no action asked for")
            elif len(repeats) > expected[alert_id]:
                unexpected.append(
                    f"{receiver} got alert {alert_id} {len(messages)} times after {expected[alert_id]} kills"
                )
            if receiver != TEAMS:
                by_id += len(repeats)
                continue
            marked += sum(repeat.marked for repeat in repeats)
            silent = [repeat for repeat in repeats if not repeat.marked]
            unmarked += [f"a repeat of alert {alert_id} in Teams does not say so"] * len(silent)
    return Verdict(tuple(lost), tuple(unmarked), tuple(unexpected), marked, by_id)


def read(entries: Iterable[Received], expected: Collection[str]) -> dict[str, list[Message]]:
    """The messages in the sandbox's ledger, by receiver, in order.

    A card shows only the beginning of an id; *expected* are the ids that it is completed from.
    """
    full = {alert_id[:_SHORT_ID]: alert_id for alert_id in expected}
    received: dict[str, list[Message]] = {receiver: [] for receiver in RECEIVERS}
    for entry in entries:
        # Teams answers before it posts: a card that its flow then refuses has not arrived.
        if not entry.accepted or entry.failed_action:
            continue
        match entry.endpoint:
            case "teams":
                received[TEAMS] += [
                    dataclasses.replace(each, alert_id=full.get(each.alert_id, each.alert_id))
                    for each in _named_in(json.dumps(entry.body, ensure_ascii=False))
                ]
            case "ingestion":
                received["ingestion"] += [
                    Message(row["AlertId"]) for row in entry.body if row["AlertKind"] != "heartbeat"
                ]
            case "webhook":
                named, header = entry.body["data"]["id"], entry.headers["webhook-id"]
                received["webhook"].append(Message(named if named == header else f"{named} under webhook-id {header}"))
    return received


def _named_in(text: str) -> list[Message]:
    """The alerts that a Teams message names: one in a card, several in a digest, which marks each by itself."""
    whole = _CARD_MARK in text
    return [Message(short, whole or bool(mark)) for short, mark in _MENTION.findall(text)]
