"""The rows of one hour: what calls alike add up to, in columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple, TypeAlias

from ...ledger import Entry, Millis
from .codes import AllCodes, tag_set
from .packed import Packed, UsageKinds

HOUR_MS: Millis = 3_600_000
DAY_HOURS = 24

Hour: TypeAlias = int
"""Hours since the epoch."""
Day: TypeAlias = int
"""Days since the epoch, of UTC."""
RowKey: TypeAlias = tuple[int, int, int, int]


class RowPlace(NamedTuple):
    """Where a call was added, and what: so that it can be taken back."""

    hour: Hour
    row: int
    packed: Packed


class HourBlock:
    """Columns of the same length: user, provider, model, set of tags, and the sums."""

    __slots__ = ("_rows", "models", "packed", "providers", "tags", "users")

    def __init__(self) -> None:
        self.users = array("I")
        self.providers = array("I")
        self.models = array("I")
        self.tags = array("I")
        self.packed: list[Packed] = []
        self._rows: dict[RowKey, int] | None = None
        """The place of each row; made when it is needed."""

    def add(self, key: RowKey, packed: Packed) -> int:
        """Add to the row of these names; its place."""
        if self._rows is None:
            columns = zip(self.users, self.providers, self.models, self.tags, strict=True)
            self._rows = {known: place for place, known in enumerate(columns)}
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self.packed)
            for column, number in zip((self.users, self.providers, self.models, self.tags), key, strict=True):
                column.append(number)
            self.packed.append(packed)
        else:
            self.packed[row] += packed
        return row

    def only(self, mask: Sequence[bool]) -> HourBlock:
        """The rows that a mask lets pass."""
        kept = HourBlock()
        kept.users = array("I", compress(self.users, mask))
        kept.providers = array("I", compress(self.providers, mask))
        kept.models = array("I", compress(self.models, mask))
        kept.tags = array("I", compress(self.tags, mask))
        kept.packed = list(compress(self.packed, mask))
        return kept

    def close(self) -> None:
        """Nothing is added for now: the places are let go of."""
        self._rows = None


class DayBlocks:
    """The hours of one day that have calls."""

    __slots__ = ("day", "hours")

    def __init__(self, day: Day) -> None:
        self.day = day
        self.hours: dict[Hour, HourBlock] = {}

    @property
    def rows(self) -> int:
        """How many there are: what it takes of memory is so many times a hundred bytes."""
        return sum([len(block.packed) for block in self.hours.values()])

    def add(self, entry: Entry, codes: AllCodes, kinds: UsageKinds) -> RowPlace:
        """Fold a call in."""
        fields = codes.fields
        key = (
            fields["user"].number(entry.tags.get("user", "")),
            fields["provider"].number(entry.provider),
            fields["model"].number(entry.model),
            codes.set_number(tag_set(entry.tags)),
        )
        hour, packed = entry.at_ms // HOUR_MS, kinds.pack(entry)
        block = self.hours.get(hour)
        if block is None:
            block = self.hours[hour] = HourBlock()
        return RowPlace(hour, block.add(key, packed), packed)

    def take_back(self, place: RowPlace) -> None:
        """Take a call out again."""
        self.hours[place.hour].packed[place.row] -= place.packed

    def close(self) -> None:
        """Nothing is added for now."""
        for block in self.hours.values():
            block.close()


def day_of(at_ms: Millis) -> Day:
    """The day of UTC that a moment is in."""
    return at_ms // (DAY_HOURS * HOUR_MS)


def start_of(day: Day) -> Millis:
    """When a day begins."""
    return day * DAY_HOURS * HOUR_MS


def bounds_of(day: Day) -> tuple[Millis, Millis]:
    """From when to when a day is."""
    return start_of(day), start_of(day + 1)
