"""Logs Ingestion: takes gzip JSON arrays for the streams of one data collection rule."""

from collections.abc import Callable
from typing import Any

import msgspec

from sandbox.endpoints.authorization import refuse_ingestion
from sandbox.tokens import TokenIssuer
from sandbox.wire import Request, Response, error_response

API_VERSION = "2023-01-01"
LIMIT = 1_048_576
"""Bytes of one call, documented for the compressed and for the uncompressed body."""

STREAMS = ("Custom-AutomationDetections_CL", "Custom-AutomationInventory_CL")


class IngestionEndpoint:
    """``POST /dataCollectionRules/{id}/streams/{stream}``. *store* takes the table's name and its new rows."""

    def __init__(self, issuer: TokenIssuer, rule_id: str, store: Callable[[str, list[dict[str, Any]]], None]) -> None:
        self._issuer = issuer
        self._rule_id = rule_id
        self._store = store

    def answer(self, request: Request) -> Response:
        """204 for an array of objects; otherwise an error that says what was wrong."""
        if refusal := refuse_ingestion(request, self._issuer):
            return refusal
        if request.method != "POST" or request.query.get("api-version") != API_VERSION:
            return error_response(400, "InvalidApiVersion", f"POST with api-version {API_VERSION} is needed.")
        match request.segments:
            case ["dataCollectionRules", rule, "streams", stream]:
                pass
            case _:
                return error_response(404, "NotFound", "There is no such path.")
        if rule != self._rule_id:
            return error_response(404, "NotFound", f"Data collection rule with immutable Id '{rule}' not found.")
        if stream not in STREAMS:
            return error_response(400, "InvalidStream", f"The stream {stream} was not configured for this rule.")
        try:
            content = request.content()
            if max(len(content), len(request.body)) > LIMIT:
                return error_response(
                    413, "ContentLengthLimitExceeded", f"Maximum allowed content length: {LIMIT} bytes."
                )
            rows = msgspec.json.decode(content, type=list[dict[str, Any]])
        except (ValueError, msgspec.DecodeError) as error:
            return error_response(400, "InvalidPayload", f"The body is no JSON array of objects: {error}")
        self._store(stream.removeprefix("Custom-"), rows)
        return Response(204)
