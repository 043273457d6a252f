"""``replay``: quarantined messages and exported files go through the stream once more."""

import dataclasses
import gzip
import json
import logging
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from detectors.app import Detector
from detectors.commands.failure import CommandError
from detectors.commands.lines import AlertLine, read_lines
from detectors.sources.batches import BatchReport
from detectors.sources.quarantine import Position, UnreadableEntry
from detectors.state.store import StoreUnavailable

_log = logging.getLogger(__name__)

SHOWN = 200
"""Alerts that are read again to say where they arrived."""

ENTRIES = 10_000
"""Quarantine entries that may go in one run. Those that stay do not count: they must not stand in the way of others."""

_PAGE = 1000
_BODY_BYTES = 8 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replayed:
    """What one run brought back. ``damaged`` says what is still not readable, one line each.

    ``entries`` were looked at, ``left_quarantine`` of them are gone because everything in them is judged and stored.
    ``alerts`` are the new ones, at most :data:`SHOWN` of ``new_alerts``. ``capped``: more than :data:`ENTRIES` can go.
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
    tally = _Tally()
    for path in files:
        for number, body in enumerate(_bodies(path), 1):
            await _judge(detector, [body], [Position(hub=str(path))], f"{path}, part {number}", tally)
    capped = await _replay_quarantine(detector, now, tally) if quarantine else False
    return Replayed(
        files=len(files),
        entries=tally.entries,
        left_quarantine=tally.gone,
        bodies=tally.bodies,
        records=tally.records,
        candidates=tally.candidates,
        new_alerts=len(tally.new),
        damaged=tuple(tally.damaged),
        alerts=await read_lines(detector.store, tally.new[:SHOWN]),
        capped=capped,
    )


@dataclasses.dataclass
class _Tally:
    """Counts, and no reports: those hold the bytes that are damaged, and all of a quarantine is more than memory."""

    entries: int = 0
    gone: int = 0
    bodies: int = 0
    records: int = 0
    candidates: int = 0
    new: list[str] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)

    def add(self, report: BatchReport, origin: str) -> None:
        self.bodies += report.bodies
        self.records += report.records
        self.candidates += report.candidates
        self.new += report.new
        self.damaged += [f"{origin}: {item.reason}" for item in report.damaged]


async def _judge(
    detector: Detector, bodies: Sequence[bytes], positions: Sequence[Position], origin: str, tally: _Tally
) -> BatchReport | None:
    """Judge and store *bodies* and count it; None when they bring out a defect, which must not stop the others."""
    try:
        report = await detector.replay(bodies, positions)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - see above: whatever it is, the other entries are good
        _log.exception("%s cannot be judged; report it as a defect", origin)
        tally.damaged.append(f"{origin}: {type(error).__name__}: {error}")
        return None
    tally.add(report, origin)
    return report


async def _replay_quarantine(detector: Detector, now: datetime, tally: _Tally) -> bool:
    """Judge the entries until :data:`ENTRIES` are gone. Whether there are others then."""
    quarantine = detector.quarantine
    # What was looked at. Entries that stay are listed again and again, before those that have not been read yet.
    seen: set[str] = set()

    async def unseen(count: int) -> list[str]:
        names = await quarantine.names(len(seen) + count)
        return [name for name in names if name not in seen][:count]

    while names := await unseen(min(_PAGE, ENTRIES - tally.gone)):
        tally.entries += len(names)
        for name in names:
            seen.add(name)
            try:
                entry = await quarantine.get(name)
            except UnreadableEntry as error:
                tally.damaged.append(str(error))
                continue
            if entry is None:
                continue
            bodies, positions = [item.data for item in entry.items], [item.position for item in entry.items]
            report = await _judge(detector, bodies, positions, f"quarantine entry {name}", tally)
            if report is not None:
                seen.update(await quarantine.leave(name, report.damaged, now))
                tally.gone += not report.damaged
        if tally.gone >= ENTRIES:
            return bool(await unseen(1))
    return False


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
