"""``rules export``: rules as Azure resources, for teams that want a rule without the detector."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from detectors import rulebook, strict_yaml
from detectors.commands.failure import CommandError
from detectors.commands.rules import find_file, locate
from detectors.export import arm, bicep
from detectors.export.left_out import responder_texts
from detectors.export.shape import CannotExport, NotCarried, Target
from detectors.rule import Rule
from detectors.rulebook import Rulebook, custom_detection, loose_yaml

LEFT_OUT_FILE: Final = "NOT-CARRIED.md"

_LEFT_OUT_HEADER: Final = """\
# What the exported rules do not hold

Written by `python -m detectors rules export`. Each section is one file; an export of the same rule replaces it.
"""
_SECTION: Final = re.compile(r"^## ", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedRule:
    """One rule: where it was written, or ``refused``, the reason why it was not."""

    id: str
    name: str
    file: str
    path: str | None
    refused: str | None
    not_carried: tuple[NotCarried, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported to ``folder``. ``problems`` are those of rule files that cannot be read, one line each."""

    target: Target
    folder: str
    rules: tuple[ExportedRule, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    """What was odd in rules that others wrote, and how it was read."""
    main: str | None
    """The Bicep file that deploys all rules."""
    left_out: str | None
    """The file that says what the rules in the folder do not hold."""

    @property
    def whole(self) -> bool:
        """Whether every rule that was asked for is exported."""
        return not self.problems and not any(rule.refused for rule in self.rules)


@dataclasses.dataclass(frozen=True)
class _Draft:
    rule: Rule
    stem: str
    text: str
    not_carried: tuple[NotCarried, ...]
    refused: str | None


def export_rules(target: Target, output: Path, wanted: Sequence[str] = (), folder: Path | None = None) -> ExportResult:
    """Write the rules *wanted* (ids or files; empty: all) of *folder* (default: built-in) to *output* as *target*.

    Queries are not translated: that is what ``rules lint`` does. A file in *output* is overwritten only when it is an
    export of the same rule to the same target, and none is deleted. Raises :class:`CommandError` when there is no such
    folder or rule, and when *output* cannot be written.
    """
    path, _ = locate(folder)
    book = _load(path, wanted)
    taken: set[str] = set()
    drafts = []
    for rule in book.rules:
        draft = _draft(rule, book.files[rule.id], target, output, taken)
        taken.add(draft.stem.casefold())
        drafts.append(draft)
    written = [draft for draft in drafts if not draft.refused]
    main = output / bicep.MAIN if target is Target.BICEP and written else None
    left_out = output / LEFT_OUT_FILE if drafts else None
    # Everything that could be refused is looked at before the first file is written.
    before = _own_text(left_out, lambda text: text.startswith(_LEFT_OUT_HEADER)) if left_out else ""
    if main:
        _own_text(main, bicep.is_main)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for draft in written:
            _write(output / f"{draft.stem}{target.suffix}", draft.text)
        if main:
            _write(main, bicep.main_file(_modules(output)))
        if left_out:
            sections = _sections(before) | {_heading(draft, target): _section(draft) for draft in drafts}
            _write(left_out, _left_out_text(sections))
    except OSError as error:
        where = error.filename or output
        raise CommandError(f"{where}: {error.strerror or error}; name a folder that can be written to") from error
    return ExportResult(
        target=target,
        folder=str(output),
        rules=tuple(_exported(draft, output, target) for draft in drafts),
        problems=book.problems,
        notes=book.notes,
        main=str(main) if main else None,
        left_out=str(left_out) if left_out else None,
    )


def _load(folder: Path, wanted: Sequence[str]) -> Rulebook:
    """The whole folder, then cut to *wanted*: the id of a rule that has none is made from its place in the folder."""
    book = rulebook.load([folder], check_query=False)
    if not wanted:
        return book
    chosen = dict.fromkeys(find_file(folder, text).resolve() for text in wanted)
    rules = tuple(rule for rule in book.rules if book.files[rule.id].resolve() in chosen)
    found = {book.files[rule.id].resolve() for rule in rules}
    missing = rulebook.load((path for path in chosen if path not in found), check_query=False)
    files = {rule.path for rule in rules}
    notes = tuple(note for note in book.notes if note.partition(": ")[0] in files)
    return Rulebook(rules, missing.problems, notes, book.files)


def _document(rule: Rule, path: Path) -> dict[str, Any]:
    """The file *path* of *rule*, read as the rule was. Raises :class:`detectors.strict_yaml.YamlProblem`."""
    document = loose_yaml.read(path)[0] if rule.plain else strict_yaml.read(path)
    if not isinstance(document, dict):
        raise strict_yaml.YamlProblem("changed while it was read; run the command again")
    if rule.plain and custom_detection.is_one(document):
        # What this format holds beyond an analytics rule is in the notes of the rulebook.
        return custom_detection.to_analytics_rule(document, lambda *_: None)
    return document


def _draft(rule: Rule, path: Path, target: Target, output: Path, taken: set[str]) -> _Draft:
    text, not_carried = "", tuple[NotCarried, ...]()
    try:
        document = _document(rule, path)
        _check_name(path, target, taken)
        text, not_carried = _render(rule, document, target)
        _check_place(output / f"{path.stem}{target.suffix}", rule, target)
    except CannotExport as error:
        return _Draft(rule, path.stem, "", (), str(error))
    except strict_yaml.YamlProblem as problem:
        return _Draft(rule, path.stem, "", (), f"{path.name}: {problem}")
    return _Draft(rule, path.stem, text, not_carried, None)


def _render(rule: Rule, document: Mapping[str, Any], target: Target) -> tuple[str, tuple[NotCarried, ...]]:
    match target:
        case Target.SENTINEL:
            text, not_carried = arm.sentinel_template(rule, document)
        case Target.AZURE_MONITOR:
            text, not_carried = arm.azure_monitor_template(rule, document)
        case Target.BICEP:
            text, not_carried = bicep.bicep_module(rule, document)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CannotExport(f"it holds half a character (U+{ord(error.object[error.start]):04X}); remove it") from error
    return text, not_carried


def _check_name(path: Path, target: Target, taken: set[str]) -> None:
    """Raises :class:`CannotExport` when no export can have the name of the rule file *path*."""
    if path.stem.casefold() in taken:
        raise CannotExport(f"another rule's file is named {path.stem} too; rename one")
    if target is Target.BICEP and (problem := bicep.path_problem(path.stem)):
        raise CannotExport(f"{problem}; rename {path.name}")


def _check_place(path: Path, rule: Rule, target: Target) -> None:
    """Raises :class:`CannotExport` when *path* is anything but free or an earlier export of *rule* to *target*."""
    if not path.exists() and not path.is_symlink():
        return
    theirs = CannotExport(f"{path} exists and is not an export of this rule to {target}; choose another folder")
    text = _read(path)
    if text is None or path.is_symlink():
        raise theirs
    known = (Target.BICEP.value, bicep.owner(text)) if target is Target.BICEP else arm.owner(text)
    if known != (target.value, rule.id):
        raise theirs


def _own_text(path: Path, is_ours: Callable[[str], bool]) -> str:
    """The text of *path*, empty when there is none. Raises :class:`CommandError` when others wrote it."""
    if not path.exists() and not path.is_symlink():
        return ""
    text = _read(path)
    if text is None or path.is_symlink() or not is_ours(text):
        raise CommandError(
            f"{path} exists, was not written by this command and is not overwritten; choose another folder"
        )
    return text


def _read(path: Path) -> str | None:
    try:
        # Bytes first: read_text would change line breaks, and an export is compared as it is.
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    # Bytes, because text mode would change line breaks on Windows, and the query with them.
    path.write_bytes(text.encode())


def _modules(output: Path) -> Iterator[tuple[str, str]]:
    """Every module in *output* that was exported, also by an earlier run: they are deployed together."""
    for path in sorted(output.glob("*.bicep")):
        text = _read(path)
        if text is not None and (rule_id := bicep.owner(text)):
            yield path.stem, rule_id


def _exported(draft: _Draft, output: Path, target: Target) -> ExportedRule:
    return ExportedRule(
        id=draft.rule.id,
        name=draft.rule.name,
        file=draft.stem,
        path=None if draft.refused else str(output / f"{draft.stem}{target.suffix}"),
        refused=draft.refused,
        not_carried=draft.not_carried,
    )


def _heading(draft: _Draft, target: Target) -> str:
    return f"{_line(draft.stem)} ({target})"


def _section(draft: _Draft) -> str:
    lines = [f"{_line(draft.rule.name)}, `{draft.rule.id}`", ""]
    if draft.refused:
        return "\n".join([*lines, f"Not exported: {_line(draft.refused)}."])
    lines += [f"- `{_line(each.key)}`: {_line(each.reason)}" for each in draft.not_carried]
    for heading, text in responder_texts(draft.rule):
        # Quoted, so that no line of it can begin a section of this file.
        lines += ["", f"{heading}:", "", *(f"> {line}".rstrip() for line in text.splitlines())]
    return "\n".join(lines)


def _sections(text: str) -> dict[str, str]:
    sections = {}
    for part in _SECTION.split(text)[1:]:
        heading, _, body = part.partition("\n")
        sections[heading] = body.strip("\n")
    return sections


def _left_out_text(sections: Mapping[str, str]) -> str:
    parts = [f"## {heading}\n\n{body}\n" for heading, body in sorted(sections.items())]
    return "\n".join([_LEFT_OUT_HEADER, *parts])


def _line(text: str) -> str:
    return " ".join(text.split())
