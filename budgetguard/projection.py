"""
The projection of one call: the most that it can cost, before it is sent.

Priced by the same function as the true cost, on the most that the request can
use. Input is the byte bound of its texts, and the tokenizer's count only where
the bound would be refused. Output is the cap that the caller stated, else as much
as the model can write, which a cap of ours may lower.
"""

from __future__ import annotations

from typing import NamedTuple

from . import tokens
from .calls import Call, Usage
from .money import PICO_PER_NANO, Nano, nano_from_pico
from .prices import PriceBook, Quote

USEFUL_OUTPUT = 64
"""Tokens below which sharing the room among calls in flight helps nobody: a cap is that large, if there is room."""


class Wish(NamedTuple):
    """The amounts of a hold (see `Hold`), and the output tokens an answer that `amount` pays for."""

    amount: Nano
    least: Nano | None
    useful: Nano
    output: int


class Projection:
    """What one call can cost at most. `exact` once its input was counted: it cannot be lowered any more."""

    __slots__ = ("_call", "_output_guess", "_prices", "_provider", "exact", "input_tokens", "quote")

    def __init__(
        self,
        call: Call,
        quote: Quote,
        prices: PriceBook,
        *,
        provider: str | None,
        output_guess: int,
        context_guess: int,
    ) -> None:
        self._call = call
        self._prices = prices
        self._provider = provider
        self._output_guess = output_guess
        self.quote = quote
        self.exact = call.unknown_input
        self.input_tokens = (quote.context or context_guess) if call.unknown_input else tokens.bound(call)

    def count(self) -> bool:
        """Count the input with the tokenizer, which may take a while; whether that is less than was assumed."""
        if self.exact:
            return False
        self.exact = True
        assumed, self.input_tokens = self.input_tokens, tokens.count(self._call)
        return self.input_tokens < assumed

    def wish(self, hard: bool) -> Wish:
        """What to hold; where a budget is hard, also how far an output cap of ours could lower it."""
        call = self._call
        base = self._base_pico()
        if not call.output:
            return Wish(nano_from_pico(base), None, 0, 0)
        pico = self._output_pico()
        output = call.max_output if call.max_output is not None else call.default_output
        if output is not None:
            return Wish(nano_from_pico(base + pico * output), None, 0, output)
        output = self._most()
        amount = nano_from_pico(base + pico * output)
        if not hard or call.cap is None:
            return Wish(amount, None, 0, output)
        least = min(call.least_output, output)
        useful = min(max(USEFUL_OUTPUT, least), output)
        return Wish(amount, nano_from_pico(base + pico * least), nano_from_pico(base + pico * useful), output)

    def cap(self, amount: Nano) -> int:
        """The most output tokens an answer that an amount pays for."""
        spare = amount * PICO_PER_NANO - self._base_pico()
        return max(spare // max(self._output_pico(), 1), self._call.least_output)

    def cost(self, output: int) -> Nano:
        """The most that the call can cost with this many output tokens an answer."""
        return nano_from_pico(self._base_pico() + self._output_pico() * output)

    def usage(self, output: int) -> dict[str, int]:
        """The projected usage, with this many output tokens in all. Kinds that are parts count in their whole."""
        usage = {"input_tokens": self.input_tokens, "output_tokens": output}
        for kind, most in self._call.fixed.items():
            usage[kind] = usage.get(kind, 0) + most
            whole = _whole(kind)
            if whole is not None and whole != kind:
                usage[whole] += most
        return usage

    def _base_pico(self) -> int:
        """The most that the call costs without any output tokens, in pico-dollars."""
        call = self._call
        if not call.fixed and not call.also:
            pico = self.quote.input_pico(self.input_tokens)
            if pico is not None:
                return pico
        cost = self.quote.cost(self.usage(0))
        for model, used in call.also:
            cost += self._cost(model, used)
        return cost * PICO_PER_NANO

    def _cost(self, model: str, usage: Usage) -> Nano:
        return self._prices.quote(self._provider, model, None).cost(usage)

    def _output_pico(self) -> int:
        """What one more token of every answer costs at most."""
        return self.quote.output_pico(self.input_tokens) * self._call.choices

    def _most(self) -> int:
        """The most output tokens of an answer that nobody caps."""
        quote, call = self.quote, self._call
        most = quote.max_output or self._output_guess
        if quote.context is not None and not call.unknown_input:
            most = min(most, quote.context - self.input_tokens)
        return max(most, call.least_output)


def _whole(kind: str) -> str | None:
    """The kind that this one is a part of."""
    if kind.endswith("_tokens"):
        return "output_tokens" if kind.startswith("output_") else "input_tokens"
    return None
