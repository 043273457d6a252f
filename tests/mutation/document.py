"""Wrong versions of a rule, each one edit away from the file: of its query, and of what Sentinel shows and groups by.

Not mutated: texts for people (name, description, triage, response, false positives), references, enrichments and the
columns that lead the alert, which decide no match; ``stream`` and ``identity``, which tests of their own hold; the
schedule.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from detectors.model import Severity
from tests.mutation.query import changed_lines, query_mutants

NOT_MUTATED: Final = ("summary", "enrich", "references", "false_positives", "triage", "response")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """``kind`` is the sort of edit, ``what`` the thing edited, ``where`` the key or the line of the query."""

    kind: str
    what: str
    where: str
    document: dict[str, Any]
    texts: tuple[str, ...] = ()
    """Texts, in lower case, that a case which notices is likely to hold."""

    @property
    def label(self) -> str:
        """What a person reads: where, sort of edit and thing edited."""
        return f"{self.where}: {self.kind}: {self.what}"


def mutants(document: dict[str, Any]) -> list[Mutant]:
    """Every mutant of the rule *document*. Raises :class:`ValueError` when its query cannot be read."""
    return [*_of_query(document), *_of_keys(document)]


def texts_not_mutated(document: dict[str, Any]) -> int:
    """How many enrichments, references and texts for people the rule has, which no mutant touches."""
    options = document.get("detector") or {}
    values = [options.get(key) for key in NOT_MUTATED]
    return 2 + sum(len(value) if isinstance(value, list) else 1 for value in values if value)


def _of_query(document: dict[str, Any]) -> Iterator[Mutant]:
    for edit in query_mutants(document["query"]):
        changed = copy.deepcopy(document)
        changed["query"] = edit.query
        old, new = changed_lines(document["query"], edit.query)
        yield Mutant(edit.kind, f"{edit.what} [{old!r} became {new!r}]", f"query line {edit.line}", changed, edit.texts)


def _of_keys(document: dict[str, Any]) -> Iterator[Mutant]:
    for key, kind in (("tags", "tag"), ("tactics", "tactic"), ("relevantTechniques", "technique")):
        for number, entry in enumerate(document.get(key) or ()):
            yield _without(document, (key, number), kind, _value(entry))
    for number, mapping in enumerate(document.get("entityMappings") or ()):
        kind = str(mapping.get("entityType"))
        yield _without(document, ("entityMappings", number), "entity", kind)
        fields = mapping.get("fieldMappings") or ()
        # The only field of an entity is the entity.
        for place, field in enumerate(fields if len(fields) > 1 else ()):
            what = f"{kind}.{field.get('identifier')}"
            yield _without(document, ("entityMappings", number, "fieldMappings", place), "entity field", what)
    for name in document.get("customDetails") or ():
        yield _without(document, ("customDetails", name), "custom detail", name)
    if (document.get("alertDetailsOverride") or {}).get("alertDisplayNameFormat"):
        yield _without(document, ("alertDetailsOverride", "alertDisplayNameFormat"), "title format", "the title")
    yield from _severities(document)


def _severities(document: dict[str, Any]) -> Iterator[Mutant]:
    steps = sorted(Severity, key=lambda severity: severity.rank)
    own = steps.index(Severity(document["severity"]))
    for other in (own - 1, own + 1):
        if 0 <= other < len(steps):
            changed = copy.deepcopy(document)
            changed["severity"] = steps[other].value
            yield Mutant("severity", f"{steps[own].value} became {steps[other].value}", "severity", changed)


def _without(document: dict[str, Any], path: tuple[str | int, ...], kind: str, what: str) -> Mutant:
    changed = copy.deepcopy(document)
    holder: Any = changed
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return Mutant(kind, f"{what} left out", ".".join(step for step in path if isinstance(step, str)), changed)


def _value(entry: Any) -> str:
    return ", ".join(map(str, entry.values())) if isinstance(entry, dict) else str(entry)
