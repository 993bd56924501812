"""The overview: where we stand this month, where it will end, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ....reports.amounts import change, count, counted, share
from ....reports.shown.budgets import BudgetsQuery
from ....reports.shown.figures import GroupShown
from ....reports.shown.money import Overview
from ..look.charts import BarChart
from ..view import Look, Shown
from .budgets import label_of
from .slots import chart_of

FIELDS = ("model", "user", "provider", "feature", "team")
"""What the bars are switched by with one click; any other tag can be typed."""
_TOP = 8
_ROWS = 6
_LABEL = {"model": "Models", "user": "Users", "feature": "Features"}


@dataclass(frozen=True, slots=True)
class TopTable:
    """The dearest of one field this month."""

    field: str
    title: str
    rows: tuple[GroupShown, ...]
    other: GroupShown | None

    @property
    def is_said(self) -> bool:
        """Whether any call says it at all."""
        return any(row.names[0] for row in self.rows)

    @property
    def most(self) -> int:
        """The largest cost, which the bars are measured by."""
        return max((row.figures.cost for row in self.rows), default=0)


def overview(look: Look) -> Shown:
    """The first view."""
    by = look.said("by", "model")
    shown = look.reports.overview(by=by, top=_TOP, zone=look.zone.key)
    known = look.reports.budgets(BudgetsQuery(limit=1))
    data = {
        "shown": shown,
        "chart": _chart(look, shown),
        "by": by,
        "switches": _switches(look, by),
        "since_last": _since_last(shown),
        "holds": f"for {counted(shown.holds, 'call')} in flight",
        "refused": _refused(shown),
        "unscoped": _unscoped(shown),
        "label": label_of,
        "known": known.count,
        "spent_out": known.states.get("spent", 0),
        "tops": [_top(look, field) for field in ("user", "model", "feature")],
        "is_new": not (shown.month.calls or shown.last_month.calls or shown.holds),
    }
    return Shown("spending/overview.html", data, rows=shown.top, whole=shown)


def _switches(look: Look, by: str) -> list[tuple[str, str, bool]]:
    fields = FIELDS if by in FIELDS else (*FIELDS, by)
    return [(look.place.url(by=field), field, field == by) for field in fields]


def _since_last(shown: Overview) -> str:
    before = shown.last_month_by_now.cost
    if not before:
        return "nothing last month by now"
    return f"{change((shown.month.cost - before) / before)} against last month by now"


def _refused(shown: Overview) -> str:
    told = counted(shown.refused.times, "call")
    return f"{told}, {count(shown.refused.busy)} of them only busy" if shown.refused.busy else told


def _unscoped(shown: Overview) -> str:
    part = shown.without_user.calls / shown.month.calls if shown.month.calls else None
    return counted(shown.without_user.calls, "call") + (f", {share(part)} of all" if part else "")


def _chart(look: Look, shown: Overview) -> BarChart:
    month = f"{datetime.fromtimestamp(shown.at_ms / 1000, look.zone):%B}"
    return chart_of(
        f"Spend by day in {month}, by {shown.by}", shown.by_day, behind=shown.behind, behind_name="last month"
    )


def _top(look: Look, field: str) -> TopTable:
    rows, other = look.reports.dearest(field, top=_ROWS, zone=look.zone.key)
    return TopTable(field, _LABEL[field], rows, other)
