"""When a budget begins again: windows tile time, whatever the clocks of a time zone do."""

from __future__ import annotations

import random
import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard import ConfigError
from budgetguard.budgets.periods import CALENDAR, FOREVER, ROLLING_BUCKETS, Period

ZONES = sorted(zoneinfo.available_timezones())
FIRST_MS = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp() * 1000)
LAST_MS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000

moments = st.integers(FIRST_MS, LAST_MS)
lengths = st.builds("rolling {}{}".format, st.integers(1, 400), st.sampled_from("mhdw"))


def ms(text: str) -> int:
    """A moment in ISO 8601, as milliseconds since the epoch."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def windows(period: Period, text_from: str, text_until: str):
    """The windows from one moment to another, each the next one's neighbour."""
    at_ms, found = ms(text_from), []
    while at_ms < ms(text_until):
        window = period.window(at_ms)
        found.append(window)
        at_ms = window.end_ms
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CALENDAR), st.sampled_from(ZONES), moments)
def test_a_window_contains_its_moment(name, timezone, at_ms):
    """Otherwise a store whose clock is right would call every hold stale."""
    window = Period(name, timezone).window(at_ms)

    assert window.start_ms <= at_ms < window.end_ms
    assert window.resets_ms == window.end_ms


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CALENDAR), st.sampled_from(ZONES), moments)
def test_windows_meet_without_gap_or_overlap(name, timezone, at_ms):
    """A moment in no window could not be paid for; one in two would have two budgets."""
    period = Period(name, timezone)
    window = period.window(at_ms)

    assert period.window(window.start_ms) == window
    assert period.window(window.end_ms - 1) == window
    following, before = period.window(window.end_ms), period.window(window.start_ms - 1)
    assert following.start_ms == window.end_ms
    assert before.end_ms == window.start_ms
    assert len({before.label, window.label, following.label}) == 3


@settings(max_examples=100, deadline=None)
@given(lengths, moments)
def test_a_rolling_window_counts_its_whole_length_and_at_most_one_bucket_more(name, at_ms):
    """Spend may leave late, never early."""
    period = Period.parse(name)
    window = period.window(at_ms)
    length = period.rolling_ms
    bucket = window.end_ms - window.start_ms

    assert window.start_ms <= at_ms < window.end_ms
    assert len(window.earlier) == ROLLING_BUCKETS
    assert len(window.earlier) * bucket >= length
    assert bucket <= length / ROLLING_BUCKETS
    oldest = period.window(window.start_ms - len(window.earlier) * bucket)
    assert oldest.label == window.earlier[0]
    assert period.window(window.end_ms).earlier[-1] == window.label


@pytest.mark.parametrize("timezone", random.Random(7).sample(ZONES, 5))
def test_no_two_days_of_fifty_years_share_a_label(timezone):
    """A label that came back would bring an old account's spend with it."""
    labels = [window.label for window in windows(Period("daily", timezone), "1990-01-01T00:00Z", "2040-01-01T00:00Z")]

    assert len(labels) == len(set(labels))
    assert labels == sorted(labels)


def test_a_day_of_a_clock_change_is_23_or_25_hours_long():
    """Midnight to midnight, not 24 hours."""
    berlin = Period("daily", "Europe/Berlin")
    days = windows(berlin, "2026-03-27T23:00Z", "2026-10-27T00:00Z")
    hours = {day.label: (day.end_ms - day.start_ms) / 3_600_000 for day in days}

    assert hours["2026-03-29"] == 23
    assert hours["2026-10-25"] == 25
    assert hours["2026-06-01"] == 24


def test_a_day_that_begins_without_midnight_begins_when_the_clock_jumps():
    """In São Paulo, on 4 November 2018, midnight did not happen: the clock went from 23:59 to 01:00."""
    window = Period("daily", "America/Sao_Paulo").window(ms("2018-11-04T12:00-02:00"))

    assert window.label == "2018-11-04"
    assert window.start_ms == ms("2018-11-04T03:00Z")
    assert window.end_ms - window.start_ms == 23 * 3_600_000


def test_a_jump_over_midnight_leaves_no_moment_out():
    """In Toronto, on 30 March 1919, the clock went from 23:30 to 00:30: the first half hour is still the old day's."""
    period = Period("daily", "America/Toronto")
    window = period.window(ms("1919-03-31T04:40Z"))

    assert window.label == "1919-03-30"
    assert window.end_ms == ms("1919-03-31T05:00Z")
    assert period.window(window.end_ms).start_ms == window.end_ms


