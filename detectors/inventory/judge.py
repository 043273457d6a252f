"""The rules over the rows of a visit: those whose query reads AutomationInventory_CL and nothing else."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from detectors.kql.engine import Engine
from detectors.kql.table_queries import TableQueries
from detectors.kql.text import KqlError
from detectors.kql.traits import inventory_alone
from detectors.rule import Rule

TABLE: Final = "AutomationInventory_CL"


class InventoryJudge:
    """Belongs to one thread. ``refused`` are the rules over this table alone that cannot run here, with the reason."""

    def __init__(self, rules: Iterable[Rule], engine: Engine | None = None) -> None:
        self._engine = Engine() if engine is None else engine
        self.rules: tuple[Rule, ...] = ()
        self.refused: tuple[tuple[Rule, str], ...] = ()
        for rule in rules:
            if not inventory_alone(rule.query):
                continue
            try:
                reads = self._engine.translate(rule.query).tables
            except KqlError as error:
                self.refused = (*self.refused, (rule, str(error)))
                continue
            if reads == {TABLE}:
                self.rules = (*self.rules, rule)
        self._queries = TableQueries(self._engine, TABLE, [rule.query for rule in self.rules])

    def judge(self, rows: Sequence[dict[str, Any]], now: datetime) -> tuple[tuple[Rule, list[dict[str, Any]]], ...]:
        """What each rule returns for *rows*; ``now()`` in a query is *now*.

        Raises :class:`detectors.kql.text.KqlError` when a query cannot be run on a row: the detector makes these rows
        itself, so that is a defect, and the visit is repeated rather than half done.
        """
        answers = self._queries.run(rows, now=now)
        for number, reason in answers.failed.items():
            raise KqlError(f"row {number + 1} of {TABLE}: {reason}")
        return tuple(
            (rule, found)
            for rule, found in zip(self.rules, answers.rows, strict=True)
            if found and rule.triggers(len(found))
        )
