"""
The questions to the cube: what calls add up to by one field or several, over some hours, of those that pass a filter.

A question is one pass over the rows. Where the groups are few enough to have a place each in a list, a row costs about
50 ns by one field and 130 ns by two; `benchmarks/page.py` measures it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from heapq import nlargest
from itertools import compress
from operator import and_
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from .blocks import Hour, HourBlock
from .codes import AllCodes
from .cube import Cube
from .packed import Packed, UsageKinds, cost_of

T = TypeVar("T")

Only: TypeAlias = Mapping[str, Sequence[str]]
"""The values that a field may have, "" for none; all that are named have to fit."""
Names: TypeAlias = tuple[str, ...]
RowColumn: TypeAlias = Callable[[HourBlock], Iterable[int]]

MOST_PLACES: Final = 2_000_000
"""A list of sums has at most so many places; more are looked up."""


class RowSource(Protocol):
    """What a question is asked of: the cube, or a part of it."""

    codes: AllCodes
    kinds: UsageKinds

    def locked(self) -> AbstractContextManager[None]:
        """Nothing changes meanwhile."""
        ...

    def hours(self, first: Hour, end: Hour) -> Iterator[HourBlock]:
        """The blocks of the hours in [first, end), in order."""
        ...


class CubePart:
    """The rows of some hours that pass a filter, for those who ask many questions about them."""

    def __init__(self, cube: Cube, first: Hour, end: Hour, only: Only) -> None:
        self.codes, self.kinds = cube.codes, cube.kinds
        self._hours: list[tuple[Hour, HourBlock]] = []
        with cube.locked():
            mask = _mask(cube, only)
            if mask is not None:
                kept = [(hour, block.only(list(mask(block)))) for hour, block in cube.numbered(first, end)]
                self._hours = [(hour, block) for hour, block in kept if block.packed]

    def locked(self) -> AbstractContextManager[None]:
        """It is nobody else's."""
        return nullcontext()

    def hours(self, first: Hour, end: Hour) -> Iterator[HourBlock]:
        """The blocks of the hours in [first, end), in order."""
        begin, behind = bisect_left(self._hours, first, key=_hour), bisect_left(self._hours, end, key=_hour)
        for _, block in self._hours[begin:behind]:
            yield block


def _hour(row: tuple[Hour, HourBlock]) -> Hour:
    return row[0]


class Ranked(NamedTuple):
    """Groups by what they cost."""

    top: list[tuple[Names, Packed]]
    """The dearest first; those that cost the same by name."""
    rest: Packed
    """All others together."""
    groups: int
    """How many there are, the others included."""


def summed(cube: RowSource, by: Sequence[str], first: Hour, end: Hour, only: Only | None = None) -> dict[Names, Packed]:
    """What calls of these hours add up to, by fields that are no times."""
    with cube.locked():
        found, name = _grouped(cube, by, (first, end), only or {})
        return {name(place): packed for place, packed in found}


def ranked(cube: RowSource, by: Sequence[str], hours: tuple[Hour, Hour], top: int, only: Only | None = None) -> Ranked:
    """The same, of which only the dearest are named."""
    with cube.locked():
        found, name = _grouped(cube, by, hours, only or {})
        least = min(nlargest(top, [cost_of(packed) for _, packed in found]), default=0)
        named = dearest([(name(place), packed) for place, packed in found if cost_of(packed) >= least])[:top]
        rest = sum([packed for _, packed in found]) - sum([packed for _, packed in named])
        return Ranked(named, rest, len(found))


def _grouped(
    cube: RowSource, by: Sequence[str], hours: tuple[Hour, Hour], only: Only
) -> tuple[list[tuple[Any, Packed]], Callable[[Any], Names]]:
    """Sums by a place each, and what names a place."""
    mask = _mask(cube, only)
    blocks = [] if mask is None else list(cube.hours(*hours))
    columns = [column(cube, name) for name in by]
    values = [cube.codes.of_field(name).values for name in by]
    sums: Iterable[tuple[Any, Packed]]
    if mask is None:
        return [], tuple
    if not by:
        whole = sum([sum(_kept(mask, block, block.packed)) for block in blocks])
        return ([((), whole)] if whole else []), tuple
    if len(by) == 1:
        sums = _by_one(blocks, columns[0], len(values[0]), mask)
        return [each for each in sums if each[1]], lambda place: (values[0][place],)
    width = len(values[1])
    if len(by) == 2 and len(values[0]) * width <= MOST_PLACES:
        sums = _by_two(blocks, columns, len(values[0]), width, mask)
        return [each for each in sums if each[1]], lambda place: (values[0][place // width], values[1][place % width])
    sums = _by_many(blocks, columns, mask).items()
    named = partial(_named, values)
    return [each for each in sums if each[1]], named


def _named(values: Sequence[Sequence[str]], numbers: Sequence[int]) -> Names:
    return tuple([names[number] for names, number in zip(values, numbers, strict=True)])


def stacked(
    cube: RowSource, by: str, top: Sequence[str], spans: Sequence[tuple[Hour, Hour]], only: Only | None = None
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


def totals(cube: RowSource, spans: Sequence[tuple[Hour, Hour]], only: Only | None = None) -> list[Packed]:
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


def column(cube: RowSource, name: str) -> RowColumn:
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


def _mask(cube: RowSource, only: Only) -> Mask | None:
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
