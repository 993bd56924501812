"""How a loop is told in words: the same on every face, and less of it where there is less room."""

from __future__ import annotations

from collections.abc import Sequence

from ...budgets.said.shown import on_one_line
from ...money import Nano
from ...reports.amounts import count, counted, readable, share
from .pace import LoopView

_MINUTE_S = 60


def rows_said(view: LoopView) -> str:
    """How many rows are done, and of how many: "120 of 1,000 rows"."""
    sums = view.sums
    return counted(sums.done, "row") if sums.total is None else f"{count(sums.done)} of {counted(sums.total, 'row')}"


def time_said(view: LoopView) -> str:
    """How long it takes yet, or took; "" where nobody can say."""
    if view.ended:
        return f"in {duration(view.elapsed_s)}"
    return "" if view.ends_in_s is None else f"{duration(view.ends_in_s)} to go"


def money_said(view: LoopView) -> list[str]:
    """What is spent, how far that will reach, what a row costs, and how fast it goes: what matters most first."""
    sums = view.sums
    spent = f"{readable(sums.spent)} spent"
    if sums.left is not None:
        spent += f", {readable(max(sums.left, 0))} left"
    found = [spent, "" if view.ended else reach_said(view)]
    if view.per_row is not None:
        found.append(f"{readable(view.per_row)} a row")
    if view.rows_per_s is not None and not view.ended:
        found.append(_rate(view.rows_per_s))
        if view.spent_per_s:
            found.append(f"{readable(_per_minute(view.spent_per_s))}/min")
    return [each for each in found if each]


def reach_said(view: LoopView) -> str:
    """How far the budget reaches: "budget reaches row 812 of 1,000"; "" where nobody can say."""
    if view.reaches is None:
        return ""
    total = view.sums.total
    if total is None:
        return f"budget reaches row {count(view.reaches)}"
    return f"budget reaches row {count(view.reaches)} of {count(total)}" if view.falls_short else "budget suffices"


def line_of(view: LoopView) -> str:
    """All of it in one line."""
    part = f" ({share(view.part)})" if view.part is not None else ""
    words = [f"{rows_said(view)}{part}", *money_said(view), time_said(view)]
    text = ", ".join(each for each in words if each)
    if view.ended:
        text += f": {view.ended}"
    return on_one_line(f"{view.description}: {text}" if view.description else text)


def fitting(parts: Sequence[str], width: int, between: str = ", ") -> str:
    """The first of these that fit into a width; what is behind one that does not may."""
    text = ""
    for part in parts:
        longer = f"{text}{between}{part}" if text else part
        if len(longer) <= width:
            text = longer
    return text


def duration(seconds: float) -> str:
    """A time span: "0:07", "4:43", "1:02:03"."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _rate(rows_per_s: float) -> str:
    if rows_per_s >= 1:
        return f"{rows_per_s:,.0f} rows/s" if rows_per_s >= 10 else f"{rows_per_s:.1f} rows/s"
    return f"{rows_per_s * _MINUTE_S:.1f} rows/min"


def _per_minute(nano_per_s: float) -> Nano:
    return int(nano_per_s * _MINUTE_S)
