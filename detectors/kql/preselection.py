"""Which Activity Log records a query can possibly return, read from its own first steps.

The answer is a superset: a record that is no candidate is never returned by the query, a candidate may still not be.
Whatever is not understood here restricts nothing, so a query in an unknown shape makes every record a candidate.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from detectors.kql.text import Token, tokens_of

TABLE: Final = "AzureActivity"
_OPERATION: Final = "OperationNameValue"
_STATUS: Final = "ActivityStatusValue"

_READS_OTHER_ROWS: Final = frozenset(
    {"join", "lookup", "union", "search", "find", "table", "toscalar", "materialize", "database", "workspace", "let"}
)
"""With one of these a row can matter that the first steps do not pass."""
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_LITERAL: Final = re.compile(r"""(?P<mark>@?)(?P<quote>["'])(?P<text>.*)(?P=quote)""", re.DOTALL)
# (?i)^Microsoft\.Automation/(.+)$: what follows a fixed prefix, whole.
_REST_OF: Final = re.compile(r"\(\?i\)\^(?P<prefix>(?:[A-Za-z0-9/_ -]|\\\.)+)\(\.\+\)\$")
# (?i)^Microsoft\.Web/sites/slots/: a fixed prefix alone.
_PREFIX: Final = re.compile(r"\(\?i\)\^(?P<prefix>(?:[A-Za-z0-9/_ -]|\\\.)+)")
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._ -]*")
_LISTS: Final = (("in", "~", "("), ("in", "("), ("!", "in", "~", "("))
_EQUAL: Final = {"=~": True, "==": True, "!~": False}


@dataclasses.dataclass(frozen=True)
class Preselection:
    """Conditions in lower case that every record which the query returns meets; None: no condition."""

    operations: frozenset[str] | None = None
    prefixes: tuple[str, ...] = ()
    """Prefixes of the operation, all of which it has."""
    excluded: frozenset[str] = frozenset()
    """Operations that the query drops."""
    statuses: frozenset[str] | None = None

    @property
    def takes_every_operation(self) -> bool:
        """Whether the operation decides nothing."""
        return self.operations is None and not self.prefixes

    def candidate(self, operation: str, status: str) -> bool:
        """Whether the query can return a row with these values of OperationNameValue and ActivityStatusValue.

        A value with a character outside ASCII always can: how it folds is the database's business.
        """
        if operation.isascii():
            name = operation.lower()
            if self.operations is not None and name not in self.operations:
                return False
            if name in self.excluded or not all(name.startswith(prefix) for prefix in self.prefixes):
                return False
        return self.statuses is None or not status.isascii() or status.lower() in self.statuses


EVERYTHING: Final = Preselection()


def preselect(query: str) -> Preselection:
    """The conditions that the leading ``where`` steps of *query* put on operation and status. Raises nothing."""
    tokens = tokens_of(query)
    if not _reads_once(TABLE, [token.group() for token in tokens]):
        return EVERYTHING
    reading = _Reading()
    for step in _split(tokens[2:], "|"):
        name = step[0].group() if step else ""
        if name == "where":
            for conjunct in _conjuncts(step[1:]):
                reading.restrict(conjunct)
        elif name != "extend" or not reading.extend(step[1:]):
            break
    return reading.preselection


def leading_steps(query: str, table: str) -> str | None:
    """The text of *query* up to its first step that does more than drop rows and add columns; None where a row that
    these steps drop may still matter to the rest, or where there is no such step. Raises nothing."""
    tokens = tokens_of(query)
    if not _reads_once(table, [token.group() for token in tokens]):
        return None
    depth = 0
    for index, token in enumerate(tokens[:-1]):
        word = token.group()
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == "|" and depth == 0 and tokens[index + 1].group() not in ("where", "extend"):
            return query[: token.start()]
    return None


def _reads_once(table: str, words: Sequence[str]) -> bool:
    """Whether a query of these *words* reads *table* alone, and only where it begins."""
    if words[:2] != [table, "|"] or words.count(table) > 1 or ";" in words or not _READS_OTHER_ROWS.isdisjoint(words):
        return False
    # A table can also be named as text.
    return not any(table in word for word in words[1:])


