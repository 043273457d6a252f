"""Activity Log records, as exported or as the REST API gives them, to rows of the table AzureActivity.

The field mapping is Azure Monitor's documented one (``platform/activity-log-schema.md``); where published samples
differ from it, both are read. Everything here takes hostile input and never raises for it: a record that cannot be
read becomes a :class:`BadRecord`, a field that cannot be read stays empty.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from detectors.kql.engine import load_tables
from detectors.kql.values import parse_datetime

TABLE: Final = "AzureActivity"

# Caller is a UPN or, for a service principal, an object id; a display name comes last because it is neither.
_CALLER_CLAIMS: Final = (
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
    "upn",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
    "unique_name",
    "preferred_username",
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "oid",
    "name",
)
_CATEGORIES: Final = frozenset(
    {
        "administrative",
        "alert",
        "autoscale",
        "policy",
        "recommendation",
        "resourcehealth",
        "security",
        "servicehealth",
    }
)
# Top-level fields that become columns; every other one is kept in Properties_d.
_MAPPED: Final = frozenset(
    {
        "authorization",
        "calleripaddress",
        "caller",
        "category",
        "claims",
        "correlationid",
        "eventdataid",
        "eventtimestamp",
        "httprequest",
        "identity",
        "level",
        "operationid",
        "operationname",
        "properties",
        "resourcegroupname",
        "resourceid",
        "resourceprovidername",
        "resultsignature",
        "resulttype",
        "status",
        "submissiontimestamp",
        "subscriptionid",
        "substatus",
        "time",
    }
)
_TABLE_SHAPE: Final = frozenset({"operationnamevalue", "activitystatusvalue", "timegenerated"})

_SEPARATORS: Final = re.compile(r"[\s,\x1e\ufeff]*")
_OPENED_LIST: Final = re.compile(r'\{\s*"(?:records|value)"\s*:\s*\[|\[')
_CLOSED_LIST: Final = re.compile(r"\]\s*\}?")
_NEXT_RECORD: Final = re.compile(r"\n\s*(?=[{\[])|\}\s*,?\s*(?=\{)")


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that could not be read: ``position`` counts all records of the data from 1."""

    position: int
    reason: str


def to_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """One Activity Log record as a row of AzureActivity: every column present, datetimes aware, ``*_d`` parsed.

    Takes the shape of a diagnostic setting (Event Hub), the shape of the REST API, and a row of the table itself,
    told apart by their field names, in any case; :func:`is_plain` says when the names are those of an export. What an
    export does not carry stays empty; ``Caller`` is derived from the claims, and ``Properties_d.entity`` falls back to
    the resource id in its original case.
    """
    fields = _folded(record)
    if is_plain(record):
        # Spelled as the export spells them, these count before any other spelling: the stream reads no others.
        fields["operationname"], fields["resulttype"] = record["operationName"], record["resultType"]
        row = _from_record(fields)
    else:
        row = _from_table(fields) if _TABLE_SHAPE & fields.keys() else _from_record(fields)
    return {**_empty_row(), **row}


def is_plain(record: Mapping[str, Any]) -> bool:
    """Whether *record* names its operation and outcome as every record of a diagnostic setting does: with the texts
    ``operationName`` and ``resultType``. It is then no row of the table, whatever else it holds.
    """
    outcome = record.get("resultType")
    return isinstance(record.get("operationName"), str) and isinstance(outcome, str) and outcome != ""


def read_records(data: bytes) -> Iterator[dict[str, Any] | BadRecord]:
    """The records in *data*, in order, with a :class:`BadRecord` in the place of each unreadable one.

    Takes one object, a list, ``{"records": [...]}``, ``{"value": [...]}``, one inside another, one object per line and
    objects one after the other; UTF-8 or UTF-16, with or without byte order mark. Forgives what loses no record: commas
    and ends of lines anywhere between records, and the last brace of ``{"records": [...]}``.

    Data that yields no :class:`BadRecord` was read to its last byte. What is missing or altered outside of every
    record is reported too, once: a list that never ends or never began, bytes that are no text.
    """
    text, broken = _decode(data)
    line, counted, damaged, position = 1, 0, False, 0
    for position, found in enumerate(_values(text), start=1):
        if isinstance(found, _Damage):
            damaged = True
            line, counted = line + text.count("\n", counted, found.offset), found.offset
            yield BadRecord(position, f"line {line}: {found.reason}")
        elif not isinstance(found, dict):
            yield BadRecord(position, f"not a record but a JSON {_json_type(found)}")
        elif (name := list_in(found)) is not None:
            yield BadRecord(position, f"not a record but an object with a list in {name[:50]!r}")
        else:
            yield found
    if broken and not damaged:
        yield BadRecord(position + 1, broken)


