"""Event Hub times: the same as the library's, or the library's own."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import azure.functions
import pytest
from azure.functions.eventhub import EventHubTriggerConverter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors import fast_dates
from tests.functions.decode_both_ways import UNUSUAL, USUAL, compare, converter
from tests.functions.find_python313 import find
from tests.functions.test_function_app import fresh

ROOT = Path(__file__).parents[2]
PYTHON313 = ROOT / ".venv313" / "bin" / "python"

PLAIN, FAST = converter(), converter()
assert fast_dates.install(FAST) == ""


def outcome(by: type[EventHubTriggerConverter], text: Any) -> tuple[Any, ...]:
    """What a caller can tell: the time and its zone, or the exception and its words."""
    try:
        time = by._parse_datetime(text)
    except Exception as error:  # noqa: BLE001 - whatever the library raises has to be raised with the replacement too
        return type(error), str(error)
    return time, time and time.tzinfo


def test_the_installed_library_is_one_that_the_replacement_knows() -> None:
    """Fails when the library changes under it; then it is left as it is, and batches decode several times as slowly."""
    told = compare()
    assert told["reason"] == ""
    assert told["differing"] == []
    assert told["events"] == told["read_by_library_before"] == len(USUAL) + len(UNUSUAL)
    assert told["read_by_library"] == list(UNUSUAL), "every usual time is read without the library"


def test_so_is_the_library_for_python_313() -> None:
    if find() is None:
        assert not PYTHON313.exists()
        return
    script = ROOT / "tests" / "functions" / "decode_both_ways.py"
    result = subprocess.run([PYTHON313, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["version"].startswith("2.")
    assert (told["reason"], told["differing"], told["read_by_library"]) == ("", [], list(UNUSUAL))


def two(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map("{:02d}".format)


# A little beyond what exists: hour 24, second 61, February 30.
TIMES = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.integers(0, 9999).map("{:04d}".format) | st.sampled_from(["2024", "2025", "25", "٢٠٢٥"]),
    two(0, 13),
    two(0, 32),
    st.sampled_from(["T", "T", "T", "T", "t", " "]),
    two(0, 25),
    two(0, 60),
    two(0, 62),
    st.just("") | st.from_regex(r"[.]\d{1,9}", fullmatch=True) | st.sampled_from([".", ",5", ".٣", "." + 40 * "7"]),
    st.sampled_from(["", "Z", "+00:00", "-00:00", "z", "+02:00", "+0000", "+00", "+00:00:00", "ZZ", "\n", "Z\n", " "]),
)


@given(TIMES | st.sampled_from(["2025-W08-3T16:25:39", "20250219T162539Z", "2025-050T16:25:39"]) | st.text(max_size=30))
@settings(max_examples=600)
@example("2025-02-19T24:00:00")
@example("2025-02-19T16:25:60Z")
@example("2025-02-19T16:25:39.9921234+02:00")
@example("2025-02-19T16:25:39.9921234ZZ")
@example("0000-02-19T16:25:39")
def test_every_text_is_read_or_refused_as_the_library_does(text: str) -> None:
    assert outcome(FAST, text) == outcome(PLAIN, text)


@given(st.datetimes(), st.sampled_from(["", "Z", "+00:00", "-00:00"]), st.integers(0, 9))
def test_no_time_of_the_usual_form_reaches_the_library(time: datetime, zone: str, digits: int) -> None:
    fraction = f".{time.microsecond:06d}000"[: digits + 1] if digits else ""
    text = f"{time:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + zone
    FAST.read.clear()
    found = outcome(FAST, text)
    assert FAST.read == []
    assert found == outcome(PLAIN, text)
    assert found[1] is (UTC if zone else None)


@pytest.mark.parametrize("value", [None, "", 0, {}, 17, 1.5, ["2025-02-19T16:25:39"], b"2025-02-19T16:25:39", True])
def test_what_is_no_text_is_left_to_the_library(value: Any) -> None:
    assert outcome(FAST, value) == outcome(PLAIN, value)


def test_installing_again_changes_nothing() -> None:
    once = converter()
    assert fast_dates.install(once) == ""
    installed = vars(once)["_parse_datetime"]
    assert fast_dates.install(once) == ""
    assert vars(once)["_parse_datetime"] is installed


class Gone:
    """A library whose reader has another name."""


class Aware:
    """A library that takes a time without a zone for UTC."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> datetime | None:
        return datetime.fromisoformat(datetime_str).replace(tzinfo=UTC) if datetime_str else None


class Rounding:
    """A library that rounds the seventh digit where ours leaves it out."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> datetime | None:
        time: datetime | None = PLAIN._parse_datetime(datetime_str)
        return time.replace(microsecond=time.microsecond + 1) if time and "9921239" in str(datetime_str) else time


class Raising:
    """A library whose reader takes something else."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None, culture: str) -> datetime | None:
        raise NotImplementedError


class NotAClassMethod:
    """A library whose reader belongs to an instance."""

    def _parse_datetime(self, datetime_str: str | None) -> datetime | None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (Gone, "Gone has no _parse_datetime"),
        (Aware, r"reads '2025-02-19T16:25:39\.992' as datetime.*tzinfo.* and not as datetime"),
        (Rounding, r"reads '2025-02-19T16:25:39\.9921239' as .*992124\) and not as .*992123\)"),
        (Raising, "TypeError: .*culture"),
        (NotAClassMethod, "TypeError: "),
    ],
)
def test_a_library_that_has_changed_is_left_as_it_is_and_named(changed: type, reason: str) -> None:
    before = vars(changed).copy()
    told = fast_dates.install(changed)
    assert f"azure-functions {azure.functions.__version__} is not what this app knows" in told
    assert re.search(reason, told), told
    assert vars(changed) == before


def test_a_library_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.functions", None)
    assert fast_dates.install().startswith("azure.functions cannot be imported")


INSTALLED = """
import azure.functions.eventhub as library, function_app
print(library.EventHubTriggerConverter._parse_datetime.__module__, repr(getattr(function_app, "streaming", None) and
      function_app.streaming._warning))
"""


def test_the_app_installs_it_where_it_has_a_stream() -> None:
    assert fresh(INSTALLED, ACTIVITY_LOG_HUB="x").stdout.split() == ["detectors.fast_dates", "''"]
    assert fresh(INSTALLED).stdout.split() == ["azure.functions.meta", "None"]
