"""Bicep: one module for each rule, and one file that deploys all of them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from detectors.export.sentinel import sentinel_rule
from detectors.export.shape import Expression, NotCarried
from detectors.rule import Rule

MAIN: Final = "main.bicep"

_WORKSPACES: Final = "Microsoft.OperationalInsights/workspaces@2025-07-01"
_HEADER: Final = "// Written by `python -m detectors rules export --to bicep`. Change the rule and export it again."
_MAIN_HEADER: Final = "// Written by `python -m detectors rules export --to bicep`: deploys every rule of this folder."
# The first such line: the resource's name stands above every text of the rule.
_OWNER: Final = re.compile(r"^  name: '([0-9a-f-]{36})'$", re.MULTILINE | re.ASCII)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RESERVED: Final = frozenset({"true", "false", "null", "if", "for"})
# What a path of a module may not hold; the compiler refuses it.
_NOT_IN_PATHS: Final = frozenset('"*:<>?\\|')
_PARAMETERS: Final = """\
@description('Name of the Log Analytics workspace that Microsoft Sentinel runs on, in this resource group.')
param workspaceName string

@description('Whether {what} after the deployment.')
param enabled bool = true
"""


def bicep_module(rule: Rule, document: Mapping[str, Any]) -> tuple[str, tuple[NotCarried, ...]]:
    """The module of *rule*, a Sentinel analytics rule, and what it does not hold.

    Raises :class:`detectors.export.shape.CannotExport`.
    """
    resource = sentinel_rule(rule, document, switch=Expression("enabled"))
    properties = dict(resource.properties)
    if properties["enabled"] is False:
        # Every module takes the parameter, so that the main file can pass it to all of them.
        properties["enabled"] = Expression("enabled && false")
    body = {"scope": Expression("workspace"), "name": resource.name, "kind": resource.kind, "properties": properties}
    text = f"""\
{_HEADER}
metadata ruleVersion = {quoted(rule.version)}

{_PARAMETERS.format(what="the rule runs")}
resource workspace '{_WORKSPACES}' existing = {{
  name: workspaceName
}}

resource rule 'Microsoft.SecurityInsights/alertRules@{resource.api_version}' = {_value(body, 0)}

@description('Resource id of the rule.')
output ruleResourceId string = rule.id
"""
    return text, resource.not_carried


def main_file(modules: Iterable[tuple[str, str]]) -> str:
    """The file that deploys *modules*: (name of the file without ``.bicep``, rule id)."""
    taken: set[str] = {"workspaceName", "enabled"}
    parts = [f"{_MAIN_HEADER}\n\n{_PARAMETERS.format(what='the rules run')}"]
    for stem, rule_id in modules:
        symbol = _symbol(stem, rule_id, taken)
        taken.add(symbol)
        body = {
            "name": f"rule-{rule_id}",
            "params": {"workspaceName": Expression("workspaceName"), "enabled": Expression("enabled")},
        }
        parts.append(f"module {symbol} {quoted(f'{stem}.bicep')} = {_value(body, 0)}\n")
    return "\n".join(parts)


def owner(text: str) -> str | None:
    """The rule id of a module that was written here, or None for any other text."""
    match = _OWNER.search(text) if text.startswith(_HEADER) else None
    return match[1] if match else None


def is_main(text: str) -> bool:
    """Whether *text* is a file that :func:`main_file` made."""
    return text.startswith(_MAIN_HEADER)


def path_problem(stem: str) -> str | None:
    """Why no module can have the file name *stem*, or None."""
    if stem.casefold() == MAIN.removesuffix(".bicep"):
        return f"{MAIN} is the file that deploys all rules"
    if bad := sorted(_NOT_IN_PATHS & set(stem)):
        return f"a path of a Bicep module may not hold {' '.join(bad)}"
    return None


def quoted(text: str) -> str:
    """*text* as a string on one line. ``${`` would begin an interpolation and is broken up by a backslash."""
    escaped = "".join(_ESCAPES.get(character) or _shown(character) for character in text)
    return "'" + escaped.replace("${", "\\${") + "'"


def verbatim(text: str) -> str:
    """*text* as a multi-line string where that holds it unchanged, else as :func:`quoted` does.

    Nothing is escaped between ``'''``, and the line break after the opening one is not part of the text. So quotes
    that could close it, ``${`` that a reader would take for an interpolation, and characters that an editor or git
    may change go the other way.
    """
    plain = all(character.isprintable() or character in "\n\t" for character in text)
    if not plain or "\n" not in text or "'''" in text or text.endswith("'") or "${" in text:
        return quoted(text)
    return f"'''\n{text}'''"


def _shown(character: str) -> str:
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"


def _value(value: Any, depth: int) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    match value:
        case Expression():
            return str(value.code)
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return verbatim(value)
        case Mapping():
            lines = [f"{inner}{_key(key)}: {_value(each, depth + 1)}\n" for key, each in value.items()]
            return "{\n" + "".join(lines) + outer + "}" if lines else "{}"
        case list() | tuple():
            lines = [f"{inner}{_value(each, depth + 1)}\n" for each in value]
            return "[\n" + "".join(lines) + outer + "]" if lines else "[]"
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a template")


def _key(key: str) -> str:
    return key if _IDENTIFIER.fullmatch(key) else quoted(key)


def _symbol(stem: str, rule_id: str, taken: set[str]) -> str:
    """A name for a module, from the words of its file where they make one that is free."""
    words: list[str] = re.findall(r"[A-Za-z0-9]+", stem) or [""]
    first, *rest = words
    name = first[:1].lower() + first[1:] + "".join(word[:1].upper() + word[1:] for word in rest)
    if _IDENTIFIER.fullmatch(name) and name not in taken and name not in _RESERVED:
        return name
    return f"rule_{rule_id.replace('-', '_')}"
