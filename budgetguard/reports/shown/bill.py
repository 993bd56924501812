"""A comparison with a bill as plain data: in all, by model, by day, and both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ledger import Millis
from ...money import Nano
from ..bill.factor import BillFactor
from ..bill.reasons import BillReason


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A model, a day, a model on a day, or all of it: what both sides have, and why they differ."""

    day: str
    """ "": of all days."""
    model: str
    """ "": of all models, or, where `fees`, of none."""
    books_cost: Nano
    bill_cost: Nano
    difference: Nano
    """What the bill has more."""
    reasons: Mapping[BillReason, Nano]
    """They add up to the difference."""
    books_calls: int
    bill_calls: int
    """0 where the provider does not say."""
    pending: bool
    """Whether some of it may not be on the bill yet."""
    fees: bool = False
    """Whether these are tools and fees, which are no model's tokens."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The books and the bill of a time."""

    provider: str
    since_ms: Millis
    until_ms: Millis
    total: BilledLine
    models: tuple[BilledLine, ...]
    """The largest difference first."""
    days: tuple[BilledLine, ...]
    cells: tuple[BilledLine, ...]
    """Each model on each day."""
    factor: BillFactor | None
    beside: BillBeside

    def within(self, tolerance: float) -> bool:
        """Whether both sides are the same to this part of the larger one; what is not billed yet is left out."""
        late = self.total.reasons.get("not on the bill yet", 0)
        largest = max(abs(self.total.bill_cost), abs(self.total.books_cost + late))
        return abs(self.total.difference - late) <= tolerance * largest


@dataclass(frozen=True, slots=True)
class BillBeside:
    """What else is to be known of a bill."""

    items: tuple[tuple[str, Nano], ...]
    """What is on the bill that is no model's tokens, as the provider calls it."""
    projects: tuple[tuple[str, Nano], ...]
    """What each project (OpenAI) or workspace (Anthropic) is billed; "" is the default one, or none."""
    marks: Mapping[str, int]
    """How many calls of the books were estimated, expired, late, unpriced or booked by hand."""
    nameless: int
    """Calls of the books that name no provider, and were taken for this one's."""
    books_from: str
    """The day of the first entry in the books, if that is after the time began: what was before was pruned, or never
    booked. "" where it is not."""
    notes: tuple[str, ...]
    """What the provider said, and what it does not tell, a sentence each."""
