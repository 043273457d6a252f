"""A person's own log is read, or the error says what is wrong and what to do."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import demo
from sandbox.report.log_file import LogFileError, read_log


def record(minute: int, operation: str = "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/RUNBOOKS/WRITE") -> dict[str, Any]:
    return {
        "time": f"2026-05-04T03:{minute:02}:00.1234567Z",
        "resourceId": (
            "/SUBSCRIPTIONS/7D1C2A90-3C4E-4B7F-8F5A-2E9B6D0C1A02/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.AUTOMATION"
            "/AUTOMATIONACCOUNTS/AA/RUNBOOKS/NIGHTLY"
        ),
        "operationName": operation,
        "resultType": "Success",
        "category": "Administrative",
        "callerIpAddress": "203.0.113.7",
        "correlationId": "c0ffee00-0000-4000-8000-000000000001",
    }


def test_records_become_rows_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text("\n".join(json.dumps(record(minute)) for minute in (9, 2, 5)), encoding="utf-8")
    log = read_log(path)
    assert [row["TimeGenerated"].minute for row in log.rows] == [2, 5, 9]
    assert (log.first.minute, log.last.minute) == (2, 9)
    assert log.last.utcoffset() == datetime.now(UTC).utcoffset()
    assert log.bad == ()


def test_bad_records_are_listed_with_position_and_reason_and_the_others_survive(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    lines = [json.dumps(record(1)), '{"broken', json.dumps({"name": "x"}), json.dumps(record(2))]
    path.write_text("\n".join(lines), encoding="utf-8")
    log = read_log(path)
    assert len(log.rows) == 2
    assert [bad.position for bad in log.bad] == [2, 3]
    assert log.bad[1].reason == "has no time and no operation name, so it is not an Activity Log record"


def test_what_the_azure_cli_exports_is_read(tmp_path: Path) -> None:
    exported = {
        "eventTimestamp": "2026-05-04T03:02:01.5Z",
        "operationName": {"value": "Microsoft.Automation/automationAccounts/runbooks/write", "localizedValue": "x"},
        "status": {"value": "Succeeded", "localizedValue": "Succeeded"},
        "resourceId": "/subscriptions/a/resourceGroups/rg",
        "caller": "anna@example.com",
    }
    path = tmp_path / "log.json"
    path.write_text(json.dumps([exported]), encoding="utf-8")
    (row,) = read_log(path).rows
    assert row["Caller"] == "anna@example.com"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds nothing of an Activity Log"),
        (b"hello", "holds 1 record, none of them from an Activity Log"),
        (b'[{"a": 1}, {"b": 2}]', "holds 2 records, none of them from an Activity Log"),
        (b"\x00\x01\x02\xff" * 50, "of them from an Activity Log"),
    ],
)
def test_a_file_without_activity_log_records_is_refused_with_the_next_step(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(content)
    with pytest.raises(LogFileError) as raised:
        read_log(path)
    assert said in str(raised.value)
    assert "log.json" in str(raised.value)
    assert "az monitor activity-log list" in str(raised.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="is a folder"):
        read_log(tmp_path)


def test_a_missing_file_ends_the_demo_with_a_plain_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--log", str(tmp_path / "no\x1b[31m.json"), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "There is no file" in said
    assert "make demo LOG=" in said
    assert "\x1b" not in said
    assert "Traceback" not in said


def test_an_unknown_scenario_ends_the_demo_with_the_names_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--scenario", "nonesuch", "--output", str(tmp_path)]) == 2
    assert "setup-then-execute" in capsys.readouterr().err
