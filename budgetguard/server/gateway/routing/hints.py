"""How long an upstream asks to be left alone: its headers as seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    The wait in seconds that an answer states, at least 0: `retry-after-ms` (OpenAI, Azure), else `retry-after` in
    seconds or as a date, which is compared with `now` (aware). `None` if it states none, or none that can be read.

    `headers` finds names in lower case.
    """
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    return seconds if seconds is not None else _until(said, now)


def _number(said: str | None) -> float | None:
    try:
        number = float(said or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(said: str | None, now: datetime) -> float | None:
    try:
        when = parsedate_to_datetime(said or "")
        # A date in `-0000` has no zone: HTTP's dates are all in UTC.
        return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, OverflowError):
        return None
