"""A query that compiles gives the database's answer for every row, or none; everything else does not compile."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from detectors.kql.engine import Engine, KqlError, TableSchema
from detectors.kql.rowwise import Unsure, compile_row_query
from tests.kql.samples import ACTIVITY, EVENTS, UNSURE, compiled, database, differences, event, ours


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({EVENTS.name: EVENTS})


# Every construct that is understood


UNDERSTOOD = [
    '| where A == "Ab"',
    '| where A != "Ab"',
    '| where "Ab" == A',
    "| where A == B",
    "| where A =~ B",
    '| where "AB" =~ A',
    '| where A !~ "aB"',
    '| where A in ("Ab", "x")',
    '| where A !in ("Ab", "x")',
    '| where A in~ ("aB", "x")',
    '| where A !in~ ("aB", "x")',
    '| where A contains "b_"',
    '| where A !contains "B%"',
    "| where A contains B",
    '| where A contains_cs "b"',
    '| where A !contains_cs "b"',
    '| where A startswith "aB"',
    '| where A !startswith "aB"',
    '| where A startswith_cs "Ab"',
    '| where A !startswith_cs "Ab"',
    '| where A endswith "B/"',
    '| where A !endswith "B/"',
    '| where A endswith_cs "b/"',
    '| where A !endswith_cs "b/"',
    "| where A endswith_cs B",
    '| where A has "ab"',
    '| where A !has "ab"',
    '| where A has_cs "Ab"',
    '| where A has "/ab"',
    '| where A has_any ("ab", "x-y")',
    '| where A has_all ("ab", "x")',
    '| where A matches regex "^[a-z]+$"',
    '| where A contains "" and A startswith ""',
    "| where true",
    "| where false or isempty(A)",
    '| where not(A == "Ab") and (B == "x" or isnotempty(A))',
    '| where A == "x" or B == "x" and A == "Ab"',
    "| where isempty(A) or isempty(D) or isempty(D.a) or isnotempty(D.b)",
    '| extend X = A, Y = "text", Z = 3, T = true, W = A == "Ab"',
    r"""| extend X = "a\\b\"c\'d\n\t\r", Y = 'x"y', Z = @"a\b""c", W = @'it''s'""",
    "| extend X = tostring(D), Y = tostring(A), Z = tostring(D.a), W = tostring(D.a.b)",
    '| extend X = tostring(D["a"]), Y = tostring(D["http://a.b/c:d #e-f_g"]), Z = D["a"].b',
    "| extend X = D.a, Y = D.a.b, Z = D.b | extend W = X.b, V = tostring(Y), U = isempty(Z)",
    '| extend X = parse_json(A), Y = todynamic(B).a, Z = tostring(parse_json(A).a), W = parse_json("[1]")',
    "| extend X = tostring(parse_json(tostring(D.a)).b), Y = parse_json(tostring(D.a)), Z = parse_json(tostring(D)).a",
    "| extend X = tolower(A), Y = toupper(A)",
    '| extend X = strcat(A), Y = strcat(A, "-", B, tostring(D.a))',
    '| extend X = coalesce(A, B), Y = coalesce(A, tostring(D.a), "none")',
    '| extend X = iff(isempty(A), B, A), Y = iif(A == "Ab", 1, 2), Z = iff(A == "Ab", B == "x", false)',
    '| extend X = case(A == "Ab", "one", B == "x", "two", A), Y = case(isempty(A), true, isempty(B))',
    '| extend X = extract("(?i)a(b)?", 1, A), Y = extract("a|b", 0, A), Z = extract("(x)|(b)", 2, tostring(D.a))',
    '| extend X = replace_regex(A, "(?i)^a|b", "$1&"), Y = replace_regex(A, "/", "")',
    "| extend X = A | extend X = B, Y = X | extend Z = X | project-away X, Z | extend X = Y",
    "| extend X = A\n// a comment: é\n| project-away X // the end",
    '\n| extend X = A,\r\n\tY = (((B))) | where ((X == "Ab") or (Y == "x"))',
    '| extend X = column_ifexists("A", "none"), Y = column_ifexists("Missing", B)',
]
PLAIN_TEXTS = [
    "",
    "Ab",
    "aB",
    "ab",
    "x",
    "AB/",
    "Ab/",
    "x Ab-x",
    "xab_y",
    "ab/x-y",
    "/ab",
    "b_%",
    "abx",
    "b%",
    'it"s',
    "a\nb\n",
]
PLAIN = [
    *(event(a, b) for a in PLAIN_TEXTS for b in ("", "x", "aB", "/")),
    *(
        event("Ab", text, found)
        for found in (
            {},
            {"a": None, "b": "x"},
            {"a": "b", "http://a.b/c:d #e-f_g": "far"},
            {"a": {"b": "Xb", "c": [1, {}]}, "b": True},
            {"a": [], "b": -7},
            {"a": False, "b": {"b": None}},
            {"a": '{"b": "in text"}'},
            {"a": ""},
            [1, "two", None],
            17,
            False,
        )
        for text in ("", json.dumps({"a": found}))
    ),
    *(event(text, text) for text in ('{"a": {"b": "x"}}', '["a"]', '"a"', "true", "null", "12", '{"a": [15, -2]}')),
]


def is_json(text: Any) -> bool:
    try:
        return not isinstance(text, str) or not text or bool(json.loads(text)) or True
    except ValueError:
        return False


def parsed(steps: str, row: dict[str, Any]) -> list[Any]:
    """The values of *row* that *steps* parses as JSON."""
    if "parse_json" not in steps:
        return []
    texts = [row[name] for name in "AB" if f"({name})" in steps]
    return texts if texts or not isinstance(row["D"], dict) else [row["D"].get("a")]


@pytest.mark.parametrize("steps", UNDERSTOOD, ids=range(len(UNDERSTOOD)))
def test_what_is_understood_is_answered_as_by_the_database(engine: Engine, steps: str) -> None:
    query = EVENTS.name + steps
    wanted = database(engine, EVENTS, query, PLAIN)
    got = ours(compiled(query, EVENTS), PLAIN)
    assert differences(got, wanted, PLAIN) == []
    # Of plain text we are sure, unless it should be JSON and is not.
    assert [answer == UNSURE for answer in got] == [not all(map(is_json, parsed(steps, row))) for row in PLAIN]
    plain = {name for name, _ in EVENTS.columns}
    columns = engine.translate(query).columns
    assert compiled(query, EVENTS).columns == tuple(column for column in columns if column[0] not in plain)


def test_the_plain_rows_tell_each_condition_from_true_and_false(engine: Engine) -> None:
    for steps in UNDERSTOOD[:35]:
        kept = [answer is not None for answer in ours(compiled(EVENTS.name + steps, EVENTS), PLAIN)]
        assert any(kept), steps
        assert not all(kept) or '""' in steps or "true" in steps, steps


# Where we and the database would differ, and how that is told


@pytest.mark.parametrize(
    ("steps", "row", "answer"),
    [
        # `$` of Python also matches before a last line break.
        ('| extend X = extract("(b)$", 1, A)', event("ab\n"), ""),
        ('| extend X = extract("(b)$", 1, A)', event("ab"), "b"),
        ('| extend X = A matches regex "^ab$"', event("ab\n"), False),
        ('| extend X = A matches regex "^b"', event("a\nb"), False),
        # `.` stops at a line feed and at nothing else.
        ('| extend X = extract("a(.*)", 1, A)', event("a\rb\x0b\x1cc\nd"), "\rb\x0b\x1cc"),
        # The vertical tab is no space.
        (r'| extend X = extract(@"(\s*)$", 1, A)', event("a\x0b\t\n"), "\t\n"),
        (r'| extend X = extract(@"(\S+)", 1, A)', event(" \x0b\x1c "), "\x0b\x1c"),
        ('| extend X = extract("(?i)(A)(x)?", 2, A)', event("ba"), ""),
        ('| extend X = extract("(ab|a)(b?)", 2, A)', event("ab"), ""),
        ('| extend X = replace_regex(A, "^a", "b")', event("aa"), "ba"),
        ('| extend X = replace_regex(A, "a", "$0")', event("ba"), "b$0"),
        # An underscore ends a term, a digit does not; punctuation in the term itself needs no end.
        ('| extend X = A has "ab"', event("_AB_"), True),
        ('| extend X = A has "ab"', event("ab1"), False),
        ('| extend X = A has "-ab"', event("x-ab"), True),
        ('| extend X = A has_cs "ab"', event("AB"), False),
        # No wildcards.
        ('| extend X = A contains "%"', event("ab"), False),
        ('| extend X = A startswith "_"', event("ab"), False),
        (r'| extend X = A contains "\\"', event("a\\b"), True),
        ('| extend X = A == "ab"', event("AB"), False),
        ('| extend X = A in ("ab")', event("AB"), False),
        ('| extend X = A == "ab"', event("ab "), False),
        # An empty text is a value that coalesce() skips, and null is an empty text.
        ('| extend X = coalesce(A, B, "c")', event("", "b"), "b"),
        ("| extend X = isempty(A)", event(None), True),
        ("| extend X = strcat(A, tostring(D.a), B)", {"B": "b"}, "b"),
        ("| extend X = A != B", event(None, ""), False),
        ("| extend X = isempty(D.a)", event(d={"a": {}}), False),
        ("| extend X = isempty(D.a)", event(d={"a": None}), True),
        ("| extend X = tostring(D.a)", event(d={"a": True}), "true"),
        ("| extend X = tostring(D.a)", event(d={"a": {"k": ["é", 1, None]}}), '{"k":["é",1,null]}'),
        ("| extend X = tostring(D.a)", event(d={"a": ["\n\u2028\x7f\\/"]}), '["\\n\u2028\x7f\\\\/"]'),
        ("| extend X = tostring(D.a.b)", event(d={"a": '{"b": "in text"}'}), ""),
        ("| extend X = tostring(parse_json(A).a)", event('[{"a": 1}]'), ""),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "\\u00e9\\/"}'), "é/"),
        ("| extend X = tostring(parse_json(A).a)", event(""), ""),
        # Computed columns are read as they were before the step.
        ('| extend X = A | extend X = "new", Y = X | extend X = Y', event("old"), "old"),
        ('| where A == "x" or B == "b" and A == "y" | extend X = 1', event("z", "b"), None),
        ('| extend X = iff(not(A == "x" and B == "b"), 1, 0)', event("x", "c"), 1),
    ],
)  # fmt: skip
def test_the_answer_where_a_likely_mistake_gives_another(engine: Engine, steps: str, row: Any, answer: Any) -> None:
    query = EVENTS.name + steps
    (wanted,) = database(engine, EVENTS, query, [row])
    (got,) = ours(compiled(query, EVENTS), [row])
    assert repr(got) == repr(wanted)
    assert isinstance(got, dict) or got is None
    assert repr(got["X"] if got else None) == repr(answer)


KELVIN = "\u212a"
DEEP: Any = {"a": "x"}
for _ in range(70):
    DEEP = {"a": DEEP, "b": [DEEP]} if _ < 3 else {"a": DEEP}


@pytest.mark.parametrize(
    ("steps", "row"),
    [
        ('| where A =~ "k"', event(KELVIN)),
        ('| where A !in~ ("k")', event(KELVIN)),
        ('| where A contains "k"', event(KELVIN)),
        ('| where A endswith "s"', event("\u017f")),
        ("| where A =~ B", event("k", KELVIN)),
        ('| where A has "k"', event(f"{KELVIN} é")),
        ('| where A has_cs "k"', event("ék")),
        ('| where A matches regex "^.$"', event("é")),
        ('| extend X = extract("(?i)(k)", 1, A)', event(KELVIN)),
        ('| extend X = replace_regex(A, "a", "b")', event("é")),
        ("| extend X = tolower(A)", event("İ")),
        ("| extend X = toupper(A)", event("ß")),
        ('| where A matches regex "^a"', event("a" * 40_000)),
        ('| where A matches regex "a.*b"', event("a" * 3_000)),
        ('| where A has "a"', event("a " * 20_000)),
        # What no column of the database holds.
        ("| extend X = A", event("a\0b")),
        ("| extend X = A", event("\ud800")),
        ("| extend X = tostring(D.a)", event(d={"a": "a\0b"})),
        ("| extend X = D.a", event(d={"a": ["\ud800"]})),
        ("| extend X = D.a", event(d={"a": {"\0": 1}})),
        # Values where others are expected.
        ("| extend X = A", event(17)),
        ("| extend X = A", event({"a": "b"})),
        ("| extend X = D.a", event(d='{"a": 1}')),
        ("| extend X = tostring(D)", event(d="text")),
        ("| extend X = D.a", event(d={"a": ("x", "y")})),
        ("| extend X = D.a.b", event(d={"a": ("x", "y")})),
        ("| extend X = tostring(D.a)", event(d={"a": {1: "x"}})),
        # Numbers whose digits are the database's business.
        ("| extend X = tostring(D.a)", event(d={"a": 1.0})),
        ("| extend X = tostring(D.a)", event(d={"a": {"b": [1e22]}})),
        ("| extend X = tostring(D.a)", event(d={"a": 2**63})),
        ("| extend X = D", event(d=float("nan"))),
        ("| extend X = tostring(D.a)", event(d={"a": ["\x1f"]})),
        # The database stores 64 levels.
        ("| extend X = D", event(d=DEEP)),
        ("| extend X = tostring(D)", event(d=DEEP)),
        # JSON that the two read in different ways.
        ("| extend X = tostring(parse_json(A).a)", event('{"a": 1, "a": 2}')),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "x", "b": "\\ud800"}')),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "x", "b": "\\uDFFF"}')),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "\\u0000"}')),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "x", "b": NaN}')),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": "x",}')),
        ("| extend X = tostring(parse_json(A).a)", event("not JSON")),
        ("| extend X = tostring(parse_json(A).a)", event('{"a": 1.0}')),
        ("| extend X = tostring(parse_json(A).a)", event("[" * 600 + "]" * 600)),
        ("| extend X = tostring(parse_json(A).a)", event("9" * 5_000)),
        ("| extend X = tostring(parse_json(A).a)", event('"' + "a" * 70_000 + '"')),
        ("| extend X = tostring(parse_json(tostring(D.a)).b)", event(d={"a": '{"b": 1, "b": 2}'})),
    ],
)  # fmt: skip
def test_of_a_value_that_the_database_may_treat_otherwise_nothing_is_said(steps: str, row: Any) -> None:
    with pytest.raises(Unsure):
        compiled(EVENTS.name + steps, EVENTS).run(row)


def test_a_branch_that_is_not_taken_makes_nothing_unsure() -> None:
    for steps in (
        '| where B == "x" and A =~ "k"',
        '| where not(B != "x" or A =~ "k")',
        '| where B == "x" | extend X = tolower(A)',
    ):
        assert compiled(EVENTS.name + steps, EVENTS).run(event(KELVIN, "y")) is None
    query = compiled(EVENTS.name + '| extend X = iff(B == "y", "taken", tolower(A))', EVENTS)
    assert query.run(event(KELVIN, "y")) == {"X": "taken"}


# What is not understood


REFUSED = [
    "",
    "| take 1",
    "| project A",
    "| extend",
    "| where",
    "| project-away",
    "| summarize count()",
    "| order by A",
    "| filter isempty(A)",
    "| where A",
    '| where "text"',
    "| where 1",
    "| where D",
    "| where Number > 1",
    "| where isnull(D.a)",
    "| where isnotnull(A)",
    '| where D.a == "x"',
    '| where D.a =~ "x"',
    '| where D.a in ("x")',
    "| where A == 1",
    "| where A == true",
    '| where (A == "x") == true',
    '| where "a" == "a"',
    '| where A == B == "x"',
    '| where A <> "x"',
    '| where A < "x"',
    '| where A contains "x" contains "y"',
    '| where A hasprefix "x"',
    "| where A has B",
    '| where A has ""',
    '| where A !has_any ("x")',
    "| where A in (B)",
    "| where A in ()",
    '| where A in ("a",)',
    '| where A in (dynamic(["x"]))',
    '| where A in ~ ("a")',
    '| where A ! contains "a"',
    "| where A matches regex B",
    '| where not(A == "x", B == "x")',
    "| where not(A)",
    "| where not isempty(A)",
    "| where missing == A",
    '| where a == "x"',
    "| where ['A'] == \"x\"",
    "| where A == 'x' and",
    "| where and A == 'x'",
    "| where A == 'x' or or B == 'x'",
    "| where (A == 'x'",
    "| where A == 'x')",
    "| where A.b == 'x'",
    "| where tostring(D).a == 'x'",
    "| where tostring(D . a) == 'x'",
    "| where tostring((D).a) == 'x'",
    "| where tostring(D[0]) == 'x'",
    "| where tostring(D['a\"b']) == 'x'",
    "| where tostring(D['a*']) == 'x'",
    "| where tostring(D['']) == 'x'",
    "| where tostring(D" + ".a" * 31 + ") == 'x'",
    "| where tostring(parse_json(tostring(D" + ".a" * 20 + "))" + ".a" * 20 + ") == 'x'",
    "| where tostring(D" + ".a" * 9999 + ") == 'x'",
    "| where " + "(" * 40 + "isempty(A)" + ")" * 40,
    "| where " + "not(" * 40 + "isempty(A)" + ")" * 40,
    "| extend strcat(A, B)",
    "| extend (X, Y) = A",
    "| extend A = B",
    "| extend a = B",
    "| extend X = A, x = B",
    "| extend X = A | extend x = B",
    "| extend X = A, X = B",
    "| extend X = A, Y = X",
    "| extend X = Number",
    "| extend has = A",
    "| extend X = 1.5",
    "| extend X = 1d",
    "| extend X = -1",
    "| extend X = 9999999999999999999",
    "| extend X = 1 + 1",
    "| extend X = now()",
    "| extend X = ago(1d)",
    "| extend X = rand()",
    "| extend X = dynamic({})",
    "| extend X = pack_all()",
    "| extend X = ingestion_time()",
    "| extend X = ToLower(A)",
    "| extend X = tolower()",
    "| extend X = tolower(A, B)",
    "| extend X = tolower(D.a)",
    "| extend X = tostring(isempty(A))",
    "| extend X = tostring(1)",
    "| extend X = isempty(1)",
    "| extend X = strcat(A, 1)",
    "| extend X = strcat(A, D.a)",
    "| extend X = coalesce(A)",
    "| extend X = coalesce(A, D.a)",
    "| extend X = iff(isempty(A), A, 1)",
    "| extend X = iff(isempty(A), A, D.a)",
    "| extend X = iff(isempty(A), D.a, D.b)",
    "| extend X = iff(A, A, B)",
    "| extend X = iff(isempty(A), A)",
    "| extend X = case(isempty(A), A)",
    "| extend X = case(isempty(A), A, isempty(B), B)",
    "| extend X = case(A)",
    "| extend X = parse_json(D)",
    "| extend X = parse_json(A, B)",
    "| extend X = parse_json()",
    '| extend X = extract("a", 1, A)',
    '| extend X = extract("(a)", 2, A)',
    '| extend X = extract("(a)", true, A)',
    '| extend X = extract("(a)", 1, A, typeof(long))',
    '| extend X = extract("(a)", 1, D.a)',
    "| extend X = extract(B, 0, A)",
    '| extend X = extract("(a*)*", 1, A)',
    '| extend X = replace_regex(A, "a*", "b")',
    r'| extend X = replace_regex(A, "(a)", @"\1")',
    '| extend X = replace_regex(A, "a", B)',
    '| extend X = replace_string(A, "a", "b")',
    "| extend X = substring(A, 1)",
    '| extend X = "a" "b"',
    '| extend X = h"secret"',
    '| extend X = "é"',
    r'| extend X = "\u0061"',
    r'| extend X = "\0"',
    "| extend X = ```a```",
    '| extend X = @"a\nb"',
    "| extend X = 'a",
    "| extend X = A | project-away A",
    "| project-away A",
    "| project-away X",
    "| extend X = A | project-away X*",
    "| extend X = A | project-away X, X",
    "| extend X = A | project - away X",
    "| extend X = A | project-away X | where isempty(X)",
    "| extend\u00a0X = A",
    "| extend X = A // a\rb",
    "| extend X = A;",
    "| where isempty(A) | join (Events) on A",
    "| where A == toscalar(Events | take 1)",
    '| extend X = column_ifexists(A, "x")',
    '| extend X = column_ifexists("A")',
]


@pytest.mark.parametrize("steps", REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_understood_does_not_compile(steps: str) -> None:
    assert compile_row_query(EVENTS.name + steps, EVENTS) is None


def test_other_tables_and_statements_do_not_compile() -> None:
    for query in (
        "",
        "Events",
        "Other | where isempty(A)",
        "events | where isempty(A)",
        "let x = 1; Events | where isempty(A)",
        "let Events = AzureActivity; Events | where isempty(A)",
        "Events where isempty(A)",
        "union Events | where isempty(A)",
        "(Events | where isempty(A))",
    ):
        assert compile_row_query(query, EVENTS) is None, query


def test_every_type_of_a_column_but_text_and_json_is_refused() -> None:
    for name, kind in ACTIVITY.columns:
        compiles = compile_row_query(f"AzureActivity | extend X = {name}", ACTIVITY) is not None
        assert compiles == (kind in ("string", "dynamic")), name
    other = TableSchema("Other", "", (("G", "guid"), ("F", "bool"), ("T", "timespan"), ("N", "int")))
    assert all(compile_row_query(f"Other | extend X = {name}", other) is None for name, _ in other.columns)


GOOD = [EVENTS.name + steps for steps in UNDERSTOOD]


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_text_makes_compilation_raise(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([*GOOD, *(EVENTS.name + steps for steps in REFUSED)]))
    at, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    pieces = ["(" * 2000, ".a" * 2000, "['a']" * 2000, "|", "\\", '"', "extract", "\ud800", "[", "{"]
    middle = data.draw(st.text(max_size=3) | st.sampled_from(pieces))
    compile_row_query(text[:at] + middle + text[end:], EVENTS)
    compile_row_query(middle, EVENTS)


@settings(max_examples=15, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_a_query_with_a_small_change_is_refused_or_answered_alike(engine: Engine, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(GOOD))
    at = data.draw(st.integers(len(EVENTS.name), len(text) - 1))
    piece = data.draw(st.sampled_from([*"()[].,!=~|\"'\\@ AXD1", "and", "or", "not", " ", ""]))
    changed = text[:at] + piece + text[at + data.draw(st.integers(0, 2)) :]
    query = compile_row_query(changed, EVENTS)
    if query is None:
        return
    try:
        wanted = database(engine, EVENTS, changed, PLAIN)
    except KqlError:
        # Such a rule is not loaded at all.
        return
    assert differences(ours(query, PLAIN), wanted, PLAIN) == []


def test_a_query_keeps_nothing_of_a_row() -> None:
    query = compiled(EVENTS.name + "| extend X = A, Y = D.a | extend X = strcat(X, B)", EVENTS)
    row = event("a", "b", {"a": ["x"]})
    first, second = query.run(row), query.run(event("c", "d", {}))
    assert (first, second) == ({"X": "ab", "Y": ["x"]}, {"X": "cd", "Y": None})
    assert query.run(row) == first
    assert row == event("a", "b", {"a": ["x"]})
