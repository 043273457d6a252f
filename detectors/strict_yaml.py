"""YAML that people write and machines must not guess at: bounded, without aliases, tags or repeated keys.

PyYAML keeps the last of two equal keys in silence, reads ``no`` as a boolean and ``1:00:00`` as the number 3600;
the first is refused here, the others are named by whoever expects text (:func:`kind_of`).
"""

from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML without libyaml reads the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]  # the two share the interface used here

MAX_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 24


class YamlProblem(Exception):
    """The file is not the YAML that is accepted here. The message names line, cause and fix."""


def read(path: Path) -> Any:
    """The document in *path*. Raises :class:`YamlProblem`."""
    return parse(read_text(path))


def read_text(path: Path) -> str:
    """The text in *path*, UTF-8 and bounded. Raises :class:`YamlProblem`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlProblem(f"cannot be read: {error.strerror or type(error).__name__}") from error
    if len(data) > MAX_BYTES:
        raise YamlProblem(f"is larger than {MAX_BYTES // 1024} KiB; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error


def parse(text: str) -> Any:
    """The document in *text*. Raises :class:`YamlProblem`."""
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is the safe loader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        cause = error.problem or error.context or "not YAML"
        raise YamlProblem(f"{where}{cause}") from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a scalar that looks like a date or number and is none, such as 2024-99-01.
        cause = str(error).split("\n", 1)[0]
        raise YamlProblem(f"{cause}; if it is meant as text, put it in quotes") from error


def kind_of(value: Any) -> str:
    """What YAML made of a value, in words for the person who wrote it."""
    for kind, words in (
        (bool, "a boolean"),
        (int, "a number"),
        (float, "a number"),
        (str, "text"),
        (date, "a date"),
        (list, "a list"),
        (dict, "a mapping"),
    ):
        if isinstance(value, kind):
            return words
    return "nothing"


class _Loader(_SafeLoader):
    """The safe loader, refusing what it would pass over: repeated keys, merge keys and keys that are not text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                _fail(key, f"the key {_shown(key)} is not read as text; put it in quotes")
            if key.value in seen:
                _fail(key, f"the key {key.value!r} appears twice; keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _shown(key: yaml.Node) -> str:
    return repr(key.value[:60]) if isinstance(key.value, str) else "that is a list or mapping"


def _fail(node: yaml.Node, problem: str) -> None:
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _check_events(text: str) -> None:
    """Before anything is built: no alias (a small file could become a huge one), no tag, bounded depth."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = f"the alias *{event.anchor} is not allowed; write the value out"
        elif isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag is not None:
            problem = f"the tag {event.tag!r} is not allowed; write a plain value"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            problem = "nested too deeply"
        if problem:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise YamlProblem(f"line {line}: {problem}")
