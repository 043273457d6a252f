"""One action that two sources tell of is one alert, and what is in doubt is two."""

import dataclasses
from typing import Any

import msgspec
import pytest

from detectors.delivery import attempts
from detectors.delivery.destination import DeliveryError, Receipt
from detectors.model import ALSO_REPORTED, Alert, Delivery, DeliveryState, Entity, Evidence, Record, Severity
from detectors.rule import DetectorOptions, Rule
from detectors.state.store import Document, Stored, StoreUnavailable
from detectors.triage.joining import KEPT_ENTRIES, MOST_REPORTS, action_of, object_of, read_index, tells_of_one_action
from tests.memory_store import MemoryStore
from tests.triage.joining_samples import (
    ACCOUNT,
    INVENTORY_RULE,
    LOG_RULE,
    OTHER_INVENTORY_RULE,
    WATCHER,
    Setup,
    at,
    inventory_row,
    log_row,
)


def reports(alert: Alert) -> list[Evidence]:
    return [each for each in alert.evidence if each.name == ALSO_REPORTED]


def facts(evidence: Evidence) -> dict[str, str]:
    return {fact.label: fact.value for fact in evidence.facts}


@pytest.mark.parametrize(
    ("resource_id", "expected"),
    [
        (WATCHER.upper(), WATCHER),
        (f"{ACCOUNT}/runbooks/X/draft/content", f"{ACCOUNT}/runbooks/x"),
        (f"{ACCOUNT}/runbooks/X/content", f"{ACCOUNT}/runbooks/x"),
        (f"{ACCOUNT}/runbooks/X/draft", f"{ACCOUNT}/runbooks/x"),
        (f"{WATCHER}/watcherActions/A", f"{WATCHER}/watcheractions/a"),
        (
            f"{ACCOUNT}/hybridRunbookWorkerGroups/G/hybridRunbookWorkers/W",
            f"{ACCOUNT}/hybridrunbookworkergroups/g/hybridrunbookworkers/w",
        ),
        (f"{ACCOUNT}/runtimeEnvironments/E/packages/P", f"{ACCOUNT}/runtimeenvironments/e/packages/p"),
        (ACCOUNT, ACCOUNT),
        (f"{ACCOUNT}/jobs/1", None),
        (f"{ACCOUNT}/jobs", None),
        (f"{ACCOUNT}/providers/Microsoft.Insights/diagnosticSettings/d", None),
        (ACCOUNT.replace("microsoft.automation/automationaccounts", "microsoft.web/sites"), None),
        ("", None),
        ("no id", None),
    ],
)
def test_an_object_is_what_the_inventory_keeps_as_one(resource_id: str, expected: str | None) -> None:
    assert object_of(resource_id) == expected


@pytest.mark.parametrize(
    ("operation", "verb"),
    [
        ("watchers/write", "change"),
        ("watchers/start/action", "change"),
        ("watchers/delete", "delete"),
        ("runbooks/publish/action", "change"),
        ("runbooks/draft/undoEdit/action", "change"),
        ("runbooks/draft/content/write", "change"),
        ("write", "change"),
        ("delete", "delete"),
        ("runbooks/draft/testJob/write", None),
        ("jobs/write", None),
        ("sourceControls/listKeys/write", None),
        ("sourceControls/sourceControlSyncJobs/write", None),
        ("runbooks/getCount/action", None),
        ("listKeys/action", None),
        ("webhooks/action", None),
        ("watchers/read", None),
    ],
)
def test_only_operations_that_leave_something_changed_are_actions(operation: str, verb: str | None) -> None:
    name = f"Microsoft.Automation/automationAccounts/{operation}"
    for spelled in (name, name.upper()):
        action = action_of(log_row(OperationNameValue=spelled))
        assert (action.verb if action else None) == verb
    assert action_of(log_row(OperationNameValue=f"Microsoft.Web/sites/{operation}")) is None


@pytest.mark.parametrize(
    "row",
    [
        log_row(ActivityStatusValue="Failure"),
        log_row(TimeGenerated=None),
        log_row(TimeGenerated="0001-01-01T00:00:00Z"),
        log_row(_ResourceId=""),
        {"Caller": "dana@contoso.com", "Count": 3},
        inventory_row(ChangeType="Baseline"),
        inventory_row(ObjectType="Job", ObjectId=f"{ACCOUNT}/jobs/1"),
        inventory_row(ObjectId="nothing"),
        inventory_row(TimeGenerated="soon"),
        inventory_row(ChangeType="Modified", ChangedProperties=["lastInvokedTime"]),
        inventory_row(ObjectType="Account", ObjectId=ACCOUNT, ChangeType="Modified", ChangedProperties=["unread"]),
        inventory_row(
            ChangeType="Modified",
            ChangedProperties=["lastInvokedTime", "runbook"],
            OperationNameValue="Inventory/Webhook/Invoked",
        ),
    ],
)
def test_what_no_resource_manager_call_did_is_no_action(row: dict[str, Any]) -> None:
    assert action_of(row) is None


