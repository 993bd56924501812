"""
Whether a day in the cube is what the store's own sums say; where it is not, it is read again.

What was pruned stays as it was: a day is compared from the hour on in which the store's oldest entry is, and that hour
itself only if the store has as many calls in it as were counted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple, TypeAlias

from ...ledger import Millis, Query
from .blocks import DAY_HOURS, HOUR_MS, Day, DayBlocks, Hour, day_of, start_of
from .cube import Cube
from .packed import Packed, calls_of, unpacked

ModelSums: TypeAlias = dict[str, tuple[int, ...]]
"""By model: cost, calls, input, output, estimated, cut."""


def oldest_ms(cube: Cube) -> Millis | None:
    """When the oldest entry was that the store still has."""
    entry = next(iter(cube.store.entries(Query(limit=1))), None)
    return None if entry is None else entry.at_ms


def check_day(cube: Cube, day: Day, read_ms: Millis) -> bool:
    """Compare a day as far as it was read, and read it again if need be; whether that was needed."""
    first = comparable_from(cube, day * DAY_HOURS)
    end = min((day + 1) * DAY_HOURS, read_ms // HOUR_MS)
    if first is None or first >= end or same(cube, first, end):
        return False
    _read_again(cube, day, first, end)
    return True


class Compared(NamedTuple):
    """What the store's own sum was of the hours that were compared."""

    first: Hour
    end: Hour
    cost: int


def check_span(cube: Cube, since_ms: Millis, until_ms: Millis, read_ms: Millis) -> Compared:
    """Compare a time; each of its days only if there is a difference in all."""
    end = min(-(-until_ms // HOUR_MS), read_ms // HOUR_MS)
    first = comparable_from(cube, since_ms // HOUR_MS)
    if first is None or first >= end:
        return Compared(end, end, 0)
    theirs = _theirs(cube, first, end)
    if _ours(cube, first, end) != theirs:
        for day in range(day_of(first * HOUR_MS), day_of(end * HOUR_MS - 1) + 1):
            check_day(cube, day, read_ms)
    return Compared(first, end, sum([sums[0] for sums in theirs.values()]))


def comparable_from(cube: Cube, first: Hour) -> Hour | None:
    """The first hour from this one on that nothing was pruned from; `None`: there are no entries."""
    oldest = oldest_ms(cube)
    if oldest is None:
        return None
    hour = oldest // HOUR_MS
    if hour < first:
        return first
    there = cube.store.totals((), Query(since_ms=hour * HOUR_MS, until_ms=(hour + 1) * HOUR_MS))
    with cube.locked():
        counted = calls_of(sum([packed for block in cube.hours(hour, hour + 1) for packed in block.packed]))
    return hour if sum([total.calls for total in there]) >= counted else hour + 1


def same(cube: Cube, first: Hour, end: Hour) -> bool:
    """Whether the sums of these hours are the store's."""
    return _ours(cube, first, end) == _theirs(cube, first, end)


def _theirs(cube: Cube, first: Hour, end: Hour) -> ModelSums:
    asked = Query(since_ms=first * HOUR_MS, until_ms=end * HOUR_MS)
    return {
        total.group[0]: (
            total.cost,
            total.calls,
            total.input_tokens,
            total.output_tokens,
            total.estimated,
            total.cut,
        )
        for total in cube.store.totals(("model",), asked)
    }


def _ours(cube: Cube, first: Hour, end: Hour) -> ModelSums:
    sums: dict[int, Packed] = defaultdict(int)
    with cube.locked():
        for block in cube.hours(first, end):
            for model, packed in zip(block.models, block.packed, strict=True):
                sums[model] += packed
        names = cube.codes.fields["model"].values
        return {names[model]: _six(packed) for model, packed in sums.items() if packed}


def _six(packed: Packed) -> tuple[int, ...]:
    values = unpacked(packed)
    return tuple([*values, *[0] * 6][:6])


def _read_again(cube: Cube, day: Day, first: Hour, end: Hour) -> None:
    """Read these hours of a day from the entries; the other hours stay."""
    fresh = DayBlocks(day)
    first = max(first, day * DAY_HOURS)
    for entry in cube.store.entries(Query(since_ms=first * HOUR_MS, until_ms=end * HOUR_MS)):
        with cube.locked():
            fresh.add(entry, cube.codes, cube.kinds)
    fresh.close()
    with cube.locked():
        there = cube.day(day)
        for hour in list(there.hours):
            if first <= hour < end:
                del there.hours[hour]
        there.hours.update(fresh.hours)
        over = cube.open_from is not None and day < cube.open_from
    if over:
        cube.keep(there, start_of(day + 1))
