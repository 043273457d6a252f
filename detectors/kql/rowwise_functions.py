"""The operators and functions that row-at-a-time queries may use, each with the types it takes.

What is equal to the database here, and what is not known to be, was measured against it: the comments name the
differences that the checks keep out.
"""

import dataclasses
import enum
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from detectors.kql.expressions import Literal, NotUnderstood, Unsure
from detectors.kql.patterns import Pattern, read_pattern

Row = Mapping[str, Any]
Made = dict[str, Any]
Evaluate = Callable[[Row, Made], Any]
"""A value from a row and from the columns that the steps so far have made of it."""

_LONGEST_TERM_TEXT: Final = 1 << 15
_LONGEST_JSON: Final = 1 << 16
_MOST_BRACKETS: Final = 500
"""Opening brackets in a JSON text: the parsers differ in how many levels they bear."""
DEEPEST: Final = 30
"""Levels of a dynamic value that are looked at; rows in the database end at 64."""
_LARGEST: Final = 1 << 63

# What rows cannot hold is replaced on the way into the database.
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
# Escapes of halves of a character make a JSON text invalid there and not here.
_DOUBTFUL_ESCAPE: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


class Kind(enum.StrEnum):
    """Kinds of values, by the names of their Kusto types."""

    TEXT = "string"
    DYNAMIC = "dynamic"
    TRUTH = "bool"
    WHOLE = "long"


@dataclasses.dataclass(frozen=True)
class Typed:
    """A compiled expression. ``constant`` is the value of a literal; ``levels``, how deep in a column a member is."""

    kind: Kind
    evaluate: Evaluate
    constant: str | int | None = None
    levels: int = 0

    @property
    def text(self) -> str | None:
        """The text of a literal, None for anything else."""
        return self.constant if isinstance(self.constant, str) else None


def of_kind(kind: Kind, typed: Typed) -> Typed:
    """*typed*. Raises :class:`~detectors.kql.expressions.NotUnderstood` when it is of another kind."""
    if typed.kind is not kind:
        raise NotUnderstood("a value of another type")
    return typed


def literal(node: Literal) -> Typed:
    """A text, a whole number or a truth value of the query itself."""
    value = node.value
    kind = Kind.TEXT if isinstance(value, str) else Kind.TRUTH if isinstance(value, bool) else Kind.WHOLE
    return Typed(kind, lambda _row, _made: value, value)


# Values


def certain_text(value: Any) -> str:
    """The text, when a column of the database holds it as it is. Raises ``Unsure`` for anything else."""
    if type(value) is not str or _UNSTORABLE.search(value):
        raise Unsure("a value where text is expected, or text that no column holds")
    return value


def certain(value: Any, depth: int = 0) -> Any:
    """The JSON value, when it comes back from the database as it is. Raises ``Unsure`` for anything else."""
    kind = type(value)
    if kind is str:
        certain_text(value)
    elif kind is dict and depth < DEEPEST:
        for name, item in value.items():
            certain_text(name)
            certain(item, depth + 1)
    elif kind is list and depth < DEEPEST:
        for item in value:
            certain(item, depth + 1)
    elif not (kind is bool or value is None or (kind is int and -_LARGEST <= value < _LARGEST)):
        raise Unsure("a fraction, a very large number, or a value of many levels")
    return value


def _text_of(value: Any) -> str:
    """The JSON value as ``tostring()`` gives it."""
    if type(value) is str:
        return value if value.isascii() and "\0" not in value else certain_text(value)
    if value is None:
        return ""
    text = json.dumps(certain(value), ensure_ascii=False, separators=(",", ":"))
    # The digits of an escape are upper case there and lower case here.
    if "\\u" in text:
        raise Unsure("a control character in JSON")
    return text


def _parsed(text: str) -> Any:
    if not text:
        return None
    if (
        len(text) > _LONGEST_JSON
        or text.count("[") + text.count("{") > _MOST_BRACKETS
        or _DOUBTFUL_ESCAPE.search(text) is not None
    ):
        raise Unsure("a long, deep or odd JSON text")
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        # The database takes some texts that are not JSON, such as a list that ends with a comma.
        raise Unsure("text that is not JSON") from error


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # The database reads the first of two members of a name.
    if len(found) < len(pairs):
        raise Unsure("JSON with a member that comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise Unsure(f"{name} in JSON")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_members_once, parse_constant=_no_constant)


def _folded(text: str) -> str:
    if not text.isascii():
        raise Unsure("the case of text that is not ASCII")
    return text.lower()


# Conditions


def all_of(parts: Sequence[Evaluate]) -> Typed:
    """``and``."""

    def evaluate(row: Row, made: Made) -> bool:
        for part in parts:  # noqa: SIM110 - all() would make a generator for every row
            if not part(row, made):
                return False
        return True

    return Typed(Kind.TRUTH, evaluate)


def any_of(parts: Sequence[Evaluate]) -> Typed:
    """``or``."""

    def evaluate(row: Row, made: Made) -> bool:
        for part in parts:  # noqa: SIM110 - see above
            if part(row, made):
                return True
        return False

    return Typed(Kind.TRUTH, evaluate)


_EXACT: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "==": operator.eq,
    "contains_cs": operator.contains,
    "startswith_cs": str.startswith,
    "endswith_cs": str.endswith,
}
_FOLDING: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=~": operator.eq,
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_NEGATIONS: Final = {"!=": "==", "!~": "=~"}