def test_times_fit_within_five_minutes_of_the_change_or_between_snapshots() -> None:
    known, removed = action_of(inventory_row()), action_of(inventory_row(ChangeType="Removed", ChangedAt=None))
    assert known is not None
    assert removed is not None
    assert (known.earliest.isoformat(), known.latest.isoformat()) == (
        "2026-03-02T02:45:02+00:00",
        "2026-03-02T02:55:02+00:00",
    )
    assert (removed.verb, removed.earliest.isoformat(), removed.latest.isoformat()) == (
        "delete",
        "2026-03-02T02:25:00+00:00",
        "2026-03-02T03:00:00+00:00",
    )
    never = action_of(inventory_row(ChangedAt="0001-01-01T00:00:00Z"))
    assert never is not None
    assert never.earliest == removed.earliest, "the year 1 is no time"


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (("CorrelationId", "OperationNameValue"), True),
        (("ChangeId",), True),
        (("ObjectId", "Day"), True),
        ((), True),
        (("CallerKey", "FirstDay"), False),
        (("AccountId", "Unread", "Day"), False),
    ],
)
def test_rules_that_say_more_than_one_action_keep_their_alerts(identity: tuple[str, ...], expected: bool) -> None:
    rule = dataclasses.replace(LOG_RULE, detector=DetectorOptions(identity=identity))
    assert tells_of_one_action(rule) is expected


async def test_the_log_row_of_what_the_inventory_found_is_evidence_of_that_alert() -> None:
    setup = Setup()
    (alert_id,) = await setup.inventory()
    assert await setup.log() == ()
    ((joined, target),) = setup.joined().items()
    assert target == alert_id
    assert setup.record(joined).due is None
    await setup.deliver()
    (alert,) = setup.teams.got
    assert setup.table.got == [alert]
    (report,) = reports(alert)
    assert report.title == "Also reported by the Activity Log"
    assert facts(report) == {
        "Caller": "dana@contoso.com",
        "Address": "203.0.113.7",
        "Operation": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE",
        "Logged at": "2026-03-02T02:50:00+00:00",
        "Correlation id": "00000000-0000-0000-0000-000000000001",
        "Rule": "Watcher written (Medium)",
    }
    assert (alert.caller, alert.caller_ip, alert.updates, alert.updated_at) == (
        "dana@contoso.com", "203.0.113.7", 0, None,
    )  # fmt: skip
    assert Entity("Account", {"FullName": "dana@contoso.com"}) in alert.entities
    assert Entity("IP", {"Address": "203.0.113.7"}) in alert.entities


async def test_what_the_inventory_saw_of_a_logged_action_is_evidence_of_that_alert() -> None:
    setup = Setup()
    (alert_id,) = await setup.log()
    change = inventory_row(
        ChangeType="Modified",
        ChangedProperties=["scriptRunOn", "lastModifiedTime"],
        Before={"scriptRunOn": "", "lastModifiedTime": "a"},
        After={"scriptRunOn": "hybrid", "lastModifiedTime": "b" * 1_000},
        ChangedBy="dana",
    )
    assert await setup.inventory(change) == ()
    assert list(setup.joined().values()) == [alert_id]
    await setup.deliver()
    (alert,) = setup.teams.got
    (report,) = reports(alert)
    found = facts(report)
    assert report.title == "Also reported by the inventory"
    assert found["Change"] == "Modified Watcher"
    assert found["Changed properties"] == "scriptRunOn, lastModifiedTime"
    assert found["scriptRunOn, before and after"] == " → hybrid"
    assert found["lastModifiedTime, before and after"] == f"a → {'b' * 300}…"
    assert (found["Snapshot taken at"], found["Snapshot"], found["Snapshot before"]) == (
        "2026-03-02T02:55:00Z", "a-00000002", "a-00000001",
    )  # fmt: skip
    assert (alert.caller, alert.caller_ip) == ("dana@contoso.com", "203.0.113.7")


