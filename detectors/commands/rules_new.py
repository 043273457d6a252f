"""``rules new``: a rule to start from, with a case that hits and one that narrowly does not."""

import dataclasses
import re
import uuid
from pathlib import Path
from string import Template
from typing import Final

from detectors import rulebook
from detectors.commands.failure import CommandError

_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_LONGEST_NAME: Final = 80

_RULE: Final = Template("""\
# A detection in Microsoft Sentinel's analytics-rule format, with one key of our own: detector.
# Check it with `rules lint`, try it with `rules test`. Replace what is in capitals and delete these comments.
id: $id
kind: Scheduled
name: "$title"
description: Identifies SOMETHING. SAY WHY AN ADVERSARY DOES IT.
severity: Medium  # Informational, Low, Medium or High; triage raises it when the evidence is worse
status: Available
requiredDataConnectors:
  - connectorId: AzureActivity
    dataTypes:
      - AzureActivity
queryFrequency: 5m
queryPeriod: 25m  # longer than the frequency, because Activity Log rows arrive 3 to 20 minutes late
triggerOperator: gt
triggerThreshold: 0
tactics:
  - Persistence
relevantTechniques:
  - T1546
# No filter on TimeGenerated: whoever runs the query bounds the time, so that an outage leaves no gap.
# in~ because the Activity Log writes operations in any casing; success is written in two ways.
query: |
  AzureActivity
  | where OperationNameValue in~ ("Microsoft.Automation/automationAccounts/webhooks/write")
  | where ActivityStatusValue in~ ("Success", "Succeeded")
  | extend AccountName = extract("(?i)/automationAccounts/([^/]+)", 1, _ResourceId)
eventGroupingSettings:
  aggregationKind: AlertPerResult
entityMappings:  # every columnName is a column of the query's result
  - entityType: Account
    fieldMappings:
      - identifier: FullName
        columnName: Caller
  - entityType: IP
    fieldMappings:
      - identifier: Address
        columnName: CallerIpAddress
  - entityType: AzureResource
    fieldMappings:
      - identifier: ResourceId
        columnName: _ResourceId
customDetails:
  AutomationAccount: AccountName
  Operation: OperationNameValue
alertDetailsOverride:
  alertDisplayNameFormat: "$title on {{AccountName}} by {{Caller}}"
detector:
  stream: true  # also on the Event Hub stream; only for queries that read AzureActivity alone
  identity: [CorrelationId, OperationNameValue, _ResourceId, ActivityStatusValue]  # what makes two rows one action
  summary: [AccountName, Caller, CallerIpAddress]  # what leads the alert
  enrich: [webhooks]  # evidence to collect: $enrichments
  risk_score: 47
  references:
    - https://learn.microsoft.com/azure/automation/
  false_positives:
    - SAY WHO DOES THIS FOR GOOD REASONS, AND HOW TO TELL.
  triage: |
    1. SAY WHAT A RESPONDER CHECKS THAT THE ALERT CANNOT.
  response: |
    1. SAY WHAT TO DO WHEN IT IS REAL.
version: 1.0.0
""")

_RESOURCE_ID: Final = (
    "/SUBSCRIPTIONS/11111111-2222-3333-4444-555555555555/RESOURCEGROUPS/RG-OPS/PROVIDERS/MICROSOFT.AUTOMATION"
    "/AUTOMATIONACCOUNTS/AA-PROD/WEBHOOKS/DEPLOY"
)
_TESTS: Final = Template("""\
# Each case lays its rows over `record`, an Activity Log record as Azure exports it, and says what comes out.
record:
  time: "2026-03-14T02:07:31.1234567Z"
  resourceId: $resource_id
  operationName: MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WEBHOOKS/WRITE
  category: Administrative
  resultType: Success
  resultSignature: Succeeded.
  callerIpAddress: 203.0.113.7
  correlationId: 6f6d1d0e-8f0a-4d0c-9a3e-2b1c5a7d9e03
  identity:
    claims:
      http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn: mallory@contoso.com

cases:
  - name: The operation succeeds
    rows:
      - resultType: Success
    expect:
      matches: 1
      severity: Medium

  - name: A near miss, the same operation refused, is not reported
    rows:
      - {resultType: Failure, resultSignature: Failed.Forbidden}
    expect:
      matches: 0
""")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewRule:
    """The files that were written."""

    id: str
    rule: str
    tests: str


def new_rule(name: str, folder: Path, *, rule_id: uuid.UUID) -> NewRule:
    """Write ``name.yaml`` and ``name.tests.yaml`` into *folder*, which is made when it does not exist.

    Raises :class:`CommandError` when *name* is no name for a file, when one of the files exists, and when they cannot
    be written.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        words = "-".join(re.findall(r"[a-z0-9]+", name.lower(), re.ASCII))[:_LONGEST_NAME].strip("-")
        raise CommandError(
            f"{name!r} is no name for a rule; write small letters, digits and single hyphens, at most {_LONGEST_NAME} "
            f"characters, such as {words or 'webhook-created'}"
        )
    rule = folder / f"{name}.yaml"
    tests = rulebook.tests_of(rule)
    # Both before either is written, so that a refusal leaves nothing behind.
    for path in (rule, tests):
        if path.exists() or path.is_symlink():
            raise CommandError(f"{path} exists and is not overwritten; choose another name or folder")
    text = _RULE.substitute(
        id=rule_id,
        title=name.replace("-", " ").capitalize(),
        enrichments=", ".join(rulebook.ENRICHMENTS),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in ((rule, text), (tests, _TESTS.substitute(resource_id=_RESOURCE_ID))):
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(content)
    except OSError as error:
        where = error.filename or folder
        raise CommandError(f"{where}: {error.strerror or error}; name a folder that can be written to") from error
    return NewRule(id=str(rule_id), rule=str(rule), tests=str(tests))
