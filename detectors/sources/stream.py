"""The stream's judge: message bodies of the Event Hub export to the rows that the rules return for their records.

Most records concern nothing that a rule watches. A record's top level is read, and of that only the operation and the
outcome; what no rule can return (:mod:`detectors.kql.preselection`) is never decoded further.
"""

import dataclasses
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from detectors.kql.engine import Engine, KqlError
from detectors.kql.narrow import Narrow
from detectors.kql.preselection import preselect
from detectors.rule import Rule
from detectors.sources.activity_log import TABLE, BadRecord, read_records, to_row
from detectors.sources.logs import json_value

LARGEST_BODY: Final = 32 * 1024 * 1024
"""Bytes of one message after decompression; a message of the Event Hub holds at most 1 MB before it."""

_GZIP: Final = b"\x1f\x8b"
# Bounds of what is remembered about records seen before; hostile data must not grow either without end.
_LAYOUTS: Final = 4096
_DECISIONS: Final = 65536
_LONGEST_NAMES: Final = 1024
# A record with one of these is a row of the table, whatever else it holds.
_TABLE_SHAPE: Final = frozenset({"operationnamevalue", "activitystatusvalue", "timegenerated"})
_DECIDING: Final = ("operationname", "resulttype", "status")

_Fields = dict[str, msgspec.Raw]


class _Envelope(msgspec.Struct):
    records: list[_Fields]


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_LIST: Final = msgspec.json.Decoder(list[_Fields])


@dataclasses.dataclass(frozen=True)
class Damaged:
    """What could not be judged: ``data`` are bytes of the body at ``body_index``, the whole of it where unclear."""

    body_index: int
    reason: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the rules say about a batch. Rows are in the shape of the hunt's: JSON values, times as text in UTC."""

    found: tuple[tuple[Rule, list[dict[str, Any]]], ...]
    damaged: tuple[Damaged, ...]
    records: int
    candidates: int


@dataclasses.dataclass
class _Candidate:
    body_index: int
    record: Mapping[str, Any]
    row: dict[str, Any]
    rules: tuple[int, ...]

    def damaged(self, reason: str) -> Damaged:
        return Damaged(self.body_index, reason, _text_of(self.record, b""))