async def test_the_same_halves_again_change_nothing() -> None:
    setup = Setup()
    await setup.inventory()
    await setup.log()
    await setup.deliver()
    place = dict(setup.memory.place.records), dict(setup.memory.documents)
    assert await setup.log() == ()
    assert await setup.inventory() == ()
    await setup.deliver()
    assert (setup.memory.place.records, setup.memory.documents) == place
    assert (len(setup.teams.got), len(setup.table.got)) == (1, 1)


async def test_an_alert_that_was_sent_is_sent_again_only_where_it_is_recognised() -> None:
    setup = Setup()
    (alert_id,) = await setup.inventory()
    await setup.deliver()
    story = setup.teams.got[0].story
    setup.clock.advance(minutes=6)
    await setup.log()
    assert setup.record(alert_id).due == setup.clock()
    await setup.deliver()
    assert len(setup.teams.got) == 1
    first, second = setup.table.got
    assert setup.table.repeats == [False, False]
    assert (second.id, second.updates, second.updated_at) == (first.id, 1, setup.clock())
    assert (first.caller, second.caller, second.caller_ip) == ("", "dana@contoso.com", "203.0.113.7")
    assert second.story == story, "it stays where it was sent"
    assert second.created_at == first.created_at
    assert len(reports(second)) == 1
    record = setup.record(alert_id)
    assert record.due is None
    assert {delivery.state for delivery in record.deliveries.values()} == {DeliveryState.SENT}
    assert not any(delivery.outdated for delivery in record.deliveries.values())


async def test_an_update_that_fails_is_tried_again_as_any_delivery() -> None:
    setup = Setup()
    (alert_id,) = await setup.inventory()
    await setup.deliver()
    await setup.log()
    send, failures = setup.table.send, [DeliveryError("log-table answered 503")]

    async def failing(alert: Alert, *, possible_repeat: bool) -> Receipt:
        if failures:
            raise failures.pop()
        return await send(alert, possible_repeat=possible_repeat)

    setup.table.send = failing  # type: ignore[method-assign]  # the one seam a test needs
    await setup.deliver()
    assert setup.record(alert_id).deliveries["log-table"].attempts == 1
    setup.clock.advance(seconds=31)
    await setup.deliver()
    assert [len(reports(alert)) for alert in setup.table.got] == [0, 1]
    assert setup.record(alert_id).due is None


async def test_an_update_that_is_refused_for_good_says_that_the_alert_itself_arrived() -> None:
    setup = Setup()
    await setup.inventory()
    await setup.deliver()
    await setup.log()

    async def refusing(alert: Alert, *, possible_repeat: bool) -> Receipt:
        raise DeliveryError("log-table answered 400", permanent=True)

    setup.table.send = refusing  # type: ignore[method-assign]  # the one seam a test needs
    await setup.deliver()
    await setup.deliver()
    assert "The alert itself had arrived" in setup.teams.got[-1].description


async def test_a_match_that_is_joined_while_the_alert_is_triaged_is_in_it() -> None:
    setup = Setup()
    await setup.inventory()
    setup.while_triaging = setup.log
    await setup.deliver()
    (alert,) = setup.teams.got
    assert len(reports(alert)) == 1
    assert (alert.caller, alert.updates) == ("dana@contoso.com", 0)
    assert len(setup.table.got) == 1


@pytest.mark.parametrize("looked_at_meanwhile", [False, True])
async def test_a_match_that_is_joined_while_the_alert_is_sent_follows_it(looked_at_meanwhile: bool) -> None:
    setup = Setup()
    (alert_id,) = await setup.inventory()
    send = setup.table.send

    async def joined_meanwhile(alert: Alert, *, possible_repeat: bool) -> Receipt:
        setup.table.send = send  # type: ignore[method-assign]  # once
        await setup.log()
        if looked_at_meanwhile:
            await setup.outbox.process(alert_id)
        return await send(alert, possible_repeat=possible_repeat)

    setup.table.send = joined_meanwhile  # type: ignore[method-assign]  # the one seam a test needs
    await setup.deliver()
    await setup.deliver()
    assert [len(reports(alert)) for alert in setup.table.got] == [0, 1]
    assert len(setup.teams.got) == 1
    assert setup.record(alert_id).due is None


