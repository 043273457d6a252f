"""The hub of the kill loop, and its verdict on the quarantine."""

from pathlib import Path

from detectors.sources.quarantine import Item
from tests.kill.hub import Hub, HubMessage, compare_quarantine
from tests.kill.verdict import Verdict

GOOD = HubMessage(7, b"good")
CUT = HubMessage(8, b"cut", damaged=True)
NOISE = HubMessage(9, b"noise", damaged=True)


def kept(message: HubMessage, data: bytes | None = None) -> Item:
    return Item(position=message.position, reason="x", data=message.body if data is None else data)


def test_each_damaged_message_has_to_be_in_quarantine_once_and_as_it_came() -> None:
    messages = [GOOD, CUT, NOISE]
    older = kept(HubMessage(6, b"of another round"))
    assert compare_quarantine(messages, [kept(NOISE), older, kept(CUT)]) == Verdict()
    lost = ("message 9 is damaged and not in quarantine as it came",)
    assert compare_quarantine(messages, [kept(CUT)]) == Verdict(lost=lost)
    assert compare_quarantine(messages, [kept(CUT), kept(NOISE, b"nois")]) == Verdict(lost=lost)
    twice = compare_quarantine(messages, [kept(CUT), kept(NOISE), kept(NOISE)])
    assert twice == Verdict(unexpected=("message 9 is in quarantine 2 times",))
    good = compare_quarantine(messages, [kept(GOOD), kept(CUT), kept(NOISE)])
    assert good == Verdict(unexpected=("message 7 is good and in quarantine",))


def test_the_hub_gives_a_batch_until_its_checkpoint_moves(tmp_path: Path) -> None:
    Hub(tmp_path).add([GOOD, CUT])
    Hub(tmp_path).add([NOISE])
    assert Hub(tmp_path).read() == Hub(tmp_path).read() == (GOOD, CUT)
    Hub(tmp_path).move_on()
    assert Hub(tmp_path).read() == (NOISE,)
    Hub(tmp_path).move_on()
    assert Hub(tmp_path).read() == ()
