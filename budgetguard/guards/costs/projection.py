"""
The projection of one call: the most that it can cost, in dollars and in tokens, before it is sent.

Priced by the same function as the true cost, on the most that the request can
use. Input is the byte bound of its texts, and the tokenizer's count only where
the bound would be refused; each call of a hosted tool reads the model's context
once more, and the pictures. Output is the cap that the caller stated, else as much as the model can
write. A cap of ours may lower the output, and the calls of hosted tools. Where
other models may answer, the dearest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ...calls import Call, Usage, tokens_in
from ...ledger import NOTHING_WANTED, Unit, Wanted
from ...ledger.units import ELASTIC, ONE_REQUEST
from ...money import MAX_AMOUNT, PICO_PER_NANO, Nano, nano_from_pico
from ...prices import tokens
from ...prices.book import Quote
from ...process.tally import Held
from ..plan import CallPlan
from .sharing import shared
from .unpriced import UNPRICED

NEVER = (-1, -1)
"""Of an answer that is not cut, since no budget bounds it."""


class Quotes(Protocol):
    """Where the prices come from of models that the call has work beside its own."""

    def quote(self, provider: str | None, model: str, tier: str | None) -> Quote:
        """The most that one can cost. Raises `UnpricedModelError`."""
        ...


class Wish(NamedTuple):
    """The amounts of a hold (see `Hold`), and the output tokens an answer that `amount` pays for."""

    amount: Nano
    least: Nano | None
    useful: Nano
    output: int
    units: Mapping[Unit, Wanted] = NOTHING_WANTED
    """What is wanted beside dollars, where a budget counts more."""

    def wanted(self, unit: Unit) -> Wanted:
        """What is wanted of one unit."""
        if unit == "dollars":
            return Wanted(self.amount, self.least, self.useful)
        return self.units.get(unit, ONE_REQUEST)

    def useful_only(self) -> Wish:
        """The same for a call that rather waits for useful room than take the scraps."""
        units = {unit: w if w.least is None else w._replace(least=w.useful) for unit, w in self.units.items()}
        return self._replace(least=None if self.least is None else self.useful, units=units)

    def bookable(self) -> Wish:
        """The same within what a store can book."""
        units = {unit: each._replace(amount=min(each.amount, MAX_AMOUNT)) for unit, each in self.units.items()}
        return self._replace(amount=min(self.amount, MAX_AMOUNT), units=units)


class Projection:
    """
    What one call can cost at most. `exact` once its input was counted: it cannot be lowered any more.

    `tokens`, where a budget counts them, says whether one may refuse the call for them (`Cover.tokens`).
    """

    __slots__ = (
        "_call",
        "_context",
        "_counted",
        "_others",
        "_output_guess",
        "_prices",
        "_provider",
        "_sure",
        "cuts",
        "exact",
        "input_tokens",
        "quote",
        "stated",
        "tool_calls",
    )

    def __init__(
        self,
        call: Call,
        quote: Quote,
        prices: Quotes,
        *,
        provider: str | None,
        output_guess: int,
        context_guess: int,
        sure: bool = False,
        others: Sequence[Quote] = (),
    ) -> None:
        """`sure`: the host bills what the tokenizer counts. `others`: the quotes of `call.others`."""
        self._call = call
        self.cuts = (call.least_output, call.least_output)
        """The least output that an answer of it may be cut to, and the least for the sake of others (`shared`)."""
        self.stated: int | None = None
        """The output cap that the caller stated, once it may be lowered."""
        self._prices = prices
        self._provider = provider
        self._output_guess = output_guess
        self._sure = sure
        self._counted: int | None = None
        self._context = _most_read(call, max(quote.context or context_guess, call.context))
        self._others = [
            Projection(
                call._replace(model=model, others=()),
                other,
                prices,
                provider=provider,
                output_guess=output_guess,
                context_guess=context_guess,
            )
            for model, other in zip(call.others, others, strict=True)
        ]
        self.quote = quote
        self.exact = call.unknown_input
        self.input_tokens = self._context if call.unknown_input else tokens.bound(call)
        self.tool_calls = call.tools.calls if call.tools is not None else 0

    def count(self) -> bool:
        """Count the input with the tokenizer, which may take a while; whether that is less than was assumed."""
        if self.exact:
            return False
        self.exact = True
        assumed = self.input_tokens
        self._counted = tokens.count(self._call)
        margin = 0 if self._sure else tokens.margin(self._counted)
        self.input_tokens = min(assumed, self._counted + margin)
        fewer = [other.count() for other in self._others]
        return self.input_tokens < assumed or any(fewer)

    def requote(self, quote: Quote, *others: Quote) -> None:
        """Have it at other prices of the same models."""
        self.quote = quote
        for own, other in zip(self._others, others, strict=True):
            own.quote = other

    def fewer(self, room: int, unit: Unit) -> bool:
        """Lower the calls of hosted tools, if we may, to what there is room for; whether they are fewer now."""
        tools, before = self._call.tools, self.tool_calls
        if tools is None or tools.cap is None or unit not in ELASTIC:
            return False
        while self.tool_calls > 1 and self._need(unit) > room:
            self._set_tool_calls(self.tool_calls - 1)
        return self.tool_calls < before

    def loosen(self) -> bool:
        """Have the output cap that the caller stated be what it asks for, and may be cut; whether it was fixed."""
        call = self._call
        if call.max_output is None:
            return False
        self.stated, self._call = call.max_output, call._replace(max_output=None, default_output=None)
        return True

    def advice(self) -> str:
        """What the caller can do about a refusal, beside stating a smaller output cap; "" if there is nothing."""
        if self.tool_calls < 2:
            return ""
        return (
            f"; {self.tool_calls} calls of hosted tools read the context once more each: state a lower max_tool_calls "
            "(OpenAI) or max_uses of the tools (Claude), or offer fewer"
        )

    def _need(self, unit: Unit) -> int:
        wanted = self.wish(hard=True, tokens=True).wanted(unit)
        return wanted.amount if wanted.least is None else wanted.useful

    def _set_tool_calls(self, calls: int) -> None:
        self.tool_calls = calls
        for other in self._others:
            other._set_tool_calls(calls)

    def wish(self, hard: bool, tokens: bool | None = None) -> Wish:
        """What to hold; where a budget is hard, also how far an output cap of ours could lower it."""
        call = self._call
        base = self._base_pico()
        counted = None if tokens is None else self._base_tokens()
        if not call.output:
            return Wish(-(-base // PICO_PER_NANO), None, 0, 0, _fixed(call, counted, 0))
        pico = self._output_pico()
        output = call.max_output if call.max_output is not None else call.default_output
        if output is not None:
            return Wish(-(-(base + pico * output) // PICO_PER_NANO), None, 0, output, _fixed(call, counted, output))
        most = self._most()
        wish = _open_wish(call, base, pico, most, self.cuts if hard else NEVER)
        return (
            wish if counted is None else wish._replace(units=_open(call, counted, most, self.cuts if tokens else NEVER))
        )

    def cap(self, amount: Nano) -> int:
        """The most output tokens an answer that an amount pays for."""
        spare = amount * PICO_PER_NANO - self._base_pico()
        return max(spare // max(self._output_pico(), 1), self._call.least_output)

    def cap_in(self, tokens: int) -> int:
        """The most output tokens an answer that so many tokens are enough for."""
        return max((tokens - self._base_tokens()) // self._call.choices, self._call.least_output)

    def cost(self, output: int) -> Nano:
        """The most that the call can cost with this many output tokens an answer."""
        return nano_from_pico(self._base_pico() + self._output_pico() * output)

    def tokens(self, output: int) -> int:
        """The most tokens that it can use with this many of output an answer."""
        return self._base_tokens() + self._call.choices * output

    def usage(self, output: int) -> dict[str, int]:
        """
        The projected usage, with this many output tokens in all, and the input as it was counted.

        Kinds that are parts count in their whole.
        """
        return self._usage(self.input_tokens if self._counted is None else self._counted, output)

    def _usage(self, input_tokens: int, output: int) -> dict[str, int]:
        call = self._call
        usage = {"input_tokens": input_tokens + self.tool_calls * self._context, "output_tokens": output}
        self._add(usage, call.fixed, 1)
        if call.tools is not None:
            self._add(usage, call.tools.fees, self.tool_calls)
        if call.kept:
            usage[call.kept] = usage["input_tokens"]
        return usage

    def _add(self, usage: dict[str, int], more: Mapping[str, int], times: int) -> None:
        for kind, most in more.items():
            if kind == "input_audio_tokens":
                most = min(most, self._context)  # noqa: PLW2901
            usage[kind] = usage.get(kind, 0) + most * times
            whole = _whole(kind)
            if whole is not None and whole != kind:
                usage[whole] += most * times

    def _base_tokens(self) -> int:
        """The most tokens that the call uses without any output tokens."""
        call, tools = self._call, self._call.tools
        found = tokens_in(self._usage(self.input_tokens, 0))
        for _, used in call.also:
            found += tokens_in(used)
        if tools is not None:
            found += self.tool_calls * sum(tokens_in(used) for _, used in tools.also)
        return max(found, *[other._base_tokens() for other in self._others]) if self._others else found

    def _base_pico(self) -> int:
        """The most that the call costs without any output tokens, in pico-dollars."""
        pico = self._own_base_pico()
        return max(pico, *[other._base_pico() for other in self._others]) if self._others else pico

    def _own_base_pico(self) -> int:
        if self.quote is UNPRICED:
            return 0
        call, tools = self._call, self._call.tools
        if not (call.fixed or call.also or call.kept) and tools is None:
            pico = self.quote.input_pico(self.input_tokens)
            if pico is not None:
                return pico
        cost = self.quote.cost(self._usage(self.input_tokens, 0))
        for model, used in call.also:
            cost += self._cost(model, used)
        if tools is not None:
            cost += sum(self._cost(model, used) for model, used in tools.also) * self.tool_calls
        return cost * PICO_PER_NANO

    def _cost(self, model: str, usage: Usage) -> Nano:
        return self._prices.quote(self._provider, model, None).cost(usage)

    def _output_pico(self) -> int:
        """What one more token of every answer costs at most."""
        pico = self.quote.output_pico(self.input_tokens + self.tool_calls * self._context) * self._call.choices
        return max(pico, *[other._output_pico() for other in self._others]) if self._others else pico

    def _most(self) -> int:
        """The most output tokens of an answer that nobody caps, or that may be cut below its cap."""
        if self.stated is not None:
            return self.stated
        quote, call = self.quote, self._call
        most = quote.max_output or self._output_guess
        if quote.context is not None and not call.unknown_input and call.tools is None:
            most = min(most, quote.context - self.input_tokens)
        most = max(most, call.least_output)
        return max(most, *[other._most() for other in self._others]) if self._others else most


def plain_wish(call: Call, plan: CallPlan, hard: bool, output_guess: int, held: Held) -> Wish | None:
    """
    `Projection(...).wish(hard)` for a call of texts with a flat price, which most are; `None` for another one.

    It is worked out without an object, and the input is bounded, never counted.
    """
    if plan.flat is None or call.fixed or call.also or call.kept or call.tools or call.others or call.unknown_input:
        return None
    rate, output_rate, divisor = plan.flat
    input_tokens = tokens.bound(call)
    base, counted = -(-rate * input_tokens // divisor), None if plan.cover.tokens is None else input_tokens
    if not call.output:
        return Wish(
            -(-base // PICO_PER_NANO), None, 0, 0, NOTHING_WANTED if counted is None else _fixed(call, counted, 0)
        )
    pico = -(-output_rate // divisor) * call.choices
    output = call.max_output if call.max_output is not None else call.default_output
    if output is not None:
        units = NOTHING_WANTED if counted is None else _fixed(call, counted, output)
        return Wish(-(-(base + pico * output) // PICO_PER_NANO), None, 0, output, units)
    output = plan.max_output or output_guess
    if plan.context is not None:
        output = min(output, plan.context - input_tokens)
    output = max(output, call.least_output)
    cuts, tokens_hard = NEVER, plan.cover.tokens
    if (hard or tokens_hard) and call.cap is not None:
        cuts = shared(held, plan.cover, plan.lately)
    wish = _open_wish(call, base, pico, output, cuts if hard else NEVER)
    if counted is None:
        return wish
    return wish._replace(units=_open(call, counted, output, cuts if tokens_hard else NEVER))


def _open_wish(call: Call, base: int, pico: int, output: int, cuts: tuple[int, int]) -> Wish:
    """What to hold where nobody caps the output, which is this at most, and may be cut to these."""
    amount = -(-(base + pico * output) // PICO_PER_NANO)
    if cuts is NEVER or call.cap is None:
        return Wish(amount, None, 0, output)
    least = min(max(cuts[0], call.least_output), output)
    useful = min(max(cuts[1], least), output)
    return Wish(amount, -(-(base + pico * least) // PICO_PER_NANO), -(-(base + pico * useful) // PICO_PER_NANO), output)


def _fixed(call: Call, counted: int | None, output: int) -> Mapping[Unit, Wanted]:
    """What to hold of tokens, so many of which are no output, where an answer has so many and no cap can change it."""
    return NOTHING_WANTED if counted is None else {"tokens": Wanted(counted + call.choices * output)}


def _open(call: Call, counted: int, output: int, cuts: tuple[int, int]) -> Mapping[Unit, Wanted]:
    """The same where nobody caps the output, which is this at most, and may be cut to these."""
    if cuts is NEVER or call.cap is None:
        return _fixed(call, counted, output)
    least = min(max(cuts[0], call.least_output), output)
    useful = min(max(cuts[1], least), output)
    amount, least, useful = [counted + call.choices * each for each in (output, least, useful)]
    return {"tokens": Wanted(amount, least, useful)}


def _most_read(call: Call, context: int) -> int:
    """
    The most input that is billed where the request does not show it: what the model can read, pictures included.

    Some models bill more for a picture than they read of it: then what they can read may all be text, and the pictures
    are billed beside.
    """
    if not call.images:
        return context
    picture = tokens.image_bound(call.model)
    if picture == tokens.DEAREST_IMAGE:
        return context + call.images * picture
    return max(context, tokens.bound(call))


def _whole(kind: str) -> str | None:
    """The kind that this one is a part of."""
    if kind.endswith("_tokens"):
        return "output_tokens" if kind.startswith("output_") else "input_tokens"
    return None


def is_open(wish: Wish) -> bool:
    """Whether a cap that is added to the request makes it use no more than is held."""
    return wish.least is not None or any(wanted.least is not None for wanted in wish.units.values())


def is_cut(wish: Wish, held: Held) -> bool:
    """Whether less was admitted than is wanted."""
    if held.amount < wish.amount:
        return True
    return any(held.units[unit] < wanted.amount for unit, wanted in wish.units.items())
