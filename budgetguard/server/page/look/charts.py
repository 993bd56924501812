"""
Charts as plain geometry, which `macros/charts.html` writes as SVG.

A plot is as wide as its place: x runs from 0 to 1000 whatever that is in pixels, y is in pixels from the top. Nothing
has a colour here, only a class: the style sheet has a colour for each, in the light and in the dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....reports.amounts import amount
from .axes import Gridline, Scale

WIDTH = 1000
HEIGHT = 200
MOST_SERIES = 8
"""Above which the least are one, called "other": more colours are not told apart."""
OTHER = "other"
_FILL = 0.74
_WIDEST = 60
_MANY = 90
"""Slots, from which on bars touch, and have no edges."""
_THIN = 3.0
"""Pixels, below which an edge around it would hide it."""
_LEAST = 1.0
"""Per cent: what is not nothing can be seen."""


@dataclass(frozen=True, slots=True)
class Series:
    """A name's amounts, one a slot."""

    name: str
    values: tuple[int, ...]
    is_rest: bool = False
    """It is what is left of others, which have no colour of their own."""

    @property
    def total(self) -> int:
        """Over all slots."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class SlotName:
    """A place on the x axis: its full name, and the short one where there is room for it."""

    name: str
    short: str = ""
    always: bool = False
    """It is written on a narrow screen, too."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar."""

    x: float
    y: float
    width: float
    height: float
    css: str
    said: str


@dataclass(frozen=True, slots=True)
class SlotText:
    """What stands under a slot, at a part of the width in per cent."""

    at: str
    text: str
    always: bool


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A series beside its colour."""

    name: str
    css: str
    total: int
    share: float


@dataclass(frozen=True, slots=True)
class BarChart:
    """Stacked bars, with a line behind them."""

    title: str
    said: str
    """The chart in a sentence, for who does not see it."""
    unit: str
    height: int
    segments: tuple[Segment, ...]
    lines: tuple[Gridline, ...]
    texts: tuple[SlotText, ...]
    behind: str
    """The points of a line of what was before; "" for none."""
    behind_name: str
    legend: tuple[LegendRow, ...]
    slots: tuple[SlotName, ...]
    series: tuple[Series, ...]
    """As drawn: at most `MOST_SERIES`, and the rest."""
    total: int


def fewest(series: Sequence[Series], most: int = MOST_SERIES) -> tuple[Series, ...]:
    """The largest first, and the others as one. A rest that is told already joins it."""
    named = sorted(
        (each for each in series if not each.is_rest and each.total), key=lambda each: (-each.total, each.name)
    )
    rest = [*named[most:], *(each for each in series if each.is_rest)]
    if not rest:
        return tuple(named)
    told = [each for each in rest if each.total]
    values = tuple(map(sum, zip(*(each.values for each in told), strict=True)))
    return (*named[:most], *([Series(OTHER, values, is_rest=True)] if told else []))


def stacked(
    title: str,
    slots: Sequence[SlotName],
    series: Sequence[Series],
    *,
    behind: Sequence[int] = (),
    behind_name: str = "",
    unit: str = "dollars",
    height: int = HEIGHT,
) -> BarChart:
    """Bars of several series, one upon the other; `behind` are amounts of another time, a slot each."""
    drawn = fewest(series)
    sums = [sum(each.values[at] for each in drawn) for at in range(len(slots))]
    scale = Scale.over(max([*sums, *behind, 0]), height, unit)
    total = sum(sums)
    return BarChart(
        title=title,
        said=_said(slots, sums, drawn, unit),
        unit=unit,
        height=height,
        segments=_segments(slots, drawn, scale),
        lines=scale.lines(),
        texts=_texts(slots),
        behind=_points(behind, len(slots), scale),
        behind_name=behind_name,
        legend=tuple(
            LegendRow(each.name, css, each.total, each.total / total if total else 0.0)
            for each, css in zip(drawn, _classes(drawn), strict=True)
        ),
        slots=tuple(slots),
        series=drawn,
        total=total,
    )


def _segments(slots: Sequence[SlotName], drawn: Sequence[Series], scale: Scale) -> tuple[Segment, ...]:
    """Each begins where the one below it ends: they add up to the height of their sum, to the pixel."""
    made, classes = [], _classes(drawn)
    for at, slot in enumerate(slots):
        x, width = _bar(at, len(slots))
        below = 0
        for each, css in zip(drawn, classes, strict=True):
            value = each.values[at]
            if value <= 0:
                continue
            y, floor = scale.y_of(below + value), scale.y_of(below)
            said = f"{slot.name}: {each.name} {amount(value, scale.unit)}"
            height = round(floor - y, 2)
            thin = height < _THIN or len(slots) >= _MANY
            made.append(Segment(x, y, width, height, f"{css} thin" if thin else css, said))
            below += value
    return tuple(made)


def _classes(drawn: Sequence[Series]) -> list[str]:
    return ["rest" if each.is_rest else f"s{number}" for number, each in enumerate(drawn, start=1)]


def _bar(at: int, slots: int) -> tuple[float, float]:
    """Where a slot's bar begins, and how wide it is."""
    each = WIDTH / slots
    width = each if slots >= _MANY else min(each * _FILL, _WIDEST)
    return round(at * each + (each - width) / 2, 2), round(width, 2)


