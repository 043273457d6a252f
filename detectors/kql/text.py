"""The text of a KQL query: its tokens, the calls that are rewritten before translation, refusals in KQL's own words.

Nothing here knows DuckDB. Every rewriting keeps the line numbers, so that a refusal names the line of the rule.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NoReturn

INGESTION_COLUMN: Final = "_IngestionTime"
_NOT_WITH_INGESTION_TIME: Final = frozenset({"join", "lookup", "union", "distinct", "getschema"})
# The second is the older spelling of the first.
_COLUMN_IF_EXISTS: Final = frozenset({"column_ifexists", "columnifexists"})

_TOKEN: Final = re.compile(
    r"""(?P<comment>//[^\n]*)
      | (?P<string>```.*?``` | ~~~.*?~~~ | [hH]?@"(?:[^"]|"")*" | [hH]?@'(?:[^']|'')*'
                   | [hH]?"(?:\\.|[^"\\\n])*" | [hH]?'(?:\\.|[^'\\\n])*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9][A-Za-z0-9_.]*)
      | (?P<symbol>[=!<>]=|=~|!~|\S)""",
    re.VERBOSE | re.DOTALL,
)
_LITERAL: Final = re.compile(r"""[hH]?(?:@?"(?P<double>[^"\\]+)"|@?'(?P<single>[^'\\]+)')""")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_GRAMMAR_SUFFIX: Final = re.compile(r"(?:Operator|Expression|Statement)$")
# Refused by the translator in some form only; "not supported" alone would send the author looking for another reason.
_REFUSED_IN_PART: Final = {"project-away": "with a wildcard"}
_SPELLED: Final = {"path step": "path step .[0]", "LetFunctionBody": "body of a let function"}
"""Constructs whose name in the translator says little to who wrote the query."""


class KqlError(Exception):
    """A query that cannot run here, or rows that do not fit their table. The message says what, where and why."""


Token = re.Match[str]
"""A piece of a query; ``lastgroup`` is ``string``, ``name``, ``number`` or ``symbol``."""


def tokens_of(query: str) -> list[Token]:
    """The tokens of *query* in order, without comments. Any text has some reading; nothing is raised."""
    return [match for match in _TOKEN.finditer(query) if match.lastgroup != "comment"]


def line_at(query: str, position: int) -> int:
    """The line, from 1, of the character at *position*."""
    return query.count("\n", 0, position) + 1


def where_is(name: str, tokens: Sequence[Token]) -> str:
    """`` in line N`` for the first token *name*, else nothing."""
    for match in tokens:
        if match.group() == name:
            return f" in line {line_at(match.string, match.start())}"
    return ""


def first_line(error: object) -> str:
    """The first line of a message, bounded."""
    return str(error).strip().split("\n", 1)[0][:300]


def calls(name: str, tokens: Sequence[Token]) -> Iterator[tuple[Token, int]]:
    """Every call of the function *name*: its token, and how many arguments it has."""
    for index, match in enumerate(tokens):
        if match.group() == name and match.lastgroup == "name":
            bounds = _argument_bounds(tokens, index)
            if bounds is not None:
                empty = len(bounds) == 2 and bounds[1] == bounds[0] + 1
                yield match, 0 if empty else len(bounds) - 1


def replace_column_ifexists(query: str, known: Callable[[str], frozenset[str]]) -> str:
    """*query* with every ``column_ifexists("Name", default)`` replaced by the column, or else by the default.

    The column is meant when a table that the query names has it (*known* gives a table's columns, none for what is
    no table), or when an earlier step of the query makes it. Raises :class:`KqlError` for a call that cannot be read.
    """
    tokens = tokens_of(query)
    names = [match.group() if match.lastgroup == "name" else "" for match in tokens]
    if _COLUMN_IF_EXISTS.isdisjoint(names):
        return query
    columns = frozenset[str]().union(*(known(name) for name in names if name))
    texts = [match.group() for match in tokens]
    # From the right: a default may hold a call of its own, which is then done already.
    for index in reversed(range(len(tokens))):
        if names[index] not in _COLUMN_IF_EXISTS or texts[index + 1 : index + 2] != ["("]:
            continue
        opening, comma, closing, column = _column_and_default(tokens, index)
        if column in columns or _made_before(column, tokens, index):
            texts[index] = column if _PLAIN_NAME.fullmatch(column) else f"['{column}']"
            dropped = range(opening, closing + 1)
        else:
            texts[index] = ""
            dropped = range(opening + 1, comma + 1)
        for position in dropped:
            texts[position] = "\n" * texts[position].count("\n")
    pieces = []
    position = 0
    for match, text in zip(tokens, texts, strict=True):
        pieces += [query[position : match.start()], text]
        position = match.end()
    return "".join([*pieces, query[position:]])


