"""The text of a query of ``where``, ``extend`` and ``project-away`` steps as a small tree.

Only a part of KQL is read, the part whose meaning :mod:`detectors.kql.rowwise` knows to the last detail. The real
parser is the translator's: a query that is good here and bad there never runs, so what matters is that the two never
read one text in two ways. Whatever could be read so is refused.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from detectors.kql.text import Token, tokens_of

_DEEPEST: Final = 30
"""Levels of brackets in an expression, and members in a path: no text must use up the stack."""

# What the translator's lexer skips, and no more: it takes other kinds of space for damage. A lone carriage return may
# end a comment there and does not end one in our tokens.
_GAP: Final = re.compile(r"(?:[ \t\n]|\r\n|//[^\r\n]*(?=\r\n|\n|\Z))*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
# What a JSON path between quotes takes as it stands.
_MEMBER: Final = re.compile(r"[A-Za-z0-9_ ./:#-]+")
_STRING: Final = re.compile(r"""(?P<verbatim>@?)(?P<quote>["'])(?P<body>[ -~]*)(?P=quote)""")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}

_COMPARISONS: Final = frozenset({"==", "!=", "=~", "!~"})
_TEXT_OPERATORS: Final = frozenset(
    {"contains", "contains_cs", "startswith", "startswith_cs", "endswith", "endswith_cs", "has", "has_cs"}
)
_LIST_OPERATORS: Final = frozenset({"in", "has_any", "has_all"})
_TRUTHS: Final = {"true": True, "false": False}
_RESERVED: Final = frozenset({"and", "or", "not", "matches", "by", *_TRUTHS, *_TEXT_OPERATORS, *_LIST_OPERATORS})


class NotUnderstood(Exception):
    """The query holds something whose meaning is not known here for certain."""


class Unsure(Exception):
    """A value that the database may treat in another way than we do. The database has to be asked for the row."""


@dataclasses.dataclass(frozen=True)
class Literal:
    """A text, a whole number, or a truth value."""

    value: str | int | bool


@dataclasses.dataclass(frozen=True)
class Column:
    """A column by its name: the table's, or one that an earlier step computes."""

    name: str


