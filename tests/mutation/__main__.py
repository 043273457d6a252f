"""``make mutate``: would the cases beside each rule notice if the rule were wrong?

Every rule is changed in many small ways, one at a time, and its cases are run against each. What nobody notices is
named. The exit status is 1 when less than 95 % was noticed, or when a rule could not be judged.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from detectors import rulebook
from tests.mutation.check import Report, check_rule

ENOUGH: Final = 95.0
_RESULT: Final = Path(__file__).parents[2] / ".bench" / "mutation.json"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def rule_files(names: Sequence[str]) -> list[Path]:
    """The built-in rules called *names* (stems of files), or all. Raises :class:`SystemExit` for an unknown name."""
    files = {path.stem: path for path in rulebook.BUILT_IN.glob("*.yaml") if not path.name.endswith(".tests.yaml")}
    unknown = [name for name in names if name.removesuffix(".yaml") not in files]
    if unknown:
        raise SystemExit(f"{unknown[0]!r} is no built-in rule; python -m detectors rules list shows what there is")
    wanted = [name.removesuffix(".yaml") for name in names] or sorted(files)
    # Those with most to do first: the processes then finish together.
    return sorted((files[name] for name in dict.fromkeys(wanted)), key=_work, reverse=True)


def _work(path: Path) -> int:
    """How long a rule takes, roughly: joins make a query slow to translate and to run, and each case runs it."""
    tests = rulebook.tests_of(path)
    joins = path.read_text(encoding="utf-8").count("| join")
    return (path.stat().st_size + (tests.stat().st_size if tests.exists() else 0)) * (1 + 2 * joins)


def share(reports: Sequence[Report]) -> float:
    """Percent of all mutants that were noticed; 0 when there is none, which proves nothing."""
    made = sum(report.mutants for report in reports)
    return 100 * sum(report.caught for report in reports) / made if made else 0.0


def passed(reports: Sequence[Report]) -> bool:
    """Whether enough was noticed and every rule could be judged."""
    return share(reports) >= ENOUGH and not any(report.problem for report in reports)


def _show(report: Report) -> None:
    counts = f"{report.mutants:4} mutants, {report.caught:4} caught, {report.seconds:5.1f} s"
    _say(f"{counts}  {report.rule}" + (f"  NOT JUDGED: {report.problem}" if report.problem else ""))
    for survivor in report.survivors:
        _say(f"       survived: {survivor}")


def _write(reports: Sequence[Report], seconds: float) -> None:
    _RESULT.parent.mkdir(exist_ok=True)
    result = {
        "share": round(share(reports), 2),
        "seconds": round(seconds, 1),
        "rules": [dataclasses.asdict(report) for report in sorted(reports, key=lambda report: report.rule)],
    }
    _RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when enough was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rules by file name (default: all built-in ones)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    reports: list[Report] = []
    with ProcessPoolExecutor(max(1, chosen.jobs), mp_context=multiprocessing.get_context("spawn")) as pool:
        started = [pool.submit(check_rule, path) for path in rule_files(chosen.names)]
        for future in as_completed(started):
            reports.append(future.result())
            _show(reports[-1])
    seconds = time.monotonic() - began
    made, caught = sum(report.mutants for report in reports), sum(report.caught for report in reports)
    texts = sum(report.not_mutated for report in reports)
    _say(f"not mutated: {texts} texts for people, references and enrichments")
    _say(
        f"rules={len(reports)} mutants={made} caught={caught} share={share(reports):.1f}% "
        f"not_judged={sum(report.problem is not None for report in reports)} seconds={seconds:.0f}"
    )
    if not chosen.names:
        _write(reports, seconds)
    return int(not passed(reports))


if __name__ == "__main__":
    sys.exit(main())