class StreamJudge:
    """Runs the rules with ``detector.stream`` over batches of message bodies. One judge belongs to one thread.

    Every query is translated here, once. ``refused`` are the rules that cannot run, with the reason.
    """

    def __init__(self, rules: Iterable[Rule], engine: Engine | None = None) -> None:
        self._engine = Engine() if engine is None else engine
        self.rules: tuple[Rule, ...] = ()
        self.refused: tuple[tuple[Rule, str], ...] = ()
        for rule in rules:
            if not rule.detector.stream:
                continue
            try:
                reads = self._engine.translate(rule.query).tables
            except KqlError as error:
                self.refused = (*self.refused, (rule, str(error)))
                continue
            if reads != {TABLE}:
                reason = f"the stream carries {TABLE} and the query reads {', '.join(sorted(reads)) or 'no table'}"
                self.refused = (*self.refused, (rule, reason))
                continue
            self.rules = (*self.rules, rule)
        self._preselections = [preselect(rule.query) for rule in self.rules]
        self._narrow = Narrow(self._engine, TABLE, [rule.query for rule in self.rules])
        self._every = tuple(range(len(self.rules)))
        self._layouts: dict[tuple[str, ...], tuple[str | None, ...] | None] = {}
        self._decisions: dict[tuple[bytes, ...], tuple[int, ...]] = {}

    def judge(self, bodies: Sequence[bytes], now: datetime | None = None) -> Judged:
        """The rows that each rule returns for the records in *bodies*; ``now()`` in a query is *now*.

        Raises nothing for hostile bytes: what cannot be read or judged is in ``damaged``, the rest is judged.
        """
        candidates: list[_Candidate] = []
        damaged: list[Damaged] = []
        records = 0
        for index, body in enumerate(bodies):
            for found in self._records(index, body):
                if isinstance(found, Damaged):
                    damaged.append(found)
                elif isinstance(found, _Candidate):
                    candidates.append(found)
                else:
                    records += found
        matched, failed = self._matched(candidates, now)
        found_by_rule = tuple(
            (rule, rows) for rule, rows in zip(self.rules, matched, strict=True) if rows and rule.triggers(len(rows))
        )
        return Judged(found_by_rule, tuple(damaged + failed), records, len(candidates))

    def _records(self, index: int, body: bytes) -> Iterator[_Candidate | Damaged | int]:
        """The candidates of a body, what of it is damaged, and numbers of records."""
        data = bytes(body)
        if data[:2] == _GZIP:
            try:
                data = _decompressed(data)
            except (zlib.error, ValueError) as error:
                yield Damaged(index, f"gzip: {error}", data)
                return
        try:
            fields = _LIST.decode(data) if data[:1] == b"[" else _ENVELOPE.decode(data).records
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield from self._tolerant(index, data)
            return
        yield len(fields)
        for record in fields:
            rules = self._rules_for(record)
            if rules:
                yield from self._decoded(index, record, rules)

    def _rules_for(self, record: _Fields) -> tuple[int, ...]:
        """Positions of the rules that can return *record*."""
        layout = tuple(record)
        try:
            names = self._layouts[layout]
        except KeyError:
            names = _deciding_names(layout)
            if len(self._layouts) < _LAYOUTS and sum(map(len, layout)) < _LONGEST_NAMES:
                self._layouts[layout] = names
        if names is None:
            return self._every
        key = tuple([b"" if name is None else bytes(record[name]) for name in names])
        rules = self._decisions.get(key)
        if rules is None:
            try:
                values = {name: msgspec.json.decode(raw) for name, raw in zip(_DECIDING, key, strict=True) if raw}
                rules = self._rules_of(to_row(values))
            except (ValueError, TypeError, RecursionError):
                # Read on: either the tolerant path makes sense of it, or it is damaged and must be seen.
                return self._every
            if len(self._decisions) < _DECISIONS and sum(map(len, key)) < _LONGEST_NAMES:
                self._decisions[key] = rules
        return rules

    def _rules_of(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        operation, status = row["OperationNameValue"], row["ActivityStatusValue"]
        return tuple(i for i, chosen in enumerate(self._preselections) if chosen.candidate(operation, status))

    def _decoded(self, index: int, record: _Fields, rules: tuple[int, ...]) -> Iterator[_Candidate | Damaged]:
        values: dict[str, Any] = {}
        for name, raw in record.items():
            try:
                values[name] = msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield from (found for found in self._tolerant(index, _joined(record)) if not isinstance(found, int))
                return
        # What was decided on part of the record is decided again on all of it when that part said too little.
        yield from self._candidate(index, values, None if rules is self._every else rules, b"")

    def _tolerant(self, index: int, data: bytes) -> Iterator[_Candidate | Damaged | int]:
        """Every record of a body that is no plain envelope; the body itself, once, when any part is unreadable."""
        problems: list[str] = []
        for found in read_records(data):
            if isinstance(found, BadRecord):
                problems.append(f"record {found.position}: {found.reason}")
                continue
            yield 1
            yield from self._candidate(index, found, None, data)
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            yield Damaged(index, problems[0] + more, data)

    def _candidate(
        self, index: int, record: Mapping[str, Any], rules: tuple[int, ...] | None, body: bytes
    ) -> Iterator[_Candidate | Damaged]:
        try:
            row = to_row(record)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            yield Damaged(index, f"no row of {TABLE}: {type(error).__name__}", _text_of(record, body))
            return
        chosen = self._rules_of(row) if rules is None else rules
        if chosen:
            yield _Candidate(index, record, row, chosen)

    def _matched(
        self, candidates: Sequence[_Candidate], now: datetime | None
    ) -> tuple[list[list[dict[str, Any]]], list[Damaged]]:
        """Rows by position of the rule, and the candidates that some rule could not be run on."""
        matched: list[list[dict[str, Any]]] = [[] for _ in self.rules]
        by_rule: dict[int, list[_Candidate]] = defaultdict(list)
        for candidate in candidates:
            for position in candidate.rules:
                by_rule[position].append(candidate)
        failed: dict[int, Damaged] = {}
        narrow = [position for position in by_rule if self.rules[position].query in self._narrow]
        own = {id(candidate): candidate for position in narrow for candidate in by_rule[position]}
        for positions, rows in ((narrow, list(own.values())), *(([p], by_rule[p]) for p in by_rule if p not in narrow)):
            self._run(positions, rows, now, matched, failed)
        return matched, list(failed.values())

    def _run(
        self,
        positions: Sequence[int],
        candidates: Sequence[_Candidate],
        now: datetime | None,
        matched: list[list[dict[str, Any]]],
        failed: dict[int, Damaged],
    ) -> None:
        """Run rules over *candidates*; where that fails, over each alone, so that one odd record costs no other."""
        if not positions or not candidates:
            return
        queries = [self.rules[position].query for position in positions]
        rows = [candidate.row for candidate in candidates]
        try:
            answers = self._answers(queries, rows, now)
        except KqlError as error:
            if len(candidates) == 1 and len(positions) == 1:
                failed.setdefault(id(candidates[0]), candidates[0].damaged(str(error)))
                return
            if len(candidates) == 1:
                for position in positions:
                    self._run([position], candidates, now, matched, failed)
                return
            middle = len(candidates) // 2
            self._run(positions, candidates[:middle], now, matched, failed)
            self._run(positions, candidates[middle:], now, matched, failed)
            return
        for position, answer in zip(positions, answers, strict=True):
            matched[position].extend(answer)

    def _answers(
        self, queries: Sequence[str], rows: Sequence[Mapping[str, Any]], now: datetime | None
    ) -> list[list[dict[str, Any]]]:
        if queries[0] in self._narrow:
            answers = self._narrow.run(queries, rows, now)
            return [[{name: _hunted(*cell) for name, cell in row.items()} for _, row in answer] for answer in answers]
        self._engine.load(TABLE, rows)
        results = [self._engine.run(query, now=now) for query in queries]
        return [
            [
                {name: _hunted(kind, value) for (name, kind), value in zip(result.columns, row, strict=True)}
                for row in result.rows
            ]
            for result in results
        ]


def _hunted(kind: str, value: Any) -> Any:
    """A value as the hunt gives it. A dynamic value is parsed already: text in it is text."""
    return value if kind == "dynamic" else json_value(kind, value)


def _deciding_names(layout: Sequence[str]) -> tuple[str | None, ...] | None:
    """Which of a record's names hold operation, outcome and status; None for a row of the table.

    As :func:`to_row` reads them: in any case, the first of several spellings.
    """
    folded: dict[str, str] = {}
    for name in layout:
        folded.setdefault(name.casefold(), name)
    return None if _TABLE_SHAPE & folded.keys() else tuple(folded.get(name) for name in _DECIDING)


def _joined(record: _Fields) -> bytes:
    """The record's own bytes, but for the space between its fields."""
    return b"{%b}" % b",".join(msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in record.items())


def _text_of(record: Mapping[str, Any], body: bytes) -> bytes:
    """The record as JSON, or the body it came in when JSON cannot hold it."""
    try:
        return json.dumps(record, default=str).encode("ascii")
    except (ValueError, TypeError, RecursionError):
        return body


def _decompressed(data: bytes) -> bytes:
    """The content of gzip members. Raises ``zlib.error``, or ``ValueError`` for more than :data:`LARGEST_BODY`."""
    pieces: list[bytes] = []
    size = 0
    while data[:2] == _GZIP:
        member = zlib.decompressobj(wbits=31)
        piece = member.decompress(data, LARGEST_BODY - size + 1)
        size += len(piece)
        if size > LARGEST_BODY:
            raise ValueError(f"more than {LARGEST_BODY} bytes when decompressed")
        if not member.eof:
            raise ValueError("cut off before its end")
        pieces.append(piece)
        data = member.unused_data
    if data.strip(b"\0"):
        raise ValueError("followed by bytes that are not gzip")
    return b"".join(pieces)
