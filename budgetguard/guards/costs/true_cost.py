"""What a call did cost, by its answer and all else that is known of the bill."""

from __future__ import annotations

from typing import Protocol

from ...calls import Answer, Call
from ...money import MAX_AMOUNT, Nano
from ...process.tally import Held
from ..admission import Asked, Bounds
from ..parts import Parts
from .bill import Beside, answering, within_bounds
from .projection import Projection


class Priced(Protocol):
    """A call that is over."""

    parts: Parts
    asked: Asked
    call: Call
    held: Held
    bounds: Bounds
    beside: Beside

    @property
    def id(self) -> str:
        """That of its hold."""

    def projected(self) -> Projection | None:
        """What it could cost, if that can be said."""
        ...


def cost_of(it: Priced, answer: Answer) -> Nano:
    """
    The true cost. All that was held, if the usage is unknown or cannot be: unknown is not free.

    What a provider states, and what a model of the list costs that answered instead of a free one, is the cost
    also where nothing was to be paid. A stated cost of nothing, beside tokens, says nothing.
    """
    call, beside, cost = it.call, it.beside, None
    stated = answer.cost or beside.stated
    if answer.free:
        cost = 0
    elif stated and not answer.lacks:
        cost = stated
    else:
        asked = answering(call, answer.model) if call.others else call.model
        if answer.usage is not None:
            cost = it.parts.true_cost(it.asked.provider, asked, answer)
            if cost is None:
                cost = it.parts.assumed_cost(it.asked.provider, asked, answer)
        if cost is None:
            cost = max(_most(it), stated)
        else:
            if beside.input_unknown and it.held.amount:
                cost = min(cost, it.held.amount)
            cost = max(cost + answer.fee, stated)
    if beside.lost:
        cost += beside.lost * _most(it)
    if cost > MAX_AMOUNT:
        it.beside = beside._replace(estimated=True)
        cost = within_bounds(cost, _most(it), it.id, answer.model or call.model)
    return cost


def _most(it: Priced) -> Nano:
    """The most that the call can have cost: what was held, or less if the cap does not come to all of it."""
    if not it.bounds.capped or it.bounds.cap is None or (projection := it.projected()) is None:
        return it.held.amount
    return min(it.held.amount, projection.cost(it.bounds.cap))
