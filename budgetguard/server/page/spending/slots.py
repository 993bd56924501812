"""What reports say of spend over time, as charts: a slot for each span, with a name where there is room for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ....reports.shown.figures import Bucket, GroupShown, Stacked
from ..look.charts import OTHER, BarChart, Series, SlotName, stacked
from ..look.times import weekday

TIMES = ("hour", "day", "week", "month")
_ROOM = 31
"""How many names have room on a wide screen,"""
_NARROW_ROOM = 6
"""and on a narrow one."""


def chart_of(title: str, shown: Stacked, *, behind: Sequence[int] = (), behind_name: str = "") -> BarChart:
    """Stacked spend; the reports' own rest is the chart's."""
    series = [
        Series(name or f"without a {shown.by}", tuple(bucket.costs[at] for bucket in shown.buckets))
        for at, name in enumerate(shown.names)
    ]
    if shown.other:
        rest = tuple(bucket.costs[-1] for bucket in shown.buckets)
        series.append(Series(OTHER, rest, is_rest=True))
    slots = named([bucket.label for bucket in shown.buckets])
    return stacked(title, slots, series, behind=behind, behind_name=behind_name)


def chart_of_groups(title: str, groups: Sequence[GroupShown], by: tuple[str, ...]) -> BarChart | None:
    """Groups of the explorer, where one of the fields is a time; `None` where none is, or there is but one slot."""
    times = [at for at, field in enumerate(by) if field in TIMES]
    if len(times) != 1:
        return None
    at_time, costs = times[0], dict[str, dict[str, int]]()
    for group in groups:
        other = "".join(name for at, name in enumerate(group.names) if at != at_time) if len(by) > 1 else "cost"
        slots = costs.setdefault(other or "none", {})
        slots[group.names[at_time]] = slots.get(group.names[at_time], 0) + group.figures.cost
    labels = sorted({label for slots in costs.values() for label in slots})
    if len(labels) < 2:
        return None
    series = [Series(name, tuple(slots.get(label, 0) for label in labels)) for name, slots in costs.items()]
    return stacked(title, named(labels), series)


def costs_of(buckets: Sequence[Bucket]) -> list[int]:
    """What each span cost."""
    return [bucket.figures.cost for bucket in buckets]


def named(labels: Sequence[str]) -> list[SlotName]:
    """Slots with their names; so many of them are written that they do not touch."""
    every, narrow = -(-len(labels) // _ROOM), -(-len(labels) // _NARROW_ROOM)
    if len(labels) > 1 and len(labels[0]) > 10:  # with an hour: longer than the number of a day
        every = -(-len(labels) // (_ROOM // 2))
    return [
        SlotName(_long(label), _short(label) if at % every == 0 else "", at % narrow == 0 and at % every == 0)
        for at, label in enumerate(labels)
    ]


def _long(label: str) -> str:
    """ "Tue 3 Nov", where it is a day."""
    found = _day(label)
    return label if found is None else f"{weekday(found)}{label[10:]}"


def _short(label: str) -> str:
    """The number of a day, the first of a month with its name; the hour; a week or a month as it is called."""
    found = _day(label)
    if found is None:
        return label[5:] if label[4:6] == "-W" else label
    if len(label) > 10:
        return label[11:]
    return f"{found.day} {found:%b}" if found.day == 1 else str(found.day)


def _day(label: str) -> date | None:
    try:
        return date.fromisoformat(label[:10]) if len(label) >= 10 else None
    except ValueError:
        return None
