"""What the ledger in memory keeps of an account, of an open hold and of an entry; and how entries add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from ...ledger import Entry, Hold, Millis, OpenHold, Total
from ...money import Nano


@dataclass(slots=True, eq=False)
class MemoryBooks:
    """One account's sums. `pruned` is the part of `settled` whose entries were deleted."""

    key: str
    end_ms: Millis | None
    settled: Nano = 0
    held: Nano = 0
    pruned: Nano = 0


@dataclass(slots=True, eq=False)
class OpenRow:
    """A hold that was admitted and has not ended."""

    hold: Hold
    amount: Nano
    books: Sequence[MemoryBooks]
    placed: Millis
    due: Millis

    def open_hold(self) -> OpenHold:
        """What people see of it."""
        hold, keys = self.hold, tuple([books.key for books in self.books])
        return OpenHold(hold.id, self.amount, keys, self.placed, self.due, dict(hold.tags), hold.provider, hold.model)


class EndedRow(NamedTuple):
    """The id of a hold that has ended without an entry."""

    due: Millis
    """When it is forgotten."""
    lapsed: bool
    """Whether it expired, and so counts again if its call lives after all."""


@dataclass(slots=True, eq=False)
class EntryRow:
    """An entry with what the store knows of it; the `Entry` itself is made when somebody reads it."""

    hold_id: str
    source: Entry
    cost: Nano
    books: Sequence[MemoryBooks]
    at_ms: Millis
    flags: frozenset[str]

    def entry(self) -> Entry:
        """What people see of it."""
        said, keys = self.source, tuple([books.key for books in self.books])
        tags, usage = dict(said.tags), dict(said.usage)
        return Entry(self.hold_id, self.cost, keys, self.at_ms, tags, said.provider, said.model, usage, self.flags)


def add_up(by: Sequence[str], entries: Iterable[Entry]) -> list[Total]:
    """See `Store.totals`."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for entry in entries:
        sum_ = sums.setdefault(tuple([_group(entry, name) for name in by]), [0] * 5)
        values = (
            entry.cost,
            1,
            entry.usage.get("input_tokens", 0),
            entry.usage.get("output_tokens", 0),
            int("estimated" in entry.flags),
        )
        for place, value in enumerate(values):
            sum_[place] += value
    return [Total(group, *sums[group]) for group in sorted(sums)]


def _group(entry: Entry, name: str) -> str:
    if name == "model":
        return entry.model
    if name == "provider":
        return entry.provider
    if name == "day":
        return datetime.fromtimestamp(entry.at_ms / 1000, UTC).date().isoformat()
    return entry.tags.get(name, "")