def _column_and_default(tokens: Sequence[Token], index: int) -> tuple[int, int, int, str]:
    """Positions of the call's ``(``, ``,`` and ``)``, and the column that it names."""
    call = tokens[index]
    where = f"{call.group()}() in line {line_at(call.string, call.start())}"
    bounds = _argument_bounds(tokens, index)
    if bounds is None or len(bounds) != 3 or bounds[1] == bounds[0] + 1 or bounds[2] == bounds[1] + 1:
        raise KqlError(f"{where} takes two arguments: the column's name and what stands for it where it is missing")
    opening, comma, closing = bounds
    literal = _LITERAL.fullmatch(tokens[opening + 1].group())
    if comma != opening + 2 or literal is None:
        raise KqlError(f"{where}: the column's name is not a plain string literal; write it as one, without escapes")
    return opening, comma, closing, literal["double"] or literal["single"]


def _argument_bounds(tokens: Sequence[Token], index: int) -> list[int] | None:
    """Positions of the ``(``, the commas and the ``)`` of the call whose name is at *index*; None when it has none."""
    if index + 1 >= len(tokens) or tokens[index + 1].group() != "(":
        return None
    bounds = [index + 1]
    depth = 0
    for position in range(index + 1, len(tokens)):
        symbol = tokens[position].group()
        if symbol in ("(", "[", "{"):
            depth += 1
        elif symbol in (")", "]", "}"):
            depth -= 1
            if depth == 0:
                return [*bounds, position]
        elif symbol == "," and depth == 1:
            bounds.append(position)
    return None


def _made_before(column: str, tokens: Sequence[Token], index: int) -> bool:
    """Whether a step before that of the call assigns *column*; in its own step, ``X = column_ifexists("X", …)``."""
    step = next((i for i in reversed(range(index)) if tokens[i].group() in ("|", ";")), 0)
    return any(tokens[i].group() == column and tokens[i + 1].group() == "=" for i in range(step))


def replace_ingestion_time(query: str, tokens: Sequence[Token]) -> tuple[str, bool]:
    """Put the hidden column in the place of every ``ingestion_time()``. Says whether there was one."""
    pieces: list[str] = []
    position = 0
    for match, opening, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if (match.group(), opening.group(), closing.group()) == ("ingestion_time", "(", ")"):
            pieces += [query[position : match.start()], f"coalesce({INGESTION_COLUMN}, now())"]
            position = closing.end()
    if not pieces:
        return query, False
    for match in tokens:
        if match.lastgroup == "name" and match.group() in _NOT_WITH_INGESTION_TIME:
            line = line_at(query, match.start())
            raise KqlError(f"{match.group()!r} in line {line}: not supported in a query that calls ingestion_time()")
    return "".join([*pieces, query[position:]]), True


def refuse(error: Any, query: str, tokens: Sequence[Token], unknown_table: Callable[[str], str]) -> NoReturn:
    """Raise the translator's *error* as a :class:`KqlError` that names the construct and its line, in KQL's words."""
    raise KqlError(_refusal(error, query, tokens, unknown_table)) from error


