"""
Periods: when a budget begins again.

Nothing is ever reset: a new period is a new account, so a period only has to say
which `Window` a moment falls into. Calendar periods tile a time zone from
midnight to midnight; a rolling period is a row of short buckets, of which the
newest takes the spend and all together count (so it is conservative by at most
one bucket).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from ..errors import ConfigError
from ..ledger import Millis

CALENDAR: Final = ("daily", "weekly", "monthly", "yearly")
ROLLING_BUCKETS: Final = 24
"""Buckets in a rolling period: spend leaves it at most 1/24 of its length late."""

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_LONGEST_MS: Final = 5200 * _UNITS_MS["w"]
_BUCKET = re.compile(r"\d{1,15}x(\d{1,15})", re.ASCII)
_ROLLING = re.compile(r"rolling[ :]?(\d{1,12})([mhdw])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """One turn of a period: [start_ms, end_ms), with the label that account keys carry."""

    label: str
    start_ms: Millis | None = None
    end_ms: Millis | None = None
    earlier: tuple[str, ...] = ()
    """Labels of the earlier buckets that count too (rolling periods only)."""
    resets_ms: Millis | None = None
    """When the budget has room again: at the end; for a rolling period, when its oldest bucket leaves."""


FOREVER: Final = Window("all")


@dataclass(frozen=True, slots=True)
class Period:
    """
    "daily", "weekly" (from Monday), "monthly", "yearly", "rolling 7d" (or `m`, `h`, `w`), or "forever".

    `timezone` is an IANA name; calendar periods begin at midnight there.
    """

    name: str = "forever"
    timezone: str = "UTC"

    @classmethod
    def parse(cls, text: str | None, timezone: str | None = None, *, name: str = "period") -> Period:
        """Check a period and a time zone; raises `ConfigError` naming the argument `name` and what is possible."""
        said = "forever" if text is None else str(text).strip().lower()
        rolling = _ROLLING.fullmatch(said)
        if rolling:
            if not 0 < int(rolling[1]) * _UNITS_MS[rolling[2]] <= _LONGEST_MS:
                raise ConfigError(f"{name}={text!r}: a rolling period is from 'rolling 1m' to 'rolling 5200w'")
            said = f"rolling {int(rolling[1])}{rolling[2]}"
        elif said not in {*CALENDAR, "forever"}:
            known = ", ".join(CALENDAR)
            raise ConfigError(f"{name}={text!r} is no period: use {known}, 'rolling 7d' (m, h, d, w), or None for ever")
        return cls(said, _zone_name(timezone))

    @property
    def rolling_ms(self) -> Millis | None:
        """The length of a rolling period; `None` for the others."""
        match = _ROLLING.fullmatch(self.name)
        return int(match[1]) * _UNITS_MS[match[2]] if match else None

    def window(self, at_ms: Millis) -> Window:
        """The window that a moment falls into."""
        if self.name == "forever":
            return FOREVER
        rolling = self.rolling_ms
        if rolling is not None:
            return _rolling_window(rolling, at_ms)
        first, label = _CALENDARS[self.name]
        return _calendar_window(first, label, zone(self.timezone), at_ms)


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The time zone of an IANA name; raises `ConfigError` if there is none."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"timezone={name!r} is not known here: use an IANA name such as 'Europe/Berlin' "
            "(a system without time zones needs the package tzdata)"
        ) from None


def _zone_name(name: str | None) -> str:
    if name is None:
        return "UTC"
    if not isinstance(name, str) or not name:
        raise ConfigError(f"timezone={name!r}: an IANA name such as 'Europe/Berlin' is needed")
    zone(name)
    return name


def _rolling_window(length: Millis, at_ms: Millis) -> Window:
    bucket = max(length // ROLLING_BUCKETS, 1)
    index = at_ms // bucket
    buckets = -(-length // bucket)
    earlier = tuple(_bucket_label(number, bucket) for number in range(index - buckets, index))
    start = index * bucket
    return Window(_bucket_label(index, bucket), start, start + bucket, earlier, start + bucket)


def _bucket_label(index: int, bucket: Millis) -> str:
    return f"{index}x{bucket}"


def named_by(label: str) -> str:
    """The period of a window, as far as its label says it: a rolling one's length; of the others, which turn it was."""
    match = _BUCKET.fullmatch(label)
    if match is None:
        return label
    length = int(match[1]) * ROLLING_BUCKETS
    unit = next((unit for unit in ("d", "h", "m") if length % _UNITS_MS[unit] == 0), None)
    return label if unit is None else f"rolling {length // _UNITS_MS[unit]}{unit}"


First = Callable[[date, int], date]
"""`first(day, n)`: the first day of the n-th period from the one that holds `day`."""


def _calendar_window(first: First, label: Callable[[date], str], tz: tzinfo, at_ms: Millis) -> Window:
    day = datetime.fromtimestamp(at_ms / 1000, tz).date()
    # Where a clock jumps over midnight, or back, a moment's date is not enough: step to the window that holds it.
    turn = 0
    while _midnight_ms(first(day, turn), tz) > at_ms:
        turn -= 1
    while _midnight_ms(first(day, turn + 1), tz) <= at_ms:
        turn += 1
    end = _midnight_ms(first(day, turn + 1), tz)
    return Window(label(first(day, turn)), _midnight_ms(first(day, turn), tz), end, (), end)


def _midnight_ms(day: date, tz: tzinfo) -> Millis:
    # In a gap, fold=0 reads the offset before it: where the clock jumps at midnight, that is the moment of the jump.
    return round(datetime(day.year, day.month, day.day, tzinfo=tz).timestamp() * 1000)


def _first_of_day(day: date, turn: int) -> date:
    return day + timedelta(days=turn)


def _first_of_week(day: date, turn: int) -> date:
    return day - timedelta(days=day.weekday()) + timedelta(weeks=turn)


def _first_of_month(day: date, turn: int) -> date:
    month = day.year * 12 + day.month - 1 + turn
    return date(month // 12, month % 12 + 1, 1)


def _first_of_year(day: date, turn: int) -> date:
    return date(day.year + turn, 1, 1)


def _week_label(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


_CALENDARS: Final[dict[str, tuple[First, Callable[[date], str]]]] = {
    "daily": (_first_of_day, date.isoformat),
    "weekly": (_first_of_week, _week_label),
    "monthly": (_first_of_month, lambda day: f"{day:%Y-%m}"),
    "yearly": (_first_of_year, lambda day: f"{day:%Y}"),
}
