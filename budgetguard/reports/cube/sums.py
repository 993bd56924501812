"""
The questions to the cube: what calls add up to by one field or several, over some hours, of those that pass a filter.

A question is one pass over the rows. Where the groups are few enough to have a place each in a list, a row costs about
50 ns by one field and 130 ns by two; `benchmarks/page.py` measures it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import and_
from typing import Final, TypeAlias, TypeVar

from .blocks import Hour, HourBlock
from .cube import Cube
from .packed import Packed, cost_of

T = TypeVar("T")

Only: TypeAlias = Mapping[str, Sequence[str]]
"""The values that a field may have, "" for none; all that are named have to fit."""
Names: TypeAlias = tuple[str, ...]
RowColumn: TypeAlias = Callable[[HourBlock], Iterable[int]]

MOST_PLACES: Final = 2_000_000
"""A list of sums has at most so many places; more are looked up."""


def summed(cube: Cube, by: Sequence[str], first: Hour, end: Hour, only: Only | None = None) -> dict[Names, Packed]:
    """What calls of these hours add up to, by fields that are no times."""
    with cube.locked():
        blocks = list(cube.hours(first, end))
        mask = _mask(cube, only or {})
        if mask is None:
            return {}
        if not by:
            whole = sum([sum(_kept(mask, block, block.packed)) for block in blocks])
            return {(): whole} if whole else {}
        columns = [column(cube, name) for name in by]
        values = [cube.codes.of_field(name).values for name in by]
        if len(by) == 1:
            sums = _by_one(blocks, columns[0], len(values[0]), mask)
            return {(values[0][place],): packed for place, packed in sums if packed}
        if len(by) == 2 and len(values[0]) * len(values[1]) <= MOST_PLACES:
            width = len(values[1])
            pairs = _by_two(blocks, columns, len(values[0]), width, mask)
            return {(values[0][place // width], values[1][place % width]): packed for place, packed in pairs if packed}
        return {
            tuple([names[number] for names, number in zip(values, numbers, strict=True)]): packed
            for numbers, packed in _by_many(blocks, columns, mask).items()
            if packed
        }


def stacked(
    cube: Cube, by: str, top: Sequence[str], spans: Sequence[tuple[Hour, Hour]], only: Only | None = None
) -> list[list[Packed]]:
    """For each span the sums of these values of a field, in order, and last that of all others."""
    with cube.locked():
        mask = _mask(cube, only or {})
        codes = cube.codes.of_field(by)
        places = [len(top)] * len(codes)
        for place, value in enumerate(top):
            number = codes.find(value)
            if number is not None:
                places[number] = place
        of, found = column(cube, by), list[list[Packed]]()
        for first, end in spans:
            sums = [0] * (len(top) + 1)
            if mask is not None:
                for block in cube.hours(first, end):
                    rows = zip(map(places.__getitem__, of(block)), block.packed, strict=True)
                    for place, packed in _kept(mask, block, rows):
                        sums[place] += packed
            found.append(sums)
        return found


def totals(cube: Cube, spans: Sequence[tuple[Hour, Hour]], only: Only | None = None) -> list[Packed]:
    """The sum of each of these spans."""
    with cube.locked():
        mask = _mask(cube, only or {})
        if mask is None:
            return [0] * len(spans)
        return [
            sum([sum(_kept(mask, block, block.packed)) for block in cube.hours(first, end)]) for first, end in spans
        ]


def dearest(sums: Iterable[tuple[Names, Packed]]) -> list[tuple[Names, Packed]]:
    """Groups by what they cost, the dearest first; those that cost the same by name."""
    return sorted(sums, key=lambda each: (-cost_of(each[1]), each[0]))


def column(cube: Cube, name: str) -> RowColumn:
    """Where the numbers of a field are in a block; brought up to date for all that is in the cube now."""
    if name == "user":
        return _users
    if name == "provider":
        return _providers
    if name == "model":
        return _models
    table = cube.codes.tag(name)[1]
    return lambda block: map(table.__getitem__, block.tags)


def _users(block: HourBlock) -> Iterable[int]:
    return block.users


def _providers(block: HourBlock) -> Iterable[int]:
    return block.providers


def _models(block: HourBlock) -> Iterable[int]:
    return block.models


Mask: TypeAlias = Callable[[HourBlock], Iterable[bool]]


def _everything(block: HourBlock) -> Iterable[bool]:
    return ()


def _kept(mask: Mask, block: HourBlock, rows: Iterable[T]) -> Iterable[T]:
    return rows if mask is _everything else compress(rows, mask(block))


def _mask(cube: Cube, only: Only) -> Mask | None:
    """Which rows of a block pass; `None`: none of any."""
    masks: list[Mask] = []
    for name, allowed in only.items():
        codes = cube.codes.of_field(name)
        numbers = {number for value in allowed if (number := codes.find(value)) is not None}
        if not numbers:
            return None
        masks.append(_passing(column(cube, name), numbers))
    if not masks:
        return _everything
    return masks[0] if len(masks) == 1 else _all_of(masks)


def _passing(of: RowColumn, numbers: set[int]) -> Mask:
    if len(numbers) == 1:
        [number] = numbers
        return lambda block: map(number.__eq__, of(block))
    return lambda block: map(numbers.__contains__, of(block))


def _all_of(masks: Sequence[Mask]) -> Mask:
    def passing(block: HourBlock) -> Iterable[bool]:
        found = masks[0](block)
        for mask in masks[1:]:
            found = map(and_, found, mask(block))
        return found

    return passing


def _by_one(blocks: Sequence[HourBlock], of: RowColumn, size: int, mask: Mask) -> Iterable[tuple[int, Packed]]:
    if size > 4 * sum([len(block.packed) for block in blocks]):
        few: dict[int, Packed] = defaultdict(int)
        for block in blocks:
            for number, packed in _kept(mask, block, zip(of(block), block.packed, strict=True)):
                few[number] += packed
        return few.items()
    sums = [0] * size
    for block in blocks:
        for number, packed in _kept(mask, block, zip(of(block), block.packed, strict=True)):
            sums[number] += packed
    return enumerate(sums)


def _by_two(
    blocks: Sequence[HourBlock], columns: Sequence[RowColumn], height: int, width: int, mask: Mask
) -> Iterable[tuple[int, Packed]]:
    sums = [0] * (height * width)
    rows = [number * width for number in range(height)]
    one, two = columns
    for block in blocks:
        cells = zip(map(rows.__getitem__, one(block)), two(block), block.packed, strict=True)
        for row, number, packed in _kept(mask, block, cells):
            sums[row + number] += packed
    return enumerate(sums)


def _by_many(blocks: Sequence[HourBlock], columns: Sequence[RowColumn], mask: Mask) -> dict[tuple[int, ...], Packed]:
    sums: dict[tuple[int, ...], Packed] = defaultdict(int)
    for block in blocks:
        keys: Iterator[tuple[int, ...]] = zip(*[of(block) for of in columns], strict=True)
        for key, packed in _kept(mask, block, zip(keys, block.packed, strict=True)):
            sums[key] += packed
    return sums
