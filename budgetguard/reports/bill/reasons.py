"""
Why a bill differs from the books: kinds of reasons, each with an amount, which add up to the difference.

An amount above 0 is what the bill has more. Where both sides know tokens, reasons are told apart by tokens at our
prices; where one does not, only what is certain is named, and the rest is "unexplained".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from ...money import Nano
from .facts import BilledCell, BillSide, BooksSide, both_sides

BillReason: TypeAlias = Literal[
    "not guarded",
    "not on the bill",
    "not on the bill yet",
    "estimated",
    "expired",
    "unpriced",
    "tokens differ",
    "price differs",
    "tiers",
    "tools and fees",
    "rounding",
    "unexplained",
]
BillReasons: TypeAlias = Mapping[BillReason, Nano]

REASONS: Final[Mapping[BillReason, str]] = {
    "not guarded": "on the bill, and in no books: calls that went round",
    "not on the bill": "in the books only: another account's key, or calls that the provider did not bill",
    "not on the bill yet": "in the books, of days that the provider may not have billed yet",
    "estimated": "calls of which no usage was reported: they were booked at an estimate",
    "expired": "holds that nobody ended: they were booked in full",
    "unpriced": "calls of models without a price of ours, booked at $0 or at the dearest",
    "tokens differ": "the provider counted other tokens than our entries have",
    "price differs": "the same tokens at another price: a discount, a surcharge, or a price that changed",
    "tiers": "tokens of batch, flex or priority, which the provider prices otherwise than we do",
    "tools and fees": "searches, containers, storage, training and other lines that are no model's tokens",
    "rounding": "each call is rounded up to a nano-dollar",
    "unexplained": "of these only the cost is known, not the tokens, on one side or on both",
}
"""Every kind of reason, and what it means, in the order in which they are told."""


def reasons_of(cells: Iterable[BilledCell]) -> BillReasons:
    """Why these cells, of one model, differ; those that may not be billed yet apart."""
    found, cells = Counter[BillReason](), tuple(cells)
    open_books, open_bill = both_sides(cell for cell in cells if cell.pending)
    found["not on the bill yet"] += open_bill.cost - open_books.cost
    billed = tuple([cell for cell in cells if not cell.pending])
    books, bill = both_sides(billed)
    fees = bool(billed) and not billed[0].model
    for reason, amount in (_fees(books, bill) if fees else explained(books, bill)).items():
        found[reason] += amount
    return in_order(found)


def in_order(found: Mapping[BillReason, Nano]) -> BillReasons:
    """The reasons that there are, in the order in which they are told."""
    return {reason: found[reason] for reason in REASONS if found.get(reason)}


def explained(books: BooksSide, bill: BillSide) -> BillReasons:
    """Why two sides of one model differ."""
    if bill.empty:
        return {"not on the bill": bill.cost - books.cost}
    if not books.calls:
        return {"not guarded": bill.cost - books.cost}
    if bill.uncounted or books.unlisted:
        return _by_cost(books, bill)
    found = Counter[BillReason]({"unpriced": books.worth})
    gap = bill.listed - books.listed - books.worth
    took = _estimates(books, bill, gap, found)
    found[_of_tokens(books, bill, gap - took)] += gap - took
    found[_of_price(books, bill)] += _beyond_list(books, bill)
    return found


def _fees(books: BooksSide, bill: BillSide) -> BillReasons:
    return {"tools and fees": bill.cost - books.cost}


def _estimates(books: BooksSide, bill: BillSide, gap: Nano, found: Counter[BillReason]) -> Nano:
    """What calls really cost that were booked at an estimate, as far as the tokens that are over are theirs."""
    loose = books.estimated + books.expired
    if not loose and not books.marks.get("estimated"):
        return 0
    took = max(gap, 0)
    if not 0 < bill.calls <= books.calls:  # some of the tokens may be those of calls that went round
        took = min(took, loose)
    _share(books, took - loose, found)
    return took


def _share(books: BooksSide, amount: Nano, found: Counter[BillReason]) -> None:
    """An amount between what was estimated and what expired, in proportion."""
    loose = books.estimated + books.expired
    expired = amount * books.expired // loose if loose else 0
    found["expired"] += expired
    found["estimated"] += amount - expired


def _of_tokens(books: BooksSide, bill: BillSide, gap: Nano) -> BillReason:
    """What it is that the tokens on both sides differ by this much."""
    if abs(gap) <= _crumbs(books, bill):
        return "rounding"
    if bill.calls == books.calls:
        return "tokens differ"
    if gap > 0:  # where the provider does not count calls: our tokens are its own, from each answer
        return "not guarded" if bill.calls > books.calls or not bill.calls else "tokens differ"
    return "not on the bill" if bill.calls < books.calls else "tokens differ"


def _beyond_list(books: BooksSide, bill: BillSide) -> Nano:
    """What the bill costs beyond its tokens at our prices, less what our entries do."""
    return (bill.cost - bill.listed) - (books.exact - books.listed)


def _of_price(books: BooksSide, bill: BillSide) -> BillReason:
    if abs(_beyond_list(books, bill)) <= _crumbs(books, bill):
        return "rounding"
    return "tiers" if bill.tiered else "price differs"


def _crumbs(books: BooksSide, bill: BillSide) -> Nano:
    """What roundings can come to: less than a nano-dollar a call, and a line."""
    return books.calls + bill.lines + 2


def _by_cost(books: BooksSide, bill: BillSide) -> BillReasons:
    """Where the tokens of a side, or our price of them, are not known."""
    difference = bill.cost - books.cost
    if abs(difference) <= _crumbs(books, bill):
        return {"rounding": difference}
    if books.marks.get("unpriced") or (books.unlisted and books.marks.get("estimated")):
        return {"unpriced": difference}
    found, loose = Counter[BillReason](), books.estimated + books.expired
    sure = max(difference, -loose) if difference < 0 else 0
    _share(books, sure, found)
    found[_same_tokens(books, bill)] += difference - sure
    return found


def _same_tokens(books: BooksSide, bill: BillSide) -> BillReason:
    counts = (bill.input_tokens, bill.output_tokens)
    return "price differs" if any(counts) and counts == (books.input_tokens, books.output_tokens) else "unexplained"
