"""Anybody's Sentinel rules load as they are, and their text reaches the workspace byte for byte."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.app import Detector, load_rules
from detectors.model import Severity
from detectors.rule import EntityMapping, Rule
from detectors.rulebook import BUILT_IN, Rulebook, load, loose_yaml
from detectors.rulebook.plain import NoRule, read_plain_rule
from detectors.rulebook.values import read_duration, words
from detectors.settings import load_settings
from detectors.strict_yaml import YamlProblem
from sandbox.server import Sandbox
from tests.clock import Clock

FOLDER = Path(__file__).parent / "community"


def named(book: Rulebook, file: str) -> Rule:
    return next(rule for rule in book.rules if book.files[rule.id].name == file)


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load([FOLDER])


def one(text: str) -> tuple[Rule, list[str]]:
    document, notes = loose_yaml.parse(text.encode())
    rule, more = read_plain_rule(document, "f/x.yaml", "x.yaml")
    return rule, [*notes, *more]


def test_every_rule_of_the_folder_loads_and_nothing_is_a_problem(book: Rulebook) -> None:
    assert book.problems == ()
    files = {path.name for path in FOLDER.rglob("*.y*ml")}
    # One of two copies is loaded; a file without a query is no rule.
    assert {path.name for path in book.files.values()} == files - {"nrt-large-machine.yaml", "no-rule.yaml"}
    assert all(rule.plain for rule in book.rules)
    assert any("no-rule.yaml: is no rule: it has no query" in note for note in book.notes)


def test_an_analytics_rule_keeps_what_it_says(book: Rulebook) -> None:
    rule = named(book, "storage-keys-listed-by-new-caller.yaml")
    assert rule.id == "7d0a5f0e-1c1b-4f0a-9d0c-3f6c2b7a1e01"
    assert (rule.severity, rule.version) == (Severity.MEDIUM, "1.10")
    assert (rule.query_frequency, rule.query_period) == (timedelta(days=1), timedelta(days=14))
    assert (rule.tactics, rule.techniques) == (("CredentialAccess",), ("T1552",))
    assert rule.description == "Finds callers that list storage keys today and did not in the two weeks before."
    assert rule.entity_mappings[0].fields[2] == ("UPNSuffix", "UPNSuffixx")


def test_a_hunting_query_runs_daily_over_the_longest_time_it_names(book: Rulebook) -> None:
    rule = named(book, "hunting-query.yaml")
    assert (rule.kind, rule.severity) == ("Scheduled", Severity.INFORMATIONAL)
    # 99d is in a string and 60d in a comment.
    assert (rule.query_frequency, rule.query_period) == (timedelta(days=1), timedelta(days=7))
    assert rule.entity_mappings == (
        EntityMapping("IP", (("Address", "IPCustomEntity"),)),
        EntityMapping("Account", (("FullName", "AccountCustomEntity"),)),
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("| take 1", "runs every 1d over 1d, as Informational: the query names no time"),
        ("| where TimeGenerated > ago(30m)", "over 1d, as Informational: the query names no longer time"),
        ("| where TimeGenerated > ago(7d)", "over 7d, as Informational: the longest time that the query names is 7d"),
        ("| where TimeGenerated > ago(30d)", "over 14d, as Informational: the query names 30d, but no rule reads rows"),
    ],
)
def test_what_a_hunting_query_does_not_say_is_told_in_one_note(more: str, told: str) -> None:
    text = f"id: 7d0a5f0e-1c1b-4f0a-9d0c-3f6c2b7a1e30\nname: x\nversion: 1.0.0\nquery: AzureActivity {more}\n"
    text += "entityMappings: {entityType: IP, fieldMappings: [{identifier: Address, columnName: CallerIpAddress}]}\n"
    _, notes = one(f"{text}description-detailed: |\n  Says more.\n")
    assert len(notes) == 1
    assert f": kind: is missing, as in a hunting query; it {'runs' if 'runs' in told else ''}" in notes[0]
    assert told in notes[0]
    assert "Informational" not in one(f"{text}severity: Low\n")[1][0]


def test_placeholders_that_only_the_hunting_page_fills_in_are_noted_and_sent_as_they_are() -> None:
    query = "// {{StartTimeISO}}\nlet start = todatetime('{{StartTimeISO}}');\nlet e = todatetime('{{EndTimeISO}}');\n"
    query += "AzureActivity | where TimeGenerated between (start .. e) and Caller != '{{Caller}}'"
    rule, notes = one(yaml.safe_dump({"query": query}))
    (note,) = [note for note in notes if ": query: " in note]
    assert ": query: lines 2, 3: holds {{StartTimeISO}} or {{EndTimeISO}}, which only Sentinel's hunting page" in note
    assert rule.query == query
    assert not any(": query: " in note for note in one(yaml.safe_dump({"query": query.split("\n")[0]}) + "\n")[1])


def test_a_near_real_time_rule_runs_at_each_hunt(book: Rulebook) -> None:
    rule = named(book, "copy-of-nrt.yaml")
    assert (rule.kind, rule.query_frequency, rule.query_period) == ("NRT", timedelta(minutes=5), timedelta(minutes=25))


def test_what_is_out_of_range_is_clamped_and_noted(book: Rulebook) -> None:
    rule = named(book, "other-tables.yaml")
    assert (rule.query_frequency, rule.query_period) == (timedelta(hours=1), timedelta(days=14))
    assert rule.suppression == timedelta(hours=24)
    assert (rule.trigger_operator, rule.trigger_threshold, rule.severity) == ("gt", 0, Severity.HIGH)
    assert (rule.severity_column, rule.tactics_column) == ("Level", "Tactics")
    notes = [note for note in book.notes if "other-tables" in note]
    for key in ("queryFrequency", "queryPeriod", "triggerOperator", "triggerThreshold", "severity", "customDetails"):
        assert any(f": {key}: " in note for note in notes), key


def test_a_custom_detection_is_the_rule_it_was_made_from(book: Rulebook) -> None:
    rule = named(book, "custom-detection.yaml")
    assert (rule.name, rule.severity, rule.version) == ("Runbook deleted", Severity.LOW, "1.2.3")
    assert (rule.query_frequency, rule.query_period) == (timedelta(hours=1), timedelta(hours=2))
    assert (rule.tactics, rule.techniques) == (("DefenseEvasion",), ("T1070",))
    assert rule.entity_mappings == (
        EntityMapping("Account", (("Name", "Name"), ("UPNSuffix", "Suffix"))),
        EntityMapping("IP", (("Address", "CallerIpAddress"),)),
    )


def detection(schedule: dict[str, str], **entities: Any) -> tuple[Rule, list[str]]:
    template = {"severity": "informational", "entityMappings": entities}
    properties = {
        "queryCondition": {"queryText": "AzureActivity | where TimeGenerated > ago(2d)"},
        "schedule": schedule,
        "detectionAction": {"alertTemplate": template},
    }
    # The converter writes empty texts where a near-real-time rule has no schedule.
    source = {"version": "1.0.0", "schedule": {"queryFrequency": "", "queryPeriod": ""}}
    document = {"kind": "CustomDetection", "contentProvenance": {"source": source}, "properties": properties}
    return one(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("schedule", "every", "looks_back"),
    [
        ({"frequency": "PT5M"}, timedelta(minutes=5), timedelta(minutes=20)),
        ({"frequency": "PT1H"}, timedelta(hours=1), timedelta(hours=4)),
        ({"period": "3H"}, timedelta(hours=3), timedelta(hours=12)),
        ({"frequency": "P1D"}, timedelta(days=1), timedelta(days=14)),
        ({"frequency": "P1D", "lookback": "P2D"}, timedelta(days=1), timedelta(days=2)),
    ],
)
def test_a_custom_detection_looks_back_as_far_as_defender_would(
    schedule: dict[str, str], every: timedelta, looks_back: timedelta
) -> None:
    rule, notes = detection(schedule)
    assert (rule.kind, rule.query_frequency, rule.query_period) == ("Scheduled", every, looks_back)
    assert any(": schedule.lookback: is not given; " in note for note in notes) is ("lookback" not in schedule)
    assert rule.severity is Severity.INFORMATIONAL
    assert not any(": severity: " in note for note in notes)


def test_what_defender_calls_otherwise_becomes_sentinels_identifier_or_is_left_out_by_name() -> None:
    rule, notes = detection(
        {"frequency": "PT1H"},
        accounts=[{"id": "a", "upnColumn": "Caller"}, {"id": "b", "aadUserIdColumn": "Claims_d"}],
        hosts=[{"id": "h", "nameColumn": "Resource", "deviceIdColumn": "DeviceId"}],
        securityGroups=[{"id": "g", "objectIdColumn": "Group"}],
        mailboxes=[{"id": "m", "mailboxPrimaryAddressColumn": "Mail"}],
    )
    assert rule.entity_mappings == (
        EntityMapping("Account", (("FullName", "Caller"),)),
        EntityMapping("Account", (("AadUserId", "Claims_d"),)),
        EntityMapping("Host", (("HostName", "Resource"),)),
        EntityMapping("Mailbox", (("MailboxPrimaryAddress", "Mail"),)),
        EntityMapping("SecurityGroup", (("ObjectGuid", "Group"),)),
    )
    told = [note for note in notes if ": entityMappings: " in note]
    assert told == ["f/x.yaml: entityMappings: hosts.deviceIdColumn has no counterpart in Sentinel; it is left out"]


def test_a_rule_and_the_custom_detection_made_from_it_are_not_both_run(tmp_path: Path) -> None:
    source = "7d0a5f0e-1c1b-4f0a-9d0c-3f6c2b7a1e10"
    # Sentinel's converter drops the spaces that end the lines and the line break at the end.
    written = "  AzureActivity \n  | extend \n      A = 1\n"
    (tmp_path / "rule.yaml").write_text(f"id: {source}\nkind: Scheduled\nquery: |\n{written}")
    detection = {
        "kind": "CustomDetection",
        "contentProvenance": {"source": {"id": source}},
        "properties": {"id": "xdr-rule", "queryCondition": {"queryText": "AzureActivity\n| extend\n    A = 1"}},
    }
    (tmp_path / "xdr.yaml").write_text(yaml.safe_dump(detection))
    book = load([tmp_path], check_query=False)
    assert [book.files[rule.id].name for rule in book.rules] == ["rule.yaml"]
    assert any("xdr.yaml: id: a copy of" in note for note in book.notes)


def test_anchors_merge_keys_and_repeated_keys_are_read(book: Rulebook) -> None:
    rule = named(book, "anchors-and-doubles.yaml")
    assert rule.name == "Anchors, a merge key and a repeated key"
    assert (rule.query_frequency, rule.description) == (timedelta(minutes=15), "Low")


def test_a_taken_id_with_another_query_becomes_an_id_of_its_own_and_a_copy_is_left_out(book: Rulebook) -> None:
    taken = "7d0a5f0e-1c1b-4f0a-9d0c-3f6c2b7a1e03"
    assert named(book, "copy-of-nrt.yaml").id == taken
    assert named(book, "other-tables.yaml").id != taken
    assert any("nrt-large-machine.yaml: id: a copy of community/nested/copy-of-nrt.yaml" in note for note in book.notes)
    assert {rule.id for rule in load([FOLDER], check_query=False).rules} == {rule.id for rule in book.rules}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("AzureActivity\n| extend N = split(Caller, '@', 0)", "split() with 3 arguments in line 2"),
        ("AzureActivity\n\n| make-series N = count() on TimeGenerated step 1h", "'make-series' in line 3"),
        ("AzureActivity\n| mv-apply X = dynamic([1]) on (where X > 0)", "'mv-apply' in line 2"),
        ("externaldata(A: string) ['https://example.com']\n| take 1", "'externaldata' in line 1"),
        ("AzureActivity\n| project-reorder Caller", "'project-reorder' in line 2"),
        ("BehaviorAnalytics_X\n| take 1", "'BehaviorAnalytics_X' in line 1 is not known"),
        (
            "let A = Unknown | extend X = 1;\nAzureActivity\n| join kind=inner (A) on Caller",
            "table 'Unknown' in line 1 is not known",
        ),
        ("AzureActivity\n| summarize make_set_if(Caller, true)", "'make_set_if' in line 2 is not supported"),
    ],
)
def test_what_the_local_engine_refuses_is_a_note_with_construct_and_line(tmp_path: Path, query: str, said: str) -> None:
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump({"kind": "Scheduled", "query": query}))
    book = load([tmp_path])
    assert (len(book.rules), book.problems) == (1, ())
    (note,) = [note for note in book.notes if ": query: " in note]
    assert "goes to Log Analytics as it is; the local engine does not run it: " in note
    assert said in note


def test_a_mapped_column_that_the_query_never_names_is_noted_where_its_result_is_unknown_too(tmp_path: Path) -> None:
    columns = ("Caller", "CallerIpAddresss", "count_", "Caller1", "Level", "Bag")
    details = {f"d{number}": column for number, column in enumerate(columns)}
    query = "Unknown_CL | where CallerIpAddress != '' | extend B = column_ifexists('Bag', ''), C = Caller"
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump({"kind": "NRT", "query": query, "customDetails": details}))
    (note,) = [note for note in load([tmp_path]).notes if ": customDetails: " in note]
    assert "column 'CallerIpAddresss' is not in the query's text (did you mean CallerIpAddress?)" in note


@pytest.mark.parametrize(
    ("query", "said"),
    [
        # Public rules do hold such: a pipe is missing after the table that is joined.
        ("AzureActivity\n| join kind=inner (\n  AzureActivity\n  where Caller == ''\n) on Caller", "syntax error in"),
        ("AzureActivity\n| where callerIpAddress == ''", "'callerIpAddress' in line 2: KQL is case-sensitive"),
        ("AzureActivity\n| project Caller\n| where Level == ''", "'Level' in line 3 does not exist at that step"),
    ],
)
def test_of_a_query_that_is_no_kql_nobody_is_told_that_it_runs_elsewhere(tmp_path: Path, query: str, said: str) -> None:
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump({"kind": "Scheduled", "query": query}))
    book = load([tmp_path])
    assert [rule.query for rule in book.rules] == [query]
    (note,) = [note for note in book.notes if ": query: " in note]
    assert "goes to Log Analytics as it is and may fail there too: " in note
    assert said in note


def test_a_rule_written_by_hand_in_the_manner_of_the_public_repositories_gives_no_note() -> None:
    # Trailing spaces, a comment after a value, a kind in lower case at the end, two accounts, plain and schema tags,
    # a query that begins with an empty line, and metadata whose parts are a level too high; no line break at the end.
    rule, notes = one(
        "id: 7d0a5f0e-1c1b-4f0a-9d0c-3f6c2b7a1e20\n"
        "name: \"[Subscription] Runbook deleted by a 'new' caller\" \n"
        "description: |\n  'Says the \"who\" of 'Delete'.\n   See https://contoso.com/a?b=c#d'\n"
        "severity: Medium\nstatus: Available \nrequiredDataConnectors: []\n"
        "tags:\n  - Cleanup\n  - Schema: ASIMDns\n    SchemaVersion: 0.1.1\n"
        "queryFrequency: 1d  # every day\nqueryPeriod: 14d\ntriggerOperator: gt\ntriggerThreshold: 1\n"
        "tactics:\n  - DefenseEvasion \nrelevantTechniques:\n  - T1562.008\n"
        "query:  |\n \n  AzureActivity \n    | where Caller has '@'\n  // kind: x\n\n\n"
        "entityMappings:\n"
        "  - entityType: Account\n    fieldMappings: \n      - identifier: FullName\n        columnName: Caller  \n"
        "  - entityType: Account\n    fieldMappings:\n      - identifier: AadUserId\n        columnName: Caller\n"
        "alertDetailsOverride:\n  alertDescriptionFormat: |\n    By {{Caller}}\n    \n    twice\n"
        "  alertDisplayNameFormat: |\n    Deleted by {{Caller}}\n"
        "version: 1.2.11\nkind: scheduled\nmetadata:\nsource:\n    kind: Community\nauthor:\n    name: Contoso\n"
        'support:\n    tier: Community\ncategories:\n    domains: [ "Platform" ]\n'
        'threatAnalysisTactics: [ "DefenseEvasion" ]\nthreatAnalysisTechniques: [ "T1562.008" ]'
    )
    assert notes == []
    assert rule.query == "\nAzureActivity \n  | where Caller has '@'\n// kind: x\n"
    assert rule.name == "[Subscription] Runbook deleted by a 'new' caller"
    assert rule.description == "Says the \"who\" of 'Delete'.\n See https://contoso.com/a?b=c#d"
    assert (rule.kind, rule.version, rule.tags) == ("Scheduled", "1.2.11", ("Cleanup",))
    assert (rule.query_frequency, rule.query_period) == (timedelta(days=1), timedelta(days=14))
    assert (rule.trigger_operator, rule.trigger_threshold) == ("gt", 1)
    assert rule.tactics == ("DefenseEvasion",)
    assert rule.entity_mappings == (
        EntityMapping("Account", (("FullName", "Caller"),)),
        EntityMapping("Account", (("AadUserId", "Caller"),)),
    )
    assert (rule.title_format, rule.description_format) == ("Deleted by {{Caller}}", "By {{Caller}}\n\ntwice")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: Scheduled\nname: x\n", "query: is missing"),
        ("kind: NRT\nquery: ' '\n", "query: is missing"),
        ("query: [\n", "line 2"),
        ("detector: {}\nquery: AzureActivity\n", "id: is missing; add it"),
        ("detector: {}\ndetector: {}\n", "line 2: the key 'detector' appears twice"),
    ],
)
def test_what_keeps_a_rule_out(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    (tmp_path / "fine.yaml").write_text("query: AzureActivity\n")
    book = load([tmp_path], check_query=False)
    assert [rule.name for rule in book.rules] == ["fine"]
    assert problem in book.problems[0]


def test_a_small_file_that_stands_for_a_huge_one_is_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{key}: &{key} [{', '.join([f'*{before}'] * 10)}]" for before, key in zip("abcdefg", "bcdefgh", strict=True)
    ]
    with pytest.raises(YamlProblem, match="stands for more than 20,000 values"):
        loose_yaml.parse("\n".join(lines).encode())
    with pytest.raises(YamlProblem, match="an alias that holds itself"):
        loose_yaml.parse(b"a: &a [*a]")


def test_a_tab_where_yaml_allows_none_is_a_space_and_one_in_the_query_stays() -> None:
    rule, notes = one("tactics:\n\t- Impact\nquery: |\n  AzureActivity\n  | where Caller == '\t'\n")
    assert rule.query == "AzureActivity\n| where Caller == '\t'\n"
    assert rule.tactics == ("Impact",)
    assert "line 2: a tab where YAML allows none; it is read as a space" in notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", timedelta(minutes=5)),
        ("1H", timedelta(hours=1)),
        ("P1D", timedelta(days=1)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("P2W", timedelta(days=14)),
        ("1.00:00:00", timedelta(days=1)),
        ("P", None),
        ("PT", None),
        ("soon", None),
    ],
)
def test_durations(text: str, expected: timedelta | None) -> None:
    assert read_duration(text) == expected


def values() -> st.SearchStrategy[Any]:
    texts = st.one_of(
        st.text(max_size=20), st.sampled_from(["P1D", "5m", "true", "gt", "Account", "{{A}}", "CustomDetection"])
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | texts
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


KEYS = sorted(
    words(
        "id kind name description severity query queryFrequency queryPeriod triggerOperator triggerThreshold tactics "
        "relevantTechniques tags entityMappings customDetails alertDetailsOverride suppressionEnabled "
        "suppressionDuration version status properties contentProvenance extra"
    )
)
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS), values(), max_size=8)


def _read(document: Any) -> Rule | None:
    try:
        rule, notes = read_plain_rule(document, "f/x.yaml", "x.yaml")
    except NoRule:
        return None
    assert all(note.startswith("f/x.yaml: ") for note in notes)
    return rule


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=values() | DOCUMENTS)
def test_no_document_makes_the_tolerant_reader_raise(document: Any) -> None:
    try:
        parsed, _ = loose_yaml.parse(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))
    except YamlProblem:
        parsed = None
    _read(parsed)
    _read(document)


@settings(max_examples=100, deadline=None)
@given(document=DOCUMENTS, query=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_whatever_else_it_says_a_document_with_a_query_is_a_rule(document: dict[str, Any], query: str) -> None:
    if query.strip() and "properties" not in document and document.get("kind") != "CustomDetection":
        rule = _read(document | {"query": query})
        assert rule is not None
        assert rule.query == query
        assert timedelta(minutes=5) <= rule.query_frequency <= rule.query_period <= timedelta(days=14)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \t\r\n<~", max_size=60).map(str.encode))
def test_no_bytes_make_the_yaml_reader_raise_anything_else(data: bytes) -> None:
    try:
        document, _ = loose_yaml.parse(data)
    except YamlProblem:
        return
    _read(document)


def test_the_app_loads_folders_without_duckdb() -> None:
    script = (
        f"import sys; from detectors.app import load_rules; rules = load_rules([{str(FOLDER)!r}, 'no/such/folder']);"
        "print(sum(rule.plain for rule in rules), sorted({'duckdb', 'duckdb_kql', 'antlr4'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "8 []"
    assert len(load_rules()) == len(list(BUILT_IN.rglob("*.yaml"))) - len(list(BUILT_IN.rglob("*.tests.yaml")))


class _Asked(msgspec.Struct):
    query: str


async def test_every_query_reaches_the_workspace_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    sent: list[str] = []
    with Sandbox.start(tmp_path, clock=clock) as sandbox:
        answer = sandbox.logs.answer

        def remember(request: Any, fault: Any = None) -> Any:
            sent.append(msgspec.json.decode(request.content(), type=_Asked).query)
            return answer(request, fault)

        monkeypatch.setattr(sandbox.logs, "answer", remember)
        environment: Mapping[str, str] = sandbox.environment() | {
            "STATE_PATH": str(tmp_path / "state.db"),
            "RULES_PATH": str(FOLDER),
        }
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, environment[name])
        detector = Detector(load_settings(environment), environment=environment, clock=clock, sleep=clock.sleep)
        try:
            await detector.open()
            report = await detector.hunt()
        finally:
            await detector.close()
    # Read by another reader than the detector's; two files it does not take have their text written out.
    others = {"anchors-and-doubles.yaml", "windows-line-ends.yaml", "no-rule.yaml"}
    written = [yaml.safe_load(path.read_text()) for path in FOLDER.rglob("*.y*ml") if path.name not in others]
    queries = {
        document["query"] if "query" in document else document["properties"]["queryCondition"]["queryText"]
        for document in written
    }
    queries.add("AzureActivity | where Level == 'Error' // summarize\r\n")
    queries.add("AzureActivity\n\n| where Caller has 'é'   \n| project TimeGenerated, Caller\n")
    assert len(queries) == 8
    assert queries <= set(sent)
    waiting = {outcome.waiting_for for outcome in report.outcomes if outcome.waiting_for}
    assert waiting == {"the function _Im_Authentication"}
