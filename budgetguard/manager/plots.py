"""What was spent, as a picture: a bar for each day, in the colours of what it was spent on."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any, Final

from ..budgets.periods import zone as zone_named
from ..budgets.said.checks import require_text
from ..errors import ConfigError
from ..ledger import Store
from ..money import DOLLAR, Nano
from ..reports.amounts import cents, short
from ..reports.cube.zones import TIMES
from ..reports.spent import SpentQuery, spent

SHOWN: Final = 8
"""Of more names than these, the dearest are shown, and the rest is "others"."""
_MOST_DAYS: Final = 3_660
_OTHERS: Final = "others"
_GREY: Final = 7
"""Where matplotlib's ten colours have one that is too much like that of others."""
_REST: Final = "0.75"
"""A grey of matplotlib's: others are nobody's colour."""


def daily(store: Store, by: str, days: int, zone: str) -> tuple[list[date], list[tuple[str, list[Nano]]]]:
    """The last so many days, and what each name cost on them: the dearest first, others last."""
    if isinstance(days, bool) or not isinstance(days, int) or not 0 < days <= _MOST_DAYS:
        raise ConfigError(f"days={days!r}: a number of days is needed, up to {_MOST_DAYS:,}")
    if require_text(by, "by") in TIMES:
        raise ConfigError(f"by={by!r}: the bars are days already: use model, user, provider or a tag")
    place = zone_named(zone)
    today = datetime.fromtimestamp(store.now_ms() / 1000, place).date()
    shown = [today - timedelta(days=ago) for ago in range(days - 1, -1, -1)]
    first = datetime(shown[0].year, shown[0].month, shown[0].day, tzinfo=place)
    costs = defaultdict[str, dict[str, Nano]](dict)
    for total in spent(store, SpentQuery(("day", by), round(first.timestamp() * 1000), zone=zone)):
        day, name = total.group
        costs[name or f"(no {by})"][day] = total.cost
    ranked = sorted(costs, key=lambda name: (-sum(costs[name].values()), name))
    rows = [(name, [costs[name].get(day.isoformat(), 0) for day in shown]) for name in ranked[:SHOWN]]
    if rest := ranked[SHOWN:]:
        rows.append((_OTHERS, [sum([costs[name].get(day.isoformat(), 0) for name in rest]) for day in shown]))
    return shown, rows


def plot(store: Store, by: str, days: int, zone: str, ax: Any) -> Any:
    """A stacked bar a day on these axes of matplotlib, or on new ones; the axes."""
    shown, rows = daily(store, by, days, zone)
    try:
        from matplotlib import pyplot
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
        from matplotlib.ticker import FuncFormatter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError(
            "plot_spend: matplotlib is not installed: install the extra `frames`, as in budgetguard-llm[frames]"
        ) from error
    axes = pyplot.subplots(figsize=(9, 4), layout="constrained")[1] if ax is None else ax
    bottom, whole = [0.0] * len(shown), 0
    colours = [colour for place, colour in enumerate(pyplot.get_cmap("tab10").colors) if place != _GREY]
    for place, (name, costs) in enumerate(rows):
        heights = [cost / DOLLAR for cost in costs]
        colour, sum_ = _REST if name == _OTHERS and place == SHOWN else colours[place], sum(costs)
        axes.bar(shown, heights, bottom=bottom, width=0.8, color=colour, label=f"{name}  {cents(sum_)}")
        bottom, whole = [below + height for below, height in zip(bottom, heights, strict=True)], whole + sum_
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda dollars, _: short(round(dollars * DOLLAR))))
    axes.set_xlim(date2num(shown[0]) - 0.6, date2num(shown[-1]) + 0.6)
    axes.set_ylim(bottom=0)
    span = "today" if days == 1 else f"in {days:,} days"
    axes.set_title(f"{cents(whole)} spent {span}, by {by}", loc="left")
    axes.set_ylabel("a day" if zone == "UTC" else f"a day in {zone}")
    axes.spines[["top", "right"]].set_visible(False)
    if rows:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return axes
