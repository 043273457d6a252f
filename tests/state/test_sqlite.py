"""The SQLite store among several processes, and when a process is killed."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from detectors.state import sqlite
from detectors.state.sqlite import SqliteStore
from detectors.state.store import StoreUnavailable
from tests.state.records import NOW, small_record

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from detectors.state.sqlite import SqliteStore
from tests.state.records import small_record

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    number = 0
    while number < int(sys.argv[2]):
        won = await store.create(small_record(f"r{number:06}"))
        print(f"r{number:06}", won, flush=True)
        number += 1

asyncio.run(main())
"""


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def writer(path: Path, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_of_processes_that_create_the_same_records_each_record_has_one_winner(tmp_path: Path) -> None:
    processes = [writer(tmp_path / "new" / "detector.db", 40) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    wins = [line for output in outputs for line in output.splitlines() if line.endswith("True")]
    assert sorted(wins) == [f"r{number:06} True" for number in range(40)]


async def test_what_was_created_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "detector.db"
    with writer(path, 1_000_000) as process:
        assert process.stdout is not None
        created = [process.stdout.readline().split()[0] for _ in range(25)]
        process.kill()
    store = SqliteStore(path)
    await store.open()
    listed = await store.due(NOW, 1_000_000)
    assert listed[:25] == created
    assert all([await store.read(record_id) for record_id in listed])
    assert not await store.create(small_record(created[-1]))
    await store.close()


async def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "detector.db")
    await store.open()
    await store.create(small_record("a"))
    assert modes(tmp_path) == {"detector.db": 0o600, "detector.db-shm": 0o600, "detector.db-wal": 0o600}
    await store.close()


async def test_a_path_that_cannot_be_a_file_is_named_with_the_cause_and_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path, tmp_path / "file" / "detector.db"):
        with pytest.raises(StoreUnavailable, match=r"could not open it: .+\. Check that the path") as raised:
            await SqliteStore(path).open()
        assert str(path) in str(raised.value)


async def test_a_file_of_another_program_or_version_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database" * 100)
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        await SqliteStore(text).open()
    assert text.read_text() == "not a database" * 100

    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnavailable, match="version 99, not 1"):
        await SqliteStore(newer).open()


async def test_a_file_of_before_there_was_an_inventory_keeps_its_quarantine(
    tmp_path: Path,
) -> None:
    path = tmp_path / "detector.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript("""
        CREATE TABLE records (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, due INTEGER, body BLOB NOT NULL);
        CREATE INDEX records_due ON records (due, id) WHERE due IS NOT NULL;
        CREATE TABLE documents (name TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL);
        CREATE TABLE objects (name TEXT PRIMARY KEY NOT NULL, data BLOB NOT NULL);
        PRAGMA user_version = 1;
    """)
    old.execute("INSERT INTO objects VALUES ('p0-0001', x'00ff')")
    store = SqliteStore(path)
    for _ in range(2):
        await store.open()
        assert await store.objects("quarantine").get_object("p0-0001") == b"\x00\xff"
        assert await store.objects("inventory").list_objects(10) in ([], ["snapshot-1"])
        await store.objects("inventory").put_object("snapshot-1", b"kept")
        await store.close()
    assert old.execute("SELECT name FROM objects").fetchall() == [("p0-0001",)]
    assert old.execute("PRAGMA user_version").fetchone() == (1,)
    old.close()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "detector.db")
    with pytest.raises(StoreUnavailable, match=r"call open\(\) first"):
        await store.exists("a")
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable, match=r"call open\(\) first"):
        await store.create(small_record("a"))
    with pytest.raises(StoreUnavailable, match=r"call open\(\) first"):
        await store.objects("inventory").get_object("a")


async def test_a_file_locked_by_another_process_is_unavailable_and_usable_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.0)
    store = SqliteStore(tmp_path / "detector.db")
    await store.open()
    other = sqlite3.connect(tmp_path / "detector.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="could not create a record: database is locked"):
        await store.create(small_record("a"))
    assert await store.due(NOW, 10) == []
    other.execute("ROLLBACK")
    other.close()
    assert await store.create(small_record("a"))
    await store.close()
