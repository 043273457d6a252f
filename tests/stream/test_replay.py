"""``replay`` brings exported files and quarantined messages back through the same path."""

import asyncio
import gzip
import io
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from detectors.cli import main
from detectors.commands import replay
from detectors.commands.replay import _bodies
from detectors.sources.quarantine import Item, Quarantine, Reason
from detectors.sources.stream import Judged, StreamJudge
from detectors.state.sqlite import SqliteStore
from sandbox.server import Sandbox
from tests.clock import Clock
from tests.stream.batch import body, positions, record


class Shell:
    """Runs ``replay`` on the state in *folder*, against the sandbox."""

    def __init__(self, folder: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "state.db"
        self.environment = sandbox.environment() | {"STATE_PATH": str(self.path)}
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, self.environment[name])

    def run(self, *argv: str) -> tuple[int, dict[str, Any]]:
        out = io.StringIO()
        code = main(["replay", "--json", *argv], self.environment, out, err=io.StringIO())
        return code, json.loads(out.getvalue())

    def text(self, *argv: str) -> str:
        out = io.StringIO()
        main(["replay", *argv], self.environment, out, err=io.StringIO())
        return out.getvalue()

    def quarantined(self, *bodies: bytes, first: int = 0) -> None:
        """One entry with *bodies*, whose sequence numbers begin with *first*."""
        items = [
            Item(position=position, reason="test", data=data)
            for data, position in zip(bodies, positions(first + len(bodies))[first:], strict=True)
        ]
        self.stored(lambda store: Quarantine(store.objects("quarantine")).put(Reason.NOT_STORED, items, Clock().now))

    def stored(self, work: Callable[[SqliteStore], Awaitable[object]]) -> None:
        async def open_and_close() -> None:
            store = SqliteStore(self.path)
            await store.open()
            await work(store)
            await store.close()

        asyncio.run(open_and_close())


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    with Sandbox.start(tmp_path, scenario="setup-then-execute") as sandbox:
        yield Shell(tmp_path, sandbox, monkeypatch)


def test_good_messages_leave_quarantine_and_damaged_ones_stay(shell: Shell) -> None:
    shell.quarantined(body(1, 2), b"{")
    code, first = shell.run("--quarantine")
    assert code == 1
    assert (first["entries"], first["left_quarantine"], first["bodies"], first["records"]) == (1, 0, 2, 2)
    assert first["new_alerts"] == len(first["alerts"]) >= 2
    code, second = shell.run("--quarantine")
    assert code == 1
    assert (second["entries"], second["bodies"], second["records"], second["new_alerts"]) == (1, 1, 0, 0)
    assert len(second["damaged"]) == 1


def test_a_quarantine_that_is_all_good_is_empty_afterwards(shell: Shell) -> None:
    shell.quarantined(body(1))
    assert "1, 1 of them gone" in shell.text("--quarantine")
    code, again = shell.run("--quarantine")
    assert (code, again["entries"], again["damaged"]) == (0, 0, [])


def test_files_of_every_shape_are_read_and_what_is_known_is_not_alerted_again(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "envelope.json").write_bytes(json.dumps({"records": [record(1)]}, indent=2).encode())
    (tmp_path / "hour.json").write_text("".join(json.dumps(record(n)) + "\n" for n in (1, 2)))
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(body(3)))
    files = [str(tmp_path / name) for name in ("envelope.json", "hour.json", "packed.json.gz")]
    code, result = shell.run(*files)
    assert (code, result["files"], result["records"], result["damaged"]) == (0, 3, 4, [])
    assert result["new_alerts"]
    assert shell.run(*files)[1]["new_alerts"] == 0


def test_a_damaged_file_exits_with_1_and_names_the_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(json.dumps(record(1)).encode() + b"\n{broken\n")
    code, result = shell.run(str(tmp_path / "bad.json"))
    assert (code, result["records"]) == (1, 1)
    assert "bad.json, part 1" in str(result["damaged"])


def test_nothing_to_replay_or_no_such_file_exits_with_2(shell: Shell, tmp_path: Path) -> None:
    assert shell.run()[0] == 2
    code, result = shell.run(str(tmp_path / "missing.json"))
    assert code == 2
    assert "missing.json is not a file" in str(result["error"])


def test_an_hour_of_records_is_cut_at_line_ends_only(tmp_path: Path) -> None:
    line = json.dumps({"x": "y" * 1_000_000}).encode() + b"\n"
    path = tmp_path / "hour.json"
    path.write_bytes(line * 20)
    parts = list(_bodies(path))
    assert len(parts) > 1
    assert b"".join(parts) == line * 20
    assert all(part.endswith(b"\n") for part in parts)


def test_more_than_one_run_takes_is_said_and_what_stays_damaged_does_not_stand_in_the_way(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "ENTRIES", 2)
    monkeypatch.setattr(replay, "_PAGE", 2)
    for number in range(3):
        shell.quarantined(b"{" + bytes([49 + number]), first=number)
    for number in range(3, 8):
        shell.quarantined(body(number), first=number)
    code, first = shell.run("--quarantine")
    assert (code, first["left_quarantine"], first["capped"]) == (1, 2, True)
    assert first["entries"] == 5, "the damaged ones and as many good ones as may go"
    assert len(first["damaged"]) == 3
    assert "run the command again" in shell.text("--quarantine")
    code, last = shell.run("--quarantine")
    assert (code, last["entries"], last["left_quarantine"], last["capped"]) == (1, 4, 1, False)


def test_a_run_that_takes_exactly_as_many_as_there_are_is_whole(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "ENTRIES", 2)
    shell.quarantined(body(1), first=1)
    shell.quarantined(body(2), first=2)
    code, result = shell.run("--quarantine")
    assert (code, result["left_quarantine"], result["capped"]) == (0, 2, False)


def test_an_entry_of_another_version_and_one_that_is_half_good_are_looked_at_once(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_PAGE", 1)
    shell.quarantined(body(1), b"{", first=1)
    shell.stored(lambda store: store.objects("quarantine").put_object("3-not-an-entry", b"{}"))
    code, result = shell.run("--quarantine")
    assert (code, result["entries"], result["records"], result["left_quarantine"]) == (1, 2, 1, 0)
    assert sorted("not an entry" in each for each in result["damaged"]) == [False, True]


def test_what_brings_out_a_defect_stays_and_stops_nothing_else(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judge = StreamJudge.judge

    def defective(self: StreamJudge, bodies: Sequence[bytes], now: datetime | None = None) -> Judged:
        if any(b"W1" in data for data in bodies):
            raise ZeroDivisionError("defect")
        return judge(self, bodies, now)

    monkeypatch.setattr(StreamJudge, "judge", defective)
    for number in (1, 2):
        shell.quarantined(body(number), first=number)
        (tmp_path / f"{number}.json").write_bytes(body(number + 10))
    code, result = shell.run("--quarantine", *(str(tmp_path / f"{number}.json") for number in (1, 2)))
    assert (code, result["entries"], result["left_quarantine"], result["records"]) == (1, 2, 1, 1)
    assert [each.rpartition(": ZeroDivisionError")[2] for each in result["damaged"]] == [": defect"] * 3
    monkeypatch.setattr(StreamJudge, "judge", judge)
    assert shell.run("--quarantine")[1]["left_quarantine"] == 1, "it stayed until the defect was repaired"
