"""What ``rules export`` says to a person. Pure: a result comes in, text goes out."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from detectors.commands.plain import fields, indented, table
from detectors.commands.rules_export import ExportedRule, ExportResult
from detectors.delivery.text import visible
from detectors.export.shape import Target


def export_text(result: ExportResult) -> str:
    """Each rule with the keys that its export does not hold as they were, why, the numbers and the next step.

    What every rule loses stands in the reasons alone, which are told once: beside each name it would hide what is
    particular. The file has all of it rule by rule.
    """
    lines = [visible(problem) for problem in result.problems]
    done = [rule for rule in result.rules if not rule.refused]
    lines += [visible(f"note: {note}") for note in result.notes]
    common = _lost_by_all(done)
    lines += [visible(_rule_line(rule, common)) for rule in result.rules]
    if reasons := _reasons(done):
        lines += ["", "not carried over, or not as it was", *indented(reasons)]
    missing = len(result.rules) - len(done)
    lines += ["", f"{_rules(len(done))} exported to {visible(result.folder)}" + (f", {missing} not" if missing else "")]
    rows = [("rule by rule", result.left_out)] if result.left_out else []
    file = result.main or (done[0].path if done else None)
    if file:
        name = "workspace" if result.target is Target.SENTINEL else "workspaceName"
        command = "az deployment group create --resource-group GROUP --template-file"
        rows.append(
            (
                "deploy with" if result.main else "deploy one with",
                f"{command} {shlex.quote(file)} --parameters {name}=WORKSPACE",
            )
        )
    return "\n".join([*lines, *fields(rows)]) + "\n"


def _lost_by_all(rules: Sequence[ExportedRule]) -> frozenset[str]:
    """Keys that stand in the left-out list of each of *rules*; of a single rule all are particular."""
    keys = [{each.key for each in rule.not_carried} for rule in rules]
    return frozenset(set.intersection(*keys)) if len(keys) > 1 else frozenset()


def _rule_line(rule: ExportedRule, common: frozenset[str]) -> str:
    if rule.refused:
        return f"NOT EXPORTED {rule.file}: {rule.refused}"
    keys = list(dict.fromkeys(each.key for each in rule.not_carried))
    own = ", ".join(key for key in keys if key not in common)
    if common:
        return f"{rule.path}{f': also not as it was: {own}' if own else ''}"
    return f"{rule.path}: {f'not as it was: {own}' if own else 'whole'}"


def _reasons(rules: Iterable[ExportedRule]) -> list[str]:
    counts = Counter((each.key, each.reason) for rule in rules for each in rule.not_carried)
    rows = [(key, str(number), reason) for (key, reason), number in sorted(counts.items())]
    return table(("key", "rules", "what follows"), rows) if rows else []


def _rules(number: int) -> str:
    return f"{number:,} rule" if number == 1 else f"{number:,} rules"
