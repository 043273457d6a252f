"""The ATT&CK table says what attack.mitre.org says, and judges a rule by it."""

import re

import pytest

from detectors import rulebook
from detectors.rule import Rule
from detectors.rulebook.attack import TACTICS, TECHNIQUES, find, misfits, unlisted

RULES = rulebook.load(check_query=False).rules


@pytest.mark.parametrize(
    ("technique", "name", "tactics"),
    [
        ("T1648", "Serverless Execution", {"Execution"}),
        ("T1053", "Scheduled Task/Job", {"Execution", "Persistence", "PrivilegeEscalation"}),
        (
            "T1078.004",
            "Cloud Accounts",
            {"DefenseEvasion", "Persistence", "PrivilegeEscalation", "InitialAccess"},
        ),
        ("T1546", "Event Triggered Execution", {"Persistence", "PrivilegeEscalation"}),
        ("T1562.008", "Disable or Modify Cloud Logs", {"DefenseEvasion"}),
        ("T1552", "Unsecured Credentials", {"CredentialAccess"}),
        ("T1651", "Cloud Administration Command", {"Execution"}),
        ("T1072", "Software Deployment Tools", {"Execution", "LateralMovement"}),
        ("T1556", "Modify Authentication Process", {"CredentialAccess", "DefenseEvasion", "Persistence"}),
        ("T1574", "Hijack Execution Flow", {"Persistence", "PrivilegeEscalation", "DefenseEvasion"}),
        ("T1608", "Stage Capabilities", {"ResourceDevelopment"}),
        ("T1537", "Transfer Data to Cloud Account", {"Exfiltration"}),
        ("T1531", "Account Access Removal", {"Impact"}),
    ],
)
def test_a_technique_has_the_name_and_the_tactics_of_the_matrix(technique: str, name: str, tactics: set[str]) -> None:
    assert TECHNIQUES[technique].name == name
    assert set(TECHNIQUES[technique].tactics) == tactics


def test_the_table_is_well_formed() -> None:
    assert 60 <= len(TECHNIQUES) <= 120
    for number, technique in TECHNIQUES.items():
        assert technique.id == number
        assert re.fullmatch(r"T\d{4}(\.\d{3})?", number)
        assert technique.name == technique.name.strip() != ""
        assert technique.tactics
        assert set(technique.tactics) <= set(TACTICS), number
        assert list(technique.tactics) == sorted(set(technique.tactics), key=TACTICS.index), number


def test_a_sub_technique_stands_under_tactics_of_its_parent() -> None:
    for number, technique in TECHNIQUES.items():
        parent = TECHNIQUES.get(number.partition(".")[0])
        assert parent is None or set(technique.tactics) <= set(parent.tactics), number


def test_every_technique_of_the_built_in_rules_is_in_the_table_by_its_own_id() -> None:
    named = {technique for rule in RULES for technique in rule.techniques}
    assert named - TECHNIQUES.keys() == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.path)
def test_the_techniques_of_a_built_in_rule_fit_its_tactics(rule: Rule) -> None:
    assert misfits(rule.techniques, rule.tactics) == []


def test_a_technique_without_any_of_its_tactics_is_named_with_them() -> None:
    assert misfits(["T1648", "T1053", "T1552.001"], ["Persistence"]) == [
        "'T1648' (Serverless Execution) fits none of the listed tactics; list Execution, or remove it",
        "'T1552.001' (Credentials In Files) fits none of the listed tactics; list CredentialAccess, or remove it",
    ]
    assert misfits(["T1648"], []) != []
    assert misfits([], ["Persistence"]) == []


def test_a_sub_technique_that_is_not_listed_is_judged_by_its_parent() -> None:
    assert "T1059.003" not in TECHNIQUES
    assert find("T1059.003") is TECHNIQUES["T1059"]
    assert misfits(["T1059.003"], ["Execution"]) == []
    assert misfits(["T1059.003"], ["Impact"]) != []


def test_a_technique_that_is_not_listed_is_not_judged_but_told() -> None:
    assert misfits(["T1566"], ["Impact"]) == []
    assert unlisted(["T1648", "T1566", "T1566.002", "T1059.003"]) == ["T1566", "T1566.002"]
