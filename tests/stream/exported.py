"""Rows of the table as the Event Hub export tells the same actions."""

from typing import Any


def exported(row: dict[str, Any]) -> dict[str, Any]:
    """The Event Hub record of a row of the table."""
    return {
        "time": row["TimeGenerated"] if isinstance(row["TimeGenerated"], str) else row["TimeGenerated"].isoformat(),
        "resourceId": row["_ResourceId"].upper(),
        "operationName": row["OperationNameValue"],
        "category": "Administrative",
        "resultType": row["ActivityStatusValue"],
        "resultSignature": f"{row['ActivityStatusValue']}.{row['ActivitySubstatusValue']}",
        "callerIpAddress": row["CallerIpAddress"],
        "correlationId": row["CorrelationId"].upper(),
        "identity": {"claims": {"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": row["Caller"]}},
        "level": "Information",
        "properties": {"eventCategory": "Administrative", "entity": row["_ResourceId"]},
    }
