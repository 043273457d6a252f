"""docs/coverage.md says what the rules are today, and no operation of Azure Automation is without a rule."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from detectors import rulebook
from detectors.model import Severity
from detectors.rule import DetectorOptions, Rule
from tests.coverage.__main__ import PAGE, current
from tests.coverage.data import Operations, Peers, full_name, peer_operations, read_operations, read_peers
from tests.coverage.page import CATCH_ALL, OurRule, our_rules, page, uncovered, unknown

OPERATIONS = read_operations()
PEERS = read_peers()
RULES = our_rules(rulebook.load(check_query=False).rules)
ACCOUNTS = "Microsoft.Automation/automationAccounts/"
JOBS = ACCOUNTS + "jobs/write"


def rule(stem: str, *operations: str, stream: bool = True, table: str = "AzureActivity") -> OurRule:
    names = ", ".join(f'"{name}"' for name in operations)
    (ours,) = our_rules(
        [
            Rule(
                id="11111111-2222-3333-4444-555555555555",
                kind="Scheduled",
                name=stem,
                description="Identifies a | and\na line.",
                severity=Severity.HIGH,
                query=f"{table} | where OperationNameValue in~ ({names})",
                query_frequency=timedelta(minutes=5),
                query_period=timedelta(minutes=25),
                tactics=("Execution",),
                techniques=("T1648",),
                tags=("AZT302", "Cloud"),
                path=f"rules/{stem}.yaml",
                detector=DetectorOptions(stream=stream),
            )
        ]
    )
    return ours


def row(text: str, start: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


def test_the_page_is_what_the_rules_say_today() -> None:
    # Not an assertion on the texts: their difference would fill screens and help nobody.
    stale = PAGE.read_text(encoding="utf-8") != current()
    assert not stale, "docs/coverage.md is stale; run `make coverage` and look at what changed"


def test_every_listed_operation_has_a_rule() -> None:
    assert uncovered(RULES, OPERATIONS.listed) == []


def test_every_operation_that_a_rule_names_is_known() -> None:
    assert unknown(RULES, OPERATIONS) == {}, "add them to docs/coverage/operations.yaml"


def test_the_list_is_the_eighty_operations_of_its_source_once_each() -> None:
    assert len(OPERATIONS.listed) == 80
    folded = [name.casefold() for name in OPERATIONS.known]
    assert len(set(folded)) == len(folded)
    for name in OPERATIONS.listed:
        assert name.startswith("Microsoft.Automation/")
        assert name.rpartition("/")[2] in {"write", "delete", "action"}


def test_every_operation_that_a_peer_names_is_known() -> None:
    known = {name.casefold() for name in OPERATIONS.known}
    assert {name for name in peer_operations(PEERS) if name.casefold() not in known} == set()


def test_every_atrm_id_of_a_rule_or_a_peer_has_a_name() -> None:
    ours = {tag for one in RULES for tag in one.rule.tags if tag.startswith("AZT")}
    theirs = {technique for peer in PEERS.peers for one in peer.rules for technique in one.techniques}
    assert (ours | theirs) - PEERS.atrm.keys() == set()


def test_public_rules_name_nine_of_the_eighty_operations() -> None:
    named = [name for name in OPERATIONS.listed if any(one.detects(name) for peer in PEERS.peers for one in peer.rules)]
    assert len(named) == 9


def test_the_links_of_the_page_lead_to_files() -> None:
    targets = {part.partition(")")[0] for part in PAGE.read_text(encoding="utf-8").split("](")[1:]}
    files = {target for target in targets if not target.startswith(("https://", "#"))}
    assert files
    assert {target for target in files if not (PAGE.parent / target).exists()} == set()


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    width = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        width = width or cells
        assert cells == width, line


def test_a_rule_covers_an_operation_in_any_case() -> None:
    assert rule("a", JOBS.upper()).covers(JOBS)
    assert not rule("a", JOBS).covers(ACCOUNTS + "jobs/stop/action")


def test_neither_the_catch_all_nor_a_rule_on_behaviour_covers_an_operation() -> None:
    assert not rule(CATCH_ALL, JOBS).covers(JOBS)
    assert not rule("first-time", JOBS, stream=False).covers(JOBS)


def test_an_operation_without_a_rule_is_shown_as_such() -> None:
    text = page([rule("a", JOBS)], OPERATIONS, PEERS)
    assert "| [a](../detectors/rules/a.yaml) (High) |" in row(text, "| `jobs/write` |")
    assert "| **no rule** |" in row(text, "| `jobs/stop/action` |")
    assert "* **1 of 80** operations (write, delete, action) of" in text
    without = row(text, "* **Operations without a rule**: ")
    assert f"`{ACCOUNTS}jobs/stop/action`" in without
    assert f"`{JOBS}`" not in without


def test_peers_stand_beside_an_operation_and_their_errors_are_marked() -> None:
    text = page([], OPERATIONS, PEERS)
    star = "[\\*](#the-public-rules)"
    assert row(text, "| `watchers/watcherActions/write` |").endswith(
        f" | - | - | AZT504{star}<br>AZT505{star} | - | - |"
    )
    assert row(text, "| `runbooks/delete` |").endswith(" | yes | yes | - | - | yes |")
    assert "## The public rules" in text


def test_rules_on_behaviour_the_inventory_and_other_tables_have_tables_of_their_own() -> None:
    rules = [
        rule(CATCH_ALL),
        rule("first-time", JOBS, stream=False),
        rule("on-worker", stream=False, table="AutomationJobs"),
        rule("new-watcher", stream=False, table="AutomationInventory_CL"),
        rule("no-row", JOBS, stream=False, table="AutomationInventory_CL"),
    ]
    assert [one.tables for one in rules[:4]] == [
        ("AzureActivity",),
        ("AzureActivity",),
        (),
        ("AutomationInventory_CL",),
    ]
    rules[2] = dataclasses.replace(rules[2], tables=("AzureDiagnostics",))
    rules[4] = dataclasses.replace(rules[4], tables=("AutomationInventory_CL", "AzureActivity"))
    text = page(rules, OPERATIONS, PEERS)
    inventory, rest = text.split("## Rules on the inventory")[1].split("## Rules on other tables")
    elsewhere, behaviour = rest.split("## Behaviour, and the catch-all")
    assert "| AzureDiagnostics | Identifies a \\| and a line. |" in elsewhere
    behaviour = behaviour.split("## ATT&CK")[0]
    assert row(inventory, "| [new-watcher]").endswith("| AutomationInventory_CL | Identifies a \\| and a line. |")
    assert "| AutomationInventory_CL, AzureActivity |" in row(inventory, "| [no-row]")
    parts = {
        "on-worker": elsewhere,
        "first-time": behaviour,
        CATCH_ALL: behaviour,
        "new-watcher": inventory,
        "no-row": inventory,
    }
    for stem, own in parts.items():
        assert [part for part in (inventory, elsewhere, behaviour) if f"[{stem}]" in part] == [own]


def test_the_matrices_list_a_rule_under_its_technique() -> None:
    text = page([rule("a", JOBS)], OPERATIONS, PEERS)
    attack = row(text, "| **Execution** | [T1648](https://attack.mitre.org/techniques/T1648/) Serverless Execution |")
    assert "[a](../detectors/rules/a.yaml)" in attack
    assert "[a](../detectors/rules/a.yaml)" in row(text, "| AZT302 ")
    assert "Cloud" not in text.split("## Azure Threat Research Matrix")[1].split("##")[0]


def test_an_unknown_operation_is_named_with_its_rule() -> None:
    assert unknown([rule("a", JOBS, ACCOUNTS + "invented/write")], OPERATIONS) == {"a": [ACCOUNTS + "invented/write"]}


def test_a_name_without_a_provider_is_one_of_an_account() -> None:
    assert full_name("jobs/write") == JOBS
    assert full_name("Microsoft.Web/sites/write") == "Microsoft.Web/sites/write"


@pytest.mark.parametrize(("file", "read"), [("operations.yaml", read_operations), ("peers.yaml", read_peers)])
def test_a_broken_file_is_named(tmp_path: Path, file: str, read: Callable[[Path], Operations | Peers]) -> None:
    (tmp_path / file).write_text("source: 1\n")
    with pytest.raises(ValueError, match=f"docs/coverage/{file}: "):
        read(tmp_path)
