"""The stream's judge: message bodies of the Event Hub export to the rows that the rules return for their records.

Most records concern nothing that a rule watches. A record's top level is read, and of that only the operation and the
outcome; what no rule can return (:mod:`detectors.kql.preselection`) is never decoded further.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from detectors.kql.engine import Engine, KqlError
from detectors.kql.preselection import preselect
from detectors.kql.table_queries import TableQueries
from detectors.rule import Rule
from detectors.sources.activity_log import TABLE, BadRecord, is_plain, list_in, read_records, to_row

LARGEST_BODY: Final = 32 * 1024 * 1024
"""Bytes of one message after decompression; a message of the Event Hub holds at most 1 MB before it."""

_GZIP: Final = b"\x1f\x8b"
# Bounds of what is remembered about records seen before; hostile data must not grow it without end.
_DECISIONS: Final = 65536
_LONGEST_NAMES: Final = 1024


class _Seen(msgspec.Struct, gc=False):
    """What decides whether a rule can return a record; every other field is skipped, not decoded.

    Enough for records that :func:`detectors.sources.activity_log.is_plain` holds for. Others are read whole.
    """

    operationName: str = ""  # noqa: N815 - spelled as in the record
    resultType: str = ""  # noqa: N815


class _SeenEnvelope(msgspec.Struct):
    records: list[_Seen]


class _RawEnvelope(msgspec.Struct):
    records: list[msgspec.Raw]


_SEEN_ENVELOPE: Final = msgspec.json.Decoder(_SeenEnvelope)
_SEEN_LIST: Final = msgspec.json.Decoder(list[_Seen])
_RAW_ENVELOPE: Final = msgspec.json.Decoder(_RawEnvelope)
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS: Final = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """A record that some rule may return. ``data`` are its own bytes, or the body's where the two cannot be told
    apart."""

    body_index: int
    data: bytes
    row: dict[str, Any]
    rules: tuple[int, ...]


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
        self._queries = TableQueries(self._engine, TABLE, [rule.query for rule in self.rules])
        self._decisions: dict[tuple[str, str], tuple[int, ...]] = {}

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
        answers = self._queries.run([each.row for each in candidates], [each.rules for each in candidates], now)
        failed = tuple(
            Damaged(candidates[number].body_index, reason, candidates[number].data)
            for number, reason in answers.failed.items()
        )
        found_by_rule = tuple(
            (rule, rows)
            for rule, rows in zip(self.rules, answers.rows, strict=True)
            if rows and rule.triggers(len(rows))
        )
        return Judged(found_by_rule, (*damaged, *failed), records, len(candidates))

    def _records(self, index: int, body: bytes) -> Iterator[_Candidate | Damaged | int]:
        """The candidates of a body, what of it is damaged, and numbers of records."""
        data = bytes(body)
        if data[:2] == _GZIP:
            try:
                data = _decompressed(data)
            except (zlib.error, ValueError) as error:
                yield Damaged(index, f"gzip: {error}", data)
                return
        if not (data.isascii() or _is_utf8(data)):
            # The scan does not look into what it skips.
            yield from self._tolerant(index, data)
            return
        chosen = self._seen(data)
        if chosen is not None and chosen.count(()) == len(chosen):
            yield len(chosen)
            return
        try:
            records = _RAW_LIST.decode(data) if data[:1] == b"[" else _RAW_ENVELOPE.decode(data).records
        except _UNREADABLE:
            yield from self._tolerant(index, data)
            return
        yield len(records)
        for raw, rules in zip(records, chosen or itertools.repeat(None), strict=False):
            if rules is None or rules:
                yield from self._read(index, bytes(raw), rules)

    def _seen(self, data: bytes) -> list[tuple[int, ...] | None] | None:
        """For each record of a plain body the positions of the rules that can return it, None where only the whole
        record says that; None for any other body."""
        try:
            records = _SEEN_LIST.decode(data) if data[:1] == b"[" else _SEEN_ENVELOPE.decode(data).records
        except _UNREADABLE:
            return None
        decided = self._decisions
        return [
            decided[key] if (key := (seen.operationName, seen.resultType)) in decided else self._decide(*key)
            for seen in records
        ]

    def _decide(self, operation: str, outcome: str) -> tuple[int, ...] | None:
        record = {"operationName": operation, "resultType": outcome}
        if not operation or not is_plain(record):
            return None
        rules = self._rules_of(to_row(record))
        if len(self._decisions) < _DECISIONS and len(operation) + len(outcome) < _LONGEST_NAMES:
            self._decisions[operation, outcome] = rules
        return rules

    def _rules_of(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        operation, status = row["OperationNameValue"], row["ActivityStatusValue"]
        return tuple(i for i, chosen in enumerate(self._preselections) if chosen.candidate(operation, status))

    def _read(self, index: int, data: bytes, rules: tuple[int, ...] | None) -> Iterator[_Candidate | Damaged | int]:
        try:
            record = _FIELDS.decode(data)
        except _UNREADABLE:
            record = None
        if record is None or (rules is None and list_in(record) is not None):
            # Not one record: none, several, or one that only the reader makes sense of. It counts them itself.
            yield -1
            yield from self._tolerant(index, data)
            return
        yield from self._candidate(index, record, rules, data)

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
        self, index: int, record: Mapping[str, Any], rules: tuple[int, ...] | None, data: bytes
    ) -> Iterator[_Candidate | Damaged]:
        try:
            row = to_row(record)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            yield Damaged(index, f"no row of {TABLE}: {type(error).__name__}", data)
            return
        chosen = self._rules_of(row) if rules is None else rules
        if chosen:
            yield _Candidate(index, data, row, chosen)


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


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
