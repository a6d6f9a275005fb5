"""Windows of time: no gap, no overlap, along the calendar, over the ends of months and changes of the clock."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.timespans.timestamps import moment
from airflow_provider_tinybird.timespans.windows import MOST, Window, cut, halves, length

DAY = timedelta(days=1)
SHORTEST = timedelta(seconds=1)


def at(text):
    return moment(text, "at")


def edges(start, end, step):
    windows = cut(at(start), at(end), step)
    return [f"{edge:%Y-%m-%d %H:%M}".removesuffix(" 00:00") for edge in (windows[0].start, *(w.end for w in windows))]


CUTS = [
    ("2026-01-01", "2026-01-03", "day", ["2026-01-01", "2026-01-02", "2026-01-03"]),
    (
        "2026-01-01 18:00",
        "2026-01-03 06:00",
        "day",
        ["2026-01-01 18:00", "2026-01-02", "2026-01-03", "2026-01-03 06:00"],
    ),
    ("2024-01-31", "2024-04-02", "month", ["2024-01-31", "2024-02-01", "2024-03-01", "2024-04-01", "2024-04-02"]),
    ("2023-12-01", "2024-03-01", "Months", ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]),
    ("2026-01-01", "2026-06-01", "2 months", ["2026-01-01", "2026-03-01", "2026-05-01", "2026-06-01"]),
    ("2025-11-15", "2026-05-01", "quarter", ["2025-11-15", "2026-01-01", "2026-04-01", "2026-05-01"]),
    ("2024-02-29", "2026-01-01", "year", ["2024-02-29", "2025-01-01", "2026-01-01"]),
    ("2026-01-01", "2026-01-13", "week", ["2026-01-01", "2026-01-05", "2026-01-12", "2026-01-13"]),  # Mondays
    (
        "2026-01-01 05:00",
        "2026-01-01 13:00",
        "6 hours",
        ["2026-01-01 05:00", "2026-01-01 06:00", "2026-01-01 12:00", "2026-01-01 13:00"],
    ),
    ("2026-01-01", "2026-01-25", "10 days", ["2026-01-01", "2026-01-11", "2026-01-21", "2026-01-25"]),
    ("2026-01-01", "2026-01-01 00:30", "day", ["2026-01-01", "2026-01-01 00:30"]),
    ("2026-01-01 01:00", "2026-01-02", timedelta(hours=15), ["2026-01-01 01:00", "2026-01-01 16:00", "2026-01-02"]),
    ("2026-01-01", "2026-01-02", timedelta(days=400), ["2026-01-01", "2026-01-02"]),
    ("2026-01-01", "2026-01-02", timedelta.max, ["2026-01-01", "2026-01-02"]),
    # Counted from the start each time: 31, 28, 31, not 31, 28, 28.
    (
        "2026-01-31",
        "2026-05-01",
        relativedelta(months=1),
        ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-01"],
    ),
    ("2024-01-30", "2024-03-15", relativedelta(months=1), ["2024-01-30", "2024-02-29", "2024-03-15"]),
    ("9999-12-01", "9999-12-31", "month", ["9999-12-01", "9999-12-31"]),
]


@pytest.mark.parametrize(("start", "end", "step", "expected"), CUTS)
def test_cut(start, end, step, expected):
    assert edges(start, end, step) == expected


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-29", 23), ("2026-10-25", 25)],  # clocks go forward, and back
)
@pytest.mark.parametrize("step", ["hour", timedelta(hours=1), "6 hours"])
def test_a_change_of_the_clock_makes_no_gap_and_no_overlap(day, hours, step):
    madrid = ZoneInfo("Europe/Madrid")
    midnight = datetime.fromisoformat(day).replace(tzinfo=madrid)
    windows = cut(moment(midnight, "start"), moment(midnight + DAY, "end"), step)
    assert sum((w.end - w.start for w in windows), timedelta(0)) == timedelta(hours=hours)
    assert all(before.end == after.start for before, after in itertools.pairwise(windows))
    if step != "6 hours":
        assert len(windows) == hours


@pytest.mark.parametrize(
    "step", ["", "fortnight", "0 days", "-1 day", "P1M", timedelta(0), -DAY, relativedelta(), 5, None]
)
def test_no_step(step):
    with pytest.raises(InvalidInputError, match="window="):
        cut(at("2026-01-01"), at("2027-01-01"), step)


def test_an_empty_range():
    with pytest.raises(InvalidInputError, match="is empty"):
        cut(at("2026-01-01"), at("2026-01-01"), "day")


def test_too_many():
    with pytest.raises(InvalidInputError, match=f"more than {MOST:,} windows"):
        cut(at("2000-01-01"), at("2026-01-01"), "minute")


MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
STEPS = st.sampled_from(
    ["day", "week", "month", "quarter", "year", "5 days", timedelta(days=9), relativedelta(months=1)]
)


@given(MOMENTS, st.timedeltas(timedelta(microseconds=1), timedelta(days=5000)), STEPS)
def test_the_windows_are_the_range(start, span, step):
    windows = cut(start, start + span, step)
    assert (windows[0].start, windows[-1].end) == (start, start + span)
    assert all(before.end == after.start for before, after in itertools.pairwise(windows))
    assert all(w.start < w.end for w in windows)
    assert len({w.key for w in windows}) == len(windows)
    assert [Window.from_json(w.to_json()) for w in windows] == list(windows)


@given(MOMENTS, st.timedeltas(timedelta(microseconds=1), timedelta(days=5000)))
def test_halves_are_the_whole(start, span):
    window = Window(start, start + span)
    pair = halves(window, shortest=SHORTEST)
    if pair is None:
        assert span < timedelta(seconds=4)
    else:
        first, second = pair
        assert (first.start, first.end, second.end) == (window.start, second.start, window.end)
        assert min(first.end - first.start, second.end - second.start) >= SHORTEST
        assert max(first.end - first.start, second.end - second.start) < span


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ("2026-01-01", "2026-02-01", "2026-01-16"),
        ("2026-01-01", "2026-01-02", "2026-01-01 12:00"),
        ("2026-01-01", "2026-01-04", "2026-01-02"),
        ("2026-01-01 00:00", "2026-01-01 03:00", "2026-01-01 01:00"),
        ("2026-01-01 00:00:00", "2026-01-01 00:00:03", "2026-01-01 00:00:01"),
    ],
)
def test_the_middle(start, end, middle):
    pair = halves(Window(at(start), at(end)), shortest=SHORTEST)
    assert pair is not None
    assert pair[1].start == at(middle)


def test_no_half_is_shorter_than_may_be():
    three_days = Window(at("2026-01-01"), at("2026-01-04"))
    assert halves(three_days, shortest=DAY) is not None
    assert halves(three_days, shortest=timedelta(hours=25)) is None


def test_an_edge_that_cannot_be():
    def is_a_day(edge):
        return edge.hour == edge.minute == edge.second == 0

    assert halves(Window(at("2026-01-01"), at("2026-01-02")), shortest=SHORTEST, can_be=is_a_day) is None
    assert halves(Window(at("2026-01-01"), at("2026-01-04")), shortest=SHORTEST, can_be=is_a_day) is not None


@pytest.mark.parametrize("value", [timedelta(hours=6), "6 hours", 21600, "21600", "360 minutes"])
def test_a_length(value):
    assert length(value, "min_window") == timedelta(hours=6)


@pytest.mark.parametrize(
    "value", [0, -1, "soon", "1 month", None, True, float("nan"), float("inf"), timedelta(0), "0 days"]
)
def test_no_length(value):
    with pytest.raises(InvalidInputError, match="min_window="):
        length(value, "min_window")