def comparison(name: str, left: Typed, right: Typed) -> Typed:
    """Two texts, compared by the operator *name*."""
    positive = _NEGATIONS.get(name) or name.removeprefix("!")
    return _negated(_positive_comparison(positive, left, right), negated=positive != name)


def _negated(evaluate: Evaluate, *, negated: bool) -> Typed:
    return Typed(Kind.TRUTH, (lambda row, made: not evaluate(row, made)) if negated else evaluate)


def _positive_comparison(name: str, left: Typed, right: Typed) -> Evaluate:
    wanted = right.text
    if left.text is not None and wanted is not None:
        raise NotUnderstood("two literals compared")
    value, other = left.evaluate, right.evaluate
    if name in _EXACT:
        exact = _EXACT[name]
        if wanted is not None:
            return lambda row, made: exact(value(row, made), wanted)
        return lambda row, made: exact(value(row, made), other(row, made))
    if name in _FOLDING:
        folding = _FOLDING[name]
        if wanted is not None:
            lower = wanted.lower()
            return lambda row, made: folding(_folded(value(row, made)), lower)
        return lambda row, made: folding(_folded(value(row, made)), _folded(other(row, made)))
    if wanted is None:
        raise NotUnderstood("a term or pattern that is not a literal")
    if name == "matches regex":
        found_in = read_pattern(wanted).found_in
        return lambda row, made: found_in(value(row, made))
    has = _term(wanted, folds=name == "has")
    return lambda row, made: has(value(row, made))


def _term(term: str, *, folds: bool) -> Callable[[str], bool]:
    """Whether a text holds *term* with no letter or digit beside it, where the term has one at that end itself."""
    if not term:
        raise NotUnderstood("an empty term")
    wanted = term.lower() if folds else term
    before = "(?<![A-Za-z0-9])" if term[0].isalnum() else ""
    after = "(?![A-Za-z0-9])" if term[-1].isalnum() else ""
    search = re.compile(f"{before}{re.escape(wanted)}{after}").search

    def has(text: str) -> bool:
        if len(text) > _LONGEST_TERM_TEXT or not text.isascii():
            raise Unsure("a term in text that is long or not ASCII")
        value = text.lower() if folds else text
        return wanted in value and search(value) is not None

    return has


def list_comparison(name: str, value: Evaluate, texts: Sequence[str]) -> Typed:
    """A text, compared by the operator *name* with a list of literals."""
    positive = name.removeprefix("!")
    if positive == "in":
        exact = frozenset(texts)
        return _negated(lambda row, made: value(row, made) in exact, negated=positive != name)
    if positive == "in~":
        folded = frozenset(text.lower() for text in texts)
        return _negated(lambda row, made: _folded(value(row, made)) in folded, negated=positive != name)
    if positive != name:
        raise NotUnderstood("another operator")
    terms = [_term(text, folds=True) for text in texts]
    every = name == "has_all"

    def evaluate(row: Row, made: Made) -> bool:
        text = value(row, made)
        return all(has(text) for has in terms) if every else any(has(text) for has in terms)

    return Typed(Kind.TRUTH, evaluate)


# Functions


def _texts(arguments: Sequence[Typed], least: int, most: int) -> list[Evaluate]:
    if not least <= len(arguments) <= most:
        raise NotUnderstood("another number of arguments")
    return [of_kind(Kind.TEXT, argument).evaluate for argument in arguments]


def _one(arguments: Sequence[Typed]) -> Typed:
    if len(arguments) != 1:
        raise NotUnderstood("another number of arguments")
    return arguments[0]


def _not(arguments: Sequence[Typed]) -> Typed:
    return _negated(of_kind(Kind.TRUTH, _one(arguments)).evaluate, negated=True)


def _isempty(arguments: Sequence[Typed]) -> Typed:
    value = _tostring(arguments).evaluate
    return Typed(Kind.TRUTH, lambda row, made: value(row, made) == "")


