"""
The price list of genai-prices, as prices by kind, place and time.

The only module that knows how genai-prices is made. It is imported with the first
price that is asked for, since that takes about half a second.

What it has to be helped with: a service tier that it has no price for silently gets
the standard price there; a model that one provider borrows from another (Azure from
OpenAI) loses its tiers; names with a provider's prefix and undated fine-tunes are
unknown; an entry may be listed without a price.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from ..tariffs import BASE, PICO, Prices, PriceSteps, worst
from .odd import likely

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, Provider

DAY_MS = 24 * 60 * 60 * 1000

_PREFERRED = "openai"
"""Whose prices count for a name at an unknown host."""


class Listed(NamedTuple):
    """One model of the list, as one provider sells it."""

    provider: str
    """The id of the provider who lists it."""
    model: ModelInfo
    borrowed: bool = False
    """Whether the provider that was asked for has no price of its own and borrows another's."""

    @property
    def id(self) -> str:
        """The model's name on the list."""
        return self.model.id

    @property
    def context(self) -> int | None:
        """The most tokens of input."""
        return self.model.context_window

    @property
    def max_output(self) -> int | None:
        """The most tokens of one answer, where the list says that; genai-prices does not."""
        return getattr(self.model, "max_output", None)


def source() -> Callable[[], DataSnapshot]:
    """Where to ask for the list that holds now: the installed one, or one that the program has set or updated since."""
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot


def provider_at(snapshot: DataSnapshot, host: str, path: str) -> str | None:
    """The id of the provider whose API is at a host, or `None`."""
    url = f"https://{host}{path}"
    return next((provider.id for provider in snapshot.providers if re.match(provider.api_pattern, url)), None)


def providers(snapshot: DataSnapshot) -> frozenset[str]:
    """The ids of all providers."""
    return frozenset(provider.id for provider in snapshot.providers)


def find(snapshot: DataSnapshot, provider: str | None, name: str) -> Listed | None:
    """
    The model that `name` (in lower case) means at a provider; `None` if it is not listed with a price.

    Without a provider: OpenAI's model of that name, else the one of the provider that such names belong to. With a
    prefix (`openai/gpt-4o`), what the provider that the prefix names has, unless the list knows the whole name.
    """
    by_id = {listed.id: listed for listed in snapshot.providers}
    for host, spelling in _spellings(by_id, provider, name):
        if host is None:
            belongs = (p for p in snapshot.providers if p.model_match is not None and p.model_match.is_match(spelling))
            hosts = [*filter(None, [by_id.get(_PREFERRED)]), *belongs]
        else:
            hosts = [by_id[host]] if host in by_id else []
        for seller in hosts:
            found = _at(by_id, seller, spelling)
            if found is not None and (provider is not None or not without_price(found)):
                return found
    return None


def names(snapshot: DataSnapshot, provider: str | None) -> Iterator[str]:
    """
    The names of a provider's models that have a price; without one that is listed, those that every host takes. What
    stands for several names, and is found by none of its own, is no name.
    """
    by_id = {each.id: each for each in snapshot.providers}
    for listed in _models(snapshot, provider):
        if not unpriced(listed) and not listed.id.startswith("ft:") and listed.model.is_match(listed.id):
            plain = provider in by_id or listed.provider == _PREFERRED or by_id[listed.provider].model_match is not None
            yield listed.id if plain else f"{listed.provider}/{listed.id}"


def dearest(snapshot: DataSnapshot, provider: str | None, at_ms: int) -> Prices:
    """
    The dearest that a provider lists of every kind, in the standard tier; without one that is listed, that anybody
    does. Fees for each request are left out: few models have them, and what has none cannot ask for more.
    """
    lists: dict[str, list[Prices]] = {}
    for listed in _models(snapshot, provider):
        if not without_price(listed):
            lists.setdefault(listed.provider, []).append(prices(listed, at_ms))
    found = worst([worst(each) for each in lists.values()])
    return {kind: steps for kind, steps in found.items() if kind != "requests"}


def _models(snapshot: DataSnapshot, provider: str | None) -> Iterator[Listed]:
    """Every model of a provider, and of those that it borrows from; without one that is listed, every model."""
    by_id = {each.id: each for each in snapshot.providers}
    sellers = list(by_id.values())
    if provider in by_id:
        own = by_id[provider]
        sellers = [own, *(by_id[lender] for lender in own.fallback_model_providers or () if lender in by_id)]
    for seller in sellers:
        for model in seller.models:
            yield Listed(seller.id, model, borrowed=seller.id != provider)


def without_price(listed: Listed) -> bool:
    """Whether the list names the model and says nothing about its price (or nothing for some time)."""
    stated = listed.model.prices
    every = [each.prices for each in stated] if isinstance(stated, list) else [stated]
    return not every or any(all(value is None for value in vars(each).values()) for each in every)


def unpriced(listed: Listed) -> bool:
    """Whether a model is on the list without a price, and its name does not say that it is free."""
    return without_price(listed) and not listed.id.endswith(":free")


def prices(listed: Listed, at_ms: int) -> Prices:
    """What the model costs at a time, in the standard tier."""
    return _read(listed.model.get_prices(_moment(at_ms)))


def all_prices(listed: Listed) -> Iterator[Prices]:
    """What the model costs at any time, in the standard tier."""
    stated = listed.model.prices
    yield from map(_read, [each.prices for each in stated] if isinstance(stated, list) else [stated])