@dataclasses.dataclass(frozen=True)
class Member:
    """``of.name`` or ``of["name"]``."""

    of: "Expression"
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """A function of its arguments; ``not`` is one."""

    function: str
    arguments: tuple["Expression", ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """``left operator right``; the operator is spelled as in KQL, ``!`` included."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclasses.dataclass(frozen=True)
class ListComparison:
    """``left operator (texts)``, such as ``in~`` or ``has_any``."""

    operator: str
    left: "Expression"
    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Junction:
    """Two or more ``parts``, all joined by ``and`` or all by ``or``."""

    operator: str
    parts: tuple["Expression", ...]


Expression = Literal | Column | Member | Call | Comparison | ListComparison | Junction


@dataclasses.dataclass(frozen=True)
class Where:
    """Keeps the rows for which the condition is true."""

    condition: Expression


@dataclasses.dataclass(frozen=True)
class Extend:
    """Adds columns, or replaces those of the same name; all see the row as it was before the step."""

    columns: tuple[tuple[str, Expression], ...]


@dataclasses.dataclass(frozen=True)
class ProjectAway:
    """Removes the columns of these names."""

    names: tuple[str, ...]


Step = Where | Extend | ProjectAway


def read_steps(query: str, table: str) -> tuple[Step, ...]:
    """The steps of *query* over *table*. Raises :class:`NotUnderstood` for every text that is not read whole."""
    tokens = tokens_of(query)
    position = 0
    for token in tokens:
        if _GAP.fullmatch(query, position, token.start()) is None:
            raise NotUnderstood("a kind of space or comment")
        position = token.end()
    if _GAP.fullmatch(query, position) is None:
        raise NotUnderstood("a kind of space or comment")
    return _Parser(tokens).steps(table)


class _Parser:
    """Reads tokens from left to right; each method leaves the place behind what it has read."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._words = [token.group() for token in tokens]
        self._at = 0
        self._depth = 0

    def steps(self, table: str) -> tuple[Step, ...]:
        self._expect(table)
        found: list[Step] = []
        while self._at < len(self._words):
            self._expect("|")
            found.append(self._step())
        if not found:
            raise NotUnderstood("a query without steps")
        return tuple(found)

    def _step(self) -> Step:
        if self._take("where"):
            return Where(self._disjunction())
        if self._take("extend"):
            columns = [self._assignment()]
            while self._take(","):
                columns.append(self._assignment())
            return Extend(tuple(columns))
        if self._take_joined("project", "-", "away"):
            names = [self._name()]
            while self._take(","):
                names.append(self._name())
            return ProjectAway(tuple(names))
        raise NotUnderstood("another step")

    def _assignment(self) -> tuple[str, Expression]:
        name = self._name()
        self._expect("=")
        return name, self._disjunction()

    def _disjunction(self) -> Expression:
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        return Junction("or", tuple(parts)) if len(parts) > 1 else parts[0]

    def _conjunction(self) -> Expression:
        parts = [self._comparison()]
        while self._take("and"):
            parts.append(self._comparison())
        return Junction("and", tuple(parts)) if len(parts) > 1 else parts[0]

    def _comparison(self) -> Expression:
        left = self._operand()
        word = self._word()
        if word in _COMPARISONS:
            self._at += 1
            return Comparison(word, left, self._operand())
        if self._take("matches"):
            self._expect("regex")
            return Comparison("matches regex", left, self._operand())
        place = self._at
        negation = "!" if word == "!" else ""
        if negation:
            self._at += 1
            self._touching()
        operator = self._word()
        if operator in _TEXT_OPERATORS:
            self._at += 1
            return Comparison(negation + operator, left, self._operand())
        if operator in _LIST_OPERATORS:
            self._at += 1
            if operator == "in" and self._word() == "~":
                self._touching()
                self._at += 1
                operator = "in~"
            return ListComparison(negation + operator, left, self._texts())
        self._at = place
        return left

    def _texts(self) -> tuple[str, ...]:
        self._expect("(")
        texts = [self._text()]
        while self._take(","):
            texts.append(self._text())
        self._expect(")")
        return tuple(texts)

    def _operand(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood("too many levels of brackets")
        found = self._primary()
        self._depth -= 1
        return found

    def _primary(self) -> Expression:
        if self._take("("):
            inner = self._disjunction()
            self._expect(")")
            return inner
        kind = self._tokens[self._at].lastgroup if self._at < len(self._tokens) else None
        word = self._word()
        if kind == "string":
            return Literal(self._text())
        if kind == "number" and _WHOLE.fullmatch(word):
            self._at += 1
            return Literal(int(word))
        if kind != "name":
            raise NotUnderstood("another operand")
        self._at += 1
        if word in _TRUTHS:
            return Literal(_TRUTHS[word])
        if self._take("("):
            return self._path(Call(word, self._arguments()))
        return self._path(Column(word))

    def _arguments(self) -> tuple[Expression, ...]:
        arguments = [self._disjunction()]
        while self._take(","):
            arguments.append(self._disjunction())
        self._expect(")")
        return tuple(arguments)

    def _path(self, of: Expression) -> Expression:
        start = self._at
        while self._word() in (".", "["):
            # A member is two tokens or three.
            if self._at - start >= 2 * _DEEPEST:
                raise NotUnderstood("a path of many levels")
            self._touching()
            if self._take("."):
                self._touching()
                of = Member(of, self._name())
            else:
                self._at += 1
                name = self._text()
                if not _MEMBER.fullmatch(name):
                    raise NotUnderstood("the name of a member")
                self._expect("]")
                of = Member(of, name)
        return of

    def _text(self) -> str:
        match = _STRING.fullmatch(self._word()) if self._kind() == "string" else None
        if match is None:
            raise NotUnderstood("another kind of text")
        self._at += 1
        if match["verbatim"]:
            return match["body"].replace(match["quote"] * 2, match["quote"])
        if any(escape not in _ESCAPES for escape in _ESCAPE.findall(match["body"])):
            raise NotUnderstood("an escape in a text")
        return _ESCAPE.sub(lambda escape: _ESCAPES[escape[1]], match["body"])

    def _name(self) -> str:
        word = self._word()
        if self._kind() != "name" or not _NAME.fullmatch(word) or word in _RESERVED:
            raise NotUnderstood("another kind of name")
        self._at += 1
        return word

    def _word(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _kind(self) -> str | None:
        return self._tokens[self._at].lastgroup if self._at < len(self._tokens) else None

    def _take(self, word: str) -> bool:
        taken = self._word() == word
        self._at += taken
        return taken

    def _take_joined(self, *words: str) -> bool:
        if tuple(self._words[self._at : self._at + len(words)]) != words:
            return False
        for _ in words[1:]:
            self._at += 1
            self._touching()
        self._at += 1
        return True

    def _touching(self) -> None:
        """Without a space between this token and the one before: some operators are several tokens of ours."""
        if self._at >= len(self._tokens) or self._tokens[self._at].start() != self._tokens[self._at - 1].end():
            raise NotUnderstood("parts of an operator that stand apart")

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise NotUnderstood(f"something else than {word}")