def _isnotempty(arguments: Sequence[Typed]) -> Typed:
    return _negated(_isempty(arguments).evaluate, negated=True)


def _tostring(arguments: Sequence[Typed]) -> Typed:
    typed = _one(arguments)
    if typed.kind is Kind.DYNAMIC:
        value = typed.evaluate
        return Typed(Kind.TEXT, lambda row, made: _text_of(value(row, made)))
    return Typed(Kind.TEXT, of_kind(Kind.TEXT, typed).evaluate)


def parse_json(arguments: Sequence[Typed]) -> Typed:
    """``parse_json(text)``."""
    (value,) = _texts(arguments, 1, 1)
    return Typed(Kind.DYNAMIC, lambda row, made: _parsed(value(row, made)))


def reparsed(of: Typed) -> Typed:
    """``parse_json(tostring(of))`` of a dynamic value."""
    value = of.evaluate

    def evaluate(row: Row, made: Made) -> Any:
        found = value(row, made)
        return _parsed(certain_text(found)) if type(found) is str else found

    return Typed(Kind.DYNAMIC, evaluate, levels=of.levels)


def _tolower(arguments: Sequence[Typed]) -> Typed:
    (value,) = _texts(arguments, 1, 1)
    return Typed(Kind.TEXT, lambda row, made: _folded(value(row, made)))


def _toupper(arguments: Sequence[Typed]) -> Typed:
    (value,) = _texts(arguments, 1, 1)
    return Typed(Kind.TEXT, lambda row, made: _folded(value(row, made)).upper())


def _strcat(arguments: Sequence[Typed]) -> Typed:
    values = _texts(arguments, 1, 64)
    return Typed(Kind.TEXT, lambda row, made: "".join([value(row, made) for value in values]))


def _coalesce(arguments: Sequence[Typed]) -> Typed:
    values = _texts(arguments, 2, 64)

    def evaluate(row: Row, made: Made) -> str:
        for value in values:
            found: str = value(row, made)
            if found:
                return found
        return ""

    return Typed(Kind.TEXT, evaluate)


def _case(arguments: Sequence[Typed]) -> Typed:
    *pairs, otherwise = arguments
    if not pairs or len(pairs) % 2 or otherwise.kind is Kind.DYNAMIC:
        raise NotUnderstood("another number or type of arguments")
    branches = [
        (of_kind(Kind.TRUTH, condition).evaluate, of_kind(otherwise.kind, value).evaluate)
        for condition, value in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    last = otherwise.evaluate

    def evaluate(row: Row, made: Made) -> Any:
        for condition, value in branches:
            if condition(row, made):
                return value(row, made)
        return last(row, made)

    return Typed(otherwise.kind, evaluate)


def _iff(arguments: Sequence[Typed]) -> Typed:
    if len(arguments) != 3:
        raise NotUnderstood("another number of arguments")
    return _case(arguments)


def _pattern(typed: Typed) -> Pattern:
    if typed.text is None:
        raise NotUnderstood("a pattern that is not a literal")
    return read_pattern(typed.text)


def _extract(arguments: Sequence[Typed]) -> Typed:
    if len(arguments) != 3:
        raise NotUnderstood("another number of arguments")
    pattern, number = _pattern(arguments[0]), arguments[1].constant
    if type(number) is not int or number > pattern.groups:
        raise NotUnderstood("a group that the pattern does not have")
    value = of_kind(Kind.TEXT, arguments[2]).evaluate
    return Typed(Kind.TEXT, lambda row, made: pattern.extract(value(row, made), number))


def _replace_regex(arguments: Sequence[Typed]) -> Typed:
    value, *_ = _texts(arguments, 3, 3)
    pattern, replacement = _pattern(arguments[1]), arguments[2].text
    if pattern.takes_nothing or replacement is None or "\\" in replacement:
        raise NotUnderstood("a replacement of nothing, or by parts of the match")
    return Typed(Kind.TEXT, lambda row, made: pattern.replace(value(row, made), replacement))


FUNCTIONS: Final[Mapping[str, Callable[[Sequence[Typed]], Typed]]] = {
    "not": _not,
    "isempty": _isempty,
    "isnotempty": _isnotempty,
    "tostring": _tostring,
    "parse_json": parse_json,
    "todynamic": parse_json,
    "tolower": _tolower,
    "toupper": _toupper,
    "strcat": _strcat,
    "coalesce": _coalesce,
    "iff": _iff,
    "iif": _iff,
    "case": _case,
    "extract": _extract,
    "replace_regex": _replace_regex,
}