def _refusal(error: Any, query: str, tokens: Sequence[Token], unknown_table: Callable[[str], str]) -> str:
    diagnostics = getattr(error, "diagnostics", None)
    if diagnostics:
        return _syntax_error(diagnostics[0], tokens)
    construct = str(getattr(error, "construct", getattr(error, "name", "")))
    if not construct:
        return first_line(error)
    hint = first_line(getattr(error, "hint", None) or "")
    if hint.startswith("unknown table"):
        return unknown_table(construct)
    kind, _, name = construct.rpartition(":")
    span = getattr(error, "span", None)
    where = f" in line {span.line}" if span is not None else where_is(name, tokens)
    if kind == "function":
        return _refused_call(name, hint, tokens)
    if kind == "let function":
        return f"let function {name}(){where}: {hint.partition(';')[0]} by the local engine"
    if span is not None:
        word = _SPELLED.get(name) or _word_in_source(name, query.split("\n")[span.line - 1 :], span.column)
        word = f"{kind}={word}" if kind == "join kind" else word
        return f"{word!r}{_in_part(construct)}{where} is not supported by the local engine"
    if hint and not hint.startswith("no DuckDB mapping"):  # that hint names the translator's own files
        return f"{name!r}{where}: {hint}"
    return f"{name!r}{where} is not supported by the local engine"


def behind_let(name: str, tokens: Sequence[Token], known: Collection[str]) -> str:
    """The unknown table that the statement ``let name = ...`` reads; *name* where it is no such statement's.

    The translator gives up on the first operator over an unknown table and blames the name that its result got.
    """
    seen = {name}
    while (source := _source_of_let(name, tokens, known)) is not None and source not in seen:
        seen.add(source)
        name = source
    return name


def _source_of_let(name: str, tokens: Sequence[Token], known: Collection[str]) -> str | None:
    words = [token.group() for token in tokens]
    for index in range(len(words) - 3):
        if words[index] == "let" and words[index + 1 : index + 3] == [name, "="]:
            end = words.index(";", index) if ";" in words[index:] else len(words)
            for place in range(index + 3, end):
                after = words[place + 1] if place + 1 < len(words) else ""
                starts = words[place - 1] in {"=", "(", ","} and after not in {"(", "=", ",", "."}
                if starts and tokens[place].lastgroup == "name" and words[place] not in known:
                    return words[place]
    return None


def _syntax_error(diagnostic: Any, tokens: Sequence[Token]) -> str:
    # The translator's grammar does not know a bare `serialize`, which is good KQL, and blames what follows.
    for before, match, after in zip(tokens, tokens[1:], [*tokens[2:], None], strict=False):
        if (before.group(), match.group()) == ("|", "serialize") and (after is None or after.group() in ("|", ";")):
            return f"'serialize' in line {line_at(match.string, match.start())} is not supported by the local engine"
    # ANTLR lists every token it would have taken, which is most of the language.
    message = re.sub(r"expecting \{.{60,}", "expecting something else", first_line(diagnostic.message))
    return f"syntax error in line {diagnostic.span.line}: {message}"


def _refused_call(name: str, hint: str, tokens: Sequence[Token]) -> str:
    """A function that does not run here, or does with another number of arguments: then that call's line counts."""
    count = re.search(r"takes .* argument\(s\), got (\d+)", hint)
    found = list(calls(name, tokens))
    if count is None:
        return f"function {name}(){_first_place([match for match, _ in found])} is not supported by the local engine"
    where = _first_place([match for match, arguments in found if arguments == int(count[1])])
    number = f"{count[1]} argument{'' if count[1] == '1' else 's'}"
    return f"function {name}() with {number}{where} is not supported by the local engine"


def _first_place(matches: Sequence[Token]) -> str:
    return f" in line {line_at(matches[0].string, matches[0].start())}" if matches else ""


def _word_in_source(name: str, lines: Sequence[str], column: int) -> str:
    """How the query spells the construct that the translator calls *name* (``MvapplyOperator`` is ``mv-apply``)."""
    stem = _GRAMMAR_SUFFIX.sub("", name)
    text = lines[0] if lines else ""
    for start in (column, 0):
        for found in re.finditer(r"[A-Za-z_]+(?:-[a-z]+)*", text[start:]):
            word = found.group()
            if word.replace("-", "").casefold() == stem.replace("-", "").casefold() or word.startswith(f"{stem}-"):
                return word
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", stem).lower()


def _in_part(construct: str) -> str:
    detail = _REFUSED_IN_PART.get(construct)
    return f" {detail}" if detail else ""