def _texts(slots: Sequence[SlotName]) -> tuple[SlotText, ...]:
    each = 100 / max(1, len(slots))
    return tuple(
        SlotText(f"{(at + 0.5) * each:.2f}%", slot.short, slot.always) for at, slot in enumerate(slots) if slot.short
    )


def _points(values: Sequence[int], slots: int, scale: Scale) -> str:
    """Through the middle of each slot."""
    if not any(values):
        return ""
    each = WIDTH / max(1, slots)
    return " ".join(f"{(at + 0.5) * each:.1f},{scale.y_of(value)}" for at, value in enumerate(values[:slots]))


def _said(slots: Sequence[SlotName], sums: Sequence[int], drawn: Sequence[Series], unit: str) -> str:
    """The sum, the largest slot, the largest series."""
    total = sum(sums)
    if not total:
        return "Nothing was spent in this time."
    most = max(range(len(slots)), key=sums.__getitem__)
    told = f"{amount(total, unit)} in all; the most, {amount(sums[most], unit)}, at {slots[most].name}"
    if drawn and len(drawn) > 1:
        told += f"; {drawn[0].name} has {amount(drawn[0].total, unit)} of it"
    return told + "."


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A line without axes."""

    points: str
    height: int
    said: str


def sparkline(values: Sequence[int], *, unit: str = "dollars", height: int = 24) -> Sparkline:
    """How an amount went, in the width of a cell."""
    most = max(values, default=0)
    if not most:
        return Sparkline("", height, "nothing")
    room, each = height - 2, WIDTH / max(1, len(values) - 1)
    points = " ".join(f"{at * each:.1f},{round(1 + room - value * room / most, 2)}" for at, value in enumerate(values))
    if len(values) == 1:
        points += f" {WIDTH},{points.partition(',')[2]}"
    return Sparkline(
        points, height, f"from {amount(values[0], unit)} to {amount(values[-1], unit)}, at most {amount(most, unit)}"
    )


@dataclass(frozen=True, slots=True)
class LimitBar:
    """A budget as one bar: parts of the width in per cent, as attributes are written."""

    spent: str
    held_at: str
    held: str
    is_over: bool
    said: str


def shares(spent: int, held: int, limit: int | None, *, unit: str = "dollars") -> LimitBar:
    """What is spent, held and left of a limit; without one, there is no bar to fill."""
    told = f"{amount(spent, unit)} spent, {amount(held, unit)} held"
    if limit is None:
        return LimitBar("0%", "0%", "0%", is_over=False, said=f"{told}, no limit")
    left = limit - spent - held
    told += f", {amount(left, unit)} left" if left >= 0 else f", {amount(-left, unit)} above the limit"
    whole = max(limit, spent + held, 1)
    first = min(100.0, max(spent, 0) * 100 / whole)
    second = min(100.0 - first, max(held, 0) * 100 / whole)
    return LimitBar(
        f"{first:.2f}%", f"{first:.2f}%", f"{second:.2f}%", is_over=left < 0, said=f"{told} of {amount(limit, unit)}"
    )


def small_bar(part: int, most: int) -> str:
    """The width of a bar in a table's cell, beside the largest of its column."""
    if part <= 0 or most <= 0:
        return "0%"
    return f"{max(part * 100 / most, _LEAST):.2f}%"
