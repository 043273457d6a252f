"""``replay``: quarantined messages and exported files go through the stream once more."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from detectors.app import Detector
from detectors.commands.failure import CommandError
from detectors.commands.lines import AlertLine, read_lines
from detectors.sources.batches import BatchReport
from detectors.sources.quarantine import Position, UnreadableEntry

SHOWN = 200
"""Alerts that are read again to say where they arrived."""

ENTRIES = 10_000
"""Quarantine entries of one run."""

_BODY_BYTES = 8 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replayed:
    """What one run brought back. ``damaged`` says what is still not readable, one line each.

    ``entries`` were looked at, ``left_quarantine`` of them are gone because everything in them is judged and stored.
    ``alerts`` are the new ones, at most :data:`SHOWN` of ``new_alerts``.
    """

    files: int
    entries: int
    left_quarantine: int
    bodies: int
    records: int
    candidates: int
    new_alerts: int
    damaged: tuple[str, ...]
    alerts: tuple[AlertLine, ...]
    capped: bool

    @property
    def whole(self) -> bool:
        """Whether nothing is left damaged."""
        return not self.damaged and not self.capped


async def replay(detector: Detector, files: Sequence[Path], *, quarantine: bool, now: datetime) -> Replayed:
    """Judge *files* and, with *quarantine*, every entry of it; store, triage and send what is found.

    A quarantine entry goes once all of it is stored; what is still damaged of it stays. Raises :class:`CommandError`
    for a file that cannot be read, before anything is judged, and :class:`detectors.state.store.StoreUnavailable`;
    running it again is safe, because what is stored is recognised.
    """
    if not files and not quarantine:
        raise CommandError("nothing to replay: name files, or write --quarantine for what the stream set aside")
    for path in files:
        if not path.is_file():
            raise CommandError(f"{path} is not a file; name files that hold exported Activity Log records")
    reports: list[BatchReport] = []
    damaged: list[str] = []
    for path in files:
        for number, body in enumerate(_bodies(path), 1):
            report = await detector.replay([body], [Position(hub=str(path))])
            damaged += [f"{path}, part {number}: {item.reason}" for item in report.damaged]
            reports.append(report)
    names = await detector.quarantine.names(ENTRIES) if quarantine else []
    gone = 0
    for name in names:
        try:
            entry = await detector.quarantine.get(name)
        except UnreadableEntry as error:
            damaged.append(str(error))
            continue
        if entry is None:
            continue
        report = await detector.replay([item.data for item in entry.items], [item.position for item in entry.items])
        await detector.quarantine.leave(name, report.damaged, now)
        damaged += [f"quarantine entry {name}: {item.reason}" for item in report.damaged]
        gone += not report.damaged
        reports.append(report)
    new = [identifier for report in reports for identifier in report.new]
    return Replayed(
        files=len(files),
        entries=len(names),
        left_quarantine=gone,
        bodies=sum(report.bodies for report in reports),
        records=sum(report.records for report in reports),
        candidates=sum(report.candidates for report in reports),
        new_alerts=len(new),
        damaged=tuple(damaged),
        alerts=await read_lines(detector.store, new[:SHOWN]),
        capped=len(names) >= ENTRIES,
    )


def _bodies(path: Path) -> Iterator[bytes]:
    """*path* as message bodies: parts of whole lines where each line is a document of its own, else all of it.

    The export to a storage account writes one record on a line and an hour to a file: more than any message.
    """
    try:
        with _opened(path) as file:
            first = file.readline()
            if not _is_document(first):
                yield first + file.read()
                return
            part, size = [first], len(first)
            for line in file:
                if size + len(line) > _BODY_BYTES:
                    yield b"".join(part)
                    part, size = [], 0
                part.append(line)
                size += len(line)
            yield b"".join(part)
    except (OSError, EOFError, zlib.error) as error:
        raise CommandError(f"{path} cannot be read to its end ({error}); what came before is replayed") from error


def _opened(path: Path) -> gzip.GzipFile:
    # The stream unpacks messages itself, up to a limit that suits a message and not an hour.
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _is_document(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
