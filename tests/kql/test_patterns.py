"""Patterns match as the database's do, and no text that somebody chose makes them slow."""

import dataclasses
import json
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from detectors.kql.engine import Engine
from detectors.kql.expressions import NotUnderstood, Unsure
from detectors.kql.patterns import STEPS, Cost, Edge, Node, One, Pattern, Repeat, read_pattern
from detectors.kql.text import tokens_of
from tests.kql.samples import EVENTS, RULES, compiled, database, differences, event, ours


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({EVENTS.name: EVENTS})


def patterns_of_rules() -> list[str]:
    """The patterns in the rules' queries, as the query spells them decoded."""
    found = set()
    for rule in RULES:
        tokens = tokens_of(rule.query)
        for index, token in enumerate(tokens):
            if token.group() == "extract":
                text = tokens[index + 2].group()
                found.add(text[2:-1] if text[0] == "@" else text[1:-1].replace("\\\\", "\\"))
    return sorted(found)


BY_RULES = patterns_of_rules()
KNOWN = [
    "abc",
    "(?i)ABC",
    "^a",
    "a$",
    "^(a)$",
    "^a|b$|(c)",
    "a.c",
    "[abc]+",
    "[^/a]+",
    "(?i)[^/k]+",
    "[a-c0-1_]{2}",
    "(?i)[a-b]{1,2}c",
    "a{2,}",
    "a{0,2}b",
    "(a)?b",
    "(?:a|bc)?(b)",
    "(a)??b",
    "(ab|a)(b?)",
    "(a|ab)(c|b)?",
    "a*?(b)",
    "(a+?)(a*)",
    "(.*?)b",
    "(.*)b(.*)",
    "(a(b)?)(c)?",
    r"\d+|\w\s",
    r"(\D)(\W)(\S)",
    r"[\d\s]",
    r"[^\w]",
    r"[\-\]\[\^]",
    r"\.\/\-\[\]\(\)\{\}\*\+\?\|\^\$\\",
    r"""[!"#$%'()*+,./:;<=>?@_`{}]""",
    r"""\!\"\#\%\&\'\,\:\;\<\=\>\@\`\~""",
    "(?i)k|S",
    "(?:(?:(a)))",
    " - ",
]
REFUSED = [
    "",
    "(?i)",
    "|a",
    "a|",
    "a||b",
    "()",
    "(|a)",
    "(a|)",
    "(a",
    "a)",
    "[a",
    "[]",
    "[]a]",
    "[^]",
    "[a-]",
    "[-a]",
    "[b-a]",
    "[a-\\d]",
    "[[:alpha:]]",
    "[a&&b]",
    "(a)*",
    "(a)+",
    "(a){2}",
    "(?:a+)+",
    "(?:a|a)*",
    "(a*)?",
    "(?:a?|b)?",
    "a**",
    "a++",
    "a*+",
    "a?{2}",
    "a{2}{3}",
    "a{3,2}",
    "a{0}",
    "a{65}",
    "a{1000}",
    "a{,2}",
    "a{",
    "a}",
    "a]",
    "*a",
    "+",
    "?a",
    "a^",
    "a$b",
    "(^a)",
    "(a$)",
    "^*",
    "$+",
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    "(?P<n>a)",
    "(?<n>a)",
    "(?s)a",
    "(?im)a",
    "a(?i)b",
    "(?i:a)",
    "(?#c)a",
    r"\b",
    r"\A",
    r"\z",
    r"\n",
    r"\t",
    r"\x41",
    r"\pL",
    r"\1",
    r"\Qa\E",
    r"\C",
    r"\_",
    "\\",
    "é",
    "a\n",
    "a\tb",
    "\0",
    "[é]",
    "a.*b.*c",
    ".*a.*b.*c",
    "a+a+a+",
    "(?:a|b)?" * 12,
    "(" * 20 + "a" + ")" * 20,
    "a" * 501,
]
PIECES = [
    "a",
    "b",
    "c",
    "B",
    "k",
    "S",
    "/",
    "-",
    "0",
    "1",
    "_",
    " ",
    "\t",
    "\n",
    "\x0b",
    ".",
    "\\",
    "[",
    "(",
    "abc",
    "ab/",
]


def texts(count: int) -> list[str]:
    chosen = random.Random(3)  # noqa: S311 - sample data
    return ["".join(chosen.choices(PIECES, k=chosen.randint(0, 7))) for _ in range(count)]


TEXTS = [
    *texts(250),
    "",
    "".join(map(chr, range(1, 128))),
    *("/subscriptions/1/resourceGroups/r/providers/Microsoft.Automation/automationAccounts/a" + rest
      for rest in ("", "/", "//", "/runbooks/r b/x", "/RUNBOOKS/R", "/jobs/1\n", "/python3Packages/p",
                   "/runtimeEnvironments/e/packages/p", "/providers/Microsoft.Insights/diagnosticSettings/d")),
    "/sites/s/slots/t/functions/f/keys/k",
    "Microsoft.Automation/automationAccounts/automationAccounts/x",
    '{"runbook" :{ "name": "r"}, "schedule":{"name":"s"}}',
]  # fmt: skip
ROWS = [event(text) for text in TEXTS]


