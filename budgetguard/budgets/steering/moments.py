"""Until when: moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ...errors import ConfigError
from ...ledger import Millis
from ..periods import Period, zone
from ..said.checks import LAST_MOMENT_S, require_moment

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_ENDS: Final = {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}
_END: Final = re.compile(r"(?:the )?end of (?:the |this )?(day|week|month|year)")


def until_ms(said: object, now_ms: Millis, timezone: str = "UTC", *, name: str = "until") -> Millis:
    """
    The moment that is meant: "2h", "3d" (s, m, h, d, w), "end of month", "2027-01-31 18:00", or a time of Python.

    A moment without a time zone, and the end of a day, are those of `timezone`. Raises `ConfigError` that names the
    argument, also for what is over.
    """
    at_s = _seconds(said, now_ms, timezone, name)
    if at_s >= LAST_MOMENT_S:
        raise ConfigError(f"{name}={said!r}: that is after the year 9999; leave it out for good")
    at_ms = round(require_moment(at_s, name) * 1000)
    if at_ms <= now_ms:
        raise ConfigError(f"{name}={said!r}: that is over already")
    return at_ms


def since_ms(said: object, now_ms: Millis, timezone: str = "UTC", *, name: str = "since") -> Millis:
    """The moment that is meant by "2h" or "3d", which is so long ago, or by a time. Raises `ConfigError`."""
    at_s = _seconds(said, now_ms, timezone, name)
    if isinstance(said, timedelta) or (isinstance(said, str) and _DURATION.fullmatch(said.strip().lower())):
        at_s = max(2 * now_ms / 1000 - at_s, 0)
    return round(require_moment(at_s, name) * 1000)


def _seconds(said: object, now_ms: Millis, timezone: str, name: str) -> float:
    if isinstance(said, timedelta):
        return now_ms / 1000 + said.total_seconds()
    if isinstance(said, str):
        text = said.strip().lower()
        if length := _DURATION.fullmatch(text):
            return now_ms / 1000 + int(length[1]) * _UNITS_S[length[2]]
        if end := _END.fullmatch(text):
            end_ms = Period(_ENDS[end[1]], timezone).window(now_ms).end_ms
            assert end_ms is not None
            return end_ms / 1000
    try:
        moment = said if isinstance(said, datetime) else datetime.fromisoformat(str(said).strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone(timezone))).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{name}={said!r}: write how long, such as 2h or 3d, a moment, such as 2027-01-31 or 2027-01-31T18:00, or "
            "'end of month' (day, week, year)"
        ) from None


def moment_text(at_ms: Millis) -> str:
    """A moment for people."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