async def test_a_match_that_is_joined_between_reading_and_claiming_is_sent_at_once() -> None:
    class Slow(MemoryStore):
        async def replace(self, stored: Stored, record: Record) -> Stored:
            claiming = any(delivery.claimed_until for delivery in record.deliveries.values())
            if claiming and not setup.joined():
                await setup.log()
            return await super().replace(stored, record)

    setup = Setup(memory=Slow())
    (alert_id,) = await setup.inventory()
    await setup.deliver()
    await setup.deliver()
    assert len(setup.joined()) == 1
    assert [len(reports(alert)) for alert in setup.table.got] == [1]
    assert [len(reports(alert)) for alert in setup.teams.got] == [1]
    assert setup.record(alert_id).due is None


def test_a_claim_takes_what_was_added_along() -> None:
    now = Setup().clock()
    held = Delivery(claimed_until=now, outdated=True)
    assert not attempts.claimed(held, now).outdated
    assert attempts.renewed(held, now, updates=True) == msgspec.structs.replace(held, outdated=False)
    dead = Delivery(state=DeliveryState.DEAD, outdated=True)
    assert attempts.renewed(dead, now, updates=True).state is DeliveryState.DEAD


@pytest.mark.parametrize(
    "row",
    [
        log_row(TimeGenerated=at(44)),
        log_row(TimeGenerated=at(56)),
        log_row(_ResourceId=f"{ACCOUNT}/watchers/other"),
        log_row(OperationNameValue="Microsoft.Automation/automationAccounts/watchers/delete"),
        log_row(OperationNameValue="Microsoft.Automation/automationAccounts/watchers/read"),
    ],
    ids=["too early", "too late", "another object", "another verb", "no change"],
)
async def test_another_action_is_an_alert_of_its_own(row: dict[str, Any]) -> None:
    setup = Setup()
    await setup.inventory()
    assert len(await setup.log(row)) == 1
    assert setup.joined() == {}


async def test_matches_of_one_source_never_join_each_other() -> None:
    setup = Setup()
    other = dataclasses.replace(LOG_RULE, id="5a1c0c5e-0000-4000-8000-000000000009")
    assert len(await setup.log()) == len(await setup.log(rule=other)) == 1
    setup = Setup()
    assert len(await setup.inventory()) == len(await setup.inventory(rule=OTHER_INVENTORY_RULE)) == 1


async def test_every_rule_that_found_the_change_joins_the_alert_of_the_log() -> None:
    setup = Setup()
    (alert_id,) = await setup.log()
    assert await setup.inventory() == await setup.inventory(rule=OTHER_INVENTORY_RULE) == ()
    assert list(setup.joined().values()) == [alert_id, alert_id]
    await setup.deliver()
    assert len(reports(setup.teams.got[0])) == 2


async def test_of_two_alerts_the_nearest_in_time_is_joined_to() -> None:
    setup = Setup()
    first, second = await setup.log(log_row(1, TimeGenerated=at(46)), log_row(2, TimeGenerated=at(51)))
    await setup.inventory()
    assert list(setup.joined().values()) == [second]
    assert first not in setup.joined().values()


def severe(rule: Rule, severity: Severity) -> Rule:
    return dataclasses.replace(rule, severity=severity)


async def test_a_match_of_a_more_severe_rule_is_told_by_itself() -> None:
    setup = Setup()
    await setup.log()
    assert len(await setup.inventory(rule=severe(INVENTORY_RULE, Severity.HIGH))) == 1
    assert await setup.inventory(rule=severe(OTHER_INVENTORY_RULE, Severity.LOW)) == ()


async def test_an_alert_that_triage_raised_takes_the_more_severe_match() -> None:
    setup = Setup()
    (alert_id,) = await setup.log()
    await setup.deliver()
    stored = setup.memory.records[alert_id]
    assert stored.record.alert is not None
    raised = msgspec.structs.replace(stored.record.alert, severity=Severity.HIGH)
    await setup.memory.replace(stored, msgspec.structs.replace(stored.record, alert=raised))
    assert await setup.inventory(rule=severe(INVENTORY_RULE, Severity.HIGH)) == ()


async def test_two_callers_did_two_things() -> None:
    setup = Setup()
    await setup.inventory()
    assert await setup.log(log_row(1)) == ()
    assert await setup.log(log_row(2, Caller="DANA@contoso.com", TimeGenerated=at(51))) == ()
    assert len(await setup.log(log_row(3, Caller="mallory@contoso.com", TimeGenerated=at(51)))) == 1


async def test_two_snapshots_saw_two_changes_of_which_the_log_may_have_told_one() -> None:
    setup = Setup()
    await setup.log()
    assert await setup.inventory(inventory_row(1)) == ()
    unlogged = inventory_row(2, Snapshot="a-00000003", TimeGenerated=at(60), ChangedAt=at(54))
    assert len(await setup.inventory(unlogged)) == 1


