"""Wrong versions of a query, each one small edit away from the right one.

Edits are made on the tokens of KQL, so nothing inside a text or a comment is ever touched. A mutant that a reader would
call the same query is not made: a list keeps its last entry, and a comparison of texts without letters keeps its case.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

from detectors.kql.text import tokens_of

_OPENING: Final = {"(": ")", "[": "]", "{": "}"}
_CLOSING: Final = frozenset(_OPENING.values())
_LISTS: Final = frozenset({"in", "has_any", "has_all"})
_CONDITIONAL: Final = frozenset({"case", "iff", "iif"})
_FILTERS: Final = frozenset({"where", "filter"})
_CASELESS: Final = {"=~": "==", "!~": "!="}
# What a condition cannot reach across at its own depth. "by" and "on" are words of an operator, not of a condition.
_BOUNDS: Final = frozenset({"|", ";", ",", "=", "where", "filter", "extend", "project", "summarize", "by", "on"})


@dataclasses.dataclass(frozen=True)
class QueryMutant:
    """One edit: ``kind`` names the sort, ``what`` the thing edited, ``line`` (from 1) where it is in the query.

    ``texts`` are those inside what was edited, in lower case: a case that holds them is likely to notice.
    """

    kind: str
    what: str
    line: int
    query: str
    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Token:
    text: str
    is_text: bool
    start: int
    end: int


def query_mutants(query: str) -> list[QueryMutant]:
    """Every mutant of *query*, without repeats, in the order of the text."""
    mutants = sorted(_Maker(query).make(), key=lambda mutant: (mutant.line, mutant.kind))
    return list({mutant.query: mutant for mutant in reversed(mutants) if mutant.query != query}.values())[::-1]


class _Maker:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = [
            _Token(match.group(), match.lastgroup == "string", match.start(), match.end()) for match in tokens_of(query)
        ]
        self._partner = _partners(self._tokens)

    def make(self) -> Iterator[QueryMutant]:
        for index, token in enumerate(self._tokens):
            if token.is_text:
                continue
            if token.text == "|" and self._text(index + 1) in _FILTERS:
                yield from self._filter(index)
            if token.text in _LISTS:
                yield from self._list(self._after_tilde(index))
            if token.text == "dynamic" and self._text(index + 1) == "(" and self._text(index + 2) == "[":
                yield from self._list(index + 2)
            if token.text in _CONDITIONAL and self._text(index + 1) == "(":
                yield from self._branches(index)
            if token.text in ("and", "or"):
                yield from self._operands(index)
            yield from self._case_sensitive(index)

    def _filter(self, pipe: int) -> Iterator[QueryMutant]:
        """A ``where`` that is left out, and one that keeps what it should drop."""
        first = pipe + 2
        end = self._until(first, {"|", ";"})
        yield self._edit("where", "left out", pipe, self._tokens[pipe].start, self._tokens[end - 1].end, "")
        yield self._negation(first, end)

    def _list(self, opening: int) -> Iterator[QueryMutant]:
        if self._text(opening) not in ("(", "["):
            return
        entries = list(self._arguments(opening))
        if len(entries) < 2:
            return
        for number, (first, end) in enumerate(entries):
            if end - first == 1 and self._tokens[first].is_text:
                # With the comma before it or, for the first entry, the one behind it.
                start = self._tokens[first].start if number == 0 else self._tokens[first - 1].start
                stop = self._tokens[end].end if number == 0 else self._tokens[first].end
                yield self._edit("literal", f"{self._tokens[first].text} left out", first, start, stop, "")

    def _branches(self, word: int) -> Iterator[QueryMutant]:
        """A ``case`` without one of its branches; an ``iff`` that always takes its other value."""
        arguments = list(self._arguments(word + 1))
        if len(arguments) < 3 or len(arguments) % 2 == 0:
            return
        closing = self._partner[word + 1]
        default = self._source(*arguments[-1])
        for number in range(0, len(arguments) - 1, 2):
            condition, value = arguments[number], arguments[number + 1]
            what = f"{_short(self._source(*value))} left out"
            if len(arguments) == 3:
                start, stop = self._tokens[word].start, self._tokens[closing].end
                yield self._edit("branch", what, condition[0], start, stop, f"({default})")
            else:
                start, stop = self._tokens[condition[0]].start, self._tokens[value[1]].end
                yield self._edit("branch", what, condition[0], start, stop, "")
            yield self._negation(*condition)

    def _operands(self, word: int) -> Iterator[QueryMutant]:
        """The operands on both sides of an ``and`` or ``or``: each left out, each turned round."""
        bounds = _BOUNDS | {"and", "or"}
        before, after = (self._since(word - 1, bounds), word), (word + 1, self._until(word + 1, bounds))
        joins = self._tokens[word].text
        for (first, end), neighbour in ((before, before[0] - 1), (after, after[1])):
            if end <= first:
                continue
            yield self._negation(first, end)
            # "a or b and c" is "a or (b and c)": b leaves with its "and", or c would change its place.
            if joins == "or" and self._text(neighbour) == "and":
                continue
            start = self._tokens[first].start if first == before[0] else self._tokens[word].start
            stop = self._tokens[word].end if first == before[0] else self._tokens[end - 1].end
            what = f"{_short(self._source(first, end))} left out"
            yield self._edit("operand", what, first, start, stop, "")

    def _case_sensitive(self, index: int) -> Iterator[QueryMutant]:
        token = self._tokens[index]
        if token.text in _CASELESS:
            end = self._until(index + 1, _BOUNDS | {"and", "or"})
            if self._has_letters(index + 1, end):
                yield self._edit(
                    "case", f"{token.text} made exact", index, token.start, token.end, _CASELESS[token.text]
                )
        tilde = self._after_tilde(index) - 1
        if token.text == "in" and tilde > index:
            opening = tilde + 1
            if self._text(opening) == "(" and self._has_letters(opening, self._partner[opening]):
                yield self._edit("case", "in~ made exact", index, token.start, self._tokens[tilde].end, "in")

    def _has_letters(self, first: int, end: int) -> bool:
        """Whether anything compared there has a case; what is no text (a column) is taken to have one."""
        texts = [token for token in self._tokens[first:end] if token.is_text]
        return not texts or any(re.search("[a-zA-Z]", token.text[1:]) for token in texts)

    def _negation(self, first: int, end: int) -> QueryMutant:
        start, stop = self._tokens[first].start, self._tokens[end - 1].end
        source = self._query[start:stop]
        return self._edit("negation", f"not({_short(source)})", first, start, stop, f"not({source})")

    def _edit(self, kind: str, what: str, at: int, start: int, stop: int, text: str) -> QueryMutant:
        line = self._query.count("\n", 0, self._tokens[at].start) + 1
        texts = tuple(
            token.text.strip("\"'").casefold()
            for token in self._tokens
            if token.is_text and start <= token.start < stop
        )
        return QueryMutant(kind, what, line, self._query[:start] + text + self._query[stop:], texts)

    def _text(self, index: int) -> str:
        inside = 0 <= index < len(self._tokens) and not self._tokens[index].is_text
        return self._tokens[index].text if inside else ""

    def _after_tilde(self, index: int) -> int:
        return index + 2 if self._text(index + 1) == "~" else index + 1

    def _source(self, first: int, end: int) -> str:
        return self._query[self._tokens[first].start : self._tokens[end - 1].end]

    def _arguments(self, opening: int) -> Iterator[tuple[int, int]]:
        """The (first, end) of what commas divide between *opening* and its partner."""
        closing = self._partner[opening]
        first = opening + 1
        while first < closing:
            end = self._until(first, {","})
            yield first, end
            first = end + 1

    def _until(self, first: int, bounds: set[str] | frozenset[str]) -> int:
        """The next index from *first* on that holds one of *bounds*, or closes a bracket opened before it."""
        index = first
        while index < len(self._tokens):
            text = self._text(index)
            if text in bounds or text in _CLOSING:
                break
            index = self._partner[index] + 1 if text in _OPENING else index + 1
        return index

    def _since(self, last: int, bounds: set[str] | frozenset[str]) -> int:
        """As :meth:`_until`, backwards: where what ends with *last* begins."""
        index = last
        while index >= 0:
            text = self._text(index)
            if text in bounds or text in _OPENING:
                break
            index = self._partner[index] - 1 if text in _CLOSING else index - 1
        return index + 1


def _partners(tokens: Sequence[_Token]) -> dict[int, int]:
    """Index of the other bracket, for each bracket. Raises :class:`ValueError` when one has none."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.is_text:
            continue
        if token.text in _OPENING:
            opened.append(index)
        elif token.text in _CLOSING:
            if not opened or _OPENING[tokens[opened[-1]].text] != token.text:
                raise ValueError(f"the query's brackets do not match: {token.text!r} at character {token.start}")
            partners[index] = opened.pop()
            partners[partners[index]] = index
    if opened:
        raise ValueError(f"the query's bracket at character {tokens[opened[-1]].start} is not closed")
    return partners


def _short(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def changed_lines(before: str, after: str) -> tuple[str, str]:
    """The first lines that differ, stripped; an empty text where one side has no such line."""
    for old, new in itertools.zip_longest(before.split("\n"), after.split("\n"), fillvalue=""):
        if old != new:
            return old.strip(), new.strip()
    return "", ""
