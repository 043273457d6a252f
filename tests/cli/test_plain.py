"""Plain text stays aligned and on its line, whatever is in it."""

from datetime import timedelta

from detectors.commands.dead import DeadList
from detectors.commands.lines import line_of
from detectors.commands.plain import block, fields, table, width
from detectors.commands.printing import dead_text, hunt_text, status_text
from detectors.commands.run import HuntResult, RuleRun
from detectors.commands.status import Status
from detectors.condition import Backlog
from detectors.sources.hunt import RuleOutcome
from tests.heartbeat.samples import NOW, record


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    lines = table(("name", "count"), [("夜間", "1"), ("e\u0301t\u00e9", "2"), ("plain", "30")])
    assert lines == ["name   count", "夜間   1", "e\u0301t\u00e9    2", "plain  30"]
    assert width("夜間") == 4


def test_a_cell_never_leaves_its_line() -> None:
    lines = table(("a", "b"), [("x\ny\x1b[A", "z")])
    assert lines[1] == r"x\ny\x1b[A  z"
    assert block("one\r\ntwo\rthree\x0cfour") == ["one", r"two\rthree\x0cfour"]


def test_the_lines_of_a_long_value_begin_under_each_other() -> None:
    assert fields([("label", "one\ntwo"), ("x", "")]) == ["label  one", "       two", "x"]


def test_a_hunt_says_what_failed_and_what_it_did_not_get_to() -> None:
    failed = RuleOutcome(rule_id="r", workspace="w", error="answered 403", remaining=2)
    result = HuntResult(
        started_at=NOW,
        runs=(RuleRun(rule_name="Runbook changed", outcome=failed),),
        new_alerts=201,
        alerts=(line_of(record(1)),),
    )
    text = hunt_text(result)
    assert "  - Runbook changed on w: answered 403" in text
    assert f"{record(1).id}  (not triaged yet)" in text
    assert text.endswith("... and 200 more\n")
    assert result.failed


def test_numbers_that_are_not_complete_say_so() -> None:
    assert "there may be more" in dead_text(DeadList(deliveries=(), capped=True))
    status = Status(
        now=NOW + timedelta(minutes=1),
        healthy=True,
        problems=(),
        progress=(),
        backlog=Backlog(capped=True),
        last_heartbeat=None,
        destinations=(),
    )
    assert "every number of deliveries is at least" in status_text(status, "state.db")
