"""
What is known of a model on a day, in the books and on the bill; and both sides of several days, which add up.

All amounts are nano-dollars. *Listed* is what counted tokens cost at our prices: it makes the two sides comparable
where their tokens differ, and where their prices do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from ...money import Nano


@dataclass(frozen=True, slots=True)
class BooksSide:
    """What the entries of the books say."""

    exact: Nano = 0
    """What calls cost whose usage is known."""
    listed: Nano = 0
    """What the tokens of these cost at our prices of now."""
    worth: Nano = 0
    """What calls that were booked at $0, as no price was known, cost at our prices of now."""
    estimated: Nano = 0
    """What calls are booked at of which no usage was reported."""
    expired: Nano = 0
    """What holds are booked at that nobody ended."""
    unlisted: int = 0
    """Calls whose tokens have no price of ours now."""
    calls: int = 0
    """Requests."""
    input_tokens: int = 0
    output_tokens: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    """How many of the calls have a flag: estimated, expired, late, unpriced, manual."""

    @property
    def cost(self) -> Nano:
        """All that is booked."""
        return self.exact + self.estimated + self.expired

    def plus(self, other: Self) -> BooksSide:
        """Both together."""
        return BooksSide(
            self.exact + other.exact,
            self.listed + other.listed,
            self.worth + other.worth,
            self.estimated + other.estimated,
            self.expired + other.expired,
            self.unlisted + other.unlisted,
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            Counter(self.marks) + Counter(other.marks),
        )


@dataclass(frozen=True, slots=True)
class BillSide:
    """What the provider says."""

    cost: Nano = 0
    listed: Nano = 0
    """What the tokens on the bill cost at our prices, at no special tier."""
    uncounted: Nano = 0
    """The part of the cost of which no tokens are known, or no price of ours."""
    tiered: int = 0
    """Tokens in a service tier that is not the standard one."""
    lines: int = 0
    calls: int = 0
    """Requests; 0 where the provider does not say."""
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def empty(self) -> bool:
        """Whether it is not on the bill at all."""
        return not (self.lines or self.calls or self.input_tokens or self.output_tokens)

    def plus(self, other: Self) -> BillSide:
        """Both together."""
        return BillSide(
            self.cost + other.cost,
            self.listed + other.listed,
            self.uncounted + other.uncounted,
            self.tiered + other.tiered,
            self.lines + other.lines,
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class BilledCell:
    """A model on a day."""

    day: str
    model: str
    """By the name that both sides share; "": tools and fees."""
    books: BooksSide
    bill: BillSide
    pending: bool = False
    """Whether the provider may not have billed the day yet."""

    @property
    def difference(self) -> Nano:
        """What the bill has more than the books."""
        return self.bill.cost - self.books.cost


def both_sides(cells: Iterable[BilledCell]) -> tuple[BooksSide, BillSide]:
    """The sums of both sides."""
    books, bill = BooksSide(), BillSide()
    for cell in cells:
        books, bill = books.plus(cell.books), bill.plus(cell.bill)
    return books, bill
