"""Every alert goes to the default destinations and to every route that matches, to each once; mistakes are told."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.delivery.routing import (
    Configuration,
    DestinationsError,
    Route,
    Router,
    configuration_of,
    load_destinations,
    plain_configuration,
    read_destinations,
)
from detectors.model import AlertKind, Severity
from detectors.settings import load_settings
from tests.factories import SUBSCRIPTION, build_alert, build_health

EXAMPLE = Path(__file__).parents[2] / "docs" / "destinations.example.yaml"
SECRET = "whsec_" + "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
KEY = "0123456789abcdef0123456789ABCDEF"
ENVIRONMENT = {
    "TEAMS_ONCALL_URL": "https://flow.example/workflows/1?sig=sesame",
    "SIEM_SECRET": SECRET,
    "PAGERDUTY_KEY": KEY,
}
FILE = """
destinations:
  teams-oncall: {kind: teams, url: ${TEAMS_ONCALL_URL}}
  table: {kind: log-table, endpoint: https://ingest.example, rule_id: dcr-1}
  siem: {kind: webhook, url: "https://siem.example/${PATH_PART}", secret: "${SIEM_SECRET}", format: ocsf}
  oncall: {kind: pagerduty, routing_key: ${PAGERDUTY_KEY}}
routes:
  - {severity: High, to: [oncall, teams-oncall]}
  - {tags: [AZT504, other], subscriptions: [11111111-2222-3333-4444-555555555555], to: [siem]}
  - {kinds: [health], to: [teams-oncall, table]}
default: [table]
"""


def loaded(text: str = FILE, **environment: str) -> Configuration:
    return load_destinations(text, ENVIRONMENT | {"PATH_PART": "hook"} | environment)


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(DestinationsError) as caught:
        loaded(text, **environment)
    message = str(caught.value)
    assert all(problem in message for problem in caught.value.problems)
    assert "sesame" not in message
    assert SECRET not in message
    assert KEY not in message
    return caught.value.problems


def refusals(text: str) -> list[str]:
    try:
        loaded(text)
    except DestinationsError as error:
        return error.problems
    return []


def edited(old: str, new: str) -> str:
    assert FILE.count(old) == 1
    return FILE.replace(old, new)


def test_a_file_names_several_destinations_of_any_kind_with_their_options() -> None:
    specs = {spec.name: spec for spec in loaded().destinations}
    assert [(spec.name, spec.kind) for spec in specs.values()] == [
        ("teams-oncall", "teams"),
        ("table", "log-table"),
        ("siem", "webhook"),
        ("oncall", "pagerduty"),
    ]
    assert specs["table"].options["stream"] == "Custom-AutomationDetections_CL"
    assert specs["siem"].options == {"url": "https://siem.example/hook", "secret": SECRET, "format": "ocsf"}
    assert specs["oncall"].options["url"] == "https://events.pagerduty.com/v2/enqueue"


def test_variables_work_quoted_or_not_in_both_styles_of_yaml_and_their_values_are_never_read_as_yaml() -> None:
    strange = "https://e.example/#x: {y}, [z]"
    text = "destinations: {a: {kind: teams, url: ${U}}, b: {kind: teams, url: '${U}'}}\ndefault: [a, b]\n"
    block = "destinations:\n  a:\n    kind: teams\n    url: ${U}\ndefault: [a]\n"
    for each in (text, block):
        found = problems(each, U=strange)
        assert found[0] == (
            "destinations.yaml: destinations.a.url: it is not a URL. Copy it again, whole, beginning with https://"
        )
        specs = loaded(each, U="https://e.example/?sig=a%20b,{}&c").destinations
        assert {spec.options["url"] for spec in specs} == {"https://e.example/?sig=a%20b,{}&c"}


def test_the_published_example_loads_and_routes() -> None:
    router = Router(read_destinations(EXAMPLE, ENVIRONMENT))
    assert router.names(build_alert()) == ("table", "oncall", "teams-oncall", "soc", "siem")
    assert router.names(build_alert(severity=Severity.LOW, tags=())) == ("table",)
    assert router.names(build_health(severity=Severity.MEDIUM, tags=())) == ("table", "soc", "teams-oncall")


def test_a_route_takes_alerts_that_meet_all_its_conditions_and_any_value_of_each() -> None:
    router = Router(loaded())
    assert router.names(build_alert()) == ("table", "oncall", "teams-oncall", "siem")
    assert router.names(build_alert(tags=("azt504",), severity=Severity.LOW)) == ("table", "siem")
    assert router.names(build_alert(subscription_id="other", severity=Severity.LOW)) == ("table",)
    assert router.names(build_alert(tags=("OTHER",), severity=Severity.LOW)) == ("table", "siem")
    assert router.names(build_health(severity=Severity.LOW, subscription_id="")) == ("table", "teams-oncall")


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_TARGETS = st.lists(_NAMES, min_size=1, max_size=4).map(tuple)
_ROUTES = st.builds(
    Route,
    to=_TARGETS,
    severity=st.none() | st.sampled_from(Severity),
    tags=st.frozensets(st.sampled_from(["azt504", "t1053"])),
    subscriptions=st.frozensets(st.sampled_from([SUBSCRIPTION, "other"])),
    kinds=st.frozensets(st.sampled_from(AlertKind)),
)
_ALERTS = st.builds(
    build_alert,
    severity=st.sampled_from(Severity),
    tags=st.lists(st.sampled_from(["AZT504", "T1053", "azt999"])).map(tuple),
    subscription_id=st.sampled_from([SUBSCRIPTION, SUBSCRIPTION.upper(), "OTHER", ""]),
    kind=st.sampled_from(AlertKind),
)


@given(_TARGETS, st.lists(_ROUTES, max_size=5), _ALERTS)
def test_default_comes_first_and_then_every_matching_route_each_name_once(
    default: tuple[str, ...], routes: list[Route], alert: Any
) -> None:
    names = Router(Configuration((), tuple(routes), default)).names(alert)
    assert len(set(names)) == len(names)
    assert names[: len(dict.fromkeys(default))] == tuple(dict.fromkeys(default))
    assert set(names) == {*default, *(name for route in routes if route.matches(alert) for name in route.to)}


@given(_ROUTES, _ALERTS)
def test_a_further_condition_never_adds_alerts_and_a_worse_severity_never_loses_them(route: Route, alert: Any) -> None:
    free = dataclasses.replace(route, severity=None, tags=frozenset(), subscriptions=frozenset(), kinds=frozenset())
    assert free.matches(alert)
    for condition in ("severity", "tags", "subscriptions", "kinds"):
        wider = dataclasses.replace(route, **{condition: getattr(free, condition)})
        assert wider.matches(alert) or not route.matches(alert)
    if route.matches(alert):
        worse = build_alert(
            severity=alert.severity.raised(), tags=alert.tags, subscription_id=alert.subscription_id, kind=alert.kind
        )
        assert route.matches(worse)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "kind: teams",
            "kind: slack",
            "teams-oncall.kind: must be one of teams, log-table, webhook, sentinel, pagerduty",
        ),
        ("kind: teams, ", "", "destinations.teams-oncall.kind: must be one of"),
        ("format: ocsf", "fromat: ocsf", "destinations.siem.fromat: is unknown here; the keys are kind, url, secret"),
        ("format: ocsf", "format: xml", "destinations.siem.format: write one of native, cloudevents, ocsf"),
        ("format: ocsf", "format: 1", "destinations.siem.format: is a number, not text; put it in quotes"),
        ("rule_id: dcr-1", "rule_id: 1", "destinations.table.rule_id: is a number, not text"),
        (", rule_id: dcr-1", "", "destinations.table.rule_id: is missing"),
        ("rule_id: dcr-1", "rule_id: mine", "destinations.table.rule_id: write the rule's immutable id"),
        ("https://ingest.example", "http://ingest.example", "destinations.table.endpoint: it must begin with https://"),
        ("${TEAMS_ONCALL_URL}", "https://x.example/?sig=sesame", "url: is a secret in a file; write ${NAME}"),
        ("${TEAMS_ONCALL_URL}", "${TEAMS_URL}", "url: needs the app setting TEAMS_URL, which is not set"),
        ("${PATH_PART}", "${PATH-PART}", "destinations.siem.url: has a ${ that begins no ${NAME}"),
        ("severity: High", "severity: Critical", "routes[1].severity: must be one of Informational, Low, Medium, High"),
        ("severity: High, ", "", "routes[1]: has no condition"),
        ("severity: High", "minimum: High", "routes[1].minimum: is unknown here"),
        ("to: [oncall, teams-oncall]", "to: [on-call, teams-oncall, oncall]", "routes[1].to: on-call is not a dest"),
        (", to: [siem]", "", "routes[2].to: is missing; name at least one destination"),
        ("to: [siem]", "to: siem", "routes[2].to: is text; it is a list of texts"),
        ("[AZT504, other]", "[]", "routes[2].tags: is empty; it is a list of texts"),
        ("[AZT504, other]", "[504]", "routes[2].tags: holds something that is empty or not text"),
        ("11111111-2222-3333-4444-555555555555", "production", "routes[2].subscriptions: production is not a GUID"),
        ("kinds: [health]", "kinds: [heartbeat]", "routes[3].kinds: takes detection, summary, health only"),
        ("default: [table]", "", "default: is missing; name at least one destination"),
        ("default: [table]", "default: []", "default: is empty; it is a list of texts"),
        (
            "default: [table]",
            "default: [tabel, table]",
            "default: tabel is not a destination of this file (known: teams",
        ),
        ("default: [table]", "defaults: [table]\ndefault: [table]", "defaults: is unknown here; the keys are"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_cause_and_fix(old: str, new: str, said: str) -> None:
    found = [problem for problem in problems(edited(old, new)) if "so no alert would go there" not in problem]
    assert len(found) == 1
    assert found[0].startswith("destinations.yaml: ")
    assert said in found[0]


def test_every_problem_is_told_at_once() -> None:
    text = edited("kind: teams", "kind: slack").replace("severity: High", "severity: high").replace("[table]", "[tbl]")
    assert len(problems(text)) == 3


def test_a_destination_that_no_alert_reaches_is_a_mistake() -> None:
    assert problems(edited("to: [siem]", "to: [table]")) == [
        "destinations.yaml: destinations.siem: is in no route and not in default, so no alert would go there"
    ]


@pytest.mark.parametrize("name", ["SOC", "a b", "x" * 41, "ünit", "a_b", "a/b"])
def test_a_name_is_made_of_a_few_safe_characters(name: str) -> None:
    found = problems(FILE.replace("siem", f'"{name}"').replace(f'"https://"{name}".example', '"https://siem.example'))
    assert found == [f"destinations.yaml: destinations.{name}: is no name; write 1 to 40 of a-z, 0-9 and -"]


def test_a_name_given_twice_is_refused_with_its_line() -> None:
    text = edited("  oncall: {", "  siem: {")
    assert problems(text) == ["destinations.yaml: line 6: the key 'siem' appears twice; keep one"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "destinations.yaml: is nothing; it is a mapping of destinations, routes, default"),
        ("- a", "destinations.yaml: is a list; it is a mapping of destinations, routes, default"),
        ("destinations: {}\ndefault: [a]", "destinations: must map at least one name to a destination"),
        ("destinations: [a]\ndefault: [a]", "destinations: must map at least one name to a destination"),
        ("destinations: {a: teams}\ndefault: [a]", "destinations.a: is text; it is a mapping with the key kind"),
        (f"{FILE}\n  broken: [", "line 13"),
        ("a: &x [1]\nb: *x", "the alias *x is not allowed"),
        ("a: !!python/object/apply:os.system [id]", "is not allowed; write a plain value"),
        ("a: \ue000TEAMS_ONCALL_URL\ue001", "holds the character U+E000 or U+E001; remove it"),
        (FILE.replace("routes:\n", "routes: all\nrest:\n"), "routes: is text; it is a list of routes"),
        (FILE.replace("  - {kinds: [health], to: [teams-oncall, table]}", "  - all"), "routes[3]: is text"),
    ],
)
def test_what_is_no_destinations_file_is_refused_in_words(text: str, said: str) -> None:
    assert said in "\n".join(problems(text))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SIEM_SECRET", "hunter2", "destinations.siem.secret: a webhook secret must begin with whsec_"),
        ("PAGERDUTY_KEY", "hunter2", "destinations.oncall.routing_key: the routing key must be 32 letters and digits"),
        ("TEAMS_ONCALL_URL", "hunter2", "destinations.teams-oncall.url: it is not a URL"),
        ("TEAMS_ONCALL_URL", "  ", "needs the app setting TEAMS_ONCALL_URL, which is not set"),
        ("SIEM_SECRET", "@Microsoft.KeyVault(VaultName=hunter2;SecretName=s)", "that Azure could not resolve"),
    ],
)
def test_a_wrong_secret_is_told_without_being_shown(name: str, value: str, said: str) -> None:
    (found,) = problems(FILE, **{name: value})
    assert said in found
    assert "hunter2" not in found


def test_secrets_are_not_part_of_what_the_configuration_prints() -> None:
    printed = repr(loaded())
    assert not [value for value in ENVIRONMENT.values() if value in printed]


def test_without_a_file_every_plain_setting_makes_a_destination_that_gets_every_alert() -> None:
    workspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
    settings = load_settings(
        {
            "WORKSPACE_IDS": SUBSCRIPTION,
            "TEAMS_WEBHOOK_URL": ENVIRONMENT["TEAMS_ONCALL_URL"],
            "LOGS_INGESTION_ENDPOINT": "https://ingest.example",
            "LOGS_INGESTION_RULE_ID": "dcr-1",
            "WEBHOOK_URL": "https://siem.example/hook",
            "WEBHOOK_SECRET": f"{SECRET} {SECRET}",
            "WEBHOOK_FORMAT": "CloudEvents",
            "PAGERDUTY_ROUTING_KEY": KEY,
            "SENTINEL_WORKSPACE_RESOURCE_ID": workspace,
        }
    )
    configuration = configuration_of(settings, {})
    names = ("teams", "log-table", "webhook", "pagerduty", "sentinel")
    assert configuration.default == Router(configuration).names(build_health()) == names
    options = {spec.name: spec.options for spec in configuration.destinations}
    assert options["webhook"]["format"] == "cloudevents"
    assert options["webhook"]["secret"] == f"{SECRET} {SECRET}"
    assert options["log-table"]["stream"] == "Custom-AutomationDetections_CL"
    assert options["sentinel"] == {"workspace": workspace}


def test_what_is_not_set_is_no_destination() -> None:
    settings = load_settings({"WORKSPACE_IDS": SUBSCRIPTION, "PAGERDUTY_ROUTING_KEY": KEY})
    assert plain_configuration(settings).default == ("pagerduty",)


def test_the_file_that_destinations_path_names_replaces_the_plain_settings(tmp_path: Path) -> None:
    path = tmp_path / "who-gets-what.yaml"
    path.write_text(FILE)
    settings = load_settings(
        {
            "WORKSPACE_IDS": SUBSCRIPTION,
            "DESTINATIONS_PATH": str(path),
            "TEAMS_WEBHOOK_URL": ENVIRONMENT["TEAMS_ONCALL_URL"],
        }
    )
    configuration = configuration_of(settings, ENVIRONMENT | {"PATH_PART": "hook"})
    assert configuration == loaded()
    with pytest.raises(DestinationsError, match=r"who-gets-what\.yaml: destinations\.siem\.url: needs the app setting"):
        configuration_of(settings, ENVIRONMENT)


def test_a_relative_path_is_one_within_the_deployed_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_destinations("docs/destinations.example.yaml", ENVIRONMENT).default == ("table",)


def test_a_file_that_cannot_be_read_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DestinationsError, match=r"nowhere\.yaml: cannot be read: .* Check DESTINATIONS_PATH"):
        read_destinations(tmp_path / "nowhere.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(DestinationsError, match="is not UTF-8"):
        read_destinations(tmp_path / "latin.yaml", {})


@given(st.text(max_size=60), st.text(st.sampled_from("{}[]:-,$'\"\n ab"), max_size=40))
def test_whatever_is_in_the_file_it_loads_or_is_refused_in_words(text: str, tail: str) -> None:
    for each in (text, FILE + tail, f"destinations: {{a: {{kind: teams, url: {tail}}}}}\ndefault: [a]\n"):
        assert all(problem.startswith("destinations.yaml: ") for problem in refusals(each))
