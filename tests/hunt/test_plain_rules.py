"""Somebody's Sentinel rule in the whole detector, with real clients: found, explained by evidence, and told once."""

import json
from pathlib import Path

import pytest

from detectors.app import Detector
from detectors.condition import read_progress, waits_of
from detectors.settings import load_settings
from sandbox.scenario import load_scenario
from sandbox.server import Sandbox
from tests.clock import Clock

RULE = """\
name: Jobs and runbooks of automation accounts
kind: NRT
severity: Low
query: |
  AzureActivity
  | where OperationNameValue has "Microsoft.Automation/automationAccounts"
  | where ActivityStatusValue in~ ("Success", "Succeeded")
  | project TimeGenerated, Who = Caller, From = CallerIpAddress, What = _ResourceId, OperationNameValue
entityMappings:
  - entityType: Account
    fieldMappings: [{identifier: FullName, columnName: Who}]
  - entityType: IP
    fieldMappings: [{identifier: Address, columnName: From}]
  - entityType: AzureResource
    fieldMappings: [{identifier: ResourceId, columnName: What}]
"""
LACKING = "name: Another table\nkind: Scheduled\nquery: NoSuchTable_CL\n"


async def test_a_plain_rule_finds_and_its_alert_carries_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    folder = tmp_path / "rules of ours"
    folder.mkdir()
    (folder / "plain.yaml").write_text(RULE)
    (folder / "lacking.yml").write_text(LACKING)
    with Sandbox.start(tmp_path, load_scenario("setup-then-execute"), clock) as sandbox:
        sandbox.play_all()
        environment = sandbox.environment() | {"STATE_PATH": str(tmp_path / "state.db"), "RULES_PATH": str(folder)}
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, environment[name])
        settings = load_settings(environment)
        detector = Detector(settings, environment=environment, clock=clock, sleep=clock.sleep)
        try:
            await detector.open()
            report = await detector.hunt()
            assert report.errors == ()
            (rule,) = (rule for rule in detector.rules if rule.name.startswith("Jobs and runbooks"))
            found = {i for outcome in report.outcomes if outcome.rule_id == rule.id for i in outcome.new}
            stored = [await detector.store.read(identifier) for identifier in found]
            alerts = [each.record.alert for each in stored if each and each.record.alert]
            assert alerts
            assert len(alerts) == len(found)
            for alert in alerts:
                assert alert.caller
                assert alert.caller_ip
                assert alert.account
                assert "/automationaccounts/" in alert.resource_id.casefold()
            evidence = {item.name: item for alert in alerts for item in alert.evidence if item.missing is None}
            assert {"runbook", "job", "executed_content"} <= set(evidence)
            assert evidence["executed_content"].code
            (again,) = [o for o in (await detector.hunt()).outcomes if o.rule_id == rule.id]
            assert again.new == ()
            waits = waits_of(await read_progress(detector.store, detector.rules, settings.workspace_ids))
            assert any(wait.startswith("1 rule waits for the table NoSuchTable_CL") for wait in waits)
            clock.advance(minutes=1)
            await detector.deliver()
            told = [json.dumps(entry.body) for entry in sandbox.ledger.at("webhook") if entry.accepted]
            assert sum("1 rule waits for the table NoSuchTable_CL" in body for body in told) == 1
        finally:
            await detector.close()
