"""
A call whose price is not known: who has to know it, and what it is held at where nobody does.

Only a limit that may refuse has to: one that merely watches is no reason to stop a call.
"""

from __future__ import annotations

from typing import Protocol

from ...budgets.refusals import unbounded, unreadable
from ...calls import Call
from ...prices.tariffs import Quote
from ...process.tally import Held
from ..parts import Parts
from ..plan import CallPlan

UNPRICED = Quote({}, provider="", model="", free=True)
"""What is said of a model without a price, where no budget asks for one, but tokens or requests are counted."""


class Unpriced(Protocol):
    """A call, the plan for calls like it, and what it holds."""

    parts: Parts
    call: Call
    plan: CallPlan
    held: Held


def require_price(it: Unpriced, host: str) -> None:
    """
    Raise `UnpricedModelError` if a budget has to know a price, or a bound of the tokens, and cannot.

    Where something is held in other units, that hold will tell of a user's budget that this process has not seen.
    """
    plan, call = it.plan, it.call
    if plan.error is None:
        return
    accounts = [*plan.cover.accounts, *[own.account for own in it.held.tallies]]
    limited = {each.unit for each in accounts if each.limit is not None and each.enforce != "observe"}
    if "dollars" in limited and not plan.assumed and it.parts.settings.unpriced != "count":
        if call.unread:
            raise unreadable() from plan.error
        plan.error.host = host
        raise plan.error
    open_ = call.output and call.cap is None and call.max_output is None and call.default_output is None
    if "tokens" in limited and plan.unpriced and open_ and call.file is None:
        raise unbounded(call) from plan.error
