"""The demo's report of what the inventory found."""

import dataclasses
from typing import Any

import msgspec

from detectors.model import Source
from sandbox.report.outcome import delivered
from sandbox.report.view import build
from tests.demo.samples import attack


@dataclasses.dataclass(frozen=True)
class Entry:
    endpoint: str
    body: Any
    accepted: bool = True
    failed_action: str | None = None


def test_what_the_inventory_tells_is_not_said_to_be_from_a_log() -> None:
    assert build(attack()).facts_heading == "From the log"
    found = msgspec.structs.replace(attack(), source=Source.INVENTORY)
    assert build(found).facts_heading == "From the account"


def test_the_rows_of_changed_accounts_are_no_alerts() -> None:
    change = {"ChangeId": "c", "ObjectType": "Watcher"}
    alert = {"AlertId": "a", "AlertKind": "detection"}
    _, table, _ = delivered([Entry("ingestion", [change, change]), Entry("ingestion", [alert])], 1)
    assert table.met
    _, mixed, _ = delivered([Entry("ingestion", [change, alert])], 1)
    assert mixed.met