def check(providers: Iterable[Provider]) -> None:
    """Raises `ValueError`, or `re.error`, for what can be neither a price nor a pattern of a name."""
    for provider in providers:
        re.compile(provider.api_pattern)
        provider.find_model("")  # tries every pattern
        for model in provider.models:
            stated = model.prices
            dated = [each.prices for each in stated] if isinstance(stated, list) else [stated]
            for price in (*dated, *(each.prices for each in model.price_variants or ())):
                for name, value in vars(price).items():
                    amounts = (
                        [value.base, *(tier.price for tier in value.tiers)] if hasattr(value, "tiers") else [value]
                    )
                    if any(isinstance(each, Decimal) and each and not likely(each) for each in amounts):
                        raise ValueError(f"{provider.id} {model.id}: {name} is no price")


def tier_prices(listed: Listed, at_ms: int, tier: str) -> Prices | None:
    """What the model costs at a time in another service tier; `None` where the list has no price for that."""
    at = _moment(at_ms)
    context = {"service_tier": tier, "speed": tier, "processing": tier}
    return _read(listed.model.get_prices(at, context)) if _has_variant(listed.model, at, context) else None


def validity(listed: Listed, at_ms: int) -> tuple[int, int]:
    """From when until when, around a time, the prices of a model are those of that time; in milliseconds."""
    edges = _edges(listed.model, at_ms)
    before = max((edge for edge in edges if edge <= at_ms), default=at_ms - DAY_MS)
    return before, min((edge for edge in edges if edge > at_ms), default=at_ms + DAY_MS)


def moments(listed: Listed, at_ms: int, span_ms: int) -> list[int]:
    """Times that stand for every price the model has from `at_ms` on, for that long."""
    return [at_ms, *sorted(edge for edge in _edges(listed.model, at_ms) if at_ms < edge <= at_ms + span_ms)]


def next_change(listed: Listed, at_ms: int) -> int | None:
    """When a dated price of the model next comes into force."""
    starts = (_midnight_ms(c.start_date) for c in _constraints(listed.model) if hasattr(c, "start_date"))
    return min((start for start in starts if start > at_ms), default=None)


def _spellings(by_id: Mapping[str, Provider], provider: str | None, name: str) -> Iterator[tuple[str | None, str]]:
    yield provider, name
    prefix, slash, rest = name.partition("/")
    if slash and rest:
        if prefix in {"models", provider}:
            yield provider, rest
        elif provider is None:
            owner = prefix if prefix in by_id else _owner(by_id, prefix)
            if owner is not None:
                yield owner, rest
        if name.startswith("publishers/"):
            yield provider, name.rpartition("/")[2]


def _owner(by_id: Mapping[str, Provider], prefix: str) -> str | None:
    matches = (p.id for p in by_id.values() if p.provider_match is not None and p.provider_match.is_match(prefix))
    return next(matches, None)


def _at(by_id: Mapping[str, Provider], seller: Provider, name: str) -> Listed | None:
    model = seller.find_model(name)
    if model is not None:
        return Listed(seller.id, model)
    for lender in seller.fallback_model_providers or ():
        model = by_id[lender].find_model(name) if lender in by_id else None
        if model is not None:
            return Listed(lender, model, borrowed=True)
    return None


def _has_variant(model: ModelInfo, at: datetime, context: Mapping[str, str]) -> bool:
    return any(
        (variant.constraint is None or variant.constraint.active(at))
        and all(context.get(key) == value for key, value in variant.when.items())
        for variant in model.price_variants or ()
    )


def _read(price: Any) -> Prices:
    """A genai-prices `ModelPrice` in pico-dollars by kind; one that was made of ours has them already."""
    units = _units()
    return {
        units[key][0] if key in units else key: _steps(value, units[key][1]) if key in units else value
        for key, value in vars(price).items()
        if value is not None and (key in units or type(value) is tuple)
    }


def _steps(value: Any, per: int) -> PriceSteps:
    if hasattr(value, "tiers"):
        tiers = tuple((tier.start, Fraction(tier.price) * PICO / per) for tier in value.tiers)
        return ((BASE, Fraction(value.base) * PICO / per), *tiers)
    return ((BASE, Fraction(value) * PICO / per),)


def _units() -> dict[str, tuple[str, int]]:
    """By the name of a price, the kind of usage that it is for, and for how many."""
    from genai_prices.data_units import unit_data

    return {unit["price_key"]: (kind, unit["per"]) for kind, unit in unit_data.items()}


def _constraints(model: ModelInfo) -> Iterator[Any]:
    stated = model.prices
    for each in [*(stated if isinstance(stated, list) else ()), *(model.price_variants or ())]:
        if each.constraint is not None:
            yield each.constraint


def _edges(model: ModelInfo, at_ms: int) -> list[int]:
    """The times around `at_ms`, yesterday to the day after tomorrow and all dates, at which a price may change."""
    midnight = datetime.combine(_moment(at_ms).date(), time(), UTC)
    days = [midnight + timedelta(days=day) for day in (-1, 0, 1, 2)]
    edges = []
    for constraint in _constraints(model):
        if hasattr(constraint, "start_date"):
            edges.append(_midnight_ms(constraint.start_date))
        else:
            for at in (constraint.start_time, constraint.end_time):
                at_utc = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
                edges += [_millis(datetime.combine(day.date(), at_utc)) for day in days]
    return edges


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _midnight_ms(date: Any) -> int:
    return _millis(datetime.combine(date, time(), UTC))


def _millis(at: datetime) -> int:
    return round(at.timestamp() * 1000)
