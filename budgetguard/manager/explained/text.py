"""What is explained, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...budgets.steering.moments import moment_text
from ...ledger import Unit
from ...reports.amounts import readable, readable_in
from .shown import BudgetSays, InsteadSays, ProjectedCall


def told_of_call(it: ProjectedCall | None) -> Iterator[str]:
    """What a call is projected at."""
    if it is None:
        return
    of = f"{it.model} of {it.provider}" if it.provider else it.model
    most = "" if it.stated else " at most"
    tokens = f"{it.input_tokens:,} tokens in, {it.output_tokens:,} out{most}"
    if it.cost is None:
        yield f"{of}: {tokens}; no price of it is known"
        return
    yield (
        f"{of}: {tokens}, projected at {readable(it.cost)} ({readable(it.input_cost)} in, {readable(it.output_cost)} "
        "out)"
    )
    if it.input_price is not None and it.output_price is not None:
        yield f"  a million tokens cost at most {readable(it.input_price)} in, {readable(it.output_price)} out"
    if it.cap is not None:
        yield f"  the answer would be capped at {it.cap:,} tokens"


def told_of_others(instead: Sequence[InsteadSays]) -> Iterator[str]:
    """What becomes of other models."""
    for each in instead:
        cost = "" if each.cost is None else f", projected at {readable(each.cost)}"
        yield f"{each.model} in its place: {'fits' if each.fits else each.why}{cost if each.fits else ''}"


def details(each: BudgetSays, told: Sequence[str] = ()) -> Iterator[str]:
    """Why a budget says no, when there is room again, what people changed of it, who would be told."""
    if not each.fits:
        yield each.why
        if each.room_at_ms is not None:
            yield f"there may be room at {moment_text(each.room_at_ms)}"
    yield from (line for line in each.steered if line != each.why)
    for part in each.warns:
        yield f"past {part * 100:g} % of its limit: {', '.join(told) or 'nobody'} would be told"
    if each.fallback:
        near = f"from {each.degrade_at * 100:g} % on" if each.degrade_at is not None else "where it has no room"
        yield f"{near}, {', then '.join(each.fallback)} is asked"


def limit_of(each: BudgetSays) -> str:
    """A limit and its period."""
    return f"{readable_in(each.limit, each.unit)} {each.period}".removesuffix(" forever")


def figure(amount: int | None, unit: Unit) -> str:
    """An amount whose unit is said beside it."""
    return "-" if amount is None else readable(amount) if unit == "dollars" else f"{amount:,}"


def needs_of(each: BudgetSays) -> str:
    """What the call is projected at, or can do with."""
    if each.wanted is None:
        return "?"
    if each.least is not None and each.least < each.wanted:
        return f"{figure(each.least, each.unit)} to {readable_in(each.wanted, each.unit)}"
    return readable_in(each.wanted, each.unit)
