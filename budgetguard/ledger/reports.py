"""What can be read from a store beside balances: open holds, totals, and what a copy or a check needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ..money import Nano
from .holds import Millis
from .units import Amounts


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold that has not ended."""

    id: str
    amount: Nano
    accounts: tuple[str, ...]
    placed_ms: Millis
    expires_ms: Millis
    tags: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    model: str = ""
    units: Amounts = field(default_factory=dict)
    """What it holds beside dollars, in the units of its accounts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An account whose books do not add up, found by `Store.check`."""

    key: str
    kind: Literal["settled", "held"]
    booked: int
    summed: int


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries: all that match every field that is set. Times are [since_ms, until_ms)."""

    since_ms: Millis | None = None
    until_ms: Millis | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    after: str | None = None
    """Only entries behind the one with this hold id, in the store's order: the key of the next page."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What one group of entries adds up to."""

    group: tuple[str, ...]
    """One value for each field grouped by; "" where an entry has none."""
    cost: Nano
    calls: int
    input_tokens: int
    output_tokens: int
    estimated: int
    """How many of the calls were settled on an estimate."""
    cut: int = 0
    """How many of the answers ended at an output cap that a budget added."""


class Carried(NamedTuple):
    """What an account has beside its entries: what a copy of the books needs to know."""

    key: str
    end_ms: Millis | None = None
    """When its period ends."""
    pruned: int = 0
    """In its unit: the part of what is settled whose entries were deleted."""
