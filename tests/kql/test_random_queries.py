"""Queries made at random from what is understood, over rows of every kind: the database's answer, or none."""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from detectors.kql.engine import Engine
from tests.kql.samples import EVENTS, compiled, database, differences, event, ours


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({EVENTS.name: EVENTS})


LITERALS = ["a", "Ab", "b", "B/", "", "%", "_", "a b", "0", "-", "k", "S", "x\\y", 'q"', "'"]
LITERAL = st.sampled_from(LITERALS).flatmap(
    lambda text: st.sampled_from([json.dumps(text), "@'" + text.replace("'", "''") + "'"])
)
COLUMN = st.sampled_from(["A", "B", "A", "B", "T"])
PATH = st.sampled_from(["D.a", "D.b", 'D["a"].b', "D.a.b", "P.a", "P", "D"])
PATTERN = st.sampled_from(
    ["(a)(b)?", "(?i)(a)/?", "(?i)^([^/]+)/", "/([^/]*)$", "(a|ab)(/?)", r"(\w+)\s", "(.)(.*)", r"(\d|k)$"]
).map(json.dumps)


def calls(text: st.SearchStrategy[str], truth: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("strcat({}, {})".format, text, text),
        st.builds("coalesce({}, {})".format, text, text),
        st.builds("tolower({})".format, text),
        st.builds("toupper({})".format, text),
        st.builds("tostring({})".format, text),
        st.builds("iff({}, {}, {})".format, truth, text, text),
        st.builds("case({}, {}, {}, {}, {})".format, truth, text, truth, text, text),
        st.builds("extract({}, {}, {})".format, PATTERN, st.integers(0, 1), text),
        st.builds('replace_regex({}, "(?i)a|/", {})'.format, text, st.sampled_from(['"b"', '""', '"$0"'])),
        st.builds("tostring(parse_json({}).{})".format, text, st.sampled_from("ab")),
    )


def conditions(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # Two literals are not compared.
    value = text.filter(lambda it: it[0] not in '"@')
    operators = ["==", "!=", "=~", "!~"]
    operators += [f"{no}{name}{cs}" for name in ("contains", "startswith", "endswith") for no in ("", "!")
                  for cs in ("", "_cs")]  # fmt: skip
    terms = st.sampled_from(['"a"', '"aB"', '"b/"', '"-0"', '"a b"'])
    return st.one_of(
        st.builds("{} {} {}".format, value, st.sampled_from(operators), LITERAL),
        st.builds("{} {} {}".format, COLUMN, st.sampled_from(operators), text),
        st.builds("{} {} ({}, {})".format, value, st.sampled_from(["in", "!in", "in~", "!in~"]), LITERAL, LITERAL),
        st.builds("{} {} {}".format, value, st.sampled_from(["has", "!has", "has_cs", "!has_cs"]), terms),
        st.builds("{} {} ({}, {})".format, value, st.sampled_from(["has_any", "has_all"]), terms, terms),
        st.builds("{} matches regex {}".format, value, PATTERN),
        st.builds("{}({})".format, st.sampled_from(["isempty", "isnotempty"]), text | PATH),
    )


SIMPLE = COLUMN | COLUMN | LITERAL | st.builds("tostring({})".format, PATH)
SIMPLE_CONDITION = conditions(SIMPLE)
CONDITION = st.recursive(
    SIMPLE_CONDITION,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not({})".format, inner),
    ),
    max_leaves=3,
)
TEXT = SIMPLE | calls(SIMPLE, CONDITION) | calls(calls(SIMPLE, SIMPLE_CONDITION), SIMPLE_CONDITION)
# Without a member the database gives JSON text back as it was, and some of it cannot be read.
DYNAMIC = PATH | st.builds("parse_json({}).a".format, SIMPLE) | st.builds("parse_json(tostring({})).b".format, PATH)