def assert_alike(engine: Engine, patterns: Sequence[str]) -> None:
    columns = []
    for number, text in enumerate(patterns):
        literal = "@'" + text.replace("'", "''") + "'"
        pattern = read_pattern(text)
        columns += [f"X{number}_{group} = extract({literal}, {group}, A)" for group in range(pattern.groups + 1)]
        columns.append(f"M{number} = A matches regex {literal}")
        if not pattern.takes_nothing:
            columns.append(f'R{number} = replace_regex(A, {literal}, "<>")')
    query = f"{EVENTS.name} | extend {', '.join(columns)}"
    got = ours(compiled(query, EVENTS), ROWS)
    assert differences(got, database(engine, EVENTS, query, ROWS), ROWS) == []
    assert all(isinstance(answer, dict) for answer in got)


@pytest.mark.parametrize("start", range(0, len(KNOWN), 12))
def test_a_pattern_matches_as_in_the_database(engine: Engine, start: int) -> None:
    assert_alike(engine, KNOWN[start : start + 12])


@pytest.mark.parametrize("start", range(0, len(BY_RULES), 12))
def test_a_pattern_of_a_rule_matches_as_in_the_database(engine: Engine, start: int) -> None:
    assert_alike(engine, BY_RULES[start : start + 12])


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_on_the_list_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_pattern(text)


CHARACTER = st.sampled_from(
    [
        *"abkS/-01_ ",
        ".",
        r"\d",
        r"\w",
        r"\s",
        r"\W",
        r"\.",
        r"\\",
        "[ab]",
        "[^/]",
        "[a-k]",
        r"[^\s0]",
        r"[\w/]",
        "[B-S]",
    ]
)
COUNT = st.sampled_from(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "{1,}"])
ATOM = st.builds("{}{}".format, CHARACTER, COUNT)
SEQUENCE = st.recursive(
    st.lists(ATOM, min_size=1, max_size=3).map("".join),
    lambda inner: st.one_of(
        st.builds("({}){}".format, inner, st.sampled_from(["", "", "?", "??"])),
        st.builds("(?:{}|{}){}".format, inner, inner, st.sampled_from(["", "?"])),
        st.builds("{}({}|{})".format, inner, inner, inner),
        st.builds("{}{}".format, inner, inner),
    ),
    max_leaves=4,
)
PATTERN = st.builds(
    "{}{}{}{}".format, st.sampled_from(["", "(?i)"]), st.sampled_from(["", "", "^"]), SEQUENCE,
    st.sampled_from(["", "", "$"]),
)  # fmt: skip


def readable(text: str) -> bool:
    try:
        read_pattern(text)
    except NotUnderstood:
        return False
    return True


