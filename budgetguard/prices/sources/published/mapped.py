"""
LiteLLM's models as models of the price list: found, dated and compared as all others.

Imported with the first map that is read, as it imports the list. What stands on the map counts before what the
installed list says of the same name; of names that it does not have, the list's prices hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass

from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, PriceVariant, Provider

from ...tariffs import Prices
from .litellm import MappedModel

NOTHING = DataSnapshot([], from_auto_update=False)


@dataclass
class MappedInfo(ModelInfo):
    """A model whose list says how much it can write."""

    max_output: int | None = None


def over(base: DataSnapshot, models: Iterable[MappedModel]) -> DataSnapshot:
    """A list that has these models first, and then all of another one."""
    sold: dict[str, list[ModelInfo]] = {}
    for model in models:
        sold.setdefault(model.provider, []).append(_info(model))
    providers = [copy(provider) for provider in base.providers]
    for provider in providers:
        provider.models = [*sold.pop(provider.id, ()), *provider.models]
    providers += [Provider(id_, id_, r"(?!)", models=each) for id_, each in sold.items()]
    return DataSnapshot(providers, from_auto_update=False)


def _info(model: MappedModel) -> MappedInfo:
    price = model.price
    variants = [PriceVariant({"service_tier": tier}, _stated(prices)) for tier, prices in price.tiers.items()]
    return MappedInfo(
        id=model.name,
        match=ClauseEquals(model.name),
        context_window=price.context,
        max_output=price.max_output,
        prices=_stated(price.prices),
        price_variants=variants or None,
    )


def _stated(prices: Prices) -> ModelPrice:
    """Prices under the names of our own kinds, and in our own form: `list` reads both."""
    made = ModelPrice()
    made.__dict__.update(prices)
    return made
