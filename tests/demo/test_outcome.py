"""The demo succeeds only when the detector gave exactly what the scenario expects."""

import dataclasses

import msgspec

from sandbox.report.outcome import by_rule, compare
from tests.demo.samples import attack, health

NAMES = {attack().rule_id: "watcher-task"}


@dataclasses.dataclass(frozen=True)
class Entry:
    rule: str
    resource: str
    count: int


def test_an_expectation_is_met_by_rule_file_or_id_and_the_end_of_the_resource_in_any_case() -> None:
    for rule in ("watcher-task", attack().rule_id.upper()):
        (line,) = compare([Entry(rule, "/WATCHERS/Disk-Usage", 1)], [attack()], NAMES)
        assert line.met


def test_a_missing_alert_is_named() -> None:
    (line,) = compare([Entry("watcher-task", "/watchers/other", 1)], [], NAMES)
    assert not line.met
    assert str(line) == "watcher-task on /watchers/other: expected 1, got 0"


def test_an_alert_nobody_expected_is_named() -> None:
    (line,) = compare([], [attack()], NAMES)
    assert not line.met
    assert str(line) == f"watcher-task on {attack().resource_id}: expected 0, got 1"


def test_one_alert_too_many_shows_at_its_own_entry() -> None:
    second = msgspec.structs.replace(attack(), id="other")
    (line,) = compare([Entry("watcher-task", "", 1)], [attack(), second], NAMES)
    assert (line.expected, line.got) == (1, 2)


def test_a_health_alert_is_never_expected() -> None:
    wanted = Entry("detector-health", "", 1)
    assert [line.met for line in compare([wanted], [health()], {})] == [False, False]


def test_alerts_are_counted_by_rule() -> None:
    assert by_rule([attack(), health(), attack()]) == {"Watcher task set up or started": 2, "Detector health": 1}
