"""
The entry of one call, for the books: at its true cost, with what it used beside dollars where a budget counts that.

Unknown is not free: tokens of which the answer says nothing are those that were held, and the entry is "estimated".
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ..calls import NOTHING, Answer, Call, tokens_in
from ..ledger import NOTHING_SAID, Amounts, Entry, Unit
from ..money import MAX_AMOUNT
from ..process.tally import Held
from .admission import Asked, Bounds
from .costs.bill import NOTHING_BESIDE, Beside
from .costs.projection import Projection
from .fallbacks.fallback import ASKED_MODEL, FALLBACK
from .parts import Parts
from .plan import CallPlan

if TYPE_CHECKING:
    from ..telemetry.traced import TracedCall

log = logging.getLogger("budgetguard")

NO_FLAGS: frozenset[str] = frozenset()


class Billed(Protocol):
    """A call that is over, and what was held for it."""

    parts: Parts
    asked: Asked
    call: Call
    plan: CallPlan
    held: Held
    bounds: Bounds
    beside: Beside
    traced: TracedCall | None

    def projected(self) -> Projection | None:
        """What it could cost, if that can be said."""
        ...

    def used(self, answer: Answer) -> Amounts:
        """What it used beside dollars."""
        ...


def entry_of(it: Billed, answer: Answer, cost: int) -> Entry:
    """The line of a call for the history."""
    call, asked, held, keys = it.call, it.asked, it.held, it.plan.counters
    if held.hold is None and cost:
        keys = (*[account.key for account in it.plan.cover.plain], *keys)
    # What was spent while the store was away may be booked on budgets that nobody here knows of yet.
    units = it.used(answer) if it.plan.cover.units or held.spared is not None else NOTHING_SAID
    plain = answer.usage is not None and answer.tier is None and it.beside is NOTHING_BESIDE
    capped = it.bounds.cap is not it.bounds.model_cap
    tags = {ASKED_MODEL: asked.instead_of, **asked.tags} if asked.instead_of else asked.tags
    flags = (
        NO_FLAGS
        if plain and not (units or capped or it.plan.unpriced or asked.instead_of)
        else _flags(it, answer, cost)
    )
    entry = Entry(
        held.id,
        cost,
        keys,
        0,
        tags,
        asked.provider or "",
        answer.model or call.model,
        answer.usage or NOTHING,
        flags,
        units,
    )
    if it.traced is not None:
        it.traced.booking(entry, answer)
    return entry


def used_by(it: Billed, answer: Answer) -> Amounts:
    """What a call used beside dollars: its tokens, and its attempts where it had not one."""
    beside, most = it.beside, _most_tokens(it)
    if answer.free:
        tokens = 0
    elif not _says_tokens(answer):
        tokens = most
    else:
        tokens = tokens_in(answer.usage or NOTHING) + sum([tokens_in(usage) for _, usage in answer.also])
        if beside.input_unknown and most:
            tokens = min(tokens, most)
    tokens += beside.lost * most
    if tokens > MAX_AMOUNT:
        it.beside = beside._replace(estimated=True)
        log.error("call %s is said to have used %d tokens: it is booked at the most that was held", it.held.id, tokens)
        tokens = min(most or MAX_AMOUNT, MAX_AMOUNT)
    units: dict[Unit, int] = {"tokens": tokens} if tokens else {}
    if beside.attempts != 1:
        units["requests"] = beside.attempts
    return units


def _says_tokens(answer: Answer) -> bool:
    return answer.usage is not None and ("input_tokens" in answer.usage or "output_tokens" in answer.usage)


def _most_tokens(it: Billed) -> int:
    """The most tokens that a call can have used: what was held, or less if its cap does not come to all of it."""
    most, bounds = it.held.units.get("tokens", 0), it.bounds
    if not most or not bounds.capped or bounds.cap is None or (projection := it.projected()) is None:
        return most
    return min(most, projection.tokens(bounds.cap))


def _flags(it: Billed, answer: Answer, cost: int) -> frozenset[str]:
    flags, beside, plan = [], it.beside, it.plan
    if plan.unpriced and not cost:
        flags.append("unpriced")
    unsaid = answer.usage is None and answer.cost is None and not beside.stated and not plan.free
    if plan.cover.tokens is not None and it.held.units.get("tokens") and not _says_tokens(answer):
        unsaid = True
    if plan.unpriced and _assumes_price(it, answer):
        unsaid = True
    if beside.estimated or beside.lost or (unsaid and not answer.free):
        flags.append("estimated")
    if it.bounds.capped:
        flags.append("capped")
        if answer.cut:
            flags.append("cut")
    if it.asked.instead_of:
        flags.append(FALLBACK)
    if answer.tier is not None and answer.cost is None and _assumes(it, answer.model, answer.tier):
        flags.append("tier")
    return frozenset(flags) if flags else NO_FLAGS


def _assumes_price(it: Billed, answer: Answer) -> bool:
    """Whether the cost was the dearest of the provider's, as no price is known of what answered."""
    if not it.plan.assumed or answer.usage is None or answer.cost or it.beside.stated:
        return False
    return it.parts.true_cost(it.asked.provider, it.call.model, answer) is None


def _assumes(it: Billed, answered: str | None, tier: str) -> bool:
    """Whether the answer's service tier is one of which nothing is known; it is said once."""
    parts, asked = it.parts, it.call.model
    if it.plan.free or not parts.plans.prices.assumes(it.asked.provider, asked, answered, tier):
        return False
    text = "nothing is known of service tier %r, of model %r: it is priced above standard; say what it is in [tiers]"
    parts.notices.warn_once(f"tier {tier}", text, tier, asked)
    return True
