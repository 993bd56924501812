"""
What nobody asks for before it costs something: an answer that the other side of a socket begins by itself.

It is booked when its bill is heard, with nothing held for it. Whether there is room for more is looked at before
anything else is sent.
"""

from __future__ import annotations

from ...calls import Answer
from ...concurrency.steps import Steps
from ...process.state import PROCESS
from ..admission import Admission
from ..charge import Charge
from ..plan import CallPlan
from ..unscoped.watch import learn_whose, require_scope


def look(charge: Charge) -> Steps[None]:
    """
    Ask whether there is any room, and hold none. Raises what admission raises.

    Of what cannot be counted, it is said once.
    """
    PROCESS.open[id(charge)] = charge
    try:
        if charge.asked.endpoint.opaque:
            yield from charge.admit()
        else:
            charge.plan = _plan(charge)
            if charge.plan.doubtful:
                yield from learn_whose(charge.parts, charge.plan, charge.asked, charge.call.model)
                charge.plan = _plan(charge)
            require_scope(charge.parts, charge.plan, charge.asked.scope)
            yield from Admission(charge).place()
    except BaseException:
        charge.leave()
        raise
    yield from charge.close()


def book(charge: Charge, answer: Answer) -> Steps[None]:
    """Book what it cost, on all accounts that it touches."""
    charge.plan, charge.answer, charge.state = _plan(charge), answer, "sent"
    yield from charge.close()


def _plan(charge: Charge) -> CallPlan:
    return charge.parts.plans.find(charge.asked.provider, charge.call, charge.asked.tags)
