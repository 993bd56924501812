"""Moments as people read them, in the zone that the reader chose; the zone is said once, at the head of the page."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo

from ....ledger import Millis

_NOTHING = "–"


def minute(at_ms: Millis | None, zone: tzinfo = UTC) -> str:
    """A minute: "2026-02-03 14:05"."""
    return _NOTHING if at_ms is None else f"{_in(at_ms, zone):%Y-%m-%d %H:%M}"


def second(at_ms: Millis | None, zone: tzinfo = UTC) -> str:
    """A second: "2026-02-03 14:05:59"."""
    return _NOTHING if at_ms is None else f"{_in(at_ms, zone):%Y-%m-%d %H:%M:%S}"


def iso(at_ms: Millis | None) -> str:
    """For the `datetime` attribute."""
    return "" if at_ms is None else _in(at_ms, UTC).isoformat(timespec="seconds")


def weekday(value: date | None) -> str:
    """A day with its weekday: "Tue 3 Feb"."""
    return _NOTHING if value is None else f"{value:%a} {value.day} {value:%b}"


def month_name(month: str) -> str:
    """ "November 2026", of "2026-11"."""
    return f"{date.fromisoformat(f'{month}-01'):%B %Y}"


def lasting(seconds: float | None) -> str:
    """How long something lasts, in its two largest parts: "3 d 4 h", "12 min", "under a minute"."""
    if seconds is None:
        return _NOTHING
    minutes = int(abs(seconds)) // 60
    if not minutes:
        return "under a minute"
    days, rest = divmod(minutes, 1440)
    hours, minutes = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    first = next(at for at, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {name}" for number, name in parts[first : first + 2] if number)


def from_now(at_ms: Millis | None, now_ms: Millis) -> str:
    """When something is, from now: "in 3 d 4 h", "2 h 5 min ago"; "–" where it never is."""
    if at_ms is None:
        return _NOTHING
    told = lasting((at_ms - now_ms) / 1000)
    return f"in {told}" if at_ms >= now_ms else f"{told} ago"


def again(at_ms: Millis, now_ms: Millis) -> str:
    """When a budget begins again: a rolling one does all the time, and one that was read a moment ago may just have."""
    return "now" if at_ms <= now_ms else from_now(at_ms, now_ms)


def _in(at_ms: Millis, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
