"""How one of several upstreams is chosen. Each strategy is given those that may be asked, in the operator's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from ..config.model import Target
from .health import STALE_S, ModelState

PriceOf: TypeAlias = Callable[[Target], int | None]
"""What a call costs at a target, in nano-dollars; `None`: it is not known."""

EXPLORED = 0.05
"""The part of calls that asks again who was not seen for long: it may have become the fastest."""


class Candidate(NamedTuple):
    """A target that may be asked, and what is known of it."""

    target: Target
    state: ModelState
    place: int
    """Where it stands in its route."""


def by_weight(free: Sequence[Candidate], turns: list[int]) -> Candidate:
    """
    Smooth weighted round robin, as nginx has it: exact over each round, and no upstream twice in a row without need.

    `turns` has a number for each place of the route. Who cools down gains none meanwhile, so nobody has to catch up. A
    weight of 0 is asked when all others are away.
    """
    running = [each for each in free if each.target.weight > 0] or free
    for each in running:
        turns[each.place] += each.target.weight
    chosen = max(running, key=lambda each: turns[each.place])
    turns[chosen.place] -= sum(each.target.weight for each in running)
    return chosen


def least_busy(free: Sequence[Candidate]) -> Candidate:
    """The fewest open requests for its weight; among equals, who was not asked for the longest time."""
    return min(free, key=_business)


def _business(each: Candidate) -> tuple[float, int]:
    at, weight = each.state.at, each.target.weight
    return ((at.open + 1) / weight if weight > 0 else float("inf"), at.asked)


def fastest(free: Sequence[Candidate], now: float, random: Callable[[], float]) -> Candidate:
    """
    Whose first byte comes soonest. Who is not known is asked by one call at a time, and now and then who was not seen
    for long, so that neither a slow start nor one slow minute is for ever.
    """
    idle = [each for each in free if not each.state.waiting]
    for each in idle:
        if each.state.first_byte_s is None:
            return each
    known = [each for each in free if each.state.first_byte_s is not None]
    if not known:
        return least_busy(free)
    unseen = [each for each in idle if now - each.state.seen >= STALE_S]
    if unseen and random() < EXPLORED:
        return min(unseen, key=lambda each: each.state.seen)
    return min(known, key=lambda each: each.state.expected_s(now))


def cheapest(free: Sequence[Candidate], price: PriceOf) -> Candidate:
    """The lowest price; one that is not known comes last, and equals in the operator's order."""
    return min(free, key=lambda each: (1, 0) if (nano := price(each.target)) is None else (0, nano))
