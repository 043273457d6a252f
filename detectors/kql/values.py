"""Values between Python, DuckDB and KQL: the column types of both, and what each accepts from hostile rows."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

DUCKDB_TYPES: Final = {
    "string": "VARCHAR",
    "datetime": "TIMESTAMP",
    "dynamic": "JSON",
    "long": "BIGINT",
    "int": "INTEGER",
    "real": "DOUBLE",
    "bool": "BOOLEAN",
    "guid": "VARCHAR",
    "timespan": "INTERVAL",
}
_KUSTO_TYPES: Final = {
    "VARCHAR": "string",
    "TIMESTAMP": "datetime",
    "TIMESTAMP WITH TIME ZONE": "datetime",
    "TIMESTAMP_NS": "datetime",
    "DATE": "datetime",
    "JSON": "dynamic",
    "BIGINT": "long",
    "HUGEINT": "long",
    "UBIGINT": "long",
    "INTEGER": "int",
    "SMALLINT": "int",
    "TINYINT": "int",
    "DOUBLE": "real",
    "FLOAT": "real",
    "BOOLEAN": "bool",
    "UUID": "guid",
    "INTERVAL": "timespan",
}

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_MAX_DEPTH: Final = 64


def parse_datetime(value: Any) -> datetime | None:
    """A UTC-aware datetime from an aware or naive (then UTC) datetime or ISO 8601 text, else None.

    Azure writes up to seven fraction digits; Python cuts them to six.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def kusto_type(duckdb_type: str) -> str:
    if duckdb_type.startswith("DECIMAL"):
        return "decimal"
    return _KUSTO_TYPES.get(duckdb_type, "dynamic")


def selected_column(name: str, duckdb_type: str) -> str:
    """The column in a type whose Python value needs no further package (a TIMESTAMPTZ would need pytz)."""
    column = f"result.{quote_identifier(name)}"
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":
        return f"({column} AT TIME ZONE 'UTC') AS {quote_identifier(name)}"
    if kusto_type(duckdb_type) == "dynamic" and duckdb_type != "JSON":
        return f"to_json({column}) AS {quote_identifier(name)}"
    return column


def _clean(text: str) -> str:
    """Hostile text that UTF-8 or DuckDB cannot hold: lone surrogates and NUL become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def _clean_json(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        return "(nested too deeply)"
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_json(item, depth + 1) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return _clean(str(value))


def to_duckdb(kind: str, value: Any) -> Any:
    if value is None:
        return "" if kind == "string" else None
    if kind in ("string", "guid"):
        return _clean(value if isinstance(value, str) else json.dumps(_clean_json(value)))
    if kind == "datetime":
        moment = parse_datetime(value)
        if moment is None:
            raise ValueError(f"{str(value)[:60]!r}, expected ISO 8601")
        return moment.replace(tzinfo=None)
    if kind == "dynamic":
        if isinstance(value, str):
            # As parse_json() does: text that is not JSON is a dynamic string.
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value) if value.strip() else None
        return None if value is None else json.dumps(_clean_json(value))
    if kind == "bool":
        return bool(value)
    if kind == "timespan":
        if not isinstance(value, timedelta):
            raise ValueError("expected a timedelta")
        return value
    return float(value) if kind == "real" else int(value)


def from_duckdb(kind: str, value: Any) -> Any:
    if value is None:
        return "" if kind == "string" else None
    if kind == "datetime" and isinstance(value, str):
        return None  # how DuckDB gives a time beyond the year 9999
    if kind == "datetime":
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC is put on in the next line
        return moment.replace(tzinfo=UTC)
    if kind == "dynamic":
        return json.loads(value)
    if kind in ("guid", "decimal"):
        return str(value)
    if kind == "real" and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if kind == "timespan":
        return _timespan(value)
    return value


def as_stored(kind: str, value: Any) -> Any:
    """The JSON value that *value* has after a way through a column of *kind*: that of :func:`to_duckdb`,
    :func:`from_duckdb` and :func:`json_value` one after the other (a dynamic value without the last), and faster.

    Raises what :func:`to_duckdb` raises for a value that the column does not take.
    """
    if kind == "string":
        return _clean(value) if isinstance(value, str) else from_duckdb(kind, to_duckdb(kind, value))
    if kind == "dynamic" and isinstance(value, dict):
        try:
            text = msgspec.json.encode(value)
        except (ValueError, TypeError, RecursionError):
            text = b""
        # What _clean_json() changes: NUL, and nesting deeper than its bound.
        if text and b"\\u0000" not in text and text.count(b"{") + text.count(b"[") <= _MAX_DEPTH:
            return msgspec.json.decode(text)
    found = from_duckdb(kind, to_duckdb(kind, value))
    return found if kind == "dynamic" else json_value(kind, found)


def _timespan(value: timedelta) -> str:
    """A timespan as the Logs API writes it: ``[-][d.]hh:mm:ss[.fffffff]``."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    hours, rest = divmod(value.seconds, 3600)
    days = f"{value.days}." if value.days else ""
    fraction = f".{value.microseconds:06d}0" if value.microseconds else ""
    return f"{sign}{days}{hours:02d}:{rest // 60:02d}:{rest % 60:02d}{fraction}"


def json_value(kind: str, value: Any) -> Any:
    """*value* of a column of Kusto type *kind*, as the JSON value it stands for."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if not isinstance(value, str):
        return value
    return _from_text(kind, value)


def _from_text(kind: str, value: str) -> Any:
    try:
        match kind:
            case "guid" | "timespan":
                return None if value == "None" else value
            case "dynamic":
                return json.loads(value) if value else None
            case "long" | "int":
                return int(value)
            case "real" | "decimal":
                # NaN and Infinity stay text: they are no JSON numbers.
                return float(value) if value.lower() not in {"nan", "inf", "-inf", "infinity", "-infinity"} else value
            case "bool":
                return {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value)
    except ValueError:
        return value
    return value
