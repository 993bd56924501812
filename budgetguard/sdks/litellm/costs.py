"""
What LiteLLM knows of prices, where the price book knows none: for the hold, and for the bill.

A price that the call states itself (`input_cost_per_token=`) stands above all others. Those of LiteLLM's map are
declared in the book once a model; what it has by the picture, the second or the page, it is asked for after the call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import ModuleType
from typing import Any, Final

from ...calls import Answer
from ...concurrency.interrupts import raise_interruption
from ...errors import ConfigError, UnpricedModelError
from ...money import DOLLAR
from ...prices.book import PriceBook
from .names import Whom

log = logging.getLogger("budgetguard")

_MILLION = 1_000_000

_KINDS: Final[Mapping[str, tuple[str, int]]] = {
    "input_cost_per_token": ("input", _MILLION),
    "output_cost_per_token": ("output", _MILLION),
    "output_cost_per_reasoning_token": ("output_reasoning", _MILLION),
    "cache_read_input_token_cost": ("cache_read", _MILLION),
    "cache_creation_input_token_cost": ("cache_write", _MILLION),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h", _MILLION),
    "input_cost_per_audio_token": ("input_audio", _MILLION),
    "output_cost_per_audio_token": ("output_audio", _MILLION),
    "input_cost_per_character": ("input_characters", _MILLION),
    "input_cost_per_query": ("rerank_searches", 1),
}
"""LiteLLM's names of prices, each for one, and the book's, for so many."""

_MOST_KNOWN = 4_096


class Costs:
    """The prices that were taken from LiteLLM, for one price book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._known: dict[tuple[Any, ...], str | None] = {}

    def provider(self, litellm: ModuleType, asked: Whom, arguments: Mapping[str, Any]) -> str | None:
        """
        Whose prices count for a call: those that it states, the book's, or LiteLLM's, which the book has from then on.
        """
        stated = _stated(arguments)
        key = (asked.provider, asked.model, *stated.values())
        try:
            return self._known[key]
        except KeyError:
            pass
        provider = self._declare(stated, asked) if stated else self._learn(litellm, asked)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = provider
        return provider

    def _declare(self, stated: Mapping[str, str], asked: Whom) -> str | None:
        """Declare the price that a call states, apart from those of other calls: under its provider's name and it."""
        own = f"{asked.provider or asked.litellms} at {' and '.join(stated.values())}"
        _add(self.book, asked.model, own, stated, {}, free=not any(map(Decimal, stated.values())))
        return own

    def _learn(self, litellm: ModuleType, asked: Whom) -> str | None:
        try:
            self.book.quote(asked.provider, asked.model)
        except UnpricedModelError:
            info = _info(litellm, asked)
            prices = _priced(info)
            if any(Decimal(price) for price in prices.values()):
                _add(self.book, asked.model, asked.provider, prices, info)
        return asked.provider


def _stated(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The prices that a call states, or the deployment of a `Router` that makes it."""
    deployment = arguments.get("model_info")
    own = deployment if isinstance(deployment, Mapping) else {}
    found = _priced({name: arguments.get(name, own.get(name)) for name in _KINDS})
    return found if "input" in found or "output" in found or "input_characters" in found else {}


def _priced(info: Mapping[str, Any]) -> dict[str, str]:
    prices = {}
    for name, (kind, many) in _KINDS.items():
        value = info.get(name)
        if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
            try:
                prices[kind] = format(Decimal(str(value)) * many, "f")
            except InvalidOperation:
                continue
    return prices


def _add(
    book: PriceBook,
    model: str,
    provider: str | None,
    prices: Mapping[str, str],
    info: Mapping[str, Any],
    *,
    free: bool = False,
) -> None:
    limits = {"max_output": info.get("max_output_tokens"), "context": info.get("max_input_tokens")}
    more: dict[str, Any] = {name: value for name, value in limits.items() if type(value) is int and value > 0}
    if not free:
        more.update(prices)
    try:
        book.add(model, provider=provider, free=free, **more)
    except ConfigError as error:
        log.warning("what LiteLLM says of the price of %r cannot be used: %s", model, error)


def _info(litellm: ModuleType, asked: Whom) -> Mapping[str, Any]:
    """What LiteLLM says of a model; nothing, if it does not know it."""
    try:
        info = litellm.get_model_info(asked.model, custom_llm_provider=asked.litellms or None)
    except Exception as error:
        raise_interruption(error)
        return {}
    return info if isinstance(info, Mapping) else {}


def billed_by(litellm: ModuleType, asked: Whom, reply: Any, answer: Answer) -> Answer:
    """An answer with what LiteLLM says that it cost; as it was, if LiteLLM does not know either."""
    if answer.cost or answer.free:
        return answer
    try:
        hidden = getattr(reply, "_hidden_params", None)
        dollars = hidden.get("response_cost") if isinstance(hidden, Mapping) else None
        if not dollars:
            dollars = litellm.completion_cost(reply, model=asked.model, custom_llm_provider=asked.litellms or None)
        cost = int((Decimal(str(dollars)) * DOLLAR).to_integral_value(rounding="ROUND_CEILING"))
    except Exception as error:
        raise_interruption(error)
        return answer
    return answer._replace(cost=cost) if cost > 0 else answer
