"""The files that say what a rule finds: ``name.tests.yaml`` beside ``name.yaml``, read and checked.

The file is a mapping::

    record: {...}            # optional: what every row below starts from
    records: {TABLE: {...}}  # optional: the same for rows of further tables
    cases:
      - name: what happens, as a sentence
        rows: [{...}, ...]   # of the table that the rule reads; Activity Log rows in export, REST or table shape
        tables: {TABLE: [{...}, ...]}   # instead of rows, when the rule reads several tables
        alone: true          # optional: the rows are whole as they stand
        evidence:            # optional: what triage would have found
          - {name: job, data: {runOn: "on-premises"}, code: [{title: ..., text: ...}]}
        expect:
          matches: 1         # required: rows of the result
          severity: Medium   # of every match, after triage
          title: "..."       # of every match; or titles: one for each match, in any order
          tactics: [...]     # the rule's, whole, in any order; techniques and tags likewise
          entities: {Account: {FullName: ...}}   # of every match
          details: {NAME: VALUE}                 # custom details of every match, those that matter here
          columns: {COLUMN: VALUE}               # result columns of every match

An Activity Log row is laid over ``record``, and that over :data:`STANDARD_RECORD`: a case says what it is about and
nothing else. A row in another shape than the export's (``eventTimestamp``, ``TimeGenerated``) stands alone.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from detectors import strict_yaml
from detectors.model import Code, Evidence, Severity
from detectors.rulebook import RuleError

STANDARD_RECORD: Final[Mapping[str, Any]] = {
    "time": "2026-03-14T02:07:31.1234567Z",
    "category": "Administrative",
    "resultType": "Success",
    "resultSignature": "Succeeded.",
    "callerIpAddress": "203.0.113.7",
    "correlationId": "6f6d1d0e-8f0a-4d0c-9a3e-2b1c5a7d9e01",
    "identity": {"claims": {"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "mallory@contoso.com"}},
    "level": "Information",
    "location": "global",
}
"""An Activity Log record as Azure exports it, without what it is about: resource, operation, properties."""

STANDARD_ROW: Final[Mapping[str, Any]] = {"TimeGenerated": "2026-03-14T02:07:31Z"}
"""What a row of any other table starts from."""

OTHER_SHAPES: Final = ("eventTimestamp", "TimeGenerated")
"""Fields that tell a record of the REST API, or a row of the table, from the export."""

_CASE_KEYS: Final = {"name", "rows", "tables", "alone", "evidence", "expect"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a case expects; ``None`` where it does not say. Texts are compared exactly, lists as sets."""

    matches: int
    severity: Severity | None = None
    titles: tuple[str, ...] | None = None
    tactics: tuple[str, ...] | None = None
    techniques: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    entities: Mapping[str, Mapping[str, str]] | None = None
    details: Mapping[str, str] | None = None
    columns: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One case. ``rows`` has the rows of each table by name; under ``None``, those of the one table the rule reads."""

    name: str
    rows: Mapping[str | None, tuple[Mapping[str, Any], ...]]
    alone: bool
    evidence: tuple[Evidence, ...]
    expect: Expectation


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseFile:
    """A whole file: the cases, and what their rows are laid over."""

    cases: tuple[Case, ...]
    record: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]


def read_cases(path: Path) -> CaseFile:
    """The cases in *path*. Raises :class:`detectors.rulebook.RuleError` with one line per problem."""
    file = f"{path.parent.name}/{path.name}"
    try:
        document = strict_yaml.read(path)
    except strict_yaml.YamlProblem as problem:
        raise RuleError([f"{file}: {problem}"]) from problem
    listed = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed or not set(document) <= {"record", "records", "cases"}:
        raise RuleError([f"{file}: cases: is missing or empty; a test file is 'cases', with 'record' and 'records'"])
    problems: list[str] = []
    record = _bases(document, "record", file, problems)
    records = {str(table): base for table, base in _bases(document, "records", file, problems).items()}
    cases = []
    for number, item in enumerate(listed, start=1):
        name = item.get("name") if isinstance(item, dict) else None
        try:
            cases.append(_case(item))
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            problems.append(
                f"{file}: case {number} ({name}): {error}; it needs name, rows (or tables) and expect.matches"
            )
    if problems:
        raise RuleError(problems)
    return CaseFile(cases=tuple(cases), record=record, records=records)


def _bases(document: Mapping[str, Any], key: str, file: str, problems: list[str]) -> dict[str, Any]:
    value = document.get(key) or {}
    shallow = isinstance(value, dict)
    if not shallow or (key == "records" and not all(isinstance(base, dict) for base in value.values())):
        problems.append(f"{file}: {key}: is {strict_yaml.kind_of(value)}; it is a mapping of fields")
        return {}
    return dict(value)


def _case(item: Mapping[str, Any]) -> Case:
    _only(item, _CASE_KEYS, "")
    expect = _expectation(item["expect"])
    if "tables" in item:
        rows: dict[str | None, tuple[Mapping[str, Any], ...]] = {
            str(table): tuple(map(dict, listed)) for table, listed in item["tables"].items()
        }
    else:
        rows = {None: tuple(map(dict, item["rows"]))}
    alone = item.get("alone", False)
    if not isinstance(alone, bool):
        raise ValueError("alone is neither true nor false")  # noqa: TRY004 - the caller turns it into a line
    return Case(
        name=str(item["name"]),
        rows=rows,
        alone=alone,
        evidence=tuple(_evidence(entry) for entry in item.get("evidence") or ()),
        expect=expect,
    )


def _expectation(expect: Mapping[str, Any]) -> Expectation:
    fields = {field.name for field in dataclasses.fields(Expectation)}
    _only(expect, fields | {"title"}, "expect.")
    matches = expect["matches"]
    if not isinstance(matches, int) or isinstance(matches, bool):
        raise ValueError("expect.matches is not a whole number")  # noqa: TRY004 - see above
    titles = _texts(expect, "titles")
    if "title" in expect:
        titles = (str(expect["title"]),) * matches
    elif titles is not None and len(titles) != matches:
        raise ValueError(f"expect.titles has {len(titles)} entries for {matches} matches")
    about_matches = {"title", "titles", "severity", "entities", "details", "columns"} & set(expect)
    if not matches and about_matches:
        raise ValueError(f"expect.{min(about_matches)} says something of matches, and none is expected")
    severity = expect.get("severity")
    return Expectation(
        matches=matches,
        severity=None if severity is None else Severity(severity),
        titles=titles,
        tactics=_texts(expect, "tactics"),
        techniques=_texts(expect, "techniques"),
        tags=_texts(expect, "tags"),
        entities=_mapping(expect, "entities"),
        details=_mapping(expect, "details"),
        columns=_mapping(expect, "columns"),
    )


def _only(mapping: Mapping[str, Any], known: set[str], prefix: str) -> None:
    unknown = sorted(set(mapping) - known)
    if unknown:
        raise ValueError(f"'{prefix}{unknown[0]}' is not a key; the keys are {', '.join(sorted(known))}")


def _texts(expect: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = expect.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"expect.{key} is not a list of texts")
    return tuple(value)


def _mapping(expect: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = expect.get(key)
    if value is not None and not (isinstance(value, dict) and value):
        raise ValueError(f"expect.{key} is not a mapping, or an empty one")
    return value


def _evidence(item: Mapping[str, Any]) -> Evidence:
    data = item.get("data") or {}
    if not isinstance(data, dict):
        raise ValueError("the data of evidence is not a mapping")  # noqa: TRY004 - see above
    return Evidence(
        name=item["name"],
        title=item.get("title", item["name"]),
        missing=item.get("missing"),
        code=_codes(item.get("code") or ()),
        data=data,
    )


def _codes(items: Sequence[Mapping[str, Any]]) -> tuple[Code, ...]:
    return tuple(
        Code(
            title=item["title"],
            text=item["text"],
            language=item.get("language", "PowerShell"),
            sha256=hashlib.sha256(item["text"].encode()).hexdigest(),
            size=len(item["text"].encode()),
        )
        for item in items
    )
