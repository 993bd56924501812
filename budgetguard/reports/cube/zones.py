"""
Spans of time in a zone, in whole hours of UTC: what the cube can tell apart.

Where a zone is a part of an hour off, its days begin at the whole hour before: up to 45 minutes early.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ...budgets.periods import Period, zone
from ...errors import ConfigError
from ...ledger import Millis
from .blocks import HOUR_MS, Hour

TIMES: Final = ("hour", "day", "week", "month")
_PERIODS: Final = {"day": "daily", "week": "weekly", "month": "monthly"}
MOST_SPANS: Final = 20_000


class Span(NamedTuple):
    """Hours from one up to another, with a label for people."""

    label: str
    first: Hour
    end: Hour

    @property
    def start_ms(self) -> Millis:
        """When it begins."""
        return self.first * HOUR_MS

    @property
    def end_ms(self) -> Millis:
        """When it is over."""
        return self.end * HOUR_MS


def span_at(kind: str, at_ms: Millis, zone_name: str) -> Span:
    """The hour, day, week or month that a moment is in."""
    return span_of(kind, at_ms // HOUR_MS, zone_name)


def span_of(kind: str, hour: Hour, zone_name: str) -> Span:
    """The hour, day, week or month that an hour is in; the one that begins in it, where one does."""
    if kind == "hour":
        local = datetime.fromtimestamp(hour * 3600, zone(zone_name))
        shown = f"{local:%Y-%m-%d %H:%M}" + ("" if zone_name == "UTC" else f"{local:%z}")
        return Span(shown, hour, hour + 1)
    window = Period(_PERIODS[kind], zone_name).window((hour + 1) * HOUR_MS - 1)
    assert window.start_ms is not None, "calendar periods have both"
    assert window.end_ms is not None
    return Span(window.label, window.start_ms // HOUR_MS, window.end_ms // HOUR_MS)


def spans(kind: str, first: Hour, end: Hour, zone_name: str) -> list[Span]:
    """All spans of a kind that have hours in [first, end), cut to these; raises `ConfigError` for too many."""
    found, hour = list[Span](), first
    while hour < end:
        span = span_of(kind, hour, zone_name)
        found.append(Span(span.label, hour, min(span.end, end)))
        hour = span.end
        if len(found) > MOST_SPANS:
            raise ConfigError(f"by={kind!r}: that is more than {MOST_SPANS:,} of them; ask for a shorter time")
    return found


def month_named(text: str, zone_name: str) -> Span:
    """A month by its name; raises `ConfigError` for what is none."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone(zone_name))
        return span_at("month", round((first + timedelta(days=14)).timestamp() * 1000), zone_name)
    except (TypeError, ValueError, OverflowError):  # a month at the end of the calendar has no next one
        raise ConfigError(f"month={text!r}: a month is needed, such as '2026-11'") from None


def before(kind: str, span: Span, zone_name: str) -> Span:
    """The span of the same kind before one."""
    return span_of(kind, span.first - 1, zone_name)


def days_of(span: Span, zone_name: str) -> Iterator[Span]:
    """The days of a span."""
    yield from spans("day", span.first, span.end, zone_name)
