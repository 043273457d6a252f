"""YAML as other people's tools accept it, read without guessing and without risk.

Every scalar is the text that the file holds, so ``version: 1.10`` is ``1.10`` and ``2024-01-31`` is no date; null is
None. Aliases and merge keys are followed within a bound. What is odd and can be read becomes a note.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from detectors.strict_yaml import YamlProblem

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML without libyaml reads the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]  # the two share the interface used here

MAX_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 20_000
"""Values that a document may hold once its aliases are written out; a rule has about a hundred."""
_MAX_DEPTH: Final = 64
_MAX_TABS: Final = 200
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_TAB: Final = re.compile(r"found character '?\\?t'?.* that cannot start any token")


def read(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The document in *path*, and a note for each oddity. Raises :class:`detectors.strict_yaml.YamlProblem`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlProblem(f"cannot be read: {error.strerror or type(error).__name__}") from error
    return parse(data)


def parse(data: bytes) -> tuple[Any, tuple[str, ...]]:
    """The first document in *data*: dicts with text keys, lists, text and None; and the notes.

    Raises :class:`detectors.strict_yaml.YamlProblem`, and nothing else, for what is not YAML or too large.
    """
    if len(data) > MAX_BYTES:
        raise YamlProblem(f"is larger than {MAX_BYTES // 1024} KiB; a rule is smaller")
    notes: list[str] = []
    text = _decoded(data, notes)
    try:
        node = _first_document(text, notes)
    except YamlProblem:
        repaired = _without_tabs(text, notes) if "\t" in text else text
        if repaired == text:
            raise
        node = _first_document(repaired, notes)
    if node is None:
        return None, tuple(notes)
    _check_size(node)
    return _Builder(notes).value(node), tuple(notes)


def _decoded(data: bytes, notes: list[str]) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise YamlProblem("begins as UTF-16 and is none; save the file as UTF-8") from error
        notes.append("is UTF-16; UTF-8 is usual")
        return text
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        notes.append(f"byte {error.start} is not UTF-8; the file is read as Windows-1252")
        return data.decode("cp1252", "replace")


def _without_tabs(text: str, notes: list[str]) -> str:
    """*text* with a space for each tab that stands where YAML allows none; tabs inside values stay."""
    for _ in range(_MAX_TABS):
        try:
            for _event in yaml.parse(text, Loader=yaml.SafeLoader):
                pass
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            # Only the pure Python scanner counts characters; libyaml counts bytes.
            position = mark.index if mark else 0
            if mark is None or not _TAB.search(error.problem or "") or text[position : position + 1] != "\t":
                return text
            notes.append(f"line {mark.line + 1}: a tab where YAML allows none; it is read as a space")
            text = f"{text[:position]} {text[position + 1 :]}"
        except (yaml.YAMLError, RecursionError, ValueError):
            return text
        else:
            return text
    return text


def _first_document(text: str, notes: list[str]) -> yaml.Node | None:
    try:
        _check_depth(text)
        loader = _SafeLoader(text)
        try:
            node = loader.get_node() if loader.check_node() else None
            if node is not None and loader.check_node():
                notes.append("holds several YAML documents; the first is read")
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise YamlProblem(f"{where}{error.problem or error.context or 'not YAML'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlProblem(str(error).split("\n", 1)[0] or "not YAML") from error
    return node


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return
        if depth > _MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise YamlProblem(f"line {line}: nested too deeply")


def _check_size(root: yaml.Node) -> None:
    """Count the values with every alias written out, before any is built: a small file can stand for a huge one."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_nodes:
            raise YamlProblem(f"line {node.start_mark.line + 1}: an alias that holds itself")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            children = [part for pair in node.value for part in pair] if _is_mapping(node) else node.value
            sizes[id(node)] = 1 + sum(size(child) for child in children)
            open_nodes.discard(id(node))
        return sizes[id(node)]

    if size(root) > MAX_NODES:
        raise YamlProblem(f"stands for more than {MAX_NODES:,} values once its aliases are written out")


def _is_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)


class _Builder:
    """Nodes to values; every note once."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else str(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child) for child in node.value]
        return self._mapping(node)

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, child in node.value:
            if key.tag == _MERGE:
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    if isinstance(source, yaml.MappingNode):
                        merged = self._mapping(source) | merged
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._note(f"line {key.start_mark.line + 1}: a key that is a list or mapping; it is passed over")
                continue
            name = str(key.value)
            if name in own:
                self._note(f"line {key.start_mark.line + 1}: the key {name!r} appears twice; the last one counts")
            own[name] = self.value(child)
        return merged | own

    def _note(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
