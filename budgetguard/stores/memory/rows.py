"""What the ledger in memory keeps: of an account, of an open hold, of one that has ended, and of an entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...ledger import Amounts, Balance, Entry, Hold, Millis, OpenHold, Unit, beside_dollars, unit_of

NONE_BESIDE: Amounts = {}


@dataclass(slots=True, eq=False)
class AccountRow:
    """One account's sums, in its unit. `pruned` is the part of `settled` whose entries were deleted."""

    key: str
    end_ms: Millis | None
    unit: Unit
    settled: int = 0
    held: int = 0
    pruned: int = 0

    @classmethod
    def of(cls, key: str, end_ms: Millis | None) -> AccountRow:
        """A new one."""
        return cls(key, end_ms, unit_of(key))

    def balance(self) -> Balance:
        """What people see of it."""
        return Balance(self.key, self.settled, self.held)


@dataclass(slots=True, eq=False)
class OpenRow:
    """A hold that was admitted and has not ended."""

    hold: Hold
    amounts: dict[Unit, int]
    """What it holds: dollars, and the units of its accounts."""
    accounts: Sequence[AccountRow]
    placed: Millis
    due: Millis

    def beside(self) -> Amounts:
        """What it holds beside dollars."""
        if len(self.amounts) == 1:
            return NONE_BESIDE
        return {unit: held for unit, held in self.amounts.items() if unit != "dollars"}

    def open_hold(self) -> OpenHold:
        """What people see of it."""
        hold, keys = self.hold, tuple([account.key for account in self.accounts])
        dollars, units, tags = self.amounts["dollars"], self.beside(), dict(hold.tags)
        return OpenHold(hold.id, dollars, keys, self.placed, self.due, tags, hold.provider, hold.model, units)


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
    amounts: dict[Unit, int]
    """What it counts for: dollars, and at least the units of its accounts."""
    accounts: Sequence[AccountRow]
    at_ms: Millis
    flags: frozenset[str]

    def entry(self) -> Entry:
        """What people see of it."""
        said, keys = self.source, tuple([account.key for account in self.accounts])
        return said._replace(
            cost=self.amounts["dollars"],
            accounts=keys,
            at_ms=self.at_ms,
            tags=dict(said.tags),
            usage=dict(said.usage),
            flags=self.flags,
            units=beside_dollars(self.amounts),
        )


def counted(row: OpenRow | EntryRow) -> dict[Unit, int]:
    """What is held or booked in dollars, and in the units of its accounts."""
    return {unit: row.amounts[unit] for unit in ("dollars", *[account.unit for account in row.accounts])}
