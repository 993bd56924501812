"""
What a span that is not over will come to. Two methods, both in docs/reports.md.

A month's cost goes on at the mean of the last seven days: weekdays and weekends are in it as they are in what is to
come. A budget, of which only what its account has taken is known, goes on as it did since its period began.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..ledger import Millis
from .shown.figures import Forecast

DAY_MS: Final[Millis] = 86_400_000
HOUR_MS: Final[Millis] = 3_600_000
RECENT_DAYS: Final = 7
LEAST_MS: Final = HOUR_MS
"""Of less nothing can be said."""


class SpendRate(NamedTuple):
    """What was spent over some time, and is taken to go on."""

    amount: int
    over_ms: Millis

    def in_time(self, span_ms: Millis) -> int | None:
        """What it comes to in another time; `None`: it says nothing."""
        return None if self.over_ms < LEAST_MS else self.amount * span_ms // self.over_ms

    def meets_ms(self, left: int, now_ms: Millis) -> Millis | None:
        """When so much is spent; `None`: never, as far as is known."""
        if left <= 0:
            return now_ms
        if self.amount <= 0 or self.over_ms < LEAST_MS:
            return None
        return now_ms - -(left * self.over_ms) // self.amount


def forecast(spent: int, rate: SpendRate, now_ms: Millis, end_ms: Millis, limit: int | None = None) -> Forecast:
    """What `spent` will be at the end, when it goes on at a rate; and when it meets the limit, if it does before."""
    more = rate.in_time(max(end_ms - now_ms, 0))
    meets_ms = None if limit is None else rate.meets_ms(limit - spent, now_ms)
    return Forecast(
        None if more is None else spent + more,
        spent,
        rate.in_time(DAY_MS) or 0,
        rate.over_ms / DAY_MS,
        end_ms,
        meets_ms if meets_ms is not None and meets_ms < end_ms else None,
    )