def list_in(record: Mapping[str, Any]) -> str | None:
    """The name of a list of objects in what has no field of a record; None for a record.

    Such a thing is an envelope, inside another one or damaged in its name. To take it for a record is to lose a list
    of them.
    """
    names = [name for name, value in record.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if not names or not (_MAPPED | _TABLE_SHAPE).isdisjoint(name.casefold() for name in record):
        return None
    return names[0]


@dataclasses.dataclass(frozen=True)
class _Damage:
    offset: int
    reason: str


class _Document(str):
    """Text whose JSON errors cost nothing: JSONDecodeError counts the lines before it, for each error anew."""

    __slots__ = ()

    def count(self, *_: object) -> int:
        return 0

    def rfind(self, *_: object) -> int:
        return 0


def _values(data: str) -> Iterator[Any]:
    text = _Document(data)
    decode = json.JSONDecoder().raw_decode
    position = 0
    # Lists that were entered because they are damaged as a whole, and have not ended yet.
    lists = 0
    damaged = cut = False
    # Every failed attempt costs something and may have read far ahead; the budget keeps hostile data, which fails
    # at every other character or reads to the end each time, from holding up the rest.
    budget = 8 * len(text) + 1_000_000
    while (position := _skip(_SEPARATORS, text, position)) < len(text):
        try:
            value, position = decode(text, position)
        except (ValueError, RecursionError) as error:
            closed = _skip(_CLOSED_LIST, text, position)
            opened = _skip(_OPENED_LIST, text, position)
            budget -= getattr(error, "pos", position + 50_000) - position + 500
            if budget < 0:
                yield _Damage(position, f"too damaged; the last {len(text) - position} characters were not read")
                return
            if opened > position:
                # The list as a whole is damaged, each of its records may be whole.
                position, lists, cut = opened, lists + 1, False
                continue
            if closed > position:
                if not lists and not damaged:
                    damaged = True
                    yield _Damage(position, "a list ends that never began")
                position, lists = closed, max(lists - 1, 0)
                continue
            reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
            yield _Damage(position, f"not JSON: {reason}")
            damaged = cut = True
            following = _NEXT_RECORD.search(text, position + 1)
            end = following.end() if following else len(text)
            if text.find("]", position, end) >= 0:
                # Perhaps the end of a list: from here on it cannot be told what is still open.
                lists = 0
            position = end
        else:
            cut = False
            yield from _unwrapped(value)
    if lists and not cut:
        yield _Damage(len(text), "the data ends inside a list")


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _unwrapped(value: Any) -> Iterator[Any]:
    """What lists and envelopes hold, however deep."""
    ahead, outermost = [value], True
    while ahead:
        found = ahead.pop()
        if isinstance(found, dict) and (outermost or list_in(found) is not None):
            found = next((found[name] for name in ("records", "value") if isinstance(found.get(name), list)), found)
        outermost = False
        if isinstance(found, list):
            ahead.extend(reversed(found))
        else:
            yield found


def _json_type(value: Any) -> str:
    names = {str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _decode(data: bytes) -> tuple[str, str]:
    """The text, and what of it is a guess."""
    encoding = "utf-8-sig"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif data[1:2] == b"\0":
        encoding = "utf-16-le"
    elif data[:1] == b"\0":
        encoding = "utf-16-be"
    try:
        return data.decode(encoding), ""
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else "UTF-16"
        # The decoder counts behind the byte order mark.
        number = len(data) - len(error.object) + error.start + 1
        broken = f"byte {number} of the data is not {name}; what is not was read as U+FFFD"
        return data.decode(encoding, errors="replace"), broken


@functools.cache
def _columns() -> dict[str, str]:
    return dict(load_tables()[TABLE].columns)


@functools.cache
def _empty_row() -> Mapping[str, Any]:
    return {name: "" if kind == "string" else None for name, kind in _columns().items()}


def _from_table(fields: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, kind in _columns().items():
        value = fields.get(name.casefold())
        if kind == "string":
            row[name] = _text(value)
        elif kind == "datetime":
            row[name] = parse_datetime(value)
        elif kind == "dynamic":
            row[name] = _parsed(value)
        else:
            row[name] = float(value) if isinstance(value, int | float) else None
    for name in ("Properties", "Claims", "Authorization"):
        if row[f"{name}_d"] is None:
            row[f"{name}_d"] = _parsed(row[name])
    row["_ResourceId"] = (row["_ResourceId"] or row["ResourceId"]).lower()
    return row


def _from_record(fields: Mapping[str, Any]) -> dict[str, Any]:
    identity = _parsed(fields.get("identity"))
    identity_fields = _folded(identity)
    authorization = _parsed(fields.get("authorization") or identity_fields.get("authorization"))
    claims = _parsed(fields.get("claims") or identity_fields.get("claims"))
    properties = _parsed(fields.get("properties"))
    if not isinstance(properties, dict):
        properties = {} if properties is None else {"properties": properties}
    known = _folded(properties)
    http_request = fields.get("httprequest") or known.get("httprequest")
    resource_id = _text(fields.get("resourceid"))
    subscription, group, provider = _resource_parts(resource_id)
    caller = _text(fields.get("caller")) or _text(known.get("caller")) or _caller(claims)
    if not caller and isinstance(identity, str):
        caller = identity
    kept = {name: value for name, value in fields.items() if name not in _MAPPED}
    if resource_id:
        kept["entity"] = resource_id
    properties = {**{name: value for name, value in kept.items() if name not in known}, **properties}
    return {
        "TimeGenerated": _moment(fields.get("time"), fields.get("eventtimestamp")),
        "OperationNameValue": _text(fields.get("operationname")),
        "ActivityStatusValue": _text(fields.get("resulttype")) or _text(fields.get("status")),
        "ActivitySubstatusValue": _substatus(fields),
        "CategoryValue": _category(known.get("eventcategory"), fields.get("category")),
        "ResourceProviderValue": provider or _text(fields.get("resourceprovidername")).upper(),
        "Caller": caller,
        "CallerIpAddress": _text(fields.get("calleripaddress"))
        or _text(_folded(_parsed(http_request)).get("clientipaddress")),
        "CorrelationId": _text(fields.get("correlationid")),
        "EventDataId": _text(fields.get("eventdataid")) or _text(known.get("eventdataid")),
        "OperationId": _text(fields.get("operationid")) or _text(known.get("operationid")),
        "EventSubmissionTimestamp": _moment(fields.get("submissiontimestamp"), known.get("eventsubmissiontimestamp")),
        "Level": _text(fields.get("level")),
        "ResourceGroup": group or _text(fields.get("resourcegroupname")).upper(),
        "SubscriptionId": subscription or _text(fields.get("subscriptionid")),
        "Authorization": _json(authorization),
        "Authorization_d": authorization,
        "Claims": _json(claims),
        "Claims_d": claims,
        "HTTPRequest": _json(http_request),
        "Hierarchy": _text(known.get("hierarchy")),
        "Properties": _json(properties),
        "Properties_d": properties,
        "SourceSystem": "Azure",
        "Type": TABLE,
        "_ResourceId": resource_id.lower(),
        "_SubscriptionId": (subscription or _text(fields.get("subscriptionid"))).lower(),
    }


def _folded(value: Any) -> dict[str, Any]:
    """The mapping with case-folded names; an exact duplicate in another case loses to the first."""
    if not isinstance(value, dict | Mapping):
        return {}
    folded = {str(name).casefold(): item for name, item in value.items()}
    if len(folded) < len(value):
        folded = {}
        for name, item in value.items():
            folded.setdefault(str(name).casefold(), item)
    return folded


def _text(value: Any) -> str:
    """Text of a plain value or of the REST API's ``{"value": ..., "localizedValue": ...}``."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | Mapping):
        value = _folded(value).get("value")
        if isinstance(value, str):
            return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _parsed(value: Any) -> Any:
    """The value, parsed when it is a string that holds a JSON object or list; an empty string is None."""
    if not isinstance(value, str):
        return value
    if value.lstrip()[:1] not in ("{", "["):
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _json(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return msgspec.json.encode(value).decode()
    except (ValueError, TypeError, RecursionError):
        # Text that UTF-8 cannot hold, numbers of more than 64 bits, nesting without end.
        pass
    try:
        return json.dumps(value, default=str, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""


def _moment(*candidates: Any) -> datetime | None:
    return next((moment for moment in map(parse_datetime, candidates) if moment is not None), None)


def _substatus(fields: Mapping[str, Any]) -> str:
    if "substatus" in fields:
        return _text(fields["substatus"])
    signature = _text(fields.get("resultsignature"))
    return signature.partition(".")[2] if "." in signature else signature


def _category(event_category: Any, category: Any) -> str:
    """An export's own ``category`` may be Write, Delete or Action instead of a category of the table."""
    for candidate in (_text(event_category), _text(category)):
        if candidate.replace(" ", "").casefold() in _CATEGORIES:
            return candidate
    return "Administrative"


def _caller(claims: Any) -> str:
    if isinstance(claims, dict):
        # Nearly always spelled as they should be.
        exact = next((caller for name in _CALLER_CLAIMS if (caller := _text(claims.get(name)))), "")
        if exact:
            return exact
    fields = _folded(claims)
    return next((caller for name in _CALLER_CLAIMS if (caller := _text(fields.get(name)))), "")


def _resource_parts(resource_id: str) -> tuple[str, str, str]:
    """Subscription id, resource group and provider of a resource id, in the table's case; empty where absent."""
    segments = resource_id.strip("/").split("/")
    following = {name.lower(): value for name, value in zip(segments[::2], segments[1::2], strict=False)}
    return (
        following.get("subscriptions", "").lower(),
        following.get("resourcegroups", "").upper(),
        following.get("providers", "").upper(),
    )