@settings(max_examples=6, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(patterns=st.lists(PATTERN.filter(readable), min_size=6, max_size=6))
def test_a_random_pattern_matches_as_in_the_database(engine: Engine, patterns: list[str]) -> None:
    assert_alike(engine, patterns)


# What a match costs


@dataclasses.dataclass
class Count:
    """Matches as ``re`` does, one way after the other, and counts what is tried."""

    text: str
    steps: int = 0

    def search(self, pattern: Pattern) -> bool:
        return any(self._search_at(pattern, start) for start in range(len(self.text) + 1))

    def _search_at(self, pattern: Pattern, start: int) -> bool:
        return any(self._rest(nodes, 0, start, lambda _: True) for nodes in pattern.alternatives)

    def _rest(self, nodes: Sequence[Node], index: int, at: int, then: Callable[[int], bool]) -> bool:
        self.steps += 1
        if index == len(nodes):
            return then(at)
        node = nodes[index]
        if isinstance(node, Edge):
            return at == (len(self.text) if node.end else 0) and self._rest(nodes, index + 1, at, then)
        if isinstance(node, One):
            return self._is(node.characters, at) and self._rest(nodes, index + 1, at + 1, then)
        if isinstance(node, Repeat):
            run = 0
            while (node.most is None or run < node.most) and self._is(node.characters, at + run):
                self.steps += 1
                run += 1
            counts = range(node.least, run + 1) if node.lazy else range(run, node.least - 1, -1)
            return any(self._rest(nodes, index + 1, at + count, then) for count in counts)
        if node.optional and node.lazy and self._rest(nodes, index + 1, at, then):
            return True
        if any(
            self._rest(inner, 0, at, lambda end: self._rest(nodes, index + 1, end, then)) for inner in node.alternatives
        ):
            return True
        return node.optional and not node.lazy and self._rest(nodes, index + 1, at, then)

    def _is(self, characters: int, at: int) -> bool:
        return at < len(self.text) and bool(characters >> ord(self.text[at]) & 1)


def bound(pattern: Pattern, size: int, length: int) -> int:
    """The steps that the cost of *pattern*, of *size* characters, allows over a text of *length*.

    On each way every node is tried once, and the run of a repeated character is walked to its end and back.
    """
    ways: int = pattern.cost.ways * (length + 1) ** max(1, pattern.cost.degree)
    return 4 * (size + 2) * ways


def counted(text: str, pattern: str) -> int:
    counting = Count(text)
    read = read_pattern(pattern)
    assert counting.search(read) == (read.compiled.search(text) is not None)
    assert counting.steps <= bound(read, len(pattern), len(text)), (pattern, text)
    return counting.steps


HOSTILE = ["a", "/", "/a", "/automationAccounts/", "/automationAccounts/a/", "/providers/x", "/sites/a/keys/", "a/b",
           "/automationAccounts/a/runtimeEnvironments/", '"runbook" : ', "\t ", "modules", "0_"]  # fmt: skip


def assert_grows_as_it_says(pattern: str, piece: str, tail: str, count: int) -> None:
    """Twice the text costs no more than the exponent says; what bounded counts cost does not grow at all."""
    short, long = (counted(piece * times + tail, pattern) for times in (count, 2 * count))
    cost = read_pattern(pattern).cost
    assert long <= 1.2 * 2 ** max(1, cost.degree) * short + 100 * cost.ways, (pattern, piece, tail)


@pytest.mark.parametrize("pattern", [*BY_RULES, "(a+)$", "a.*b", "(?:a|/)?.*b"], ids=range(len(BY_RULES) + 3))
def test_what_a_match_costs_grows_no_faster_than_its_exponent_says(pattern: str) -> None:
    assert read_pattern(pattern).cost.degree <= 2
    for piece in HOSTILE:
        assert_grows_as_it_says(pattern, piece, "\n", 80 // len(piece))


@settings(max_examples=80, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(
    pattern=PATTERN.filter(readable),
    piece=st.text("ab/0 ", min_size=1, max_size=2),
    tail=st.text("abk/0 ", max_size=2),
)
def test_no_random_pattern_costs_more_than_it_says(pattern: str, piece: str, tail: str) -> None:
    assert_grows_as_it_says(pattern, piece, tail, 40)


@pytest.mark.parametrize(
    ("text", "degree", "ways"),
    [
        ("^ab?", 0, 1),
        ("ab", 1, 1),
        ("a|b", 1, 2),
        ("^a+", 0, 1),
        ("a+", 1, 1),
        ("a+(b|c)?", 1, 3),
        ("^a+b", 1, 1),
        ("^a+a", 1, 1),
        ("a+b", 2, 1),
        ("a+a", 2, 1),
        ("^a+ba+b", 1, 1),
        ("^a+a+b", 2, 1),
        ("^a+b*a", 2, 1),
        ("^a+b*c", 1, 1),
        ("^b+a*b+c", 2, 1),
        ("^b+a?b+c", 2, 1),
        ("(?i)^[^k]+K", 1, 1),
        ("^b+(?:a|c)?b+c", 2, 3),
        ("^(?:a+|b+)c", 1, 2),
        ("^.*$", 1, 1),
        ("^.*/.*$", 2, 1),
        ("^.*/.*", 1, 1),
        ("a{3}a", 1, 1),
        ("a{1,3}a", 1, 3),
        ("a{1,3}b", 1, 1),
        ("a{1,3}", 1, 1),
    ],
)
def test_the_cost_of_a_pattern(text: str, degree: int, ways: int) -> None:
    # A run of repeated characters that can end in one place only is walked once. In `a+a` it can end anywhere.
    assert read_pattern(text).cost == Cost(degree, ways)


def test_the_bound_is_near_to_what_the_worst_texts_cost() -> None:
    # Else the bounds of the tests above could be so high that they forbid nothing.
    assert counted("a" * 300, "a.*b") > 300 * 300 / 3
    assert counted("a" * 300, "a+b") > 300 * 300 / 3
    assert counted("a" * 300, "^a+$") < 300 * 10
    assert counted("a" * 60, "a.*b.{0,9}c") > 60 * 60 / 3


def test_every_pattern_of_a_rule_takes_the_longest_resource_id_and_stays_in_bounds() -> None:
    for text in BY_RULES:
        pattern = read_pattern(text)
        assert pattern.longest >= 1024, text
        assert pattern.cost.ways * pattern.longest**pattern.cost.degree <= STEPS


def test_a_text_that_is_too_long_for_the_pattern_is_not_matched() -> None:
    pattern = read_pattern("a.*b")
    assert pattern.found_in("a" * (pattern.longest - 1) + "b")
    for text in ("a" * pattern.longest + "b", "aéb"):
        for use in (pattern.found_in, lambda text: pattern.extract(text, 0), lambda text: pattern.replace(text, "")):
            with pytest.raises(Unsure):
                use(text)


@settings(max_examples=200)
@given(text=st.text(st.sampled_from("ab(?:)[]^$|*+{}12,\\dwi-."), max_size=12))
def test_no_text_makes_the_reading_of_a_pattern_fail_otherwise(text: str) -> None:
    try:
        pattern = read_pattern(text)
    except NotUnderstood:
        return
    assert json.dumps(pattern.extract("ab", 0))
