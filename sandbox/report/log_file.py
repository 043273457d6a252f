"""A person's own exported Activity Log, read for the demo: rows to hunt in, and what could not be read."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox.report.text import size, visible

LIMIT_BYTES = 200_000_000

EXPORT = "az monitor activity-log list --offset 7d --max-events 5000 > activity.json"
SEARCH = "make demo LOG=activity.json"
_NEXT = f"Export a log and search it:\n  {EXPORT}\n  {SEARCH}"


class LogFileError(Exception):
    """The file cannot be used. The message names the file, the cause and the next step."""


@dataclasses.dataclass(frozen=True)
class Bad:
    """A record that was left out: ``position`` counts records from 1."""

    position: int
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogFile:
    """``rows`` of the table AzureActivity, oldest first; ``first`` and ``last`` are their TimeGenerated."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    bad: tuple[Bad, ...]
    first: datetime
    last: datetime


def read_log(path: Path) -> LogFile:
    """Read *path*: JSON as exported by a diagnostic setting, the REST API or the Azure CLI, or rows of a workspace.

    Raises :class:`LogFileError` when the file cannot be read or holds no Activity Log record at all.
    """
    from detectors.sources.activity_log import BadRecord, read_records, to_row

    rows: list[dict[str, Any]] = []
    bad: list[Bad] = []
    for position, record in enumerate(read_records(_bytes(path)), start=1):
        if isinstance(record, BadRecord):
            bad.append(Bad(record.position, visible(record.reason)))
            continue
        row = to_row(record)
        lacking = [name for name, column in _NEEDED if not row[column]]
        if lacking:
            bad.append(Bad(position, f"has no {' and no '.join(lacking)}, so it is not an Activity Log record"))
        else:
            rows.append(row)
    if not rows:
        found = f"{len(bad)} record{'' if len(bad) == 1 else 's'}, none of them from" if bad else "nothing of"
        first = f" The first: record {bad[0].position}, {bad[0].reason}." if bad else ""
        raise LogFileError(f"{_name(path)} holds {found} an Activity Log.{first} {_NEXT}")
    rows.sort(key=lambda row: row["TimeGenerated"])
    return LogFile(
        path=path,
        rows=tuple(rows),
        bad=tuple(bad),
        first=rows[0]["TimeGenerated"],
        last=rows[-1]["TimeGenerated"],
    )


_NEEDED = (("time", "TimeGenerated"), ("operation name", "OperationNameValue"))


def _name(path: Path) -> str:
    return visible(str(path))


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise LogFileError(f"{_name(path)} is a folder. Give one file; a folder of exports can be joined with cat.")
        length = path.stat().st_size
        if length > LIMIT_BYTES:
            raise LogFileError(
                f"{_name(path)} has {size(length)}; the demo reads at most {size(LIMIT_BYTES)}. "
                "Split it by lines or export fewer days."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LogFileError(f"There is no file {_name(path)}. {_NEXT}") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise LogFileError(f"{_name(path)} cannot be read: {cause}. Check its permissions and try again.") from error
