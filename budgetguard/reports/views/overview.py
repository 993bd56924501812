"""The overview: where we stand this month, where it will end, and who it is."""

from __future__ import annotations

from collections.abc import Sequence

from ...ledger import Millis
from ..cube.blocks import HOUR_MS
from ..cube.cube import Cube
from ..cube.packed import cost_of
from ..cube.sums import ranked, summed, totals
from ..cube.zones import Span, before, days_of, span_at
from ..forecast import DAY_MS, RECENT_DAYS, SpendRate, forecast
from ..shown.budgets import BudgetShown
from ..shown.figures import Figures, Forecast, GroupShown, HistoryRead, Stacked
from ..shown.lists import HoldsShown
from ..shown.money import Overview, RefusedSum
from .explored import chart, figures_of, top_of


class Month:
    """The spans of an overview, in one zone at one moment."""

    def __init__(self, now_ms: Millis, zone: str) -> None:
        self.now_ms = now_ms
        self.zone = zone
        self.now = now_ms // HOUR_MS + 1
        """The hour that is not over counts."""
        self.today = span_at("day", now_ms, zone)
        self.yesterday = before("day", self.today, zone)
        self.month = span_at("month", now_ms, zone)
        self.last = before("month", self.month, zone)
        same = self.last.first + self.now - self.month.first
        self.by_now = Span(self.last.label, self.last.first, min(same, self.last.end))
        """Last month, to the same day and hour."""


def spend_to_date(cube: Cube, month: Month) -> tuple[Figures, Figures, Figures, Figures, Figures, Figures]:
    """Today, yesterday, this month, last month, that by now, and this month's calls without a user."""
    spans = [month.today, month.yesterday, month.month, month.last, month.by_now]
    today, yesterday, this, last, by_now = figures_of(cube, [(span.first, span.end) for span in spans])
    [nobody] = figures_of(cube, [(month.month.first, month.month.end)], {"user": ("",)})
    return today, yesterday, this, last, by_now, nobody


def month_forecast(cube: Cube, month: Month, spent: int) -> Forecast:
    """What the month will cost at the mean of the last seven days, or of as many as there are."""
    days = cube.known_days()
    first = max(month.now - RECENT_DAYS * 24, days[0] * 24 if days else month.now)
    [recent] = totals(cube, [(first, month.now)])
    over_ms = max(month.now_ms - first * HOUR_MS, 0) if cost_of(recent) else RECENT_DAYS * DAY_MS
    return forecast(spent, SpendRate(cost_of(recent), over_ms), month.now_ms, month.month.end_ms)


def by_day(cube: Cube, month: Month, by: str, top: int) -> tuple[Stacked, tuple[int, ...]]:
    """This month's days, stacked, and what the days of last month cost."""
    days = list(days_of(month.month, month.zone))
    stack, _ = chart(cube, by, days, top)
    behind = totals(cube, [(day.first, day.end) for day in days_of(month.last, month.zone)])
    return stack, tuple([cost_of(packed) for packed in behind])


def dearest_groups(cube: Cube, month: Month, by: str, top: int) -> tuple[tuple[GroupShown, ...], GroupShown | None]:
    """This month's dearest, with what they had cost by the same moment of last month."""
    found = ranked(cube, (by,), (month.month.first, month.month.end), top)
    earlier = summed(cube, (by,), month.by_now.first, month.by_now.end)
    whole = cost_of(sum([packed for _, packed in found.top]) + found.rest)
    return top_of(cube.kinds, found, whole, earlier)


def overview(
    cube: Cube,
    month: Month,
    by: str,
    top: int,
    others: tuple[Sequence[BudgetShown], HoldsShown, RefusedSum, HistoryRead],
) -> Overview:
    """See `Reports.overview`; `others` are what other views know: budgets, holds, refusals, and what was read."""
    budgets, holds, refused, read = others
    with cube.locked():
        today, yesterday, this, last, by_now, nobody = spend_to_date(cube, month)
        stack, behind = by_day(cube, month, by, top)
        groups, other = dearest_groups(cube, month, by, top)
        return Overview(
            at_ms=month.now_ms,
            zone=month.zone,
            today=today,
            yesterday=yesterday,
            month=this,
            last_month=last,
            last_month_by_now=by_now,
            forecast=month_forecast(cube, month, this.cost),
            tightest=tightest(budgets),
            held=holds.cost,
            holds=holds.count,
            refused=refused,
            without_user=nobody,
            by_day=stack,
            behind=behind,
            top=groups,
            other=other,
            by=by,
            read=read,
        )


def tightest(budgets: Sequence[BudgetShown]) -> BudgetShown | None:
    """The budget that will be spent first, of those that are not yet and will be before they begin again."""
    ending = [
        (each.forecast.ends_ms, each.account, each)
        for each in budgets
        if each.forecast is not None and each.forecast.ends_ms is not None and each.state != "spent"
    ]
    return min(ending, key=lambda found: found[:2])[2] if ending else None
