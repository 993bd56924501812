"""
What one frame of `top` shows, as plain data: what was spent, at what rate, by whom, and the budgets that are fullest.

A frame costs the same on a short history and on a long one: sums of times that are over are kept, and the store is
asked for what came since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from ...budgets.periods import Period
from ...ledger import Millis, Query, Store, Total
from ...money import Nano
from ...reports.reports import Reports
from ...reports.shown.budgets import BudgetShown, BudgetsQuery

STILL_MS: Final[Millis] = 60_000
"""Calls may land so late; what is older is added up once, and counted again now and then."""
TODAY_S, MONTH_S = 300.0, 3600.0
"""How often sums are counted again from their beginning."""
MOST_BUDGETS: Final = 200

GroupOrder: TypeAlias = Literal["cost", "calls", "tokens", "name"]
ORDERS: Final[tuple[GroupOrder, ...]] = get_args(GroupOrder)


class Spending(NamedTuple):
    """What calls add up to."""

    cost: Nano = 0
    calls: int = 0

    @classmethod
    def of(cls, totals: Sequence[Total]) -> Spending:
        """The sum of groups."""
        return cls(sum(each.cost for each in totals), sum(each.calls for each in totals))

    def plus(self, other: Spending) -> Spending:
        """Both together."""
        return Spending(self.cost + other.cost, self.calls + other.calls)


@dataclass(frozen=True, slots=True)
class TopFrame:
    """All that is on the screen at one moment."""

    at_ms: Millis
    project: str
    today: Spending
    month: Spending
    over_ms: Millis
    """How long "recently" is: of the rate, and of the groups."""
    recent: Spending
    holds: int
    """Calls in flight."""
    held: Nano
    refused: int
    """Calls, today."""
    budgets: tuple[BudgetShown, ...]
    """The fullest first."""
    others: int
    """How many budgets there are beside these."""
    by: str
    groups: tuple[Total, ...]
    """What was spent recently."""

    def per_minute(self, amount: int) -> int:
        """An amount of the recent time, a minute."""
        return amount * 60_000 // self.over_ms


class RunningSum:
    """What calls cost since a moment, up to another or to now."""

    def __init__(self, store: Store, again_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._again_s = again_s
        self._monotonic = monotonic
        self._start_ms: Millis | None = None
        self._closed_ms: Millis = 0
        """Up to here it is added up."""
        self._closed = Spending()
        self._counted_s = 0.0

    def since(self, start_ms: Millis, end_ms: Millis | None = None) -> Spending:
        """The calls in [start_ms, end_ms)."""
        now_s = self._monotonic()
        if start_ms != self._start_ms or now_s - self._counted_s >= self._again_s:
            self._start_ms = self._closed_ms = start_ms
            self._closed, self._counted_s = Spending(), now_s
        still_ms = self._store.now_ms() - STILL_MS
        over_ms = still_ms if end_ms is None else min(still_ms, end_ms)
        if over_ms - self._closed_ms >= STILL_MS or (over_ms == end_ms and over_ms > self._closed_ms):
            self._closed = self._closed.plus(self._sum(self._closed_ms, over_ms))
            self._closed_ms = over_ms
        if end_ms is not None and self._closed_ms >= end_ms:
            return self._closed
        return self._closed.plus(self._sum(self._closed_ms, end_ms))

    def _sum(self, since_ms: Millis, until_ms: Millis | None) -> Spending:
        return Spending.of(self._store.totals((), Query(since_ms=since_ms, until_ms=until_ms)))


class TopFrames:
    """Makes the frames of one project. Raises `StoreError` where the store cannot be read."""

    def __init__(self, reports: Reports, project: str, over_ms: Millis) -> None:
        self._reports = reports
        self._project = project
        self._over_ms = over_ms
        self._today = RunningSum(reports.store, TODAY_S)
        self._before = RunningSum(reports.store, MONTH_S)
        """Of the days of this month that are over."""

    def frame(self, by: str, order: GroupOrder = "cost") -> TopFrame:
        """The project as it is now."""
        store, now_ms = self._reports.store, self._reports.store.now_ms()
        day_ms, month_ms = (Period(name).window(now_ms).start_ms or 0 for name in ("daily", "monthly"))
        today = self._today.since(day_ms)
        groups = store.totals((by,), Query(since_ms=now_ms - self._over_ms))
        held = self._reports.holds(limit=0)
        budgets = self._reports.budgets(BudgetsQuery(limit=MOST_BUDGETS))
        return TopFrame(
            at_ms=now_ms,
            project=self._project,
            today=today,
            month=self._before.since(month_ms, day_ms).plus(today),
            over_ms=self._over_ms,
            recent=Spending.of(groups),
            holds=held.count,
            held=held.cost,
            refused=self._reports.refusals(by="day", since_ms=day_ms, limit=1).times,
            budgets=budgets.rows,
            others=budgets.count - len(budgets.rows),
            by=by,
            groups=ordered(groups, order),
        )


def sorted_by(frame: TopFrame, order: GroupOrder) -> TopFrame:
    """The same frame with its groups in another order."""
    return replace(frame, groups=ordered(frame.groups, order))


def ordered(groups: Sequence[Total], order: GroupOrder) -> tuple[Total, ...]:
    """Groups by name, or the largest first; those alike by name."""
    keys: dict[GroupOrder, Callable[[Total], int]] = {
        "cost": lambda each: -each.cost,
        "calls": lambda each: -each.calls,
        "tokens": lambda each: -each.input_tokens - each.output_tokens,
        "name": lambda each: 0,
    }
    return tuple(sorted(groups, key=lambda each: (keys[order](each), each.group)))


def following(order: GroupOrder) -> GroupOrder:
    """The order behind this one."""
    return ORDERS[(ORDERS.index(order) + 1) % len(ORDERS)]
