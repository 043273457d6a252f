"""KQL texts: what runs here, what is rewritten so that it does, and a refusal with name and line for the rest."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.kql import text as kql_text
from detectors.kql.engine import Engine, KqlError, TableSchema


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


COLUMN_IF_EXISTS = [
    ("AzureDiagnostics | project x = column_ifexists('RunOn_s', 'none')", "on-premises"),
    ('AzureDiagnostics | project x = column_ifexists("RunOn_s", "none")', "on-premises"),
    ("AzureDiagnostics | project x = columnifexists('RunOn_s', 'none')", "on-premises"),
    ("AzureDiagnostics | project x = toupper ( column_ifexists ( @'RunOn_s' , '' ) )", "ON-PREMISES"),
    ("AzureDiagnostics | extend RunOn_s = column_ifexists('RunOn_s', '') | project RunOn_s", "on-premises"),
    ("AzureDiagnostics | project x = column_ifexists('NotThere_s', 'none')", "none"),
    ("AzureDiagnostics | extend Not_s = column_ifexists('Not_s', 'none') | project Not_s", "none"),
    ("AzureDiagnostics | extend Not_s = tostring(column_ifexists('Not_s', 'none')) | project Not_s", "none"),
    # Another case is another column in Kusto.
    ("AzureDiagnostics | project x = column_ifexists('runon_s', 'none')", "none"),
    # Of a table that the query does not read.
    ("AzureDiagnostics | project x = column_ifexists('Claims', 'none')", "none"),
    ("AzureDiagnostics | project x = column_ifexists('Not_s', strcat('a', ',', 'b)'))", "a,b)"),
    ("AzureDiagnostics | project x = column_ifexists('Not_s', column_ifexists('RunOn_s', ''))", "on-premises"),
    ("AzureDiagnostics | project x = column_ifexists('Not_s', column_ifexists('Neither_s', 'z'))", "z"),
    ("AzureDiagnostics | project x = column_ifexists('RunOn_s', column_ifexists('Not_s', ''))", "on-premises"),
    # An earlier step has made it, or it is there under its new name only.
    ("AzureDiagnostics | extend Y = 'made' | project x = column_ifexists('Y', 'none')", "made"),
    ("AzureDiagnostics | project Y = RunOn_s | project x = column_ifexists('Y', 'none')", "on-premises"),
    ("let T = AzureDiagnostics | where column_ifexists('RunOn_s', '') != ''; T | project x = RunOn_s", "on-premises"),
    # In a string or a comment it is no call.
    (
        "AzureDiagnostics // column_ifexists(a, b)\n| project x = \"column_ifexists('Not_s', 1)\"",
        "column_ifexists('Not_s', 1)",
    ),
]


@pytest.mark.parametrize(("query", "expected"), COLUMN_IF_EXISTS)
def test_column_ifexists_is_the_column_or_its_default(engine: Engine, query: str, expected: str) -> None:
    engine.load("AzureDiagnostics", [{"RunOn_s": "on-premises"}])
    assert engine.run(query).rows == [(expected,)]


def test_column_ifexists_reads_a_column_with_a_name_that_needs_brackets() -> None:
    with Engine({"T": TableSchema("T", "", (("a b", "string"),))}) as engine:
        engine.load("T", [{"a b": "x"}])
        assert engine.run("T | project x = column_ifexists('a b', 'none')").rows == [("x",)]


def test_the_default_has_its_own_type_and_the_column_its_own(engine: Engine) -> None:
    query = "AzureDiagnostics | project a = column_ifexists('Not_s', 5), b = column_ifexists('DurationMs', '')"
    assert engine.translate(query).columns == (("a", "long"), ("b", "long"))


def test_a_rewritten_query_keeps_its_lines_and_its_text(engine: Engine) -> None:
    query = (
        "AzureDiagnostics\n| extend a = column_ifexists(\n  'Not_s', // why\n  '')"
        "\n| extend b = column_ifexists(\n  'RunOn_s',\n  ```x\ny```)\n"
    )
    assert engine.translate(query).query == query
    with pytest.raises(KqlError, match="column 'Foo' in line 9 does not exist at that step"):
        engine.translate(f"{query}| where Foo == 1")
    with pytest.raises(KqlError, match="'evaluate' in line 9 is not supported"):
        engine.translate(f"{query}| evaluate bag_unpack(AdditionalFields)")


FRAGMENTS = [
    "column_ifexists",
    "(",
    ")",
    ",",
    "'RunOn_s'",
    '"Not_s"',
    "''",
    "|",
    "\n",
    "=",
    "x",
    "// c\n",
    "[",
    "```a\nb```",
]


@settings(max_examples=300, deadline=None)
@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=30))
def test_whatever_stands_around_a_call_the_lines_stay_or_the_call_is_refused(fragments: list[str]) -> None:
    query = " ".join(fragments)
    try:
        rewritten = kql_text.replace_column_ifexists(query, lambda _: frozenset({"RunOn_s"}))
    except KqlError:
        return
    assert rewritten.count("\n") == query.count("\n")
    assert not list(kql_text.calls("column_ifexists", kql_text.tokens_of(rewritten)))


SUPPORTED = [
    "AzureActivity | where Caller matches regex '(?i)[a-z]+@contoso'",
    "AzureActivity | project-away Caller, Claims",
    "AzureActivity | summarize make_set(Caller, 10), make_list(Caller, 10) by ResourceGroup",
    "AzureActivity | summarize arg_max(TimeGenerated, *) by Caller",
    "AzureActivity | join kind=leftanti (AzureActivity | project CorrelationId, Caller) on CorrelationId, Caller",
    "AzureActivity | join kind=inner (AzureDiagnostics) on $left.Caller == $right.Caller_s, CorrelationId",
    "AzureActivity | join kind=rightanti (AzureDiagnostics) on $left.Caller == $right.Caller_s",
    "AzureActivity | project Caller | union (AzureDiagnostics | project Caller = Caller_s)",
    "let f = (a: string) { toupper(a) }; AzureActivity | extend x = f(Caller)",
    "let a = materialize(AzureActivity | take 1); a | union a",
    "AzureActivity | summarize count() by bin(TimeGenerated, 1h), startofday(TimeGenerated)",
    "AzureActivity | extend x = parse_json(Properties).a, y = extract_all('([a-z]+)', Caller)",
    "AzureActivity | where Caller has_any ('a', 'b')",
    "datatable(a: string, b: int)['x', 1]",
]


@pytest.mark.parametrize("query", SUPPORTED)
def test_what_rules_are_written_with_runs(engine: Engine, query: str) -> None:
    assert engine.run(query).columns


REFUSED = [
    ("AzureActivity\n| evaluate bag_unpack(Properties_d)", "'evaluate' in line 2 is not supported by the local engine"),
    ("AzureActivity\n| project-reorder Caller", "'project-reorder' in line 2 is not supported"),
    ("AzureActivity\n\n| extend x = todecimal(1)", "function todecimal() in line 3 is not supported"),
    ("AzureActivity\n| where", "syntax error in line 2"),
    ("AzureActivity\n| where Foo == 1", "column 'Foo' in line 2 does not exist at that step"),
    (
        "Nothing\n| take 1",
        "table 'Nothing' in line 1 is not known; it is one of AutomationInventory_CL, AzureActivity, ",
    ),
    ("azureactivity | take 1", "name 'azureactivity' in line 1: KQL is case-sensitive, write 'AzureActivity'"),
    ("duckdb_settings | take 1", "table 'duckdb_settings' in line 1 is not known"),
    ("AzureActivity\n| where caller == ''", "name 'caller' in line 2: KQL is case-sensitive, write 'Caller'"),
    ("AzureActivity | extend caller = 1", "'extend' in line 1: columns 'Caller' and 'caller' differ only in case"),
    ("AzureActivity; AzureActivity", "only a single query statement is supported"),
    (".show tables", "control command '.show' in line 1: a rule is a query"),
    (".set-or-replace AzureActivity <| print x = 1", "control command '.set-or-replace' in line 1"),
    ("declare query_parameters(s: string);\nprint s", "query parameter 's' has no value"),
    ("database('ingested').AzureActivity", "database() in line 1: a rule reads its own workspace only"),
    ("cluster('x').database('y').AzureActivity", "line 1"),
    ("externaldata(x: string)['https://example.org/x']", "in line 1 is not supported"),
    (
        "AzureActivity\n| extend a = split(Caller, '@')\n| extend b = split(Caller, '@', 1)",
        "function split() with 3 arguments in line 3 is not supported by the local engine",
    ),
    (
        "AzureActivity\n| make-series n = count() on TimeGenerated step 1h",
        "'make-series' in line 2 is not supported by the local engine",
    ),
    (
        "AzureActivity\n\n| mv-apply x = Properties_d.tags on (where x == 'a')",
        "'mv-apply' in line 3 is not supported by the local engine",
    ),
    (
        "let a =\n  externaldata(x: string)['https://example.org/x'];\nAzureActivity | where Caller in (a)",
        "'externaldata' in line 2 is not supported by the local engine",
    ),
    ("AzureActivity\n| union SigninLogs", "table 'SigninLogs' in line 2 is not known; it is one of AutomationInv"),
    ("AzureActivity\n| join kind=inner SigninLogs on Caller", "table 'SigninLogs' in line 2 is not known"),
    ("AzureActivity\n| serialize\n| extend p = 1", "'serialize' in line 2 is not supported by the local engine"),
    ("AzureActivity\n| serialize n = row_number()", "'serialize' in line 2 is not supported by the local engine"),
    (
        "AzureActivity | sort by TimeGenerated asc\n| extend p = prev(Caller)",
        "function prev() in line 2 is not supported by the local engine",
    ),
    ("AzureActivity\n| parse-where Caller with a '@' b", "'parse-where' in line 2 is not supported"),
    ("AzureActivity\n| project-away Claim*", "'project-away' with a wildcard in line 2 is not supported"),
    ("AzureActivity\n| project-keep Caller", "'project-keep' in line 2 is not supported"),
    (
        "let f = (a: string) {\n  AzureActivity | where Caller == a };\nf('x')",
        "let function f() in line 1: a tabular body is not supported by the local engine",
    ),
    (
        "AzureActivity\n| join kind=sideways (AzureActivity) on Caller",
        "'join kind=sideways' in line 2 is not supported",
    ),
    ("AzureActivity\n| extend x = extract('a', 1)", "function extract() with 2 arguments in line 2 is not supported"),
    ("AzureActivity\n| where Caller in (_GetWatchlist('x'))", "function _GetWatchlist() in line 2 is not supported"),
    (
        "AzureActivity\n| extend x = column_ifexists(strcat('Run', 'On_s'), '')",
        "column_ifexists() in line 2: the column's name is not a plain string literal",
    ),
    (
        "AzureActivity\n| extend x = column_ifexists('a\\tb', '')",
        "column_ifexists() in line 2: the column's name is not",
    ),
    (
        "AzureActivity\n| extend x = column_ifexists(Caller, '')",
        "column_ifexists() in line 2: the column's name is not",
    ),
    ("AzureActivity\n| extend x = column_ifexists('Caller')", "column_ifexists() in line 2 takes two arguments"),
    ("AzureActivity\n| extend x = column_ifexists()", "column_ifexists() in line 2 takes two arguments"),
    ("AzureActivity\n| extend x = column_ifexists('Caller', )", "column_ifexists() in line 2 takes two arguments"),
    ("AzureActivity\n| extend x = column_ifexists('Caller', '' ", "column_ifexists() in line 2 takes two arguments"),
    (
        "AzureActivity\n| where ingestion_time() > ago(1h)\n| distinct *",
        "'distinct' in line 3: not supported in a query",
    ),
    ("AzureActivity | count | where ingestion_time() > ago(1h)", "ingestion_time() is called where the table's rows"),
    ("AzureActivity | where Caller == '\ud800'", "characters that UTF-8 cannot encode"),
    ("x" + "(" * 400, "the local engine cannot read the query: RecursionError"),
    ("", "syntax error in line 1"),
]


@pytest.mark.parametrize(("query", "essential"), REFUSED, ids=[essential[:40] for _, essential in REFUSED])
def test_what_cannot_run_is_refused_with_its_name_and_line(engine: Engine, query: str, essential: str) -> None:
    with pytest.raises(KqlError) as caught:
        engine.translate(query)
    assert essential in str(caught.value)
    assert "\n" not in str(caught.value)
