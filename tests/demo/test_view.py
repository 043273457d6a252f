"""The view decides what is shown and in which order, for the terminal and the page alike."""

import msgspec

from detectors.model import Code, Evidence, Fact, FocusLine, Severity
from sandbox.report.view import HEAD_LINES, AlertView, build, worst_first
from tests.demo.samples import attack, health, hostile


def _code_view(lines: int, focus: tuple[FocusLine, ...]) -> AlertView:
    code = Code(title="x", text="\n".join(map(str, range(1, lines + 1))), sha256="", size=1, focus=focus)
    return build(msgspec.structs.replace(attack(), evidence=(Evidence(name="x", title="X", code=(code,)),)))


def test_the_lead_answers_who_from_where_what_on_what_and_when() -> None:
    lead = build(attack()).lead
    assert [field.label for field in lead] == ["Who", "From", "What", "Resource", "Account", "When"]
    assert [field.value for field in lead][:2] == ["anna.vendor@example.com", "203.0.113.77"]
    assert lead[3].value == "watchers/disk-usage"
    assert lead[5].value == "2026-05-04 03:02:01 UTC (found 4 min later by hunt)"


def test_facts_that_the_lead_already_says_are_not_said_again() -> None:
    assert [(field.label, field.value) for field in build(attack()).facts] == [("Change", "started")]


def test_evidence_keeps_its_order_and_missing_evidence_is_stated_apart() -> None:
    view = build(attack())
    assert [found.title for found in view.evidence] == ["Watcher", "Published runbook", "Draft", "Webhooks"]
    assert [(field.label, field.value) for field in view.missing] == [
        ("Job output", "No job of this watcher has written output yet.")
    ]


def test_evidence_that_one_cause_took_away_shares_a_line() -> None:
    evidence = tuple(Evidence(name=name, title=name, missing=why) for name, why in (("a", "x"), ("b", "y"), ("c", "x")))
    view = build(msgspec.structs.replace(attack(), evidence=evidence))
    assert [(field.label, field.value) for field in view.missing] == [("a, c", "x"), ("b", "y")]


def test_evidence_that_is_one_sentence_is_told_as_one() -> None:
    found = Evidence(name="webhooks", title="Webhooks", facts=(Fact("Webhooks", "None starts it."),))
    view = build(msgspec.structs.replace(attack(), evidence=(found, Evidence(name="x", title="X"))))
    assert [part.only for part in view.evidence] == ["None starts it.", "nothing found"]
    assert [part.only for part in build(attack()).evidence[:2]] == ["", ""]


def test_the_same_script_is_shown_once() -> None:
    view = build(attack())
    published, draft = view.evidence[1].code[0], view.evidence[2].code[0]
    assert draft.same_as == published.title
    assert draft.lines == ()
    assert [[line.number for line in lines] for _, lines in view.focus] == [[7, 9]]


def test_two_steps_lead_the_advice() -> None:
    assert [(field.label, field.value) for field in build(attack()).first_steps] == [
        ("Check first", "Ask the caller on another channel whether this was them."),
        ("If it is real", "Stop the watcher: Stop-AzAutomationWatcher -Name NAME."),
    ]


def test_a_long_script_keeps_its_beginning_and_what_surrounds_its_focus_lines() -> None:
    code = (
        _code_view(1000, (FocusLine(900, "here"), FocusLine(900, "and here"), FocusLine(1001, "no")))
        .evidence[0]
        .code[0]
    )
    numbers = [line.number for line in code.lines]
    assert numbers == [*range(1, HEAD_LINES + 1), *range(896, 905)]
    assert code.omitted == 1000 - len(numbers)
    assert [(line.number, line.text, line.reason) for line in code.focus] == [(900, "900", "here; and here")]


def test_a_short_script_is_shown_whole() -> None:
    code = _code_view(12, ()).evidence[0].code[0]
    assert (len(code.lines), code.omitted) == (12, 0)


def test_only_https_addresses_become_links() -> None:
    assert [link.url for link in build(hostile()).links] == ["https://portal.azure.com/#x'onclick='y"]
    assert len(build(attack()).links) == 3


def test_anchors_hold_nothing_of_a_hostile_id() -> None:
    assert build(hostile()).anchor.removeprefix("alert-").isalnum()
    assert build(attack()).anchor == "alert-5d0c1f0e9a7b4c2d8e6f"


def test_the_detectors_own_alerts_say_what_happened_and_ask_nobody_for_a_caller() -> None:
    view = build(health())
    assert [field.label for field in view.lead] == ["When"]
    assert view.message == "The hunt of one rule has failed three times."
    assert (view.who, view.kind, view.background) == ("the detector itself", "detector health", "")


def test_an_overview_starts_with_the_worst() -> None:
    ordered = worst_first([health(), hostile(), attack()])
    assert [alert.severity for alert in ordered] == [Severity.HIGH, Severity.MEDIUM, Severity.INFORMATIONAL]
