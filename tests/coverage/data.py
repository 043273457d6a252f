"""What docs/coverage.md compares our rules with: the operations there are, and what others detect."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from detectors import strict_yaml

FOLDER: Final = Path(__file__).parents[2] / "docs" / "coverage"
_Document = TypeVar("_Document")
_ACCOUNTS: Final = "Microsoft.Automation/automationAccounts/"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the list of operations was read, and when."""

    repository: str
    path: str
    date: dt.date
    commit: str


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operations of one resource, by name without ``prefix``, and what each does.

    ``listed`` are write, delete and action operations of the source; ``unlisted`` are known from elsewhere, or reads.
    """

    heading: str
    prefix: str
    listed: dict[str, str] = {}
    unlisted: dict[str, str] = {}


class Operations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``operations.yaml``."""

    source: Source
    groups: tuple[Group, ...]

    @property
    def listed(self) -> tuple[str, ...]:
        """Full names of the operations in the source's list."""
        return tuple(group.prefix + name for group in self.groups for name in group.listed)

    @property
    def known(self) -> tuple[str, ...]:
        """Full names of all operations, listed or not."""
        return tuple(group.prefix + name for group in self.groups for name in (*group.listed, *group.unlisted))


class PeerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public detection. ``operations`` are in its query, ``named`` only in its text; ``error`` is a known one."""

    name: str
    id: str
    operations: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    atrm: tuple[str, ...] = ()
    logs: str = ""
    error: str = ""

    @property
    def techniques(self) -> tuple[str, ...]:
        """Its ATRM ids; a rule of ATRM is one itself."""
        return self.atrm or ((self.id,) if self.id.startswith("AZT") else ())

    def detects(self, operation: str) -> bool:
        """Whether its query holds *operation*, a full name."""
        return operation.casefold() in {full_name(name).casefold() for name in self.operations}


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public rule set; ``errors`` are those of all its rules."""

    name: str
    source: str
    errors: str
    rules: tuple[PeerRule, ...]


class Peers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``peers.yaml``, with the names of ATRM's techniques."""

    peers: tuple[Peer, ...]
    atrm: dict[str, str]


def full_name(operation: str) -> str:
    """The name with its provider: in ``peers.yaml`` that of an automation account is left out."""
    provider = operation.partition("/")[0]
    return operation if "." in provider else _ACCOUNTS + operation


def read_operations(folder: Path = FOLDER) -> Operations:
    """Raises :class:`ValueError` naming the file when it is not what is expected."""
    return _read(folder / "operations.yaml", Operations)


def read_peers(folder: Path = FOLDER) -> Peers:
    """Raises :class:`ValueError` naming the file when it is not what is expected."""
    return _read(folder / "peers.yaml", Peers)


def peer_operations(peers: Peers) -> Iterator[str]:
    """The full name of every operation that a peer names, repeats included."""
    for peer in peers.peers:
        for rule in peer.rules:
            yield from map(full_name, (*rule.operations, *rule.named))


def _read(path: Path, kind: type[_Document]) -> _Document:
    try:
        return msgspec.convert(strict_yaml.read(path), kind)
    except (strict_yaml.YamlProblem, msgspec.ValidationError) as error:
        raise ValueError(f"docs/coverage/{path.name}: {error}; mend the file") from error