async def test_a_flood_is_not_hidden_in_one_alert() -> None:
    setup = Setup()
    await setup.inventory()
    new = [await setup.log(log_row(number)) for number in range(MOST_REPORTS + 2)]
    assert [len(ids) for ids in new] == [0] * MOST_REPORTS + [1, 1]


async def test_matches_beyond_the_allowance_go_to_the_summary_as_ever() -> None:
    setup = Setup()
    await setup.inventory()
    (summary,) = await setup.log(log_row(1), allowance=0)
    alert = setup.record(summary).alert
    assert alert is not None
    assert len(alert.items) == 1
    assert setup.joined() == {}


async def test_a_summarised_match_is_never_joined_to() -> None:
    setup = Setup()
    await setup.log(log_row(1), allowance=0)
    assert len(await setup.inventory()) == 1


async def test_a_match_that_was_joined_after_all_is_never_joined_to() -> None:
    class Dying(MemoryStore):
        dies = True

        async def create(self, record: Record) -> bool:
            if self.dies:
                self.dies = False
                raise StoreUnavailable("the process dies between the index and the record")
            return await super().create(record)

    setup = Setup(memory=Dying())
    with pytest.raises(StoreUnavailable):
        await setup.log()
    (alert_id,) = await setup.inventory()
    assert await setup.log() == ()
    assert list(setup.joined().values()) == [alert_id]
    assert len(await setup.inventory(rule=OTHER_INVENTORY_RULE)) == 1, "the log's match has no alert to join"


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def read_document(self, name: str) -> Document | None:
        self.calls.append("read")
        return await super().read_document(name)

    async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
        self.calls.append("write")
        return await super().write_document(name, value, version)


async def test_a_new_match_costs_one_read_and_one_write_and_a_known_one_nothing() -> None:
    memory = Counting()
    setup = Setup(memory=memory)
    await setup.log()
    assert memory.calls == ["read", "write"]
    await setup.log()
    await setup.log(log_row(2, OperationNameValue="Microsoft.Automation/automationAccounts/jobs/write"))
    assert memory.calls == ["read", "write"]
    await setup.inventory()
    assert memory.calls == ["read", "write", "read"]


async def test_the_index_keeps_the_newest_entries_of_two_days() -> None:
    setup = Setup()
    rows = [log_row(number, TimeGenerated=f"2026-03-02T01:{number:02d}:00Z") for number in range(KEPT_ENTRIES + 4)]
    await setup.log(*rows, log_row(99, TimeGenerated="2026-02-27T01:00:00Z"))
    (document,) = setup.memory.documents.values()
    entries = read_index(document.value).entries
    assert [entry.latest.minute for entry in entries] == list(range(4, KEPT_ENTRIES + 4))
    setup.clock.advance(days=2)
    await setup.log(log_row(100, TimeGenerated="2026-03-04T02:00:00Z"))
    (document,) = setup.memory.documents.values()
    assert [entry.latest.day for entry in read_index(document.value).entries] == [4]


@pytest.mark.parametrize("value", [b"", b"\xff", b"[1]", b'{"entries": 1}'])
async def test_an_index_that_cannot_be_read_leaves_two_alerts_and_is_written_anew(value: bytes) -> None:
    setup = Setup()
    await setup.inventory()
    (name,) = setup.memory.documents
    setup.memory.documents[name] = Document(value, setup.memory.documents[name].version)
    assert len(await setup.log()) == 1
    assert len(read_index(setup.memory.documents[name].value).entries) == 1


async def test_an_alert_that_cannot_be_read_or_is_gone_is_not_joined_to() -> None:
    for body in (b"{}", None):
        setup = Setup()
        (alert_id,) = await setup.inventory()
        if body is None:
            del setup.memory.place.records[alert_id]
        else:
            setup.memory.place.records[alert_id] = (body, "1")
        assert len(await setup.log()) == 1


async def test_a_store_that_is_written_by_others_all_the_time_costs_no_alert() -> None:
    class Busy(MemoryStore):
        async def write_document(self, name: str, value: bytes, version: str | None) -> Document:
            await super().write_document(name, b'{"entries": []}', version)
            return await super().write_document(name, value, version)

    setup = Setup(memory=Busy())
    assert len(await setup.inventory()) == 1
    assert len(await setup.log()) == 1
