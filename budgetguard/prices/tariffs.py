"""
Tariffs: what a usage costs, in whole numbers.

A price list says dollars per million tokens; a tariff is one model's list, at one
time and service tier, compiled into integers: a cost is one pass over the usage,
and one rounding, up.

Kinds are nested: `input_tokens` is all input, `cache_read_tokens` a part of it,
`cache_audio_read_tokens` a part of that part and of `input_audio_tokens`. Every
token is charged once, at the price of the most particular kind that has one. Where
the counts contradict each other (more cached input than input), the parts are taken
to stand beside the whole: the dearer reading, as nothing may be free by mistake.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import TypeAlias

from ..calls import Usage
from ..errors import UnpricedModelError
from ..money import PICO_PER_NANO, Nano
from .kinds import unpriced_kind, words

PriceSteps: TypeAlias = tuple[tuple[int, Fraction], ...]
"""
A price in pico-dollars a unit, by the size of the input: (-1, base), then (start, price) for each step, which holds
for the whole call when its `input_tokens` are above `start`.
"""

Prices: TypeAlias = Mapping[str, PriceSteps]
"""Prices by kind of usage."""

PICO = 10**12
MILLION = 10**6
BASE = -1

_MANY = 1000
"""Kinds remembered by one tariff: a provider's kinds are few, a caller's inventions need not be."""

_TOTALS = frozenset({"input_tokens", "output_tokens"})
"""What a plain call counts."""

_PLAIN_INPUT = tuple(
    f"{name}_tokens"
    for name in ("input", "input_text", "cache_write", "cache_write_5m", "cache_text_write", "cache_text_write_5m")
)


def flat(pico: Fraction) -> PriceSteps:
    """A price that does not depend on the size of the input."""
    return ((BASE, pico),)


class Tariff:
    """What one model's usage costs, at one time and service tier."""

    __slots__ = (
        "_denominator",
        "_flat",
        "_input",
        "_least",
        "_order",
        "_rates",
        "_request",
        "_starts",
        "_whole_of",
        "assumed",
        "free",
        "model",
        "provider",
    )

    provider: str
    """The id of the provider whose price it is; "" for a price that was declared for every provider."""
    model: str
    """The name under which the price is listed."""
    free: bool
    """Declared free: every cost is 0."""
    assumed: bool
    """Whether nothing is known of its service tier, which then costs what the dearest common one does."""

    def __init__(
        self,
        prices: Prices,
        *,
        provider: str,
        model: str,
        free: bool = False,
        least: Mapping[str, int] | None = None,
        assumed: bool = False,
    ) -> None:
        self.provider = provider
        self.model = model
        self.free = free
        self.assumed = assumed
        self._least = least or {}
        kinds = sorted((kind for kind in prices if kind != "requests"), key=lambda kind: (-len(words(kind)), kind))
        starts = sorted({start for steps in prices.values() for start, _ in steps} | {BASE})
        self._denominator = lcm(*(price.denominator for steps in prices.values() for _, price in steps))
        self._starts = starts[1:]
        self._rates = [
            {kind: int(price_at(steps, start + 1) * self._denominator) for kind, steps in prices.items()}
            for start in starts
        ]
        self._order = [(kind, tuple(part for part in kinds if words(part) > words(kind))) for kind in kinds]
        self._input = frozenset(kind for kind in kinds if {"input", "tokens"} <= words(kind))
        self._request = "requests" in prices
        self._whole_of = {kind: kind for kind in kinds}
        self._flat = self._two_rates()

    def cost(self, usage: Usage, *, longest: int | None = None) -> Nano:
        """
        What the usage costs, in nano-dollars: a sum in whole numbers, rounded up once.

        `longest`: it is the usage of many calls, none of which had more input tokens than that.
        Counts that contradict each other are read the dearer way. Raises `UnpricedModelError` for a count of
        something that neither has a price nor is part of something that has one.
        """
        if self.free:
            return 0
        if self._flat is not None and usage.keys() == _TOTALS:
            asked, written = usage["input_tokens"], usage["output_tokens"]
            if asked >= 0 and written >= 0:
                read, wrote, pico = self._flat
                return -(-(asked * read + written * wrote) // pico)
        priced = self._rates[0]
        for kind in usage:
            if kind not in priced and self._stands_out(kind, usage):
                usage = self._completed(usage)
                break
        if self._least:
            usage = {kind: max(count, self._least.get(kind, 0)) if count > 0 else 0 for kind, count in usage.items()}
        left: dict[str, int] = {}
        for kind, parts in self._order:
            if kind in usage and (count := usage[kind]) > 0:
                inside = 0
                for part in parts:
                    if part in left:
                        inside += left[part]
                left[kind] = count - inside if inside <= count else count
        rates = self._rates[self._step(usage, left, longest) if self._starts else 0]
        total = 0
        for kind, count in left.items():
            total += count * rates[kind]
        if self._request:
            total += max(usage.get("requests", 1), 1) * rates["requests"]
        return -(-total // (self._denominator * PICO_PER_NANO))

    def _two_rates(self) -> tuple[int, int, int] | None:
        """
        The prices of an input and an output token, and what to divide by to have nano-dollars.

        `None` where there is more to the cost of a plain call.
        """
        rates = self._rates[0]
        if self._starts or self._least or self._request or not rates.keys() >= _TOTALS:
            return None
        return rates["input_tokens"], rates["output_tokens"], self._denominator * PICO_PER_NANO

    def rates(self) -> Iterator[tuple[str, int, Fraction]]:
        """Every price: the kind, the input tokens above which it holds (-1: always), pico-dollars for one."""
        last: dict[str, int] = {}
        for start, rates in zip([BASE, *self._starts], self._rates, strict=True):
            for kind, rate in rates.items():
                if last.get(kind) != rate:
                    last[kind] = rate
                    yield kind, start, Fraction(rate, self._denominator)

    def _stands_out(self, kind: str, usage: Usage) -> bool:
        """Whether a kind without a price of its own may not be inside one that has."""
        return usage[kind] > usage.get(self._whole_of.get(kind, ""), 0)

    def _step(self, usage: Usage, left: Mapping[str, int], longest: int | None) -> int:
        """Which step of the prices the size of the input reaches: the number of starts below it."""
        size = max(sum(count for kind, count in left.items() if kind in self._input), usage.get("input_tokens", 0))
        return bisect_left(self._starts, size if longest is None else min(size, longest))

    def _completed(self, usage: Usage) -> dict[str, int]:
        """
        The usage with every count that has no price of its own inside one that has.

        Raises `UnpricedModelError` where there is none, unless the count is 0.
        """
        counts = {kind: count for kind, count in usage.items() if count > 0}
        parts: dict[str, list[int]] = {}
        for kind, count in list(counts.items()):
            whole = kind if kind == "requests" else self._whole_of.get(kind) or self._find_whole(kind)
            if whole != kind and "/" in kind:
                counts[whole] = counts.get(whole, 0) + counts.pop(kind)
            elif whole != kind:
                parts.setdefault(whole, []).append(count)
        for whole, inside in parts.items():
            if max(inside) > counts.get(whole, 0):
                counts[whole] = counts.get(whole, 0) + sum(inside)
        return counts

    def _find_whole(self, kind: str) -> str:
        """The most particular priced kind that `kind` is a part of; of a family, the dearest."""
        family, slash, _ = kind.partition("/")
        if slash:
            rates = self._rates[-1]
            dearest = max((k for k in rates if k.startswith(f"{family}/")), key=lambda k: rates[k], default=None)
            if dearest:
                return dearest
        for priced, _parts in self._order:
            if words(priced) < words(kind):
                if len(self._whole_of) < _MANY:
                    self._whole_of[kind] = priced
                return priced
        text = unpriced_kind(self.provider, self.model, kind)
        raise UnpricedModelError(text, model=self.model, provider=self.provider)


class Quote(Tariff):
    """The most that one model's usage can cost, at any time from now on, in any tier that it may be answered in."""

    __slots__ = ("context", "max_output", "open", "until_ms")

    max_output: int | None
    """The most output tokens of one answer; `None` if that is not known."""
    context: int | None
    """The most tokens of input; `None` if that is not known."""
    until_ms: int
    """From when on the price list has to be asked again."""
    open: bool
    """Whether a dearer tier is in it that may answer only as the request names none."""

    def __init__(
        self,
        prices: Prices,
        *,
        provider: str,
        model: str,
        free: bool = False,
        least: Mapping[str, int] | None = None,
        max_output: int | None = None,
        context: int | None = None,
        until_ms: int = 0,
        open: bool = False,
    ) -> None:
        super().__init__(_plain(prices), provider=provider, model=model, free=free, least=least)
        self.max_output = max_output
        self.context = context
        self.until_ms = until_ms
        self.open = open

    def flat(self) -> tuple[int, int, int] | None:
        """
        The prices of an input token and an output token, and what to divide them by to have pico-dollars; `None` where
        there is more to a price: its size, least amounts, a fee.
        """
        rates = self._rates[0]
        if self.free or self._starts or self._least or self._request or "input_tokens" not in rates:
            return None
        return rates["input_tokens"], rates.get("output_tokens", 0), self._denominator

    def input_pico(self, input_tokens: int) -> int | None:
        """What plain input of this size costs at most, in pico-dollars; `None` where that takes `cost` to say."""
        if self.free:
            return 0
        rates = self._rates[bisect_left(self._starts, input_tokens) if self._starts else 0]
        if "input_tokens" not in rates or self._least:
            return None
        pico = rates["input_tokens"] * input_tokens
        return -(-(pico + rates["requests"] if self._request else pico) // self._denominator)

    def output_pico(self, input_tokens: int) -> int:
        """What one more output token costs at most, in pico-dollars, with this much input; 0 if output has no price."""
        if self.free:
            return 0
        rates = self._rates[bisect_left(self._starts, input_tokens) if self._starts else 0]
        return -(-rates["output_tokens"] // self._denominator) if "output_tokens" in rates else 0


def price_at(steps: PriceSteps, input_tokens: int) -> Fraction:
    """The price for a call with this much input."""
    price = steps[0][1]
    for start, dearer in steps[1:]:
        if input_tokens > start:
            price = dearer
    return price


def scaled(prices: Prices, factor: Fraction) -> Prices:
    """All prices times a factor."""
    return {kind: tuple((start, price * factor) for start, price in steps) for kind, steps in prices.items()}


def in_region(provider: str | None, region: str) -> str | None:
    """A provider whose prices count, where a request is processed in a region; "": in one without a surcharge."""
    if provider is None:
        return None
    place = provider.partition("/")[0]
    return f"{place}/{region}" if region else place


def worst(lists: Sequence[Prices]) -> Prices:
    """
    Prices that no usage is cheaper by than by any of the lists.

    A larger input never makes them fall, so that a projection of more input is a projection of more cost.
    """
    kinds = {kind for prices in lists for kind in prices}
    starts = sorted({start for prices in lists for steps in prices.values() for start, _ in steps})
    result: dict[str, PriceSteps] = {}
    for kind in kinds:
        steps: list[tuple[int, Fraction]] = []
        for start in starts:
            price = max(_effective(prices, kind, start + 1) for prices in lists)
            if not steps or price > steps[-1][1]:
                steps.append((start, price))
        result[kind] = tuple(steps)
    return result


def _effective(prices: Prices, kind: str, input_tokens: int) -> Fraction:
    if kind in prices:
        return price_at(prices[kind], input_tokens)
    holders: Iterable[PriceSteps] = (steps for holder, steps in prices.items() if words(holder) < words(kind))
    return max((price_at(steps, input_tokens) for steps in holders), default=Fraction(0))


def _plain(prices: Prices) -> Prices:
    """
    The same with `input_tokens` at the dearest that plain text becomes, and `output_tokens` at the dearest output.

    A request does not say whether its text will be written to a cache, nor what its answer will be made of. (A write
    to a cache that keeps an hour or more is asked for, and is counted by its own kind.)
    """
    result = dict(prices)
    into = {
        "input_tokens": [kind for kind in _PLAIN_INPUT if kind in prices],
        "output_tokens": [kind for kind in prices if {"output", "tokens"} <= words(kind)],
    }
    for kind, sources in into.items():
        if kind in prices and len(sources) > 1:
            result[kind] = worst([{kind: prices[source]} for source in sources])[kind]
    return result
