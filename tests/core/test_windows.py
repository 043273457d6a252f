"""Which time a run covers."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from detectors.sources.windows import Watermark, Window, plan, sweep

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def windows(watermark: Watermark | None, *, now: datetime = NOW, period: timedelta = 25 * MINUTE) -> tuple[Window, ...]:
    return plan(watermark, now=now, period=period, overlap=25 * MINUTE, longest=360 * MINUTE, initial=60 * MINUTE)


def test_a_run_reaches_back_by_the_overlap_from_the_last_one() -> None:
    assert windows(Watermark(end=NOW - 5 * MINUTE)) == (Window(NOW - 30 * MINUTE, NOW),)


def test_a_window_never_covers_less_than_the_period_of_the_query() -> None:
    (window,) = windows(Watermark(end=NOW - 5 * MINUTE), period=timedelta(days=14))
    assert window == Window(NOW - timedelta(days=14), NOW)


def test_the_first_run_looks_back_as_far_as_the_setting_says() -> None:
    assert windows(None) == (Window(NOW - 85 * MINUTE, NOW),)


def test_after_an_outage_the_gap_is_covered_in_bounded_windows() -> None:
    outage = windows(Watermark(end=NOW - timedelta(hours=14)))
    assert [window.end for window in outage] == [NOW - timedelta(hours=8), NOW - timedelta(hours=2), NOW]


def test_a_clock_that_went_back_a_little_still_hunts_up_to_now() -> None:
    assert windows(Watermark(end=NOW + 5 * MINUTE)) == (Window(NOW - 25 * MINUTE, NOW),)


def test_a_watermark_from_a_clock_far_ahead_does_not_blind_the_hunt() -> None:
    (window,) = windows(Watermark(end=NOW + timedelta(days=400)))
    assert window.start <= NOW - 60 * MINUTE
    assert window.end == NOW


def test_the_sweep_reads_the_last_day_or_the_period_if_that_is_longer() -> None:
    day = timedelta(days=1)
    assert sweep(now=NOW, period=25 * MINUTE, lookback=day) == Window(NOW - day, NOW)
    assert sweep(now=NOW, period=7 * day, lookback=day) == Window(NOW - 7 * day, NOW)


@given(
    gap=st.integers(1, 100_000), longest=st.integers(5, 1_000), overlap=st.integers(0, 60), period=st.integers(5, 600)
)
def test_no_moment_since_the_watermark_is_left_out(gap: int, longest: int, overlap: int, period: int) -> None:
    done = NOW - gap * MINUTE
    planned = plan(
        Watermark(end=done),
        now=NOW,
        period=period * MINUTE,
        overlap=overlap * MINUTE,
        longest=longest * MINUTE,
        initial=MINUTE,
    )
    assert planned[-1].end == NOW
    for window in planned:
        assert window.start <= done - overlap * MINUTE
        assert window.end - window.start >= period * MINUTE
        assert done < window.end <= done + longest * MINUTE
        done = window.end
