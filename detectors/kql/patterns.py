"""Regular expressions that RE2, which the database matches with, and Python's ``re`` read alike.

A pattern is parsed here and written anew for ``re``, so nothing reaches ``re`` that is not on the list below; where the
two differ (``$`` before a last line break, the vertical tab in ``\\s``), the new text says what RE2 means. Matching is
done on ASCII alone: beyond it the two fold case and count characters in their own ways.

The list: characters; ``.``; ``\\d \\w \\s`` and their negations; a backslash before punctuation; classes of these and
of ranges; groups, ``(?:`` too; ``|``; ``* + ? {n} {n,} {n,m}`` after one character, greedy or lazy; ``?`` after a
group; ``(?i)`` before everything; ``^`` first and ``$`` last, in the pattern or in one of its outermost alternatives.

``re`` backtracks and RE2 does not, so a text that somebody chose could cost without end. No group is repeated here,
which leaves the repeated characters. A match tries each count of one of them, and for each count what follows, so
every one of them is worth a factor of the text's length. It is worth none in two cases: when what follows begins with
none of the repeated characters, only the whole run of them can go on (``[^/]+/``); and when what follows cannot fail,
the first count is the last (``([^/]+)`` at the end). The exponent that remains, one more for the places where a match
can begin, bounds the length of a text: :attr:`Pattern.longest`. Longer ones are refused.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from detectors.kql.expressions import NotUnderstood, Unsure

STEPS: Final = 1 << 22
"""Bound of the ways in which a match can be tried, some 20 ms."""
_LONGEST: Final = 1 << 15
_SHORTEST: Final = 256
"""A pattern that must refuse longer texts than this is of no use."""
_LONGEST_PATTERN: Final = 500
_MOST: Final = 64
_DEEPEST: Final = 10

_ALL: Final = (1 << 128) - 1


def _mask(characters: str) -> int:
    return sum(1 << ord(character) for character in set(characters))


_LOWER: Final = _mask("abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = _LOWER >> 32
_DIGITS: Final = _mask("0123456789")
_WORD: Final = _LOWER | _UPPER | _DIGITS | _mask("_")
# RE2 leaves the vertical tab out.
_SPACE: Final = _mask("\t\n\f\r ")
_CLASSES: Final = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _ALL & ~_DIGITS,
    "W": _ALL & ~_WORD,
    "S": _ALL & ~_SPACE,
}
_ANY: Final = _ALL & ~_mask("\n")
_PLAIN: Final = _mask("".join(map(chr, range(32, 127)))) & ~_mask("\\.[]{}()*+?|^$")
_ESCAPED: Final = _mask("""!"#$%&'()*+,-./:;<=>?@[\\]^`{|}~""")
_PLAIN_IN_CLASS: Final = _mask("".join(map(chr, range(32, 127)))) & ~_mask("\\[]^-&~|")
_SYMBOLS: Final[Mapping[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_COUNTS: Final = re.compile(r"\{(\d{1,2})(?:(,)(\d{1,2})?)?\}")


@dataclasses.dataclass(frozen=True)
class One:
    """One of the characters whose bits are set in ``characters``."""

    characters: int


@dataclasses.dataclass(frozen=True)
class Repeat:
    """At least ``least`` of the characters and at most ``most``; None: without end."""

    characters: int
    least: int
    most: int | None
    lazy: bool


@dataclasses.dataclass(frozen=True)
class Group:
    """One of the alternatives, or nothing where it is optional; ``number`` is None for ``(?:``."""

    alternatives: tuple["Nodes", ...]
    number: int | None
    optional: bool
    lazy: bool


@dataclasses.dataclass(frozen=True)
class Edge:
    """The beginning of the text, or its end."""

    end: bool


Node = One | Repeat | Group | Edge
Nodes = tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Cost:
    """A match tries at most ``ways * length ** degree`` ways."""

    degree: int
    ways: int


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern that is ready to match texts of ASCII of at most ``longest`` characters.

    The methods raise :class:`~detectors.kql.expressions.Unsure` for every other text.
    """

    alternatives: tuple[Nodes, ...]
    groups: int
    cost: Cost
    longest: int
    compiled: re.Pattern[str]

    @property
    def takes_nothing(self) -> bool:
        """Whether it matches the empty text."""
        return any(map(_nullable, self.alternatives))

    def extract(self, text: str, group: int) -> str:
        """The text of *group* in the first match, empty without a match or where the group takes no part in it."""
        match = self._certain(text).search(text)
        return (match[group] or "") if match else ""

    def found_in(self, text: str) -> bool:
        """Whether it matches somewhere in *text*."""
        return self._certain(text).search(text) is not None

    def replace(self, text: str, replacement: str) -> str:
        """*text* with *replacement*, as it stands, in the place of every match. Not for :attr:`takes_nothing`."""
        return self._certain(text).sub(lambda _: replacement, text)

    def _certain(self, text: str) -> re.Pattern[str]:
        if len(text) > self.longest or not text.isascii():
            raise Unsure("a pattern over a text that is long or not ASCII")
        return self.compiled


def read_pattern(text: str) -> Pattern:
    """*text* as a pattern. Raises :class:`~detectors.kql.expressions.NotUnderstood` for what is not on the list."""
    if len(text) > _LONGEST_PATTERN:
        raise NotUnderstood("a long pattern")
    folds = text.startswith("(?i)")
    parser = _Parser(text, 4 if folds else 0, folds=folds)
    alternatives = parser.pattern()
    cost = _cost(alternatives)
    longest = _LONGEST if not cost.degree else int((STEPS / cost.ways) ** (1 / cost.degree))
    if longest < _SHORTEST:
        raise NotUnderstood("a pattern that some texts make slow")
    source = "|".join(map(_source, alternatives))
    flags = re.ASCII | (re.IGNORECASE if folds else re.NOFLAG)
    return Pattern(alternatives, parser.groups, cost, min(longest, _LONGEST), re.compile(source, flags))


class _Parser:
    def __init__(self, text: str, position: int, *, folds: bool) -> None:
        self._text = text
        self._at = position
        self._folds = folds
        self.groups = 0

    def pattern(self) -> tuple[Nodes, ...]:
        alternatives = self._alternatives(0)
        if self._at < len(self._text):
            raise NotUnderstood("a bracket in a pattern")
        return alternatives

    def _alternatives(self, depth: int) -> tuple[Nodes, ...]:
        found = [self._sequence(depth)]
        while self._take("|"):
            found.append(self._sequence(depth))
        return tuple(found)

    def _sequence(self, depth: int) -> Nodes:
        nodes: list[Node] = []
        if depth == 0 and self._take("^"):
            nodes.append(Edge(end=False))
        while self._next() not in ("", "|", ")"):
            if depth == 0 and self._take("$"):
                nodes.append(Edge(end=True))
                break
            nodes.append(self._group(depth) if self._next() == "(" else self._repeated(self._one()))
        if self._next() not in ("", "|", ")") or not nodes:
            raise NotUnderstood("an edge or an empty part in a pattern")
        return tuple(nodes)

    def _group(self, depth: int) -> Group:
        self._at += 1
        number = None
        if self._take("?"):
            if not self._take(":"):
                raise NotUnderstood("a kind of group in a pattern")
        else:
            self.groups += 1
            number = self.groups
        if depth == _DEEPEST:
            raise NotUnderstood("too many groups in a pattern")
        alternatives = self._alternatives(depth + 1)
        if not self._take(")"):
            raise NotUnderstood("a group without its end in a pattern")
        # Any other repetition that follows is read as a character, and is none.
        optional = self._take("?")
        # What may be nothing in two ways is where engines begin to differ.
        if optional and any(map(_nullable, alternatives)):
            raise NotUnderstood("an optional group of nothing in a pattern")
        return Group(alternatives, number, optional, lazy=optional and self._lazy())

    def _repeated(self, characters: int) -> Node:
        counts = self._counts()
        return One(characters) if counts is None else Repeat(characters, *counts, self._lazy())

    def _counts(self) -> tuple[int, int | None] | None:
        """How often what stands before is repeated, at least and at most; None: it is not."""
        for symbol, counts in _SYMBOLS.items():
            if self._take(symbol):
                return counts
        if self._next() != "{":
            return None
        match = _COUNTS.match(self._text, self._at)
        if match is None:
            raise NotUnderstood("a bracket in a pattern")
        self._at = match.end()
        least = int(match[1])
        most = None if match[2] and not match[3] else int(match[3] or match[1])
        if least > _MOST or (most is not None and not max(least, 1) <= most <= _MOST):
            raise NotUnderstood("a count in a pattern")
        return least, most

    def _lazy(self) -> bool:
        """Whether a repetition is lazy. What follows it must not repeat it again: ``a**``, or ``a++`` of Python."""
        lazy = self._take("?")
        if self._next() in ("*", "+", "?", "{"):
            raise NotUnderstood("a repetition of a repetition in a pattern")
        return lazy

    def _one(self) -> int:
        character = self._next()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._folded(self._escaped()[0])
        self._at += 1
        if character == ".":
            return _ANY
        return self._folded(self._allowed(character, _PLAIN))

    def _escaped(self) -> tuple[int, bool]:
        """The characters that a backslash and the next one stand for, and whether they are one."""
        character = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if character in _CLASSES:
            return _CLASSES[character], False
        return self._allowed(character, _ESCAPED), True

    def _class(self) -> int:
        self._at += 1
        negated = self._take("^")
        found = 0
        while not self._take("]"):
            low, single = self._in_class()
            if not self._take("-"):
                found |= low
                continue
            high, also_single = self._in_class()
            if not single or not also_single or low > high:
                raise NotUnderstood("a range in a pattern")
            # The bits from the one to the other.
            found |= (high << 1) - low
        if not found:
            raise NotUnderstood("an empty class in a pattern")
        folded = self._folded(found)
        return _ALL & ~folded if negated else folded

    def _in_class(self) -> tuple[int, bool]:
        if self._next() == "\\":
            return self._escaped()
        character = self._next()
        self._at += 1
        return self._allowed(character, _PLAIN_IN_CLASS), True

    def _folded(self, characters: int) -> int:
        if not self._folds:
            return characters
        return characters | (characters & _UPPER) << 32 | (characters & _LOWER) >> 32

    def _allowed(self, character: str, allowed: int) -> int:
        if not character.isascii() or not character or not allowed >> ord(character) & 1:
            raise NotUnderstood("a character in a pattern")
        return 1 << ord(character)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        taken = self._next() == character
        self._at += taken
        return taken


def _nullable(sequence: Nodes) -> bool:
    """Whether it matches nothing, and matches then."""
    for node in sequence:
        if isinstance(node, One) or (isinstance(node, Repeat) and node.least):
            return False
        if isinstance(node, Group) and not node.optional and not any(map(_nullable, node.alternatives)):
            return False
    return True


def _source(sequence: Nodes) -> str:
    return "".join(map(_source_of, sequence))


def _source_of(node: Node) -> str:
    if isinstance(node, Edge):
        return r"\Z" if node.end else r"\A"
    if isinstance(node, One):
        return _class_of(node.characters)
    if isinstance(node, Repeat):
        counts = f"{{{node.least},{'' if node.most is None else node.most}}}"
        return f"{_class_of(node.characters)}{counts}{'?' if node.lazy else ''}"
    inner = "|".join(map(_source, node.alternatives))
    return f"({'?:' if node.number is None else ''}{inner}){'?' if node.optional else ''}{'?' if node.lazy else ''}"


def _class_of(characters: int) -> str:
    members = [chr(code) for code in range(128) if characters >> code & 1]
    # The case is folded by a flag where it is: both cases of a letter are the letter.
    if len({member.lower() for member in members}) == 1:
        return re.escape(members[0])
    negated = len(members) > 64
    if negated:
        members = [chr(code) for code in range(128) if not characters >> code & 1]
    return f"[{'^' if negated else ''}{''.join(map(re.escape, members))}]"


@dataclasses.dataclass(frozen=True)
class _Rest:
    """What follows a place in the pattern: the characters it can begin with, whether it cannot fail, what it costs."""

    first: int
    sure: bool
    cost: Cost


def _cost(alternatives: Sequence[Nodes]) -> Cost:
    end = _Rest(0, sure=True, cost=Cost(0, 1))
    rests = [_before(sequence, end) for sequence in alternatives]
    anchored = all(sequence[0] == Edge(end=False) for sequence in alternatives)
    return Cost(max(rest.cost.degree for rest in rests) + (not anchored), sum(rest.cost.ways for rest in rests))


def _before(sequence: Nodes, rest: _Rest) -> _Rest:
    for node in reversed(sequence):
        if isinstance(node, One):
            rest = _Rest(node.characters, sure=False, cost=rest.cost)
        elif isinstance(node, Edge):
            rest = _Rest(0, sure=False, cost=rest.cost)
        elif isinstance(node, Repeat):
            rest = _before_repeat(node, rest)
        else:
            inner = [_before(alternative, rest) for alternative in node.alternatives]
            inner += [rest] if node.optional else []
            cost = Cost(max(one.cost.degree for one in inner), sum(one.cost.ways for one in inner))
            first = functools.reduce(int.__or__, (one.first for one in inner))
            rest = _Rest(first, any(one.sure for one in inner), cost)
    return rest


def _before_repeat(node: Repeat, rest: _Rest) -> _Rest:
    degree, ways = rest.cost.degree, rest.cost.ways
    whole_run = not node.characters & rest.first
    if node.most is not None:
        ways *= 1 if whole_run or rest.sure else node.most - node.least + 1
    elif not rest.sure:
        degree = max(1, degree) if whole_run else degree + 1
    first = node.characters | (0 if node.least else rest.first)
    return _Rest(first, sure=rest.sure and not node.least, cost=Cost(degree, ways))
