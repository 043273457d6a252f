"""docs/coverage.md as text: what our rules find, operation by operation, next to what others find."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from detectors.kql import engine as kql
from detectors.kql.text import tokens_of
from detectors.rule import Rule
from detectors.rulebook import attack
from detectors.rulebook.operations import operations_of
from tests.coverage.data import Group, Operations, Peer, PeerRule, Peers

CATCH_ALL: Final = "automation-operation-unnamed"
_ACTIVITY_LOG: Final = "AzureActivity"
_INVENTORY: Final = "AutomationInventory_CL"
_NOBODY: Final = "-"
_STAR: Final = "[\\*](#the-public-rules)"
_HEADS: Final = {"AzDetectSuite / ATRM": "ATRM"}


@dataclasses.dataclass(frozen=True)
class OurRule:
    """A rule with what its query says: the operations it names, spelled as there, and the tables it reads."""

    rule: Rule
    operations: tuple[str, ...]
    tables: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The name of its file, without the ending."""
        return Path(self.rule.path).stem

    @property
    def is_per_operation(self) -> bool:
        """Whether it reports each success of the operations it names.

        The stream is the sign: a rule that compares rows with other rows cannot run on it. The catch-all names no
        operation, on purpose.
        """
        return self.rule.detector.stream and self.stem != CATCH_ALL

    def covers(self, operation: str) -> bool:
        """Whether each success of *operation* is reported."""
        return self.is_per_operation and operation.casefold() in {name.casefold() for name in self.operations}


def our_rules(rules: Iterable[Rule]) -> tuple[OurRule, ...]:
    """*rules* in the order of their files."""
    tables = kql.load_tables()
    found = []
    for rule in rules:
        names = {token.group() for token in tokens_of(rule.query) if token.lastgroup == "name"}
        found.append(OurRule(rule, operations_of(rule.query), tuple(table for table in tables if table in names)))
    return tuple(sorted(found, key=lambda ours: ours.stem))


def page(rules: Sequence[OurRule], operations: Operations, peers: Peers) -> str:
    """The whole page, Markdown for GitHub."""
    lines = [
        "<!-- Made by `make coverage` from detectors/rules and docs/coverage/*.yaml. Do not edit. -->",
        "",
        "# Coverage",
        "",
        *_introduction(rules, operations, peers),
        *_operation_tables(rules, operations, peers),
        *_other_rules(rules),
        *_attack_matrix(rules),
        *_atrm_matrix(rules, peers),
        *_public_rules(peers),
        *_not_covered(rules, operations),
    ]
    return "\n".join(lines) + "\n"


def _introduction(rules: Sequence[OurRule], operations: Operations, peers: Peers) -> Iterator[str]:
    listed = operations.listed
    covered = [name for name in listed if any(ours.covers(name) for ours in rules)]
    counts = [
        f"{_head(peer)} name {sum(any(rule.detects(name) for rule in peer.rules) for name in listed)}"
        for peer in peers.peers
    ]
    techniques = {technique for ours in rules for technique in ours.rule.techniques}
    source = operations.source
    yield (
        "Each table has one row per operation of Azure Resource Manager. **Our rules** links the rules that report "
        "every success of that operation, with their severity before triage; a rule on several operations appears in "
        "several rows. The catch-all, the rules on behaviour and those on the inventory do not count here; they have "
        "tables of their own below. The columns to the right show whose public rule names the operation in its query: "
        "`yes`, or the id of the rule under ATRM, which is AzDetectSuite and the Azure Threat Research Matrix. "
        f"{_STAR} marks a rule with a known error; `{_NOBODY}` means that there is none."
    )
    yield ""
    share = f"**{len(covered)} of {len(listed)}** operations (write, delete, action)"
    yield f"* {share} of `Microsoft.Automation` have a rule."
    yield f"* Of the same list, rules of {', '.join(counts)}; errors included."
    yield f"* **{len(rules)} rules**, {len(techniques)} ATT&CK techniques and sub-techniques."
    yield ""
    yield (
        f"The list is Microsoft's own, from `{source.repository}`, `{source.path}`, {source.date.isoformat()}, commit "
        f"{source.commit}. Operations below in *italics* are not in it: reads, names that other sources give, and "
        "those of other providers."
    )


