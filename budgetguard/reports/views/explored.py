"""The explorer: the history by any two fields, over any time, of whatever passes a filter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import ConfigError
from ..cube.blocks import HOUR_MS, Hour
from ..cube.cube import Cube
from ..cube.packed import Packed, UsageKinds, cost_of
from ..cube.sums import Names, Only, Ranked, RowSource, ranked, stacked, summed, totals
from ..cube.zones import TIMES, Span, spans
from ..shown.figures import NO_FIGURES, Bucket, Figures, GroupShown, HistoryRead, Stacked
from ..shown.money import Explored, ExploreQuery

MOST_GROUPS = 5_000
"""So many are shown of an answer in the order of time."""
THE_OTHERS = "other"


def explore(cube: Cube, query: ExploreQuery, read: HistoryRead, now_ms: int) -> Explored:
    """See `Reports.explore`."""
    first, end = bounds(cube, query, now_ms)
    times = [name for name in query.by if name in TIMES]
    others = [name for name in query.by if name not in TIMES]
    if len(query.by) > 2 or len(set(query.by)) != len(query.by) or (len(times) == 2):
        raise ConfigError(f"by={query.by!r}: one or two fields are needed, at most one of them a time")
    with cube.locked():
        whole = totals(cube, [(first, end)], query.only)[0]
        was = totals(cube, [(2 * first - end, first)], query.only)[0] if query.before else None
        total = GroupShown((), cube.kinds.figures(whole), 1.0 if whole else 0.0, _shown(cube.kinds, was))
        if times:
            return _over_time(cube, query, (first, end), total, read)
        found = ranked(cube, others, (first, end), query.top, query.only)
        earlier = summed(cube, others, 2 * first - end, first, query.only) if query.before else None
        groups, other = top_of(cube.kinds, found, cost_of(whole), earlier)
        return Explored(query, groups, other, total, found.groups, None, read)


def top_of(
    kinds: UsageKinds, found: Ranked, whole: int, earlier: dict[Names, Packed] | None = None
) -> tuple[tuple[GroupShown, ...], GroupShown | None]:
    """The dearest groups, and the rest together, each with its share and what it was before."""

    def shown(names: Names, packed: Packed, before: Packed | None) -> GroupShown:
        cost = cost_of(packed)
        return GroupShown(names, kinds.figures(packed), cost / whole if whole else 0.0, _shown(kinds, before))

    was = None if earlier is None else [earlier.get(names, 0) for names, _ in found.top]
    kept = [
        shown(names, packed, None if was is None else was[place]) for place, (names, packed) in enumerate(found.top)
    ]
    if found.groups <= len(kept):
        return tuple(kept), None
    width = len(found.top[0][0]) if found.top else 1
    others = None if earlier is None or was is None else sum(earlier.values()) - sum(was)
    return tuple(kept), shown((THE_OTHERS,) * width, found.rest, others)


def _shown(kinds: UsageKinds, packed: Packed | None) -> Figures | None:
    return None if packed is None else kinds.figures(packed)


def chart(
    cube: RowSource,
    by: str,
    time: Sequence[Span],
    top: int,
    *,
    only: Only | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Stacked, list[list[Packed]]]:
    """Spend over time, stacked by a field; with the sums behind it."""
    if names is None:
        first, end = (time[0].first, time[-1].end) if time else (0, 0)
        names = [name for (name,), _ in ranked(cube, (by,), (first, end), top, only).top]
    rows = stacked(cube, by, names, [(span.first, span.end) for span in time], only)
    other = any(row[-1] for row in rows)
    return Stacked(by, tuple(names), other, tuple(_buckets(cube.kinds, time, rows, other=other))), rows


def _buckets(
    kinds: UsageKinds, time: Sequence[Span], rows: Sequence[Sequence[Packed]], *, other: bool
) -> Iterable[Bucket]:
    for span, row in zip(time, rows, strict=True):
        costs = tuple([cost_of(packed) for packed in (row if other else row[:-1])])
        yield Bucket(span.label, span.start_ms, span.end_ms, costs, kinds.figures(sum(row)))


def _over_time(
    cube: Cube, query: ExploreQuery, hours: tuple[Hour, Hour], total: GroupShown, read: HistoryRead
) -> Explored:
    """One group for each span and name, in the order of time."""
    [kind] = [name for name in query.by if name in TIMES]
    others = [name for name in query.by if name not in TIMES]
    time = spans(kind, *hours, query.zone)
    by = others[0] if others else "model"
    pictured, rows = chart(cube, by, time, query.top, only=query.only)
    whole, kinds = total.figures.cost, cube.kinds
    groups, count = list[GroupShown](), 0
    rest: Packed = 0
    for span, row in zip(time, rows, strict=True):
        rest += row[-1] if others else 0
        cells = zip([*pictured.names, THE_OTHERS], row, strict=True) if others else [("", sum(row))]
        for name, packed in cells:
            if packed and not (others and name is THE_OTHERS):
                count += 1
                if count > MOST_GROUPS:
                    continue
                named = {kind: span.label, by: name}
                names = tuple([named[each] for each in query.by])
                groups.append(GroupShown(names, kinds.figures(packed), cost_of(packed) / whole if whole else 0.0))
    if query.by[0] != kind:
        place = {name: number for number, name in enumerate(pictured.names)}
        groups.sort(key=lambda group: place[group.names[0]])
    other = (
        GroupShown((THE_OTHERS,) * len(query.by), kinds.figures(rest), cost_of(rest) / whole if whole else 0.0)
        if rest
        else None
    )
    return Explored(query, tuple(groups), other, total, count, pictured, read)


def bounds(cube: Cube, query: ExploreQuery, now_ms: int) -> tuple[Hour, Hour]:
    """The hours that a question is about; without a beginning, all of the history."""
    days = cube.known_days()
    first = days[0] * 24 if days else now_ms // HOUR_MS
    if query.since_ms is not None:
        first = query.since_ms // HOUR_MS
    last = max(now_ms // HOUR_MS + 1, (days[-1] + 1) * 24 if days else 0)
    end = last if query.until_ms is None else -(-query.until_ms // HOUR_MS)
    return first, max(first, end)


def figures_of(cube: RowSource, spans_: Sequence[tuple[Hour, Hour]], only: Only | None = None) -> list[Figures]:
    """The figures of each of these spans."""
    return [cube.kinds.figures(packed) if packed else NO_FIGURES for packed in totals(cube, spans_, only)]