@st.composite
def queries(draw: st.DrawFn) -> str:
    # In the first step the columns T and P are not there yet.
    first = f"extend T = {draw(_of_the_table(TEXT))}, P = {draw(_of_the_table(DYNAMIC))}"
    columns = [
        f"{name} = {draw(kind)}"
        for name, kind in (("X", TEXT), ("Y", TEXT | calls(TEXT, CONDITION)), ("C", CONDITION), ("V", DYNAMIC))
    ]
    steps = [first, f"where {draw(CONDITION)} or {draw(CONDITION)}", f"extend {', '.join(columns)}"]
    if draw(st.booleans()):
        steps.append(f"extend T = {draw(TEXT)}, U = T, X = iff({draw(CONDITION)}, X, Y)")
    if draw(st.booleans()):
        steps.append("project-away Y, P")
    return "\n| ".join([EVENTS.name, *steps])


def _of_the_table(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names = set("TP")
    return strategy.filter(lambda text: names.isdisjoint(_words(text)))


def _words(text: str) -> list[str]:
    return "".join(character if character.isalnum() else " " for character in text).split()


WORDS = ["a", "Ab", "b", "B/", "k", "S", "0", "-", "_", "%", " ", "/", "\\", '"', "'", "a b"]
STRANGE = ["\n", "\x0b", "\0", "é", "\u212a", "\u017f", "İ", "\U0001f511", "\ud800", "\u2028", "\x7f", "\x1f"]
ODD_JSON = [
    '{"a": 1, "a": "x"}', '["a",]', '{"a": "x", "b": NaN}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', '{"a": "\\u00e9"}',
    '{"a": 1e999}', '{"a": -0}', '{"a": 1.50}', '{"a": "\x01"}', "[1] 2", " ", "nul", '"a"', "-0", "1", "'a'",
    '{"b": {"b": "\\/"}}', '{"a": "\\ud83d\\udd11"}', '{"a": "x", "b": "\\ud800"}', '{"a": "\\\\u0000"}',
    '\ufeff{"a": 1}',
]  # fmt: skip
SCALARS = [None, True, False, 0, -7, 1.5, 1.0, -0.0, 1e22, float("nan"), 2**63, -(2**63), 10**30]


class Pool:
    """Rows of every kind, the same ones in every run."""

    def __init__(self) -> None:
        self._random = random.Random(7)  # noqa: S311 - sample data

    def rows(self, count: int) -> list[dict[str, Any]]:
        return [event(self.value(), self.value(), self.json()) for _ in range(count)]

    def text(self) -> str:
        words = WORDS if self._random.random() < 0.7 else [*WORDS, *STRANGE]
        return "".join(self._random.choices(words, k=self._random.randint(0, 4)))

    def value(self) -> Any:
        kind = self._random.random()
        if kind < 0.15:
            return json.dumps(self.json(), ensure_ascii=kind < 0.1)
        if kind < 0.22:
            return self._random.choice(ODD_JSON)
        return self._random.choice([None, 5, {"a": 1}]) if kind < 0.24 else self.text()

    def json(self, depth: int = 0) -> Any:
        kind = self._random.random() + depth / 10
        if kind < 0.55:
            names = self._random.choices(
                ["a", "b", "A", "", "é", "a b"], [8, 8, 1, 1, 1, 1], k=self._random.randint(1, 3)
            )
            return {name: self.json(depth + 1) for name in names}
        if kind < 0.65:
            return [self.json(depth + 1) for _ in range(self._random.randint(0, 2))]
        if kind < 0.8:
            return self._random.choice(SCALARS)
        return self._random.choice(ODD_JSON) if kind < 0.85 else self.text()


ROWS = Pool().rows(400)


@settings(max_examples=6, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(query=queries())
def test_a_random_query_is_answered_as_by_the_database(engine: Engine, query: str) -> None:
    wanted = database(engine, EVENTS, query, ROWS)
    got = ours(compiled(query, EVENTS), ROWS)
    assert differences(got, wanted, ROWS) == []
