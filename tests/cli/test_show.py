"""``show`` tells a stored alert whole, and nothing an attacker wrote reaches the terminal as it is."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from detectors.commands.alert_text import CODE_LINES, record_text
from detectors.model import Delivery, Fact, FocusLine, Record
from tests.cli.conftest import Shell
from tests.factories import build_alert, build_code, build_evidence, build_summary
from tests.heartbeat.samples import dead, pending, record, sent

HOSTILE = "\x1b[2J\u202egpj.exe\x9b31m\x7f"


def with_alert(**changes: object) -> Record:
    return replace(record(1, teams=sent()), alert=build_alert(**changes))


def test_an_alert_is_shown_with_facts_evidence_and_where_it_has_arrived(shell: Shell) -> None:
    shell.store(record(1, teams=sent(), webhook=dead("webhook: answered 410 (Gone).")))
    result = shell.run("show", record(1).id)
    assert result.code == 0
    for words in (
        "[HIGH] Runbook 1 changed",
        "caller      mallory@contoso.example",
        "Why this severity\n  - The script downloads and runs code from the internet.",
        "Watcher configuration\n  Runs every  60 s\n  Runbook     nightly",
        "What to check\n  1. Ask the caller.",
        "teams    sent 2026-03-02 03:00:00 UTC",
        "webhook  dead after 4 attempts: webhook: answered 410 (Gone).",
    ):
        assert words in result.out, words


@pytest.mark.parametrize("prefix", ["000000", "00000001", "00000001AAAA"])
def test_the_first_six_characters_find_an_alert_that_waits_or_is_dead(shell: Shell, prefix: str) -> None:
    shell.store(record(1, webhook=dead()), record(0x10000000, webhook=pending()))
    assert "Runbook 1 changed" in shell.run("show", prefix).out


def test_a_prefix_of_two_alerts_names_both(shell: Shell) -> None:
    shell.store(record(1, webhook=dead()), record(2, webhook=pending()))
    result = shell.run("show", "000000")
    assert (result.code, result.out) == (2, "")
    assert record(1).id in result.err
    assert record(2).id in result.err


def test_an_alert_that_arrived_everywhere_is_found_by_its_whole_id_only(shell: Shell) -> None:
    shell.store(record(1, webhook=sent()))
    assert shell.run("show", record(1).id).code == 0
    result = shell.run("show", record(1).id[:12])
    assert result.code == 2
    assert "AlertId in the table" in result.err


@pytest.mark.parametrize("text", ["abc", "", "\x1b[2Jabcdef", "x" * 300])
def test_what_cannot_be_an_id_is_refused(shell: Shell, text: str) -> None:
    result = shell.run("show", text)
    assert result.code == 2
    assert "is no id of an alert" in result.err
    assert "\x1b" not in result.err


def test_a_match_that_waits_for_triage_or_a_summary_is_shown_as_what_it_is(shell: Shell) -> None:
    shell.store(replace(record(1, age=timedelta(0)), summarised_by="s" * 32))
    result = shell.run("show", record(1).id)
    assert "(not triaged yet)" in result.out
    assert f"the summary {'s' * 32}" in result.out
    assert "nowhere yet" in result.out


def test_a_summary_names_each_of_its_actions() -> None:
    text = record_text(replace(record(1, teams=sent()), alert=build_summary(3)))
    assert all(f"maintenance-task-{number:04d}" in text for number in range(3))


def test_the_lines_worth_reading_are_shown_with_their_reason_and_the_rest_on_request() -> None:
    script = "\n".join(f"line {number}" for number in range(1, 501))
    code = build_code(script, focus=(FocusLine(400, "Downloads and runs code."),))
    shown = record_text(with_alert(evidence=(build_evidence(code=(code,)),)))
    assert "> 400 | line 400\n          ^ Downloads and runs code." in shown
    assert "line 12\n" not in shown
    assert "lines are not shown; see them with --full" in shown
    whole = record_text(with_alert(evidence=(build_evidence(code=(code,)),)), whole=True)
    assert whole.count("| line ") == 500
    assert "not shown" not in whole


def test_a_script_without_such_lines_is_shown_from_its_beginning() -> None:
    code = build_code("\n".join(f"line {number}" for number in range(1, 101)))
    shown = record_text(with_alert(evidence=(build_evidence(code=(code,)),)))
    assert shown.count("| line ") == CODE_LINES
    assert "60 of 100 lines are not shown" in shown


def test_missing_evidence_says_why() -> None:
    shown = record_text(with_alert(evidence=(build_evidence(missing="The API did not answer in 10 s.", facts=()),)))
    assert "missing: The API did not answer in 10 s." in shown


def test_hostile_text_is_made_visible_wherever_it_is(shell: Shell) -> None:
    code = build_code(f"{HOSTILE}\x0c\u2028x", title=HOSTILE, focus=(FocusLine(1, HOSTILE),))
    evidence = build_evidence(title=HOSTILE, missing=HOSTILE, facts=(Fact(HOSTILE, HOSTILE),), code=(code,))
    alert = build_alert(
        title=HOSTILE, caller=HOSTILE, caller_ip=HOSTILE, operation=HOSTILE, outcome=HOSTILE, resource_id=HOSTILE,
        account=HOSTILE, portal_url=HOSTILE, facts=(Fact(HOSTILE, HOSTILE),), evidence=(evidence,), triage=HOSTILE,
        severity_reasons=(HOSTILE,), items=build_summary(1).items, story=HOSTILE, tags=(HOSTILE,),
    )  # fmt: skip
    shell.store(replace(record(1, webhook=dead(HOSTILE)), alert=alert))
    for argv in (
        ("show", record(1).id),
        ("show", record(1).id, "--json"),
        ("dead", "list"),
        ("dead", "list", "--json"),
    ):
        result = shell.run(*argv)
        assert result.code == 0
        assert {character for character in result.out if not character.isprintable()} <= {"\n"}, argv
        assert "gpj.exe" in result.out
    assert shell.run("show", record(1).id, "--json").data["record"]["alert"]["caller"] == HOSTILE


def test_a_delivery_that_waits_says_when_it_is_tried_next(shell: Shell) -> None:
    shell.store(record(1, webhook=pending(), teams=Delivery()))
    result = shell.run("show", record(1).id)
    assert "pending after 2 attempts, next attempt 2026-03-02 03:01:00 UTC: teams: 429" in result.out
    assert "teams    pending after 0 attempts\n" in result.out
