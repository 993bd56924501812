"""A frame of `top` as it is drawn, in the room that there is, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from ...budgets.rules import unescape
from ...budgets.said.shown import on_one_line
from ...ledger import Millis, Total
from ...reports.amounts import counted, readable_in, share
from ...reports.shown.budgets import BudgetShown
from ..common.show import iso, money, when
from ..common.tables import BarCell, Cell, Column, table
from .frame import GroupOrder, TopFrame

STYLES: Final = {
    "ok": "green",
    "raised": "cyan",
    "near": "yellow",
    "busy": "yellow",
    "spent": "red",
    "paused": "magenta",
}
_AROUND: Final = 4
"""Lines of a table beside its rows: its title, its head and what is around them."""
_LEAST: Final = 3
_WIDE: Final = 100
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class TopView:
    """How a frame is looked at."""

    by: str
    order: GroupOrder = "cost"
    paused: bool = False
    keys: bool = False
    error: str = ""
    """Why there is no newer frame."""


def drawn(frame: TopFrame, view: TopView, width: int, height: int | None = None) -> RenderableType:
    """A frame in so many columns and lines; `None`: in as many lines as it needs."""
    head = [Text(line, style="bold" if number == 0 else "") for number, line in enumerate(_head(frame, width))]
    foot = list(_foot(view))
    room = None if height is None else max(height - len(head) - len(foot) - 2 * _AROUND, 2 * _LEAST)
    budgets, groups = _shares(room, len(frame.budgets), len(frame.groups))
    name = 24 if width >= _WIDE else 12
    return Group(
        *head, _budgets(frame, frame.budgets[:budgets], name), _groups(frame, frame.groups[:groups], name), *foot
    )


def _head(frame: TopFrame, width: int) -> list[str]:
    rate, calls = frame.per_minute(frame.recent.cost), frame.recent.calls * 60_000 / frame.over_ms
    parts = [
        on_one_line(frame.project),
        f"{when(frame.at_ms):%H:%M:%S} UTC",
        f"{money(frame.today.cost)} today",
        f"{money(frame.month.cost)} this month",
        f"{money(rate)}/min",
        f"{calls:,.1f} calls/min",
        f"{frame.holds:,} in flight ({money(frame.held)})",
        f"{frame.refused:,} refused today",
    ]
    return list(_packed(parts, width))


def _packed(parts: Iterable[str], width: int) -> Iterator[str]:
    """Parts in as few lines as they fit in."""
    line = ""
    for part in parts:
        longer = f"{line}{_GAP}{part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    yield line


def _foot(view: TopView) -> Iterator[Text]:
    if view.error:
        yield Text(on_one_line(view.error), style="red", no_wrap=True, overflow="ellipsis")
    if view.keys:
        paused = "p go on (paused)" if view.paused else "p pause"
        said = f"q quit{_GAP}s sort: {view.order}{_GAP}b by: {on_one_line(view.by)}{_GAP}{paused}"
        yield Text(said, style="dim", no_wrap=True, overflow="ellipsis")


def _shares(room: int | None, budgets: int, groups: int) -> tuple[int, int]:
    """How many rows each table has: half of the room, or what the other leaves."""
    if room is None:
        return budgets, groups
    of_budgets = min(budgets, max(room - groups, room // 2))
    return of_budgets, min(groups, room - of_budgets)


def _budgets(frame: TopFrame, rows: Sequence[BudgetShown], name: int) -> RenderableType:
    if not rows:
        return Text("\nNo budget runs.\n", style="dim")
    columns = [
        Column("budget"),
        Column("for"),
        Column("", drop=2),
        Column("used", number=True),
        Column("spent", number=True),
        Column("held", number=True, drop=6),
        Column("left", number=True, drop=1),
        Column("limit", number=True, drop=3),
        Column("full", number=True, drop=4),
        Column("again", number=True, drop=5),
    ]
    more = len(frame.budgets) - len(rows) + frame.others
    title = f"the fullest of {counted(len(rows) + more, 'budget')}" if more else "budgets"
    return table(columns, [_budget(each, frame.at_ms, name) for each in rows], title=title)


def _budget(each: BudgetShown, now_ms: Millis, name: int) -> list[Cell]:
    style = STYLES[each.state]
    whole = each.limit or 0
    bar = BarCell(each.spent + each.held if whole else 0, whole, style, "░")
    amounts = [readable_in(amount, each.unit) for amount in (each.spent, each.held, each.left, each.limit)]
    spent, held, left, limit = amounts
    state = {"paused": "paused", "busy": "busy"}.get(each.state)
    return [
        _short(each.budget, name),
        _short(unescape(each.subject) or "all", name),
        bar,
        Text(state or share(each.used), style=style),
        spent,
        held,
        left,
        limit,
        _full(each, now_ms),
        "" if each.resets_ms is None else _in_time(each.resets_ms - now_ms),
    ]


def _full(each: BudgetShown, now_ms: Millis) -> str:
    """When it will be spent, at the rate since its period began."""
    if each.state == "spent":
        return "now"
    ends_ms = None if each.forecast is None else each.forecast.ends_ms
    return "" if ends_ms is None else _in_time(ends_ms - now_ms)


def _in_time(span_ms: Millis) -> str:
    """A length of time in two words at most: "in 3 h"."""
    minutes = max(span_ms, 0) // 60_000
    for size, unit in ((1440, "d"), (60, "h")):
        if minutes >= 2 * size:
            return f"in {minutes // size} {unit}"
    return f"in {minutes} min"


def _groups(frame: TopFrame, rows: Sequence[Total], name: int) -> RenderableType:
    over = _span(frame.over_ms)
    if not rows:
        return Text(f"\nNo call in the last {over}.\n", style="dim")
    columns = [
        Column(on_one_line(frame.by)),
        Column("", drop=1),
        Column("cost", number=True),
        Column("calls", number=True),
        Column("input", number=True, drop=2),
        Column("output", number=True, drop=3),
    ]
    most = max(each.cost for each in frame.groups)
    lines: list[list[Cell]] = [
        [
            _short(each.group[0] or f"(no {frame.by})", name + name // 2),
            BarCell(each.cost, most, "blue"),
            money(each.cost),
            *[f"{count:,}" for count in (each.calls, each.input_tokens, each.output_tokens)],
        ]
        for each in rows
    ]
    more = len(frame.groups) - len(rows)
    title = f"the last {over} by {on_one_line(frame.by)}" + (f", and {more:,} more" if more else "")
    return table(columns, lines, title=title)


def _span(over_ms: Millis) -> str:
    minutes = over_ms / 60_000
    return f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:g} h"


def _short(text: str, cells: int) -> str:
    """A name on one line; "…" stands for the end of a longer one."""
    plain = on_one_line(text)
    return plain if cell_len(plain) <= cells else f"{set_cell_size(plain, cells - 1).rstrip()}…"


def in_json(frame: TopFrame) -> dict[str, Any]:
    """A frame for programs; amounts are whole nano-dollars, or of the unit beside them."""
    return {
        "at": iso(frame.at_ms),
        "project": frame.project,
        "today": frame.today._asdict(),
        "month": frame.month._asdict(),
        "recent": {
            "seconds": frame.over_ms // 1000,
            **frame.recent._asdict(),
            "cost_per_minute": frame.per_minute(frame.recent.cost),
        },
        "in_flight": {"calls": frame.holds, "held": frame.held},
        "refused_today": frame.refused,
        "budgets": [_budget_json(each) for each in frame.budgets],
        "by": frame.by,
        "groups": [
            {
                frame.by: each.group[0],
                "cost": each.cost,
                "calls": each.calls,
                "input_tokens": each.input_tokens,
                "output_tokens": each.output_tokens,
            }
            for each in frame.groups
        ],
    }


def _budget_json(each: BudgetShown) -> dict[str, Any]:
    return {
        "budget": each.budget,
        "for": unescape(each.subject),
        "unit": each.unit,
        "spent": each.spent,
        "held": each.held,
        "limit": each.limit,
        "left": each.left,
        "state": each.state,
        "period": each.period,
        "full_at": iso(None if each.forecast is None else each.forecast.ends_ms),
        "resets_at": iso(each.resets_ms),
    }
