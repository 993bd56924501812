"""`Explanation`: what `explain` answers, which can be read as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...reports.amounts import readable_in
from .shown import BudgetSays, BudgetUntouched, InsteadSays, ProjectedCall
from .text import details, figure, limit_of, needs_of, told_of_call, told_of_others


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Which budgets a call touches, in the order in which they are asked, and what each would say."""

    tags: Mapping[str, str]
    fits: bool
    """Whether it would be sent, with its own model or another."""
    refusal: str
    """What the error would say; "" where there would be none."""
    budgets: tuple[BudgetSays, ...]
    untouched: tuple[BudgetUntouched, ...]
    projected: ProjectedCall | None = None
    """`None`: no model was named, so it was asked whether there is any room at all."""
    instead: tuple[InsteadSays, ...] = ()
    """The other models that would be asked, in order."""
    model: str = ""
    """The one that would be sent."""
    room_in_s: float | None = None
    """In how many seconds there may be room, if it does not fit and that is known."""
    told: tuple[str, ...] = ()
    """Who is told when a budget passes a part of its limit."""
    notes: tuple[str, ...] = ()
    """What the guard would say beside it, a sentence each."""

    def __repr__(self) -> str:
        return "\n".join(_lines(self))


def _lines(found: Explanation) -> Iterator[str]:
    """All of it, a budget a line."""
    yield headline(found)
    yield from told_of_call(found.projected)
    for each in found.budgets:
        limit = "no limit" if each.limit is None else f"{figure(each.left, each.unit)} of {limit_of(each)} left"
        wanted = "" if found.projected is None else f", {needs_of(each)} wanted"
        held = f", {readable_in(each.held, each.unit)} held" if each.held else ""
        yield f"  {'yes' if each.fits else 'NO '} {each.name}: {limit}{held}{wanted}"
        yield from (f"      {line}" for line in details(each, found.told))
    yield from (f"  {line}" for line in told_of_others(found.instead))
    yield from (f"  note: {note}" for note in found.notes)
    yield from (f"  not touched: {each.budget}: {each.why}" for each in found.untouched)


def headline(found: Explanation) -> str:
    """Whether it fits, and why not."""
    if not found.fits:
        return f"refused: {found.refusal}"
    if found.model and found.projected is not None and found.model != found.projected.model:
        return f"passes, with {found.model} in the place of {found.projected.model}"
    if not found.budgets:
        return "passes: it touches no budget"
    return "passes" if found.projected is not None else "passes, as far as there is any room"