def _operation_tables(rules: Sequence[OurRule], operations: Operations, peers: Peers) -> Iterator[str]:
    yield from ("", "## Operations")
    for group in operations.groups:
        yield from ("", f"### {group.heading}", "", f"Names begin with `{group.prefix}`.", "")
        yield from _table(
            ("Operation", "What it does", "Our rules", *(_head(peer) for peer in peers.peers)),
            (_operation_row(name, group, rules, peers) for name in (*group.listed, *group.unlisted)),
        )


def _operation_row(name: str, group: Group, rules: Sequence[OurRule], peers: Peers) -> tuple[str, ...]:
    operation = group.prefix + name
    ours = [_link(one) for one in rules if one.covers(operation)]
    shown = f"`{name}`" if name in group.listed else f"*`{name}`*"
    does = group.listed.get(name) or group.unlisted[name]
    return (shown, does, "<br>".join(ours) or "**no rule**", *(_peer_cell(peer, operation) for peer in peers.peers))


def _peer_cell(peer: Peer, operation: str) -> str:
    found = [rule for rule in peer.rules if rule.detects(operation)]
    # Ids of ATRM say more than a yes, and those of the others are too long for a column.
    cells = [(rule.id if rule.id.startswith("AZT") else "yes") + (_STAR if rule.error else "") for rule in found]
    return "<br>".join(dict.fromkeys(cells)) or _NOBODY


def _other_rules(rules: Sequence[OurRule]) -> Iterator[str]:
    others = [ours for ours in rules if not ours.is_per_operation]
    inventory = [ours for ours in others if _INVENTORY in ours.tables]
    behaviour = [ours for ours in others if ours.tables == (_ACTIVITY_LOG,)]
    elsewhere = [ours for ours in others if ours not in (*inventory, *behaviour)]
    yield from ("", "## Rules on the inventory", "")
    yield (
        "They find what changed in an account, whether or not a log tells of it: the detector reads each account "
        f"through the Automation API and compares. A rule that reads `{_INVENTORY}` alone runs in the detector itself "
        "at each visit of an account, and needs no table in the workspace. One that reads another table as well runs "
        "in the workspace, on the rows that the detector sends there."
    )
    yield ""
    yield from _table(
        ("Rule", "Reads", "What it finds"),
        ((_link(ours), ", ".join(ours.tables), _cell(ours.rule.description)) for ours in inventory),
    )
    yield from ("", "## Rules on other tables", "")
    yield "They find what no row of the Activity Log announces. Each needs its table in the workspace."
    yield ""
    yield from _table(
        ("Rule", "Reads", "What it finds"),
        ((_link(ours), ", ".join(ours.tables), _cell(ours.rule.description)) for ours in elsewhere),
    )
    yield from ("", "## Behaviour, and the catch-all", "")
    yield "They compare rows of the Activity Log with other rows, or with what the rules above name."
    yield ""
    yield from _table(("Rule", "What it finds"), ((_link(ours), _cell(ours.rule.description)) for ours in behaviour))


def _attack_matrix(rules: Sequence[OurRule]) -> Iterator[str]:
    yield from ("", "## ATT&CK", "")
    yield f"MITRE ATT&CK Enterprise, version {attack.VERSION}. A technique stands under the tactics that a rule names."
    yield ""
    rows = []
    for tactic in attack.TACTICS:
        under: dict[str, list[OurRule]] = {}
        for ours in rules:
            for technique in ours.rule.techniques:
                found = attack.find(technique)
                if found is not None and tactic in found.tactics and tactic in ours.rule.tactics:
                    under.setdefault(technique, []).append(ours)
        for number, technique in enumerate(sorted(under)):
            found = attack.find(technique)
            address = f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"
            shown = f"[{technique}]({address}) {found.name if found else ''}"
            rows.append(("" if number else f"**{tactic}**", shown, "<br>".join(map(_link, under[technique]))))
    yield from _table(("Tactic", "Technique", "Our rules"), rows)
    missing = [tactic for tactic in attack.TACTICS if not any(tactic in ours.rule.tactics for ours in rules)]
    if missing:
        yield from ("", f"No rule has the tactic {', '.join(missing)}.")


def _atrm_matrix(rules: Sequence[OurRule], peers: Peers) -> Iterator[str]:
    yield from ("", "## Azure Threat Research Matrix", "")
    yield "Techniques of ATRM that Automation or a Function App can serve, and who has a rule with that id."
    yield ""
    rows = []
    for technique, name in peers.atrm.items():
        ours = [_link(one) for one in rules if technique in one.rule.tags]
        cells = [_atrm_cell(peer, technique) for peer in peers.peers]
        if ours or any(cell != _NOBODY for cell in cells):
            rows.append((f"{technique} {name}", "<br>".join(ours) or "**no rule**", *cells))
    yield from _table(("Technique", "Our rules", *(_head(peer) for peer in peers.peers)), rows)


