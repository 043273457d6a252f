"""Every rule is valid for the real Kusto compiler, against the full schema of the tables it reads."""

from collections.abc import Mapping

import pytest

from detectors import rulebook
from detectors.kql.engine import Engine, load_tables
from detectors.rule import Rule
from tests.kusto.compiler import Checked, check

RULES = rulebook.load(check_query=False).rules

BROKEN = {
    "an unknown column": ("AzureActivity\n| where Calller == 'x'", "line 2: The name 'Calller' does not refer"),
    "a column in another case": ("AzureActivity | where caller == 'x'", "The name 'caller' does not refer"),
    "an unknown operator": ("AzureActivity | wherever Caller == 'x'", "line 1: "),
    "an unknown table": ("AzureActivities | take 1", "The name 'AzureActivities' does not refer"),
    "a wrong type": ("AzureActivity | where TimeGenerated > 'yesterday'", "line 1: "),
}
SYSTEM = "AzureActivity\n| where ingestion_time() > ago(5m)\n| project TimeGenerated, Entity = Properties_d.entity"


@pytest.fixture(scope="session")
def compiled() -> dict[str, Checked]:
    """All queries of this file, compiled in one go: the compiler takes seconds to start."""
    queries = {rule.id: rule.query for rule in RULES}
    queries |= {name: query for name, (query, _) in BROKEN.items()}
    return check({**queries, "system": SYSTEM}, load_tables())


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def test_there_are_rules_to_check() -> None:
    assert len(RULES) >= 4


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_every_rule_compiles_without_an_error(rule: Rule, compiled: Mapping[str, Checked]) -> None:
    assert compiled[rule.id].errors == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_every_column_a_rule_names_is_in_the_result_that_the_compiler_sees(
    rule: Rule, compiled: Mapping[str, Checked]
) -> None:
    names = [name for name, _ in compiled[rule.id].columns]
    assert set(rule.columns) <= set(names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_compiler_and_local_engine_agree_on_names_order_and_types_of_the_result(
    rule: Rule, compiled: Mapping[str, Checked], engine: Engine
) -> None:
    assert engine.translate(rule.query).columns == compiled[rule.id].columns


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_query_is_reported_with_its_line(name: str, compiled: Mapping[str, Checked]) -> None:
    _, essential = BROKEN[name]
    assert any(essential in error for error in compiled[name].errors), compiled[name].errors


def test_the_ingestion_time_pattern_compiles_in_both_engines_to_the_same_columns(
    compiled: Mapping[str, Checked], engine: Engine
) -> None:
    assert compiled["system"].errors == ()
    assert engine.translate(SYSTEM).columns == compiled["system"].columns
    assert compiled["system"].columns == (("TimeGenerated", "datetime"), ("Entity", "dynamic"))
