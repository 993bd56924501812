"""
LiteLLM's durations ("30d", "1mo", "hourly") as periods and as times from now.

LiteLLM begins "1d" at midnight, "7d" on Monday, and "30d" like "1mo" on the first of the month: the calendar's periods
here. Any other is a rolling period of that length, which holds in every stretch of it, so in LiteLLM's as well.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ....ledger import Millis
from ...problems import Refused

NEVER: Final = "-1"
"""A key's duration that has no end."""

_WORDS: Final = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "1mo", "yearly": "1y"}
_CALENDAR: Final = {
    "1d": "daily",
    "24h": "daily",
    "7d": "weekly",
    "1w": "weekly",
    "30d": "monthly",
    "1mo": "monthly",
    "12mo": "yearly",
    "1y": "yearly",
}
_FORM: Final = re.compile(r"([1-9]\d{0,6})(s|sec|m|min|h|hr|d|w|mo|y)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "mo": 31 * 86_400, "y": 366 * 86_400}
_LONG: Final = {"sec": "s", "min": "m", "hr": "h"}
_LONGEST_S: Final = 100 * 366 * 86_400


def period_of(text: str, name: str) -> str:
    """The period of a budget that LiteLLM renews so; raises `Refused` (400) naming the field."""
    number, unit = _parts(text, name)
    calendar = _CALENDAR.get(f"{number}{unit}")
    if calendar is not None:
        return calendar
    seconds = number * _SECONDS[unit]
    if seconds % 60:
        raise _unreadable(text, name, "the shortest is a minute, '1m'")
    for length, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % length == 0:
            return f"rolling {seconds // length}{letter}"
    raise AssertionError(text)


def seconds_of(text: str, name: str) -> int:
    """How long a duration is, a month as 31 days and a year as 366; raises `Refused` (400) naming the field."""
    number, unit = _parts(text, name)
    return number * _SECONDS[unit]


def expiry_ms(text: str | None, name: str, now_ms: Millis) -> Millis | None:
    """When something that lasts so long from now ends; `None`: never."""
    if text is None or text == NEVER:
        return None
    number, unit = _parts(text, name)
    if unit in {"mo", "y"}:
        ends = _months_on(datetime.fromtimestamp(now_ms / 1000, UTC), number * (12 if unit == "y" else 1))
        return round(ends.timestamp() * 1000)
    return now_ms + number * _SECONDS[unit] * 1000


def _months_on(moment: datetime, months: int) -> datetime:
    """The same day so many months later; the last one of a month that is too short."""
    month = moment.year * 12 + moment.month - 1 + months
    first = moment.replace(year=month // 12, month=month % 12 + 1, day=1)
    last = ((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    return first.replace(day=min(moment.day, last))


def _parts(text: str, name: str) -> tuple[int, str]:
    form = _FORM.fullmatch(_WORDS.get(text.strip().lower(), text.strip()))
    if form is None:
        raise _unreadable(text, name, "write such as '1h', '24h', '7d', '30d' or '1mo'")
    unit = _LONG.get(form[2], form[2])
    if int(form[1]) * _SECONDS[unit] > _LONGEST_S:
        raise _unreadable(text, name, "the longest is a hundred years")
    return int(form[1]), unit


def _unreadable(text: str, name: str, told: str) -> Refused:
    return Refused(400, f"{name}={text[:50]!r} is no duration that can be kept: {told}", param=name)
