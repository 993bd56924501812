"""What reports say of spend over time, as charts: a slot for each span, with a name where there is room for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ....reports.shown.figures import Stacked
from ..look.charts import OTHER, BarChart, Series, SlotName, stacked
from ..look.times import weekday

_ROOM = 31
"""How many names have room on a wide screen,"""
_NARROW_ROOM = 6
"""and on a narrow one."""
_HOURS = 48
"""Up to so many slots of an hour are named by the hour, more by the day."""


def chart_of(title: str, shown: Stacked, *, behind: Sequence[int] = (), behind_name: str = "") -> BarChart:
    """Stacked spend; the reports' own rest is the chart's."""
    series = [
        Series(name or _unnamed(shown), tuple(bucket.costs[at] for bucket in shown.buckets))
        for at, name in enumerate(shown.names)
    ]
    if shown.other:
        rest = tuple(bucket.costs[-1] for bucket in shown.buckets)
        series.append(Series(OTHER, rest, is_rest=True))
    slots = named([bucket.label for bucket in shown.buckets])
    return stacked(title, slots, series, behind=behind, behind_name=behind_name)


def _unnamed(shown: Stacked) -> str:
    """What calls without a name are called; where nothing is stacked, there is one series of all."""
    return f"without a {shown.by}" if shown.by and len(shown.names) > 1 else "all calls"


def named(labels: Sequence[str]) -> list[SlotName]:
    """Slots with their names; so many of them are written that they do not touch."""
    is_hours = bool(labels) and len(labels[0]) > 10
    written = [
        at for at, label in enumerate(labels) if not is_hours or len(labels) <= _HOURS or label.endswith("00:00")
    ]
    every = -(-len(written) // (_ROOM // 2 if is_hours else _ROOM))
    narrow = every * -(-len(written) // (every * _NARROW_ROOM)) if every else 1
    shown = {at: order % narrow == 0 for order, at in enumerate(written) if order % every == 0}
    return [
        SlotName(_long(label), _short(label, of_days=len(labels) > _HOURS) if at in shown else "", shown.get(at, False))
        for at, label in enumerate(labels)
    ]


def _long(label: str) -> str:
    """ "Tue 3 Nov", where it is a day."""
    found = _day(label)
    return label if found is None else f"{weekday(found)}{label[10:]}"


def _short(label: str, *, of_days: bool = False) -> str:
    """The number of a day, the first of a month with its name; the hour; a week or a month as it is called."""
    found = _day(label)
    if found is None:
        return label[5:] if label[4:6] == "-W" else label
    if len(label) > 10:
        return f"{found.day} {found:%b}" if of_days else label[11:]
    return f"{found.day} {found:%b}" if found.day == 1 else str(found.day)


def _day(label: str) -> date | None:
    try:
        return date.fromisoformat(label[:10]) if len(label) >= 10 else None
    except ValueError:
        return None
