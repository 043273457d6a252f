"""The card: readable at three in the morning, small enough for Teams, and deaf to whatever an attacker wrote."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given

from detectors.delivery.destination import DeliveryError
from detectors.delivery.http import Poster
from detectors.delivery.teams import MAX_BYTES, TeamsDestination, build_card
from detectors.delivery.text import encode_json
from detectors.model import Alert, AlertKind, Evidence, Fact, FocusLine, Severity
from tests.delivery.cards import assert_valid, card_of, elements, markup_texts, texts
from tests.delivery.hostile import FLOOD, MARK, Hostile, hostile_alerts
from tests.delivery.receiver import Answer, Receiver
from tests.factories import EVENT_TIME, build_alert, build_code, build_evidence, build_health, build_summary

INVISIBLE = set("\u202e\u2066\u200b\ufeff\u2028\x00\x07\x1b\r\t")
SCRIPT = "\n".join(f"line {number}" for number in range(1, 401))


def checked(alert: Alert, *, possible_repeat: bool = False) -> dict[str, Any]:
    message = build_card(alert, possible_repeat=possible_repeat)
    assert len(encode_json(message)) <= MAX_BYTES
    card = card_of(message)
    assert_valid(card)
    assert len(card.get("actions", [])) <= 6
    return card


def lines(alert: Alert, *, possible_repeat: bool = False) -> list[str]:
    return texts(checked(alert, possible_repeat=possible_repeat))


def test_the_first_lines_say_how_bad_what_who_from_where_on_which_account_and_when() -> None:
    assert lines(build_alert())[:10] == [
        "HIGH  Watcher created on aa-prod",
        "The script downloads and runs code from the internet.",
        "What watchers/nightly",
        "Who mallory@contoso.example",
        "From 203.0.113.7",
        "Account aa-prod, resource group rg-ops, subscription 11111111-2222-3333-4444-555555555555",
        "When 2026-03-14 02:07:31 UTC, found 6 min later",
        "Operation watchers/write",
        "Outcome Success",
        "Claims interactive sign-in",
    ]


def test_the_story_goes_on_with_reasons_evidence_steps_and_the_alerts_own_data() -> None:
    reasons = (*build_alert().severity_reasons, "The caller has never done this before.")
    assert lines(build_alert(severity_reasons=reasons))[10:] == [
        "Why it matters",
        "A watcher runs a script again and again. Its runs leave no entry in the Activity Log.",
        "• The caller has never done this before.",
        "MITRE ATT&CK: Persistence · T1053",
        "Watcher configuration",
        "Runs every: 60 s",
        "Runbook: nightly",
        "What to do",
        "1. Ask the caller.\n2. Read the script.\n3. Look at the job's output.",
        "**If it is real**",
        "1. Stop the watcher.\n2. Remove the caller's role.",
        "4. Look for other watchers.",
        "**If it is real**",
        "3. Rotate the account's secrets.",
        "Alert 5f2b8c0e9d7a · rule 5f4b8b7e-8d0f-4f1a-9f43-6d6a6a3c9d10 1.0.0 · hunt · 7 min after the event",
    ]


@pytest.mark.parametrize("caller", ["", "mallory@contoso.example"])
def test_the_header_leaves_the_caller_to_the_line_below_it(caller: str) -> None:
    title = "Watcher task nightly started by mallory@contoso.example"
    assert (
        lines(build_alert(title=title, caller=caller))[0] == f"HIGH  {title.partition(' by ')[0] if caller else title}"
    )
    assert lines(build_alert(title=f" by {caller}", caller=caller))[0] == f"HIGH  by {caller}".rstrip()


@pytest.mark.parametrize(
    ("severity", "style"),
    [("High", "attention"), ("Medium", "warning"), ("Low", "accent"), ("Informational", "default")],
)
def test_the_header_band_has_the_colour_of_the_severity(severity: str, style: str) -> None:
    card = checked(build_alert(severity=Severity(severity)))
    assert (card["body"][0]["type"], card["body"][0]["style"]) == ("Container", style)
    assert texts(card)[0].startswith(severity.upper())


def test_the_card_uses_the_full_width() -> None:
    assert checked(build_alert())["msteams"] == {"width": "Full"}


def test_what_is_not_known_is_said() -> None:
    shown = lines(build_alert(caller="", caller_ip=""))
    assert "Who not recorded" in shown
    assert "From address not recorded" in shown


def test_telling_lines_are_named_and_shown_with_their_neighbours_and_true_numbers() -> None:
    code = build_code(SCRIPT, focus=(FocusLine(200, "Downloads a script and runs it."), FocusLine(10, "Hides itself.")))
    card = checked(build_alert(evidence=(build_evidence(code=(code,)),)))
    blocks = [element for element in elements(card) if element.get("type") == "CodeBlock"]
    assert [(block["startLineNumber"], block["codeSnippet"].split("\n")) for block in blocks] == [
        (8, ["line 8", "line 9", "line 10", "line 11", "line 12"]),
        (198, ["line 198", "line 199", "line 200", "line 201", "line 202"]),
    ]
    assert {block["language"] for block in blocks} == {"PowerShell"}
    shown = texts(card)
    assert shown.index("Line 200: Downloads a script and runs it.") < shown.index("Line 10: Hides itself.")
    assert "10 of 400 lines shown" in shown


def test_a_phone_that_knows_no_code_block_gets_numbered_lines() -> None:
    code = build_code(SCRIPT, focus=(FocusLine(200, "Runs it."),))
    card = checked(build_alert(evidence=(build_evidence(code=(code,)),)))
    (block,) = [element for element in elements(card) if element.get("type") == "CodeBlock"]
    (run,) = block["fallback"]["inlines"]
    assert run["fontType"] == "monospace"
    assert run["text"].split("\n")[2] == "200 | line 200"


def test_a_script_without_telling_lines_is_shown_from_its_beginning() -> None:
    card = checked(build_alert(evidence=(build_evidence(code=(build_code(SCRIPT),)),)))
    (block,) = [element for element in elements(card) if element.get("type") == "CodeBlock"]
    assert block["codeSnippet"].startswith("line 1\nline 2\n")


def test_the_same_text_is_shown_once() -> None:
    published, draft = build_code("Get-Date", title="Published"), build_code("Get-Date", title="Draft")
    shown = lines(build_alert(evidence=(build_evidence(code=(published, draft)),)))
    assert shown.count("Get-Date") == 1
    assert "Draft: the same text as Published" in shown


def test_missing_evidence_says_why() -> None:
    missing = Evidence(name="history", title="Caller history", missing="the workspace refused: give the role Reader")
    assert "not available: Caller history: the workspace refused: give the role Reader" in lines(
        build_alert(evidence=(missing,))
    )


def test_a_possible_repeat_is_announced_and_otherwise_not_mentioned() -> None:
    assert any(line.startswith("This may be a repeat") for line in lines(build_alert(), possible_repeat=True)[:4])
    assert not any("repeat" in line for line in lines(build_alert()))


def test_further_steps_wait_behind_a_button() -> None:
    card = checked(build_alert())
    (hidden,) = [element for element in elements(card) if element.get("isVisible") is False]
    assert "4. Look for other watchers." in texts(hidden)
    (toggle,) = [element for element in elements(card) if element.get("type") == "Action.ToggleVisibility"]
    assert toggle["targetElements"] == [hidden["id"]]


def test_the_actions_open_the_resource_the_query_and_two_references() -> None:
    references = tuple(f"https://learn.microsoft.com/{number}" for number in range(5))
    actions = checked(build_alert(references=references))["actions"]
    assert [(action["title"], urlsplit(action["url"]).hostname) for action in actions] == [
        ("Open resource in the portal", "portal.azure.com"),
        ("Open the query", "portal.azure.com"),
        ("Reference: learn.microsoft.com", "learn.microsoft.com"),
        ("Reference: learn.microsoft.com", "learn.microsoft.com"),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://portal.azure.com/",
        "javascript:alert(1)",
        "https://good.example@evil.example/",
        "https://evil.example/\u202egpj",
        "https://portal.azure.com/a b",
        'https://portal.azure.com/"onclick=',
    ],
)
def test_a_link_that_is_no_plain_https_address_is_left_out_and_said_so(url: str) -> None:
    card = checked(build_alert(portal_url=url, query_url="", references=(url,)))
    assert "actions" not in card
    assert any("a link that is too long or no plain https address" in line for line in texts(card))


def test_three_hundred_matches_are_all_named() -> None:
    shown = "\n".join(lines(build_summary(300)))
    assert all(f"maintenance-task-{number:04d}" in shown for number in range(300))
    assert "What 300 matches of one rule" in shown
    assert "When 2026-03-14 02:07:31 to 2026-03-14 02:12:30 UTC, found 5 min later" in shown
    assert "Left out" not in shown


def test_three_hundred_matches_of_as_many_callers_are_all_named() -> None:
    summary = build_summary(300)
    items = tuple(
        type(item)(
            match_id=item.match_id,
            event_time=item.event_time,
            operation=item.operation,
            caller=f"user-{number}@contoso.example",
            resource=item.resource.replace("maintenance-task-", "rb-"),
        )
        for number, item in enumerate(summary.items)
    )
    shown = "\n".join(lines(build_alert(kind=AlertKind.SUMMARY, items=items)))
    assert all(f"rb-{number:04d}" in shown for number in range(300))


def test_what_does_not_fit_is_counted_and_the_place_of_the_whole_is_named() -> None:
    shown = lines(build_summary(5000))
    (note,) = [line for line in shown if line.startswith("Left out here: ")]
    assert "of 5000 items" in note
    assert 'in the table AutomationDetections_CL, where AlertId is "5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6"' in note


def test_scripts_shrink_before_facts_do() -> None:
    long_script = build_code("\n".join("x" * 180 for _ in range(500)))
    facts = tuple(Fact(f"Fact {number}", f"value {number} " + "v" * 200) for number in range(16))
    shown = lines(build_alert(evidence=(build_evidence(code=(long_script,) * 3, facts=facts), *[build_evidence()] * 5)))
    assert all(f"Fact {fact}: value {fact} {'v' * 200}" in shown for fact in range(16))
    assert any("script text" in line for line in shown if line.startswith("Left out"))


def test_a_health_alert_is_calm_and_says_what_to_do() -> None:
    card = checked(build_health(severity=Severity.HIGH))
    assert "attention" not in {element.get("style") for element in elements(card)}
    shown = texts(card)
    assert shown[0] == "Detector health  A rule has failed five times in a row"
    assert "HIGH" not in "".join(shown)
    assert not any(line.startswith("Who") for line in shown)
    assert "What to do" in shown
    assert "1. Read the error below.\n2. Check the workspace id and the role Log Analytics Reader." in shown


def test_a_disguise_is_shown_as_what_it_is() -> None:
    shown = lines(build_alert(caller="bob\u202emoc.elpmaxe\u200b", resource_id="a\x1b[31m\nb"))
    assert r"Who bob\u202emoc.elpmaxe\u200b" in shown
    assert r"What a\x1b[31m\nb" in shown


def test_a_name_cannot_show_a_time_of_its_own() -> None:
    assert "Who { {DATE(2020-01-01T00:00:00Z)}}" in lines(build_alert(caller="{{DATE(2020-01-01T00:00:00Z)}}"))


def test_a_value_cannot_hide_behind_blanks() -> None:
    assert "Who mallory" in lines(build_alert(caller=" " * 5000 + "mallory"))


@FLOOD
@given(hostile_alerts())
def test_every_hostile_alert_becomes_a_valid_small_card_without_its_text_in_markup(hostile: Hostile) -> None:
    alert = hostile.alert
    card = checked(alert, possible_repeat=True)
    assert not [text for text in markup_texts(card) if MARK in text]
    for element in elements(card):
        if element.get("type") == "TextRun":
            assert not INVISIBLE & set(element["text"])
    assert alert.id in "\n".join(texts(card)) or "Left out" not in "\n".join(texts(card))


async def test_the_card_is_posted_as_json_without_authorization(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(202, {"x-ms-workflow-run-id": "0858\u00e9"}))
    destination = TeamsDestination(f"{receiver.url}/workflows/1?sig=secret", poster=poster)
    receipt = await destination.send(build_alert(), possible_repeat=False)
    await destination.close()
    (request,) = receiver.received
    assert request.body == encode_json(build_card(build_alert()))
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert receipt.remote_id is not None
    assert receipt.remote_id.startswith("0858")


async def test_an_answer_of_200_without_a_run_id_is_as_good(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(200, body=b"1"))
    receipt = await TeamsDestination(receiver.url, poster=poster, name="soc").send(build_alert(), possible_repeat=True)
    assert receipt.remote_id is None
    assert b"This may be a repeat" in receiver.received[0].body


async def test_a_throttled_flow_is_named_and_tried_again_when_it_says(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(429, {"Retry-After": "42"}, b"Rate limit is exceeded."))
    destination = TeamsDestination(f"{receiver.url}/workflows/1?sig=secret", poster=poster, name="teams-soc")
    with pytest.raises(DeliveryError, match=r"^teams-soc: .* answered 429 .*Rate limit is exceeded") as caught:
        await destination.send(build_alert(), possible_repeat=False)
    assert (caught.value.permanent, caught.value.retry_after) == (False, 42.0)
    assert "secret" not in str(caught.value)


def test_a_url_without_https_is_refused_when_the_destination_is_made() -> None:
    with pytest.raises(ValueError, match="the URL of teams must begin with https://"):
        TeamsDestination("http://contoso.example/workflows/1", poster=Poster(clock=lambda: EVENT_TIME))


def test_clocks_that_disagree_do_not_show_negative_times() -> None:
    shown = "\n".join(lines(build_alert(found_at=EVENT_TIME - timedelta(hours=1), created_at=EVENT_TIME)))
    assert "found 0 s later" in shown
