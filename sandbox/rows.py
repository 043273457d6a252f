"""The rows of the simulated workspaces: each with the moment from which a query can see it."""

import dataclasses
import functools
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from detectors.kql.engine import TableSchema, load_tables

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


@functools.cache
def tables() -> dict[str, TableSchema]:
    """The detector's table schemas, read once: YAML is slow, and tests start many sandboxes."""
    return load_tables()


def iso(moment: datetime) -> str:
    """*moment* as Log Analytics writes it: UTC, seven fraction digits, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def parse_moment(text: str) -> datetime:
    """ISO 8601 text as an aware UTC datetime; digits beyond microseconds are cut. Raises :class:`ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no ISO 8601 duration")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A closed interval of ``TimeGenerated``."""

    start: datetime
    end: datetime


def parse_timespan(text: str | None, now: datetime) -> Interval | None:
    """The ``timespan`` of a Logs query: ``start/end``, ``start/PT..S``, ``PT..S/end``, ``PT..S`` (until *now*).

    None means unbounded. Raises :class:`ValueError` for anything else.
    """
    if not text:
        return None
    first, _, second = text.partition("/")
    if not second:
        return Interval(now - _duration(first), now)
    if first.startswith("P"):
        end = parse_moment(second)
        return Interval(end - _duration(first), end)
    start = parse_moment(first)
    return Interval(start, start + _duration(second) if second.startswith("P") else parse_moment(second))


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRow:
    """One row. ``eq=False``: a row is itself, however alike another one looks."""

    values: Mapping[str, Any]
    generated: datetime
    ingested: datetime


class Rows:
    """The rows of all workspaces, by workspace id and table. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, dict[str, list[StoredRow]]] = {}

    def create(self, workspace: str) -> None:
        """Make *workspace* exist, empty. Idempotent."""
        with self._lock:
            self._tables.setdefault(workspace.lower(), defaultdict(list))

    def add(self, workspace: str, table: str, rows: Iterable[Mapping[str, Any]], ingested: datetime) -> int:
        """Add *rows* (ISO text or aware datetime in ``TimeGenerated``); how many there were.

        Raises :class:`ValueError` naming the first row without a usable ``TimeGenerated``; then none was added.
        """
        stored = []
        for number, row in enumerate(rows, start=1):
            generated = row.get("TimeGenerated")
            try:
                moment = generated.astimezone(UTC) if isinstance(generated, datetime) else parse_moment(str(generated))
            except ValueError as error:
                raise ValueError(
                    f"row {number} of {table}: TimeGenerated is {generated!r}; write text such as {iso(ingested)}"
                ) from error
            stored.append(StoredRow({**row, "TenantId": workspace.lower()}, moment, ingested))
        self.create(workspace)
        with self._lock:
            self._tables[workspace.lower()][table] += stored
        return len(stored)

    def known(self, workspace: str) -> bool:
        """Whether there is such a workspace."""
        return workspace.lower() in self._tables

    @property
    def workspaces(self) -> tuple[str, ...]:
        """Ids of all workspaces, in order of creation."""
        with self._lock:
            return tuple(self._tables)

    def visible(
        self, workspaces: Iterable[str], now: datetime, interval: Interval | None = None, scope: str = ""
    ) -> dict[str, list[StoredRow]]:
        """Rows that a query sees at *now*, by table: ingested, inside *interval*, on a resource below *scope*."""
        seen: dict[str, list[StoredRow]] = {}
        with self._lock:
            for workspace in dict.fromkeys(name.lower() for name in workspaces):
                for table, rows in self._tables.get(workspace, {}).items():
                    seen.setdefault(table, []).extend(
                        row
                        for row in rows
                        if row.ingested <= now
                        and (interval is None or interval.start <= row.generated <= interval.end)
                        and _below(str(row.values.get("_ResourceId", "")), scope)
                    )
        return seen

    def total(self, workspace: str) -> int:
        """How many rows *workspace* holds, visible or not."""
        with self._lock:
            return sum(len(rows) for rows in self._tables.get(workspace.lower(), {}).values())


def _below(resource: str, scope: str) -> bool:
    return not scope or f"{resource.lower()}/".startswith(f"{scope.lower()}/")
