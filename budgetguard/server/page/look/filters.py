"""The words that templates have for all of this: `{{ row.spent | cents }}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ....reports import amounts
from . import charts, times


def _at(values: Sequence[int], index: int) -> int:
    return values[index]


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "again": times.again,
        "amount": amounts.amount,
        "at": _at,
        "cents": amounts.cents,
        "change": amounts.change,
        "count": amounts.count,
        "counted": amounts.counted,
        "figure": amounts.figure,
        "from_now": times.from_now,
        "iso": times.iso,
        "lasting": times.lasting,
        "minute": times.minute,
        "month_name": times.month_name,
        "precise": amounts.precise,
        "second": times.second,
        "share": amounts.share,
        "shares": charts.shares,
        "short": amounts.short,
        "small_bar": charts.small_bar,
        "sparkline": charts.sparkline,
        "weekday": times.weekday,
        "whole_cents": amounts.whole_cents,
    }
)
"""By name, for a Jinja environment."""