def _atrm_cell(peer: Peer, technique: str) -> str:
    found = [rule for rule in peer.rules if technique in rule.techniques]
    return "<br>".join(dict.fromkeys("yes" + (_STAR if rule.error else "") for rule in found)) or _NOBODY


def _public_rules(peers: Peers) -> Iterator[str]:
    yield from ("", "## The public rules", "")
    yield "What the columns above stand for: the rules found, their state when read, and errors that are known of them."
    for peer in peers.peers:
        yield from (
            "",
            f"### {peer.name}",
            "",
            f"Read: {peer.source}." + (f" {peer.errors}" if peer.errors else ""),
            "",
        )
        yield from _table(("Rule", "Finds", "Known error"), (_peer_row(rule) for rule in peer.rules))


def _peer_row(rule: PeerRule) -> tuple[str, ...]:
    finds = ", ".join(f"`{name}`" for name in rule.operations) or rule.logs or "no query"
    if rule.named:
        finds += "; its text names " + ", ".join(f"`{name}`" for name in rule.named)
    return (f"{rule.name}<br>{rule.id}", finds, rule.error)


def _not_covered(rules: Sequence[OurRule], operations: Operations) -> Iterator[str]:
    missing = [name for name in operations.known if not any(ours.covers(name) for ours in rules)]
    yield from ("", "## What is not covered, and why", "")
    if missing:
        yield f"* **Operations without a rule**: {', '.join(f'`{name}`' for name in missing)}."
    else:
        yield "* **Operations without a rule**: none of those above."
    yield (
        "* **Reads.** Azure does not write read operations to the Activity Log. Where a rule names one, it is for the "
        "case that this changes. Who lists or reads runbooks, jobs or variables leaves no row there."
    )
    yield (
        "* **Whether each operation is logged.** That write, delete and action operations reach the Activity Log is "
        "Microsoft's general rule; it was not confirmed for each of them. ATRM says of watcher tasks that nothing is "
        "logged, and gives a query for them. The names that runtime environments, PowerShell 7.2 modules and source "
        "control synchronisations are logged with are not documented. The inventory sees the objects themselves, but "
        "no synchronisation."
    )
    yield (
        "* **Jobs that nobody starts through Azure Resource Manager.** A webhook, a schedule or a watcher starts a job "
        "without a row in the Activity Log, as far as is known. The inventory finds them in the list of jobs, and "
        "infers which trigger it was. The rules on `AzureDiagnostics` find them too, and need the account's diagnostic "
        "settings with the categories JobLogs, JobStreams and AuditEvent."
    )
    yield (
        "* **What a script does.** The rules see that something ran. Reading its text and its output is the work of "
        "triage, which raises the severity."
    )
    yield (
        "* **What comes and goes between two visits of an account.** The inventory sees the state at each visit. A "
        "trigger that is made, used and removed within minutes leaves a job, and the rows of the logs."
    )
    yield (
        "* **Function Apps beside Azure Resource Manager.** Calls of a function's own address, and deployments through "
        "the app's own publishing site, are no operations of Azure Resource Manager."
    )


def _head(peer: Peer) -> str:
    return _HEADS.get(peer.name, peer.name)


def _link(ours: OurRule) -> str:
    return f"[{ours.stem}](../detectors/rules/{ours.stem}.yaml) ({ours.rule.severity})"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    listed = list(rows)
    if not listed:
        return ["None."]
    return [_line(heads), _line(["---"] * len(heads)), *map(_line, listed)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def uncovered(rules: Sequence[OurRule], names: Iterable[str]) -> list[str]:
    """Those of the operations *names* that no rule reports each success of."""
    return [name for name in names if not any(ours.covers(name) for ours in rules)]


def unknown(rules: Sequence[OurRule], operations: Operations) -> Mapping[str, list[str]]:
    """By rule, the operations it names that ``operations.yaml`` does not know."""
    known = {name.casefold() for name in operations.known}
    found = {ours.stem: [name for name in ours.operations if name.casefold() not in known] for ours in rules}
    return {stem: names for stem, names in found.items() if names}
