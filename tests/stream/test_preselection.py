"""The pre-selection never drops a record that the query returns."""

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import rulebook
from detectors.kql.engine import Engine
from detectors.kql.preselection import EVERYTHING, Preselection, preselect
from detectors.rule import Rule

RULES = [rule for rule in rulebook.load([rulebook.BUILT_IN]).rules if rule.detector.stream]
OPERATIONS = sorted({name for rule in RULES for name in (preselect(rule.query).operations or ())})
SUCCESS = frozenset({"success", "succeeded"})
ODD = ["", " ", "Ä", "\u212a", "\u017f", "İ", "\0", "\n", "/", "x"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def returned(engine: Engine, query: str, pairs: list[tuple[str, str]]) -> set[int]:
    """Which of the (operation, status) *pairs* the query passes, by their position."""
    rows = [
        {"OperationNameValue": name, "ActivityStatusValue": status, "_BilledSize": float(index)}
        for index, (name, status) in enumerate(pairs)
    ]
    engine.load("AzureActivity", rows)
    return {int(row["_BilledSize"]) for row in engine.run(query).dicts()}


@st.composite
def mutated(draw: st.DrawFn, names: list[str]) -> str:
    name = draw(st.sampled_from(names))
    name = draw(st.sampled_from([name, name.upper(), name.lower(), name.title(), name.swapcase()]))
    where = draw(st.integers(0, len(name)))
    kind = draw(st.integers(0, 3))
    odd = draw(st.sampled_from(ODD))
    if kind == 1:
        return name[:where] + odd + name[where:]
    if kind == 2:
        return name[:where] + odd + name[where + 1 :]
    return name if kind == 0 else name.replace("k", "\u212a").replace("s", "\u017f")


STATUS = mutated(["Success", "Succeeded", "Start", "Failure", "Accepted"])


def test_every_rule_of_the_stream_restricts_operation_and_status() -> None:
    assert RULES
    for rule in RULES:
        found = preselect(rule.query)
        assert not found.takes_every_operation, rule.path
        assert found.statuses == SUCCESS, rule.path


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_rule_returns_what_is_no_candidate(engine: Engine, data: st.DataObject) -> None:
    rule: Rule = data.draw(st.sampled_from(RULES))
    own = sorted(preselect(rule.query).operations or OPERATIONS)
    names = mutated([*own, "Microsoft.Automation/automationAccounts/unnamed/action", "Microsoft.Compute/write"])
    pairs = data.draw(st.lists(st.tuples(names, STATUS), min_size=1, max_size=40))
    chosen = preselect(rule.query)
    # A query that sums rows up names one of them only, so each is asked alone.
    groups = [[pair] for pair in pairs[:6]] if "summarize" in rule.query else [pairs]
    for group in groups:
        dropped = {index for index, pair in enumerate(group) if not chosen.candidate(*pair)}
        assert not dropped & returned(engine, rule.query, group)


WORDS = ["a/write", "A/Write", "b/delete", "a/", "ab", "", "k", "K/s"]
LITERAL = st.sampled_from(WORDS).map(lambda word: f'"{word}"')
COLUMN = st.sampled_from(["OperationNameValue", "ActivityStatusValue", "Caller", "Rest"])
COMPARISON = st.sampled_from(
    ["=~", "==", "!~", "!=", "startswith", "startswith_cs", "!startswith", "endswith", "has", "contains"]
)
CONJUNCT = st.one_of(
    st.tuples(COLUMN, COMPARISON, LITERAL).map(" ".join),
    st.tuples(COLUMN, st.sampled_from(["in~", "in", "!in~", "!in"]), st.lists(LITERAL, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} {parts[1]} ({', '.join(parts[2])})"
    ),
    COLUMN.map(lambda name: f"isnotempty({name})"),
    COLUMN.map(lambda name: f"isempty({name})"),
)
CONDITION = st.recursive(
    CONJUNCT,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"not({text})"),
    ),
    max_leaves=4,
)
STEP = st.one_of(
    CONDITION.map(lambda text: f"| where {text}"),
    st.sampled_from(
        [
            '| extend Rest = extract("(?i)^a/(.+)$", 1, OperationNameValue)',
            '| extend Rest = extract("(?i)^a(.+)$", 1, Rest)',
            '| extend Rest = replace_regex(OperationNameValue, "(?i)^b/", "a/")',
            "| extend Rest = strcat(OperationNameValue, Caller)",
            '| extend OperationNameValue = "a/write"',
            "| extend ActivityStatusValue = Caller, Note = 1",
            "// | where OperationNameValue =~ 'zzz'",
        ]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(STEP, min_size=1, max_size=4),
    pairs=st.lists(st.tuples(mutated(WORDS), mutated(WORDS)), min_size=1, max_size=25),
)
def test_no_query_of_random_conditions_returns_what_is_no_candidate(
    engine: Engine, steps: list[str], pairs: list[tuple[str, str]]
) -> None:
    query = "\n".join(["AzureActivity", '| extend Rest = ""', *steps])
    chosen = preselect(query)
    dropped = {index for index, pair in enumerate(pairs) if not chosen.candidate(*pair)}
    assert not dropped & returned(engine, query, pairs)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("AzureActivity | where OperationNameValue in~ (\"A\", 'b')", Preselection(operations=frozenset("ab"))),
        ('AzureActivity | where (OperationNameValue =~ "A") and Level > "x"', Preselection(operations=frozenset("a"))),
        ('AzureActivity | where OperationNameValue startswith "A/"', Preselection(prefixes=("a/",))),
        ('AzureActivity | where ActivityStatusValue in~ ("S")', Preselection(statuses=frozenset("s"))),
        (
            'AzureActivity | where OperationNameValue =~ "a" | where OperationNameValue in ("a", "b")',
            Preselection(operations=frozenset("a")),
        ),
        (
            r"""AzureActivity | extend R = extract("(?i)^X\\.Y/(.+)$", 1, OperationNameValue)
            | where isnotempty(R) and R !in~ ("Z", "")""",
            Preselection(prefixes=("x.y/",), excluded=frozenset({"x.y/z"})),
        ),
    ],
)
def test_what_is_read(query: str, expected: Preselection) -> None:
    assert preselect(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "",
        "AzureActivity",
        'Heartbeat | where OperationNameValue =~ "a"',
        'let x = 1; AzureActivity | where OperationNameValue =~ "a"',
        'AzureActivity | where OperationNameValue =~ "a" or Level == "b"',
        'AzureActivity | where not(OperationNameValue =~ "a")',
        'AzureActivity | where tolower(OperationNameValue) == "a"',
        'AzureActivity | where OperationNameValue =~ "a" "b"',
        'AzureActivity | where OperationNameValue =~ "\\u0061"',
        'AzureActivity | where OperationNameValue =~ "\u212a"',
        'AzureActivity | where OperationNameValue in~ (dynamic(["a"]))',
        'AzureActivity | project OperationNameValue = Caller | where OperationNameValue =~ "a"',
        'AzureActivity | where OperationNameValue =~ "a" | join (AzureActivity) on CorrelationId',
        'AzureActivity | where OperationNameValue =~ "a" | union (table("AzureActivity"))',
        string.printable,
    ],
)
def test_what_cannot_be_read_restricts_nothing(query: str) -> None:
    assert preselect(query) == EVERYTHING
