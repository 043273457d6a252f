"""Links and the query that an alert's buttons open. Nothing from a row gets into them unless it is a GUID."""

import base64
import gzip
import re
from urllib.parse import quote

from detectors.model import Match
from detectors.rule import Rule

_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def responder_query(rule: Rule, match: Match) -> str:
    """KQL that shows the action in its context: every row of its CorrelationId, else the rule's own query.

    A CorrelationId can be chosen by the caller of ARM, so only one that is a GUID is put into the text. A rule that
    reads resource logs as well gives rows of those, whose CorrelationId is of a job.
    """
    correlation = str(match.row.get("CorrelationId") or "")
    if "AzureActivity" in rule.query and "AzureDiagnostics" not in rule.query and _GUID.fullmatch(correlation):
        return f'AzureActivity\n| where CorrelationId =~ "{correlation}"\n| sort by TimeGenerated asc'
    return rule.query


def query_url(workspace_resource_id: str, query: str, *, portal: str) -> str:
    """Portal link that opens *query* in the workspace's Logs page; empty without a workspace resource id.

    The form of the link (gzip, Base64, ``q``) is what the portal's own "Share link to query" writes; it is not
    documented as stable.
    """
    if not workspace_resource_id:
        return ""
    # mtime 0 keeps the link the same in every run.
    packed = base64.b64encode(gzip.compress(query.encode(), mtime=0)).decode()
    return (
        f"{portal}/#blade/Microsoft_OperationsManagementSuite_Workspace/Logs.ReactView"
        f"/resourceId/{quote(workspace_resource_id, safe='')}/source/LogsBlade.AnalyticsShareLinkToQuery"
        f"/q/{quote(packed, safe='')}/timespan/P1D"
    )