class _Reading:
    """What the steps so far say, and which columns they made from the operation."""

    def __init__(self) -> None:
        self.preselection = EVERYTHING
        self._rests: dict[str, str] = {_OPERATION: ""}
        """Column to prefix: the column is what follows the prefix in the operation, empty without the prefix."""
        self._replaced: dict[str, tuple[str, str]] = {}
        """Column to (prefix, replacement): the column is the operation with one put in the place of the other."""

    def extend(self, tokens: Sequence[Token]) -> bool:
        """Take in the columns of an ``extend``; False when what follows can no longer be read."""
        for item in _split(tokens, ","):
            words = [token.group() for token in item]
            if len(words) < 3 or item[0].lastgroup != "name" or words[1] != "=" or words[0] in (_OPERATION, _STATUS):
                return False
            # The expression may read the column that it replaces.
            rest = self._rest_of(item[2:])
            replaced = _replaced(item[2:])
            self._rests.pop(words[0], None)
            self._replaced.pop(words[0], None)
            if replaced is not None:
                self._replaced[words[0]] = replaced
            if rest is not None:
                self._rests[words[0]] = rest
        return True

    def _rest_of(self, tokens: Sequence[Token]) -> str | None:
        words = [token.group() for token in tokens]
        if len(words) != 8 or words[:2] != ["extract", "("] or words[3:6] != [",", "1", ","] or words[7] != ")":
            return None
        pattern = _REST_OF.fullmatch(_literal(tokens[2], escapes=True) or "")
        if pattern is None or words[6] not in self._rests:
            return None
        return self._rests[words[6]] + pattern["prefix"].replace("\\.", ".").lower()

    def restrict(self, conjunct: Sequence[Token]) -> None:
        words = [token.group() for token in conjunct]
        if len(words) == 4 and words[:2] == ["isnotempty", "("] and words[2] in self._rests:
            self._prefix(self._rests[words[2]])
        elif len(words) == 3 and words[1] in ("startswith", "startswith_cs") and words[0] in self._rests:
            text = _literal(conjunct[2])
            if text is not None:
                self._prefix(self._rests[words[0]] + text if text else "")
        elif words and words[0] in self._replaced:
            self._restrict_replaced(conjunct)
        elif words and (words[0] in self._rests or words[0] == _STATUS):
            found = _values(conjunct)
            if found is not None:
                self._values(words[0], found, equal=words[1] != "!" and _EQUAL.get(words[1], True))

    def _restrict_replaced(self, conjunct: Sequence[Token]) -> None:
        values = _values(conjunct)
        if values is None or conjunct[1].group() in ("!", "!~"):
            return
        prefix, replacement = self._replaced[conjunct[0].group()]
        before = {prefix + value.removeprefix(replacement) for value in values if value.startswith(replacement)}
        self._values(_OPERATION, values | before, equal=True)

    def _prefix(self, prefix: str) -> None:
        if prefix:
            before = self.preselection
            self.preselection = dataclasses.replace(before, prefixes=(*before.prefixes, prefix))

    def _values(self, column: str, values: frozenset[str], *, equal: bool) -> None:
        before = self.preselection
        if column == _STATUS:
            if equal:
                self.preselection = dataclasses.replace(before, statuses=_both(before.statuses, values))
            return
        prefix = self._rests[column]
        if prefix and "" in values:
            # The column is also empty for every operation without the prefix.
            values = values - {""}
            if equal:
                return
        # `.` in the pattern takes no line break.
        operations = frozenset(prefix + value for value in values if not prefix or "\n" not in value)
        if equal:
            self.preselection = dataclasses.replace(before, operations=_both(before.operations, operations))
        else:
            self.preselection = dataclasses.replace(before, excluded=before.excluded | operations)


def _replaced(tokens: Sequence[Token]) -> tuple[str, str] | None:
    """Prefix and replacement of ``replace_regex(OperationNameValue, "(?i)^prefix", "replacement")``."""
    words = [token.group() for token in tokens]
    if len(words) != 8 or words[:4] != ["replace_regex", "(", _OPERATION, ","] or words[5] != "," or words[7] != ")":
        return None
    pattern = _PREFIX.fullmatch(_literal(tokens[4], escapes=True) or "")
    replacement = _literal(tokens[6])
    if pattern is None or replacement is None or not _PLAIN.fullmatch(replacement):
        return None
    return pattern["prefix"].replace("\\.", ".").lower(), replacement


def _both(before: frozenset[str] | None, values: frozenset[str]) -> frozenset[str]:
    return values if before is None else before & values


def _values(conjunct: Sequence[Token]) -> frozenset[str] | None:
    """The literals of ``Column =~ "a"``, ``Column in~ ("a", "b")`` and their negations; None for anything else."""
    words = [token.group() for token in conjunct]
    if len(words) == 3 and words[1] in _EQUAL:
        literals = [conjunct[2]]
    else:
        start = next((len(form) + 1 for form in _LISTS if words[1 : len(form) + 1] == list(form)), 0)
        if not start or words[-1] != ")" or len(words) < start + 2:
            return None
        literals = list(conjunct[start:-1:2])
        # Without a comma between them two literals are one.
        if any(word != "," for word in words[start + 1 : -1 : 2]):
            return None
    values = [_literal(token) for token in literals]
    return None if None in values else frozenset(value for value in values if value is not None)


def _literal(token: Token, *, escapes: bool = False) -> str | None:
    """The text of a plain string literal of ASCII in lower case, None for any other token.

    With *escapes* the text keeps its case, and a double backslash is one.
    """
    match = _LITERAL.fullmatch(token.group()) if token.lastgroup == "string" else None
    if match is None or not match["text"].isascii() or match["quote"] in match["text"]:
        return None
    text = match["text"]
    if escapes:
        return text if match["mark"] else text.replace("\\\\", "\\")
    return None if "\\" in text and not match["mark"] else text.lower()


def _conjuncts(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The parts that ``and`` joins; none where an ``or`` stands beside them."""
    if len(_split(tokens, "or")) > 1:
        return
    parts = _split(tokens, "and")
    for part in parts:
        bracketed = len(part) > 2 and part[0].group() == "(" and _closing(part) == len(part) - 1
        if bracketed:
            yield from _conjuncts(part[1:-1])
        else:
            yield part


def _closing(tokens: Sequence[Token]) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.group() in _OPENING) - (token.group() in _CLOSING)
        if depth == 0:
            return index
    return -1


def _split(tokens: Iterable[Token], separator: str) -> list[list[Token]]:
    """*tokens* cut at each *separator* outside every bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        word = token.group()
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
