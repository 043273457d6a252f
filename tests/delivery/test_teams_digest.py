"""The digest: when more alerts come than Teams takes, every one of them is still named."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detectors.delivery.destination import DeliveryError, DigestingDestination
from detectors.delivery.http import Poster
from detectors.delivery.teams import DIGEST_SIZE, LIMIT, MAX_BYTES, TeamsDestination, build_digest
from detectors.delivery.text import encode_json
from detectors.model import Alert, Severity
from tests.delivery.cards import assert_valid, card_of, elements, markup_texts, texts
from tests.delivery.hostile import FLOOD, MARK, Hostile, hostile_alerts
from tests.delivery.receiver import Answer, Receiver
from tests.factories import EVENT_TIME, build_alert, build_health, build_summary

INVISIBLE = set("\u202e\u2066\u200b\ufeff\u2028\x00\x07\x1b\r\t\n")

WHY = (
    "More alerts came than Teams takes, so these come together. Each is complete in the table "
    "AutomationDetections_CL, where its AlertId begins with the id shown here."
)


def numbered(number: int, **changes: Any) -> Alert:
    """An alert with an id of its own, so many minutes into the night."""
    fields = {"id": f"{number:012x}{'0' * 20}", "event_time": EVENT_TIME + timedelta(minutes=number)}
    return build_alert(**fields | changes)


def checked(alerts: Sequence[Alert], repeats: frozenset[str] = frozenset()) -> dict[str, Any]:
    message = build_digest(alerts, possible_repeats=repeats)
    assert len(encode_json(message)) <= MAX_BYTES
    card = card_of(message)
    assert_valid(card)
    return card


def lines(alerts: Sequence[Alert], repeats: frozenset[str] = frozenset()) -> list[str]:
    return texts(checked(alerts, repeats))


def test_a_digest_says_how_many_how_bad_why_together_and_names_each_under_its_actor() -> None:
    alerts = [
        numbered(1, severity=Severity.LOW, title="Runbook nightly created by mallory@contoso.example", story="a"),
        numbered(2, severity=Severity.HIGH, title="Watcher nightly created on aa-prod", story="a"),
        numbered(3, severity=Severity.MEDIUM, story="b", caller="eve@contoso.example", account="aa-test"),
    ]
    assert lines(alerts) == [
        "3 alerts in one message",
        "1 High, 1 Medium, 1 Low · 2026-03-14 02:08 to 02:10 UTC",
        WHY,
        "aa-prod · mallory@contoso.example · 2 alerts",
        "HIGH 02:09 Watcher nightly created  Alert 000000000002 ",
        "LOW 02:08 Runbook nightly created  Alert 000000000001 ",
        "aa-test · eve@contoso.example · 1 alert",
        "MEDIUM 02:10 Watcher created on aa-prod  Alert 000000000003 ",
    ]


def test_the_band_has_the_colour_of_the_worst() -> None:
    alerts = [numbered(1, severity=Severity.LOW), numbered(2, severity=Severity.HIGH)]
    card = checked(alerts)
    assert card["body"][0]["style"] == "attention"


def test_the_same_actors_alerts_stand_together_where_no_story_is_known() -> None:
    alerts = [
        numbered(1, story=""),
        numbered(2, story="", caller="eve"),
        numbered(3, story="", caller="MALLORY@contoso.example"),
    ]
    headings = [line for line in lines(alerts) if line.endswith(("alert", "alerts"))]
    assert headings == ["aa-prod · mallory@contoso.example · 2 alerts", "aa-prod · eve · 1 alert"]


def test_a_possible_repeat_is_marked_and_counted_and_the_others_are_not() -> None:
    alerts = [numbered(number) for number in range(3)]
    shown = lines(alerts, frozenset({alerts[1].id, "an alert that is not in here"}))
    assert [line for line in shown if "may" in line] == [
        "1 of these may have come before; each is marked.",
        "HIGH 02:08 Watcher created  Alert 000000000001 · may be a repeat",
    ]


def test_the_detectors_own_troubles_come_last_and_calmly() -> None:
    alerts = [build_health(severity=Severity.HIGH), numbered(1, severity=Severity.LOW)]
    card = checked(alerts)
    assert card["body"][0]["style"] == "accent"
    shown = texts(card)
    assert shown[1].startswith("1 Low, 1 detector health")
    assert shown[-2] == "The detector itself · 1 alert"
    assert shown[-1].startswith("Detector health 02:07 A rule has failed five times in a row  Alert ")
    assert "attention" not in {element.get("color") for element in elements(card)}


def test_days_are_named_where_there_are_several() -> None:
    shown = lines([numbered(0), numbered(24 * 60)])
    assert "1 High" not in shown[1]
    assert shown[1] == "2 High · 2026-03-14 02:07 to 2026-03-15 02:07 UTC"
    assert shown[-1].startswith("HIGH 03-15 02:07 ")


def test_fifty_alerts_of_one_story_keep_their_titles_whole() -> None:
    alerts = [
        numbered(number, title=f"Automation runbook maintenance-task-{number:04d} created", story="a")
        for number in range(DIGEST_SIZE)
    ]
    shown = "\n".join(lines(alerts))
    assert all(f"maintenance-task-{number:04d} created  Alert {number:012x} " in shown for number in range(DIGEST_SIZE))


def test_fifty_alerts_of_as_many_actors_are_all_named_with_who_and_where() -> None:
    alerts = [
        numbered(number, story=f"{number}", caller=f"user-{number:02d}@contoso.example", account=f"aa-{number:02d}")
        for number in range(DIGEST_SIZE)
    ]
    shown = lines(alerts)
    for number in range(DIGEST_SIZE):
        (line,) = [line for line in shown if f"Alert {number:012x} " in line]
        assert f"user-{number:02d}@" in line
        assert f"aa-{number:02d}" in line


def test_a_summary_of_many_matches_is_one_line_among_the_others() -> None:
    shown = lines([build_summary(300), numbered(1)])
    assert any("300 runbooks written" in line for line in shown)


@pytest.mark.parametrize("count", [0, DIGEST_SIZE + 1])
def test_more_than_fit_or_none_at_all_is_refused_instead_of_being_cut(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {DIGEST_SIZE} alerts, not {count}"):
        build_digest([numbered(number) for number in range(count)])


def test_the_digest_leaves_room_below_what_a_flow_bot_may_post() -> None:
    assert dataclasses.astuple(LIMIT) == (24, 300)
    assert DIGEST_SIZE >= 50


@FLOOD
@given(st.lists(hostile_alerts(), min_size=1, max_size=4), st.sampled_from((1, 12, DIGEST_SIZE)), st.booleans())
def test_every_hostile_digest_is_valid_and_small_and_names_every_alert(
    hostile: list[Hostile], count: int, one_story: bool
) -> None:
    alerts = [
        replace(
            hostile[number % len(hostile)].alert,
            id=f"{number:012x}{'0' * 20}",
            story="a" if one_story else f"{number}",
        )
        for number in range(count)
    ]
    card = checked(alerts, frozenset(alert.id for alert in alerts))
    assert not [text for text in markup_texts(card) if MARK in text]
    for element in elements(card):
        if element.get("type") == "TextRun":
            assert not INVISIBLE & set(element["text"])
    shown = "\n".join(texts(card))
    assert all(f"Alert {number:012x} " in shown for number in range(count))


@pytest.mark.parametrize("character", ['"', "\\", "🙂", "\u202e", "x"])
def test_the_worst_texts_at_the_worst_length_still_fit(character: str) -> None:
    flood = character * 5000
    alerts = [
        numbered(
            24 * 60 * number,
            severity=Severity.INFORMATIONAL,
            title=flood,
            caller=flood,
            account=flood,
            story=f"{number}",
        )
        for number in range(DIGEST_SIZE)
    ]
    shown = "\n".join(lines(alerts, frozenset(alert.id for alert in alerts)))
    assert all(f"Alert {alert.id[:12]} " in shown for alert in alerts)


async def test_a_digest_is_posted_like_a_card(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(202, {"x-ms-workflow-run-id": "0858"}))
    destination = TeamsDestination(f"{receiver.url}/workflows/1?sig=secret", poster=poster)
    assert isinstance(destination, DigestingDestination)
    alerts = [numbered(1), numbered(2)]
    receipt = await destination.send_digest(alerts, possible_repeats=frozenset({alerts[0].id}))
    await destination.close()
    (request,) = receiver.received
    assert request.body == encode_json(build_digest(alerts, possible_repeats=frozenset({alerts[0].id})))
    assert "authorization" not in request.headers
    assert receipt.remote_id == "0858"
    assert (destination.limit, destination.digest_size) == (LIMIT, DIGEST_SIZE)


async def test_a_refused_digest_is_an_error_like_a_refused_card(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(429, {"Retry-After": "42"}))
    destination = TeamsDestination(f"{receiver.url}/workflows/1?sig=secret", poster=poster)
    with pytest.raises(DeliveryError, match="answered 429") as caught:
        await destination.send_digest([numbered(1)], possible_repeats=frozenset())
    assert caught.value.retry_after == 42.0
