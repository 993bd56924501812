"""Both sides of a bill put beside each other; pure over the entries of the books and the rows of the bill."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ...ledger import Entry, Millis
from ...prices import PriceBook
from ...providers.bills.lines import BillSource, ProviderBill
from ..shown.bill import BillBeside, BilledLine, Reconciled
from .books import EntrySums
from .factor import factor_of
from .facts import BilledCell, BillSide, BooksSide, both_sides
from .lines import bill_sides, items_of, projects_of
from .pricing import DAY_MS, BillPrices, day_at, day_ms
from .reasons import BillReason, BillReasons, in_order, reasons_of

_HOUR_MS = 3600 * 1000


class BillSpan(NamedTuple):
    """Which time is compared, and when."""

    since_ms: Millis
    until_ms: Millis
    now_ms: Millis
    books_ms: Millis = 0
    """When the first entry was that the books still have."""


def compared(
    source: BillSource,
    book: PriceBook,
    entries: Iterable[Entry],
    bill: ProviderBill,
    span: BillSpan,
) -> Reconciled:
    """The books and a bill of the same time."""
    prices = BillPrices(book, source.name, source.fold, day_at(span.now_ms))
    sums = EntrySums(source.name, prices, fees_apart=source.fees_apart).read(entries)
    open_from = span.now_ms - source.late_h * _HOUR_MS
    cells = _cells(sums.sides(), bill_sides(bill, prices), open_from)
    models = _grouped(cells, lambda cell: cell.model)
    lines = [_line(group, model=name) for name, group in models.items()]
    days = [_line(group, day=day) for day, group in _grouped(cells, lambda cell: cell.day).items()]
    books, _bill = both_sides(cells)
    return Reconciled(
        source.name,
        span.since_ms,
        span.until_ms,
        _whole(cells, lines),
        tuple(sorted(lines, key=lambda line: (-abs(line.difference), line.model))),
        tuple(days),
        tuple([_line([cell], day=cell.day, model=cell.model) for cell in cells]),
        factor_of(cells),
        BillBeside(
            items_of(bill.lines),
            projects_of(bill.lines),
            dict(books.marks),
            sums.nameless,
            day_at(span.books_ms) if span.books_ms > span.since_ms + DAY_MS else "",
            (*bill.notes, *source.unsaid),
        ),
    )


def _cells(
    books: Mapping[tuple[str, str], BooksSide], bill: Mapping[tuple[str, str], BillSide], open_from: Millis
) -> list[BilledCell]:
    """Both sides of each place; days that end after `open_from` may not be on the bill yet."""
    found = []
    for day, model in sorted({*books, *bill}):
        mine, theirs = books.get((day, model), BooksSide()), bill.get((day, model), BillSide())
        late = day_ms(day) + DAY_MS > open_from and theirs.cost < mine.cost
        found.append(BilledCell(day, model, mine, theirs, pending=late))
    return found


def _grouped(cells: Iterable[BilledCell], key: Callable[[BilledCell], str]) -> Mapping[str, list[BilledCell]]:
    groups = defaultdict[str, list[BilledCell]](list)
    for cell in cells:
        groups[key(cell)].append(cell)
    return groups


def _line(cells: list[BilledCell], *, day: str = "", model: str = "") -> BilledLine:
    """Some cells as one: of one model together, of several each model for itself."""
    books, bill = both_sides(cells)
    names = {cell.model for cell in cells}
    reasons = _added([reasons_of([cell for cell in cells if cell.model == name]) for name in sorted(names)])
    return BilledLine(
        day,
        model,
        books.cost,
        bill.cost,
        bill.cost - books.cost,
        reasons,
        books.calls,
        bill.calls,
        any(cell.pending for cell in cells),
        names == {""},
    )


def _whole(cells: list[BilledCell], models: Iterable[BilledLine]) -> BilledLine:
    """All of it; it differs for the reasons of its models, each over all days: a call at midnight is no reason."""
    books, bill = both_sides(cells)
    reasons = _added([line.reasons for line in models])
    pending = any(cell.pending for cell in cells)
    return BilledLine("", "", books.cost, bill.cost, bill.cost - books.cost, reasons, books.calls, bill.calls, pending)


def _added(found: Iterable[BillReasons]) -> BillReasons:
    sums = Counter[BillReason]()
    for reasons in found:
        for reason, amount in reasons.items():
            sums[reason] += amount
    return in_order(sums)