def test_a_midnight_that_happens_twice_begins_the_day_the_first_time():
    """In St. John's, on 29 October 2006, the clock went back from 00:01 to 23:01 of the day before."""
    period = Period("daily", "America/St_Johns")
    first_midnight = ms("2006-10-29T00:00-02:30")

    assert period.window(first_midnight - 1).label == "2006-10-28"
    assert period.window(first_midnight).label == "2006-10-29"
    # An hour later the wall says 23:50 of the 28th again, but the 29th has begun.
    assert period.window(first_midnight + 51 * 60_000).label == "2006-10-29"


def test_a_day_that_a_country_skipped_is_no_window():
    """Samoa went from 29 to 31 December 2011."""
    labels = [w.label for w in windows(Period("daily", "Pacific/Apia"), "2011-12-29T12:00-10:00", "2012-01-01T12:00Z")]

    assert labels == ["2011-12-29", "2011-12-31", "2012-01-01", "2012-01-02"]


def test_a_leap_day_belongs_to_its_month_and_year():
    """29 February exists every four years, but not in 2100."""
    month = Period("monthly").window(ms("2028-02-29T23:59:59Z"))
    year = Period("yearly").window(ms("2028-02-29T12:00Z"))

    assert (month.label, month.end_ms) == ("2028-02", ms("2028-03-01T00:00Z"))
    assert year.end_ms - year.start_ms == 366 * DAY_MS
    assert Period("monthly").window(ms("2100-02-28T23:00Z")).end_ms == ms("2100-03-01T00:00Z")


def test_weeks_begin_on_monday_and_are_numbered_as_in_iso_8601():
    """The last days of December can be in the next year's first week."""
    window = Period("weekly").window(ms("2026-01-01T00:00Z"))

    assert window.label == "2026-W01"
    assert window.start_ms == ms("2025-12-29T00:00Z")
    assert Period("weekly").window(ms("2027-01-03T12:00Z")).label == "2026-W53"


def test_the_same_moment_is_another_day_elsewhere():
    """A budget's own time zone decides."""
    at_ms = ms("2026-06-30T22:30Z")

    assert Period("monthly", "UTC").window(at_ms).label == "2026-06"
    assert Period("monthly", "Europe/Berlin").window(at_ms).label == "2026-07"
    assert Period("daily", "America/New_York").window(at_ms).label == "2026-06-30"
    assert Period("daily", "Asia/Tokyo").window(at_ms).label == "2026-07-01"


def test_forever_has_neither_beginning_nor_end():
    """A budget without a duration never renews."""
    assert Period.parse(None).window(0) is FOREVER
    assert (FOREVER.start_ms, FOREVER.end_ms, FOREVER.resets_ms) == (None, None, None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("Monthly ", "monthly"), ("rolling:7d", "rolling 7d"), ("rolling 007D", "rolling 7d"), (None, "forever")],
)
def test_a_period_is_read_as_people_write_it(said, meant):
    """One name inside for one meaning, so that stored budgets compare equal."""
    assert Period.parse(said) == Period(meant)


@pytest.mark.parametrize(
    "said",
    ["", "hourly", "rolling", "rolling 0d", "rolling 7", "rolling -7d", "rolling 9999999w", "rolling ٧d", 7, True],
)
def test_an_unknown_period_is_refused(said):
    """The error names what there is."""
    with pytest.raises(ConfigError, match=r"^duration=.*rolling"):
        Period.parse(said, name="duration")


@pytest.mark.parametrize("timezone", ["", "Berlin", "Europe/berlin!", "../etc/passwd", "America", "\0", "\ud800", 5])
def test_an_unknown_time_zone_is_refused(timezone):
    """The error shows what a name looks like."""
    with pytest.raises(ConfigError, match=r"^timezone=.*Europe/Berlin"):
        Period.parse("daily", timezone)


def test_a_moment_is_placed_in_a_window_in_microseconds():
    """It is done for every user whose budget is read: 2,000 of them in well under a second."""
    period = Period("monthly", "America/New_York")
    begun = datetime.now(UTC)
    for day in range(2_000):
        period.window(FIRST_MS + day * DAY_MS)

    assert datetime.now(UTC) - begun < timedelta(seconds=1)
