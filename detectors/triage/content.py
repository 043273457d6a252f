"""From the bytes of a runbook or an output to text that is judged, masked and shown."""

import dataclasses
import hashlib
import re

from detectors.automation.texts import Body, decode, readable
from detectors.model import Code
from detectors.triage import masking, script

_PYTHON_LINE = re.compile(
    r"^(?:import \w|from [\w.]{1,64} import |def \w{1,64}\(|print ?\(|#!.{0,40}python)", re.MULTILINE
)
_POWERSHELL_LINE = re.compile(r"^[ \t]{0,40}(?:\$\w|param\b|[A-Z][a-z]{1,20}-[A-Z]|<#|workflow )", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Content:
    """A decoded body: ``code`` to show, ``notes`` on what was changed for it; ``text`` and ``findings`` unmasked."""

    code: Code
    notes: tuple[str, ...]
    text: str
    findings: tuple[script.Finding, ...] = ()


def language(runbook_type: str | None) -> str:
    """``PowerShell``, ``Python`` or ``PlainText`` for a ``runbookType`` (a graphical runbook is not a script)."""
    folded = (runbook_type or "").casefold()
    if folded.startswith("graph"):
        return "PlainText"
    if folded.startswith("python"):
        return "Python"
    return "PowerShell" if folded.startswith(("powershell", "script")) else "PlainText"


def guess_language(text: str) -> str:
    """``PowerShell`` or ``Python`` by the look of *text*, for a script whose runbook is gone."""
    python = len(_PYTHON_LINE.findall(text))
    return "Python" if python and python >= len(_POWERSHELL_LINE.findall(text)) else "PowerShell"


def to_content(body: Body, *, title: str, language: str = "PlainText", lines: int | None = None) -> Content:
    """Decode, clean, judge and mask *body*; *lines* shows only the first so many lines (an output)."""
    decoded, encoding = decode(body.data, truncated=body.truncated)
    text, notes = readable(decoded)
    if encoding != "utf-8":
        notes = (f"Decoded as {encoding}.", *notes)
    if body.truncated:
        notes = (*notes, f"Only the first {len(body.data):,} bytes were read.")
    shown = text
    if lines is not None:
        every = text.rstrip("\n").split("\n")
        shown = "\n".join(every[:lines])
        if len(every) > lines:
            notes = (*notes, f"The first {lines} of {len(every):,} lines are shown.")
    findings = script.findings(shown, language)
    code = Code(
        title=title,
        text=masking.mask(shown),
        language=language,
        sha256=hashlib.sha256(body.data).hexdigest(),
        size=len(body.data),
        truncated=body.truncated,
        focus=script.focus_on(findings),
    )
    return Content(code, notes, text, findings)
