"""A comparison with a bill in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ...money import Nano
from ..amounts import counted, readable, share
from ..shown.bill import BilledLine, Reconciled
from .reasons import REASONS, BillReason

FEES: Final = "tools and fees"
_FEW = 4
_MARKED: Final = {
    "estimated": "estimated",
    "expired": "expired",
    "late": "settled after their hold had ended",
    "unpriced": "without a price",
    "manual": "booked by hand",
}


def signed(amount: Nano) -> str:
    """What a bill has more, or less: "+$1.20", "-$0.05", "$0.00"."""
    return f"+{readable(amount)}" if amount > 0 else readable(amount)


def named(line: BilledLine) -> str:
    """What a line is of."""
    return " ".join(filter(None, [line.day, FEES if line.fees else line.model])) or "total"


def why(line: BilledLine) -> str:
    """The reasons of a line in some words: "not guarded +$1.20, estimated -$0.05"."""
    return ", ".join([f"{reason} {signed(amount)}" for reason, amount in line.reasons.items()])


def sentences(found: Reconciled) -> list[str]:
    """What there is to say, the most important first."""
    return [*_whole(found), *_reasons(found), *_discount(found), *_books(found), *_bill(found)]


def _whole(found: Reconciled) -> Iterator[str]:
    total = found.total
    if total.difference == 0:
        yield f"The books and the bill of {found.provider} are the same: {readable(total.bill_cost)}."
        return
    more = "more" if total.difference > 0 else "less"
    largest = max(abs(total.bill_cost), abs(total.books_cost))
    part = share(abs(total.difference) / largest)
    yield f"The bill is {readable(abs(total.difference))} {more} than the books ({part})."


def _reasons(found: Reconciled) -> Iterator[str]:
    for reason, amount in found.total.reasons.items():
        where = _where(found.models, reason)
        yield f"{signed(amount)} {reason}: {REASONS[reason]}{f' ({where})' if where else ''}."


def _where(lines: Sequence[BilledLine], reason: BillReason) -> str:
    """Which models it is, those first of which it is most."""
    have = [line for line in lines if line.reasons.get(reason) and not line.fees]
    have.sort(key=lambda line: (-abs(line.reasons[reason]), line.model))
    shown = [f"{line.model} {signed(line.reasons[reason])}" for line in have[:_FEW]]
    return ", ".join([*shown, *([f"{len(have) - _FEW} more"] if len(have) > _FEW else [])])


def _discount(found: Reconciled) -> Iterator[str]:
    factor = found.factor
    if factor is None:
        return
    alone = len(factor.models) == 1
    of = f"of {factor.models[0]}, the only model" if alone else "of all models alike"
    told = f"The bill is {factor.shown} times our prices, on {counted(factor.days, 'day')} and {of}"
    if factor.discount is None:
        yield f"{told}: a surcharge, or prices that are old. Say what these models cost with budgetguard prices set."
    elif alone:
        yield (
            f"{told}: a price that fell, which budgetguard prices set takes; or a discount on every model: "
            f"--write-discount FILE puts {found.provider} = {factor.discount} below [discounts]."
        )
    else:
        yield f"{told}: --write-discount FILE puts {found.provider} = {factor.discount} below [discounts]."


def _books(found: Reconciled) -> Iterator[str]:
    if found.beside.books_from:
        yield f"The books begin on {found.beside.books_from}: what was before was pruned, or never booked."
    marks = [f"{found.beside.marks[mark]:,} {said}" for mark, said in _MARKED.items() if found.beside.marks.get(mark)]
    if marks:
        yield f"Of {counted(found.total.books_calls, 'call')} in the books: {', '.join(marks)}."
    if found.beside.nameless:
        yield f"{counted(found.beside.nameless, 'call')} in the books name no provider, and were taken for this one's."


def _bill(found: Reconciled) -> Iterator[str]:
    projects = found.beside.projects if len(found.beside.projects) > 1 else ()
    for what, all_of_it in (("Beside models", found.beside.items), ("By project", projects)):
        rows = [(name, cost) for name, cost in all_of_it if cost]
        if not rows:
            continue
        shown = [f"{name or '(none named)'} {readable(cost)}" for name, cost in rows[:_FEW]]
        rest = [f"{len(rows) - _FEW} more"] if len(rows) > _FEW else []
        yield f"{what}, the bill has {', '.join([*shown, *rest])}."
