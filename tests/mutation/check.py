"""Is a wrong version of a rule noticed? By the loader, by the translation or by a case beside the rule."""

import copy
import dataclasses
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from unittest import mock

import yaml

from detectors import rule_tests, rulebook, strict_yaml
from detectors.kql.engine import Engine, QueryResult
from detectors.model import Evidence, Severity
from detectors.rule import Rule
from detectors.rulebook import RuleError
from detectors.rulebook import book as loader
from detectors.triage.severity import assess
from tests.mutation.document import Mutant, mutants, texts_not_mutated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """How the mutants of one rule fared. ``survivors`` are their labels; ``seconds`` is the time taken."""

    rule: str
    mutants: int
    survivors: tuple[str, ...]
    not_mutated: int
    """Texts, references and enrichments, for the record."""
    problem: str | None
    """Why the rule could not be judged: it does not load, has no cases, or a case of its own fails."""
    seconds: float

    @property
    def caught(self) -> int:
        """How many mutants were noticed."""
        return self.mutants - len(self.survivors)


def check_rule(path: Path) -> Report:
    """Make every mutant of the rule file *path* and see which of them nobody notices."""
    began = time.monotonic()

    def report(made: Sequence[Mutant], survivors: Sequence[Mutant], problem: str | None, texts: int = 0) -> Report:
        return Report(
            rule=path.stem,
            mutants=len(made),
            survivors=tuple(mutant.label for mutant in survivors),
            not_mutated=texts,
            problem=problem,
            seconds=time.monotonic() - began,
        )

    tests = rulebook.tests_of(path)
    if not tests.exists():
        return report([], [], f"{tests.name} is missing, so nothing could notice a mutant")
    with Bench(path, tests) as bench:
        try:
            failing = bench.first_failure(bench.document)
            made = mutants(bench.document)
        except (RuleError, ValueError) as error:
            return report([], [], str(error))
        if failing is not None:
            return report([], [], f"the rule itself is not as its cases say: {failing}")
        survivors = [mutant for mutant in made if not bench.notices(mutant)]
    return report(made, survivors, None, texts_not_mutated(bench.document))


@dataclasses.dataclass(frozen=True)
class _CaseFile:
    """A file with one case, and its text in lower case."""

    path: Path
    text: str


class Bench:
    """One rule file with its cases, against which mutants are held. A context manager; belongs to one thread.

    One failure is enough, so the cases are taken one by one: first those that hold the texts of the edit, then those
    that noticed most mutants of its kind.
    Raises :class:`detectors.rulebook.RuleError` from the constructor when a file cannot be read.
    """

    def __init__(self, rule: Path, tests: Path) -> None:
        self._engine = _RememberingEngine()
        self._folder = tempfile.TemporaryDirectory()
        # The folder's name is part of what messages say.
        folder = Path(self._folder.name) / rule.parent.name
        folder.mkdir()
        self._rule = folder / rule.name
        try:
            self.document: dict[str, Any] = strict_yaml.read(rule)
            self._cases = list(_split(strict_yaml.read(tests), folder))
            self._noticed: Counter[tuple[str, Path]] = Counter()
        except strict_yaml.YamlProblem as problem:
            self.close()
            raise RuleError([f"{rule.name} or {tests.name}: {problem}"]) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the database and the files. Idempotent."""
        self._engine.really_close()
        self._folder.cleanup()

    def notices(self, mutant: Mutant) -> bool:
        """Whether the loader refuses *mutant* or a case fails with it."""
        try:
            return self.first_failure(mutant.document, mutant.kind, mutant.texts) is not None
        except RuleError:
            return True

    def first_failure(self, document: dict[str, Any], kind: str = "", texts: Sequence[str] = ()) -> str | None:
        """The first case that fails with *document*, and why. Raises RuleError when the loader refuses it."""
        self._rule.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        with _one_engine(self._engine):
            rule = rulebook.load_rule(self._rule)
        for case in sorted(self._cases, key=lambda case: self._promise(case, kind, texts), reverse=True):
            for result in rule_tests.run_rule_tests(rule, case.path, engine=self._engine, severity_of=_severity_of):
                if not result.passed:
                    self._noticed[kind, case.path] += 1
                    return f"{result.name}: {'; '.join(result.problems)}"
        return None

    def _promise(self, case: _CaseFile, kind: str, texts: Sequence[str]) -> tuple[int, int]:
        return sum(text in case.text for text in texts), self._noticed[kind, case.path]


class _RememberingEngine(Engine):
    """An engine that loads rows and runs a query only when it has not done just that before.

    A mutant that leaves the query alone then costs no run, and none costs an engine: making one, translating and
    loading are most of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[str, tuple[str, list[Mapping[str, Any]]]] = {}
        self._loaded: dict[str, str] = {}
        self._results: dict[tuple[str, datetime | None, tuple[tuple[str, str], ...]], QueryResult] = {}

    def __exit__(self, *_: object) -> None:
        """Stay open: the loader closes the engine it is given after each rule."""

    def really_close(self) -> None:
        super().close()

    def load(self, table: str, rows: Any, *, ingested_at: datetime | None = None) -> None:
        kept = list(rows)
        text = json.dumps([kept, str(ingested_at)], default=str)
        if ingested_at is not None:
            super().load(table, kept, ingested_at=ingested_at)
            self._loaded[table] = text
        self._wanted[table] = (text, kept)

    def run(self, query: str, *, now: datetime | None = None) -> QueryResult:
        read = sorted(self.translate(query).tables & self._wanted.keys())
        key = (query, now, tuple((table, self._wanted[table][0]) for table in read))
        if key not in self._results:
            for table in read:
                text, rows = self._wanted[table]
                if self._loaded.get(table) != text:
                    super().load(table, rows)
                    self._loaded[table] = text
            self._results[key] = super().run(query, now=now)
        # A copy, so that whoever changes a row changes no other run.
        return copy.deepcopy(self._results[key])


@contextmanager
def _one_engine(engine: Engine) -> Iterator[None]:
    """Let the loader check the query on *engine* instead of one of its own."""
    with mock.patch.object(loader, "Engine", return_value=engine):
        yield


def _split(document: Any, folder: Path) -> Iterator[_CaseFile]:
    """Write each case into a file of its own."""
    cases = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(cases, list) or not cases:
        raise RuleError(["the file of cases holds none"])
    for number, case in enumerate(cases):
        path = folder / f"case-{number}.tests.yaml"
        path.write_text(yaml.safe_dump({**document, "cases": [case]}, allow_unicode=True), encoding="utf-8")
        yield _CaseFile(path, yaml.safe_dump(case, allow_unicode=True, width=10_000).casefold())


def _severity_of(rule: Rule, _: Mapping[str, Any], evidence: tuple[Evidence, ...]) -> Severity:
    return assess(rule, evidence)[0]
