"""What LiteLLM's endpoints say of a gateway's models: its configuration and its router, read when they are asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from .....errors import UnpricedModelError
from .....money import DOLLAR
from .....prices.book import PriceBook
from ....app import App
from ...config.model import Route, Target
from ...config.resolve import Configuration
from ...routing.router import Router
from ..mount import LiteLLMAdmin
from .models import ModelAdmin, ModelPlace

_TOKENS = 1_000


def admin_of(configuration: Configuration, hosting: App, router: Router) -> LiteLLMAdmin | None:
    """LiteLLM's admin API of a gateway, where its options have a prefix for it; `None` where they have none."""
    prefix = configuration.options.litellm
    if prefix is None:
        return None
    whole = [rule for rule in configuration.options.budgets if rule.unit == "dollars" and not (rule.per or rule.match)]
    limits = [rule.limit for rule in whole if rule.limit is not None]
    return LiteLLMAdmin(
        prefix,
        hosting.projects,
        hosting.runner,
        hosting.metrics,
        ModelAdmin(lambda: deployments(configuration), lambda: cooling(router)),
        max_budget=min(limits, default=None),
    )


def deployments(configuration: Configuration) -> Iterator[ModelPlace]:
    """Every model that can be asked for by a name, once for each upstream of it."""
    now_ms = round(time.time() * 1000)
    for card in configuration.models():
        seen = set[tuple[str, str]]()
        for api in sorted(card.apis):
            route = configuration.route(card.id, api)
            for target in route.targets if isinstance(route, Route) else ():
                model = target.model or card.id
                if (target.upstream.name, model) not in seen:
                    seen.add((target.upstream.name, model))
                    yield _deployment(card.id, model, target, configuration.prices, now_ms)


def cooling(router: Router) -> Mapping[str, float]:
    """The upstreams that are left alone now, and for how many seconds."""
    return {each.upstream: each.cooling_s for each in router.standing() if each.model is None and each.cooling_s > 0}


def _deployment(asked: str, model: str, target: Target, prices: PriceBook, now_ms: int) -> ModelPlace:
    upstream = target.upstream
    provider = upstream.provider or upstream.name
    if upstream.free:
        return ModelPlace(asked, upstream.name, provider, model, 0.0, 0.0)
    read, written = _prices(prices, upstream.prices, model, now_ms)
    return ModelPlace(asked, upstream.name, provider, model, read, written)


def _prices(book: PriceBook, provider: str | None, model: str, now_ms: int) -> tuple[float | None, float | None]:
    """Dollars for a token that is read, and for one that is written; `None` where there is no price of a token."""
    try:
        cost: Callable[[Mapping[str, int]], int] = book.tariff(provider, model, None, now_ms).cost
        read = cost({"input_tokens": _TOKENS, "output_tokens": 0})
        return read / DOLLAR / _TOKENS, cost({"input_tokens": 0, "output_tokens": _TOKENS}) / DOLLAR / _TOKENS
    except UnpricedModelError:
        return None, None
