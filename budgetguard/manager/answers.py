"""What an answer cost that somebody hands to the manager."""

from __future__ import annotations

from ..errors import UnpricedModelError
from ..guards.guard import Guard
from ..litellm.answers import HeldAnswer
from ..money import Nano


def cost_of_answer(guard: Guard, model: str, held: HeldAnswer) -> Nano:
    """The price of an answer by whose API it is, else by its model alone, else as LiteLLM has it; or raises."""
    answer = held.answer
    if not model:
        raise UnpricedModelError("the answer names no model: give model=", model="")
    for provider in dict.fromkeys((held.provider, None)):
        cost = guard.parts.true_cost(provider, model, answer)
        if cost is not None:
            return cost + answer.fee
    if held.otherwise is not None:
        return held.otherwise
    parts, now_ms = ((model, answer.usage or {}), *answer.also), guard.coverage.now_ms()
    return sum(guard.prices.tariff(None, each, answer.tier, now_ms).cost(usage) for each, usage in parts)
