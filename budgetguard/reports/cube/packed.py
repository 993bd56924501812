"""
What calls add up to, as one whole number: so many bits for each field, so that one addition adds all of them.

Adding these is what a question costs, and one addition of a large number costs a quarter of four of small ones. Fields
may be below 0, and are exact as long as each sum is below 2**79.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from ...ledger import Entry
from ..shown.figures import NO_FIGURES, Figures

Packed: TypeAlias = int

WIDTH: Final = 80
_MASK: Final = (1 << WIDTH) - 1
_HALF: Final = 1 << (WIDTH - 1)
ONE_CALL: Final = 1 << WIDTH

FLAGS: Final = ("estimated", "cut", "fallback", "late", "expired", "unpriced")
FIXED: Final = ("cost", "calls", "input_tokens", "output_tokens", *FLAGS)
"""The first fields; behind them is one for each other kind of usage, in the order in which they were met."""

MOST_KINDS: Final = 100
MOST_COUNT: Final = 1 << 53
"""A count of an entry beyond this is absurd, and taken for this."""
THE_REST: Final = "other"
"""The kind of what is beyond so many kinds."""


class UsageKinds:
    """The kinds of usage that were met, each with its field."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._fields: dict[str, int] = {name: place for place, name in enumerate(FIXED[:4]) if place > 1}
        self._flags = {name: 1 << (FIXED.index(name) * WIDTH) for name in FLAGS}

    def field(self, kind: str) -> int:
        """The place of a kind; a new one for a new kind."""
        place = self._fields.get(kind)
        if place is None:
            if len(self.names) >= MOST_KINDS and kind != THE_REST:
                return self.field(THE_REST)
            place = self._fields[kind] = len(FIXED) + len(self.names)
            self.names.append(kind)
        return place

    def pack(self, entry: Entry) -> Packed:
        """What one call adds."""
        packed: Packed = entry.cost + ONE_CALL
        for kind, count in entry.usage.items():
            if count:
                packed += max(-MOST_COUNT, min(count, MOST_COUNT)) << (self.field(kind) * WIDTH)
        for flag in entry.flags:
            packed += self._flags.get(flag, 0)
        return packed

    def figures(self, packed: Packed) -> Figures:
        """The sums that a number has, by name."""
        if not packed:
            return NO_FIGURES
        values = unpacked(packed)
        values += [0] * (len(FIXED) - len(values))
        others = {kind: value for kind, value in zip(self.names, values[len(FIXED) :], strict=False) if value}
        tokens = {kind: value for kind, value in zip(FIXED[2:4], values[2:4], strict=True) if value}
        cost, calls, input_tokens, output_tokens, *flags = values[: len(FIXED)]
        usage = {**tokens, **others}
        estimated, cut, fallback, late, expired, unpriced = flags
        return Figures(
            cost, calls, input_tokens, output_tokens, estimated, cut, fallback, late, expired, unpriced, usage
        )

    def repacked(self, columns: Mapping[str, Sequence[int]], rows: int) -> list[Packed]:
        """Numbers from their fields by name, as `columns_of` wrote them: lists of what each row has."""
        packed = [0] * rows
        for name, values in columns.items():
            shift = (FIXED.index(name) if name in FIXED else self.field(name.removeprefix("usage "))) * WIDTH
            packed = [number + (value << shift) for number, value in zip(packed, values, strict=True)]
        return packed

    def columns_of(self, packed: Sequence[Packed]) -> dict[str, list[int]]:
        """The fields of these numbers, by name; those that are 0 in all of them are left out."""
        rows = [unpacked(number) for number in packed]
        names = [*FIXED, *[f"usage {kind}" for kind in self.names]]
        columns: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            column = [row[place] if place < len(row) else 0 for row in rows]
            if any(column):
                columns[name] = column
        return columns


def unpacked(packed: Packed) -> list[int]:
    """The fields of a number, up to the last that is not 0."""
    values = []
    while packed:
        low = packed & _MASK
        if low & _HALF:
            low -= 1 << WIDTH
        values.append(low)
        packed = (packed - low) >> WIDTH
    return values


def cost_of(packed: Packed) -> int:
    """The cost alone."""
    low = packed & _MASK
    return low - (1 << WIDTH) if low & _HALF else low


def calls_of(packed: Packed) -> int:
    """The number of calls alone."""
    return cost_of((packed - cost_of(packed)) >> WIDTH)
