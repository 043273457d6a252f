"""Which lines of a runbook to read first, and why.

Indicators, not verdicts: single cmdlets do not tell a good runbook from a bad one. Comments do not count, for
usage lines and help examples would. A value that travels through a variable is followed for one case only,
download and evaluation; everything else must stand in one statement.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from detectors.model import FocusLine
from detectors.triage.indicators import DOWNLOAD_AND_EXECUTE, EVALUATE, FETCH, INDICATORS, Indicator

MAX_LINES = 12
# One noisy class must not use up the lines that the others need.
MAX_LINES_PER_INDICATOR = 3
_MAX_JOINED_LINES = 30

# PowerShell takes typographic quotes for quotes; without them here, “ # ” would hide the rest of its line.
_DOUBLE, _SINGLE = '"\u201c\u201d\u201e', "'\u2018\u2019\u201a\u201b"
_POWERSHELL_TOKEN = re.compile(
    r"(?P<comment><\#[\s\S]*?(?:\#>|\Z)|(?<![^\s;(){}|,&=\[\]])\#[^\n]*)"
    rf"|@[{_DOUBLE}][ \t]*\n[\s\S]*?(?:\n[{_DOUBLE}]@|\Z)|@[{_SINGLE}][ \t]*\n[\s\S]*?(?:\n[{_SINGLE}]@|\Z)"
    rf"|[{_DOUBLE}](?:[^`{_DOUBLE}]++|`[\s\S]|[{_DOUBLE}]{{2}})*+[{_DOUBLE}]?|[{_SINGLE}][^{_SINGLE}]*+[{_SINGLE}]?|`."
)
_PYTHON_TOKEN = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r'|"""[\s\S]*?(?:"""|\Z)|\'\'\'[\s\S]*?(?:\'\'\'|\Z)'
    r'|"(?:[^"\\\n]++|\\[\s\S])*+"?|\'(?:[^\'\\\n]++|\\[\s\S])*+\'?'
)
# Inside a word a backtick means nothing to PowerShell: i`e`x is iex.
_BACKTICK_IN_WORD = re.compile(r"(?<=\w)`(?=\w)")
_NOT_NEWLINE = re.compile(r"[^\n]")

_FETCH = re.compile(FETCH, re.IGNORECASE)
_EVALUATE = re.compile(EVALUATE, re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(?<![\w.])(?P<name>\w{1,64})\s{0,8}=(?!=)")
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One indicator on one line; ``line`` counts from 1."""

    indicator: str
    line: int
    reason: str
    technique: str
    rare: bool


def without_comments(text: str, language: str) -> str:
    """*text* with comments blanked out, every line and column where it was.

    A quote that is never closed keeps the rest as it is: what is not surely a comment is judged.
    """
    token = {"PowerShell": _POWERSHELL_TOKEN, "Python": _PYTHON_TOKEN}.get(language)
    if token is None:
        return text
    return token.sub(lambda m: _blank(m[0]) if m["comment"] else m[0], text)


def findings(text: str, language: str) -> tuple[Finding, ...]:
    """Every indicator in *text*, in the order of :data:`INDICATORS`, then by line; each line once per indicator.

    Empty for a language other than PowerShell and Python.
    """
    rows = [row for row in INDICATORS if language in row.languages]
    if not rows:
        return ()
    code = without_comments(text, language)
    if language == "PowerShell":
        code = _BACKTICK_IN_WORD.sub("", code)
    lowered = code.lower()
    # Most rows go here, in one pass each; the walk over statements is for what is left.
    rows = [
        row
        for row in rows
        if any(needle in lowered for needle in row.needles) and all(p.search(code) for p in row.patterns)
    ]
    if not rows:
        return ()
    statements = list(_statements(code.split("\n"), language))
    found: dict[tuple[str, int], tuple[int, Finding]] = {}
    for number, statement in statements:
        lowered = statement.lower()
        for rank, row in enumerate(rows):
            if any(needle in lowered for needle in row.needles):
                line = _line_of(row, statement, number)
                if line is not None:
                    found.setdefault((row.name, line), (rank, _finding(row, line)))
    if DOWNLOAD_AND_EXECUTE in rows:
        rank = rows.index(DOWNLOAD_AND_EXECUTE)
        for line in _evaluated_downloads(statements):
            found.setdefault((DOWNLOAD_AND_EXECUTE.name, line), (rank, _finding(DOWNLOAD_AND_EXECUTE, line)))
    ordered = sorted(found.values(), key=lambda item: (item[0], item[1].line))
    return tuple(finding for _, finding in ordered)


def rare_findings(text: str, language: str) -> tuple[Finding, ...]:
    """The findings that ordinary runbooks do not have; for severity."""
    return tuple(finding for finding in findings(text, language) if finding.rare)


def focus(text: str, language: str) -> tuple[FocusLine, ...]:
    """At most :data:`MAX_LINES` lines to read first, in the order of the text; the rarest classes are kept first."""
    return focus_on(findings(text, language))


def focus_on(found: Iterable[Finding]) -> tuple[FocusLine, ...]:
    """:func:`focus` for findings that are known already."""
    reasons: dict[int, list[str]] = {}
    used: dict[str, int] = {}
    for finding in found:
        used[finding.indicator] = used.get(finding.indicator, 0) + 1
        if used[finding.indicator] > MAX_LINES_PER_INDICATOR:
            continue
        if finding.line in reasons or len(reasons) < MAX_LINES:
            reasons.setdefault(finding.line, []).append(finding.reason)
    return tuple(FocusLine(line, " ".join(dict.fromkeys(reasons[line]))) for line in sorted(reasons))


def _blank(comment: str) -> str:
    return _NOT_NEWLINE.sub(" ", comment) if "\n" in comment else " " * len(comment)


def _finding(row: Indicator, line: int) -> Finding:
    return Finding(row.name, line, row.reason, row.technique, row.rare)


def _line_of(row: Indicator, statement: str, number: int) -> int | None:
    first = None
    for pattern in row.patterns:
        match = pattern.search(statement)
        if match is None:
            return None
        first = first or match
    return None if first is None else number + statement.count("\n", 0, first.start())


def _statements(lines: list[str], language: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each statement: lines that PowerShell or Python reads as one."""
    index = 0
    while index < len(lines):
        start, depth = index, 0
        while True:
            line = lines[index].rstrip()
            depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}")) if language == "Python" else 0
            index += 1
            goes_on = depth > 0 or line.endswith("\\") if language == "Python" else line.endswith(("`", "|"))
            if not goes_on or index >= len(lines) or index - start >= _MAX_JOINED_LINES:
                break
        yield start + 1, "\n".join(lines[start:index])


def _evaluated_downloads(statements: list[tuple[int, str]]) -> Iterator[int]:
    """Lines that evaluate a name to which an earlier statement assigned something downloaded."""
    downloaded: set[str] = set()
    for number, statement in statements:
        evaluated = _EVALUATE.search(statement)
        if evaluated and downloaded and not downloaded.isdisjoint(_WORD.findall(statement.lower())):
            yield number + statement.count("\n", 0, evaluated.start())
        if _FETCH.search(statement):
            assignment = _ASSIGNMENT.search(statement)
            if assignment:
                downloaded.add(assignment["name"].lower())
