"""
Prices: what a call may cost at most (`PriceBook.quote`), and what it did cost (`PriceBook.tariff`).

The list is genai-prices'. Over it stand what is declared in a price file or in code, and a few prices that the list
lacks (`data/prices.toml`, each with its source). An unknown model is an `UnpricedModelError`, never $0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import ConfigError, UnpricedModelError
from .sources import list as pricelist
from .sources.file import (
    Declarations,
    check_aliases,
    ordered,
    read_discounts,
    read_entry,
    read_file,
    read_table,
    read_tiers,
)
from .sources.find import FoundPrice, declared, find
from .sources.names import is_profile
from .sources.places import is_loopback, provider_at, region_of
from .sources.published.choice import check_list, open_list
from .sources.shipped import shipped
from .tariffs import Prices, Quote, Tariff, scaled, worst
from .tiers import PROJECT_HOSTS, PROJECT_TIER, Tiers, in_tier, leaves_open, tier_name

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

__all__ = ["PriceBook", "Quote", "Tariff"]

_AHEAD_MS = pricelist.DAY_MS
"""How far ahead a quote looks for dearer times and dated changes: above the longest hold, and a whole day of hours."""

_KEEP_MS = _AHEAD_MS // 2
"""For how long a quote is used: it still looks half a day ahead at its end."""

_MANY = 4096
"""Cards kept: a program uses few models, but names come from outside."""

_MOST_MET = 8
"""Tiers of one model kept that answers came in."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Cards:
    """What was compiled from one state of the list."""

    def __init__(self, snapshot: DataSnapshot | None) -> None:
        self.snapshot = snapshot
        self.quotes: dict[tuple[str | None, str, str | None, bool], Quote] = {}
        self.dearest: dict[tuple[str | None, str | None], tuple[Quote, Tariff]] = {}
        self.tariffs: dict[tuple[str | None, str, str | None, str | None], tuple[int, int, Tariff]] = {}
        self.hosts: dict[tuple[str, str], str | None] = {}


class PriceBook:
    """
    All prices that a program knows.

    `overrides` are the `[models]` of a price file as mappings (`{"my-model": {"input": 0.15, "output": 0.6}}`),
    `path` is a price file, `discounts`, `deployments` and `tiers` are as there. `auto_tier` names the service tiers
    that a call may be answered in when it asks for none, so that the pre-check counts with the dearest; `()` or
    "default": only the standard one. By default it is "priority" at OpenAI and Azure, whose projects and deployments
    can be set to it, of the models that have it. `price_list` is where all other prices come from: "installed" (the
    default), "updated", "updating", or the path of a list in JSON, LiteLLM's map among them; `path` may be that of one,
    too (docs/prices.md). Raises `ConfigError` for anything it cannot use.
    """

    def __init__(
        self,
        *,
        overrides: Mapping[str, object] | None = None,
        path: Path | str | None = None,
        discounts: Mapping[str, object] | None = None,
        deployments: Mapping[str, object] | None = None,
        tiers: Mapping[str, object] | None = None,
        auto_tier: str | Iterable[str] | None = None,
        price_list: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        from_file = read_file(path) if path is not None else Declarations()
        self._stated_list = from_file.price_list or price_list
        if price_list is not None:
            check_list(price_list, "price_list")
        given = read_table({"models": overrides or {}, "deployments": deployments or {}}, "prices")
        self._entries = ordered([*given.entries, *from_file.entries])
        self.discounts = {**from_file.discounts, **read_discounts(discounts or {}, "discounts")}
        self._tiers = Tiers((read_tiers(tiers or {}, "tiers"), from_file.tiers), shipped().tiers)
        self._auto = None if auto_tier is None else self._named(auto_tier)
        self._met: dict[tuple[str | None, str], frozenset[str | None]] = {}
        self._clock = clock
        self._source: Callable[[], DataSnapshot | None] = lambda: None  # before it is needed
        self._cache = _Cards(None)

    @classmethod
    def load(cls, path: Path | str) -> PriceBook:
        """The prices of a TOML price file; raises `ConfigError` for the first thing in it that cannot be used."""
        return cls(path=path)

    def add(
        self,
        model: str,
        *,
        provider: str | None = None,
        free: bool = False,
        alias_of: str | None = None,
        max_output: int | None = None,
        context: int | None = None,
        **prices: object,
    ) -> None:
        """
        Declare a model (a name or a pattern), as a `[models]` entry does; the latest declaration counts.

        Prices are named as in a price file: `input=0.15, output="0.60", cache_read=...` in dollars per million
        tokens, `web_searches=0.01` in dollars each. Raises `ConfigError` and changes nothing for one it cannot use.
        """
        limits = {"provider": provider, "alias_of": alias_of, "max_output": max_output, "context": context}
        stated = {key: value for key, value in (limits | prices).items() if value is not None}
        entry = read_entry(model, {"free": free, **stated}, f"add({model!r})")
        others = [old for old in self._entries if (old.name, old.provider) != (entry.name, entry.provider)]
        check_aliases([entry, *others], f"add({model!r})")
        self._entries = ordered([entry, *others])
        self._cache = _Cards(self._cache.snapshot)

    def provider(self, host: str, path: str = "") -> str | None:
        """
        The id of the provider whose API is at a host; `None` for one that is not known, or this machine's.

        OpenAI's regional hosts are "openai/eu" and the like: their prices have a surcharge.
        """
        cards = self._cache
        if cards.snapshot is not self._source():
            cards = self._cards()
        key = (host, path)
        try:
            return cards.hosts[key]
        except KeyError:
            pass
        name = host.lower()
        found = None if is_loopback(name) else region_of(name) or provider_at(self._list(), name, path)
        _keep(self._cards().hosts, key, found)
        return found

    def declares(self, provider: str | None, model: str) -> bool:
        """
        Whether a price of one's own stands for a model asked for by this name.

        It then counts whatever name the answer has: servers answer with dated names, file names, or OpenAI's.
        """
        if not self._entries:
            return False
        host = (provider or "").lower().partition("/")[0] or None
        _name, own = declared(self._entries, host, model.strip().lower())
        return own is not None and own.complete

    def meet(self, provider: str | None, model: str, tier: str) -> None:
        """
        Note that a call which named no tier was answered in this one: the next ones are held at its price, too.

        That is how projects are known that are set to a tier where nothing says that they can be.
        """
        name = tier_name(tier)
        if name is None or self._auto is not None:
            return
        key = (provider, model)
        met = self._met.get(key, frozenset())
        if name not in met and len(met) < _MOST_MET and len(self._met) < _MANY:
            self._met[key] = met | {name}
            self._cache = _Cards(self._cache.snapshot)

    def assumes(self, provider: str | None, asked: str, answered: str | None, tier: str) -> bool:
        """Whether the price of an answer in this tier is one that was assumed, as nothing is known of the tier."""
        if tier_name(tier) is None:
            return False
        try:
            return self.settlement(provider, asked, answered, tier, int(self._clock() * 1000)).assumed
        except UnpricedModelError:
            return False

    def quote(self, provider: str | None, model: str, tier: str | None = None, *, sure: bool = False) -> Quote:
        """
        The worst case, for the check before a call: the dearest hour of the day, plain input at the price of a
        cache write, the dearest tier that the call may be answered in; the one asked for, if that is `sure`.

        Raises `UnpricedModelError`.
        """
        cards = self._cache
        if cards.snapshot is not self._source():
            cards = self._cards()
        key = (provider, model, tier, sure)
        now_ms = self._clock() * 1000
        quote = cards.quotes.get(key)
        if quote is None or now_ms >= quote.until_ms:
            quote = self._quote(provider, model, tier, int(now_ms), sure=sure)
            _keep(self._cards().quotes, key, quote)
        return quote

    def dearest(self, provider: str | None, tier: str | None = None) -> tuple[Quote, Tariff]:
        """
        What a model without a price may be taken to cost, before and after a call: of each kind the dearest that its
        provider lists now, or anybody does where the provider is not known; in a service tier no less than standard.
        """
        snapshot, now_ms = self._list(), int(self._clock() * 1000)
        known = self._cards().dearest
        found = known.get((provider, tier))
        if found is None or now_ms >= found[0].until_ms:
            place, _, region = (provider or "").lower().partition("/")
            factor = max(self._tiers.of(tier_name(tier), place).factor, Fraction(1)) * shipped().surcharge(
                place, region
            )
            prices = in_tier(pricelist.dearest(snapshot, place or None, now_ms), factor)
            name, until_ms = f"the dearest of {place or 'all'}", now_ms + _KEEP_MS
            quote = Quote(prices, provider=place, model=name, until_ms=until_ms)
            found = quote, Tariff(prices, provider=place, model=name)
            _keep(known, (provider, tier), found)
        return found

    def sells(self, provider: str, model: str) -> str | None:
        """A model's name on this provider's list, or in an entry for it alone; `None`: it does not sell that."""
        name, place = model.strip().lower(), provider.lower().partition("/")[0]
        own = [each for each in self._entries if each.provider == place]
        with suppress(UnpricedModelError):
            return find(provider, name, own, {}, self._list).name
        return None

    def names(self, provider: str) -> Iterator[str]:
        """The names of the models that this provider sells, each once or more often."""
        place = provider.lower().partition("/")[0]
        yield from (each.name for each in self._entries if each.exact and each.provider == place)
        yield from pricelist.names(self._list(), place)

    def edition(self) -> object:
        """The state of all prices: another object as soon as any of them may be another one. See `holds`."""
        return self._cards()

    def holds(self, edition: object, until_ms: int) -> bool:
        """Whether what was quoted from an edition until a time is what would be quoted now."""
        cards = self._cache
        return cards is edition and cards.snapshot is self._source() and self._clock() * 1000 < until_ms

    def tariff(self, provider: str | None, model: str, tier: str | None, at_ms: int) -> Tariff:
        """
        The price at a time, in the service tier that the answer names.

        Raises `UnpricedModelError`.
        """
        return self.settlement(provider, model, None, tier, at_ms)

    def settlement(
        self, provider: str | None, asked: str, answered: str | None, tier: str | None, at_ms: int
    ) -> Tariff:
        """
        The price of an answer at a time: of the model that answered, if it names one that has a price, else of the
        one asked for. A price of one's own for that holds whatever name the server answers with.

        Raises `UnpricedModelError`.
        """
        cards = self._cache
        if cards.snapshot is not self._source():
            cards = self._cards()
        key = (provider, asked, answered, tier)
        card = cards.tariffs.get(key)
        if card is None or not card[0] <= at_ms < card[1]:
            card = self._settlement(provider, asked, answered, tier, at_ms)
            _keep(self._cards().tariffs, key, card)
        return card[2]

    def _settlement(
        self, provider: str | None, asked: str, answered: str | None, tier: str | None, at_ms: int
    ) -> tuple[int, int, Tariff]:
        if answered is None or answered == asked or self.declares(provider, asked):
            return self._tariff(provider, asked, tier, at_ms)
        first, second = (asked, answered) if is_profile(asked, answered) else (answered, asked)
        try:
            return self._tariff(provider, first, tier, at_ms)
        except UnpricedModelError:  # a dated or deployed name that the list does not have
            return self._tariff(provider, second, tier, at_ms)  # whose family was priced before the call

    def _cards(self) -> _Cards:
        """The compiled cards; new ones when the list has changed (it can be updated in a running program)."""
        cards, snapshot = self._cache, self._source()
        if cards.snapshot is not snapshot:
            cards = self._cache = _Cards(snapshot)
        return cards

    def _list(self) -> DataSnapshot:
        """The price list; imported now, if this is the first time that it is needed."""
        snapshot = self._source()
        if snapshot is not None:
            return snapshot
        source = open_list(self._stated_list)
        known = pricelist.providers(source()) | {entry.provider for entry in self._entries}
        for name in self.discounts:
            if name not in known:
                names = ", ".join(sorted(filter(None, known)))
                raise ConfigError(f"discounts: {name!r} is no provider that has prices; there are {names}")
        self._source = source
        return source()

    def _quote(self, provider: str | None, model: str, tier: str | None, now_ms: int, *, sure: bool) -> Quote:
        found = self._find(provider, model)
        tiers = {tier_name(tier)} if sure else {None, tier_name(tier)}
        met = self._met.get((provider, model), frozenset())
        if leaves_open(tier) and not sure:
            tiers |= self._open_tiers(found, now_ms) if self._auto is None else self._auto
            tiers |= met
        moments, until_ms = [now_ms], now_ms + _KEEP_MS
        if found.listed is not None:
            moments = pricelist.moments(found.listed, now_ms, _AHEAD_MS)
            until_ms = min(until_ms, pricelist.next_change(found.listed, now_ms) or until_ms)
        prices = worst([self._prices(found, at_ms, each)[0] for at_ms in moments for each in tiers])
        return Quote(
            prices,
            provider=found.provider,
            model=found.name,
            free=found.free,
            least=found.least,
            max_output=found.max_output,
            context=found.context,
            until_ms=until_ms,
            open=not met and len(tiers) > 1 and leaves_open(tier),
        )

    def _tariff(self, provider: str | None, model: str, tier: str | None, at_ms: int) -> tuple[int, int, Tariff]:
        found = self._find(provider, model)
        since, until = (at_ms, at_ms + _KEEP_MS)
        if found.listed is not None:
            since, until = pricelist.validity(found.listed, at_ms)
        prices, assumed = self._prices(found, at_ms, tier_name(tier))
        tariff = Tariff(
            prices,
            provider=found.provider,
            model=found.name,
            free=found.free,
            least=found.least,
            assumed=assumed,
        )
        return since, until, tariff

    def _prices(self, found: FoundPrice, at_ms: int, tier: str | None) -> tuple[Prices, bool]:
        """What a model costs at a time, in a tier; and whether the tier's price is assumed."""
        own = found.own.prices if found.own is not None else {}
        more = found.shipped.prices if found.shipped is not None else {}
        multiple = self._tiers.of(tier, found.host or found.provider)
        if found.own is not None and found.own.complete:
            fees = shipped().beside(found.host, found.provider, None, own)
            stated = found.own.tiers.get(tier or "")
            own = multiple.applied(own) if stated is None else {**own, **stated}
            return {**fees, **own}, multiple.assumed and stated is None
        if found.listed is None:
            standard, special = more, None
        else:
            standard = pricelist.prices(found.listed, at_ms)
            special = pricelist.tier_prices(found.listed, at_ms, tier) if tier is not None else None
            if special is not None and found.listed.borrowed:  # it is another provider's tier
                special = None if multiple.declared else worst([standard, special])
        prices = multiple.applied(standard) if special is None else special
        lacking = shipped().beside(found.host, found.provider, found.shipped, prices)
        beside = multiple.applied(lacking)
        whole = in_tier({**prices, **beside}, found.surcharge)
        return {**scaled(whole, found.factor), **own}, multiple.assumed and special is None

    def _named(self, auto_tier: str | Iterable[str]) -> frozenset[str | None]:
        """The tiers that `auto_tier` names."""
        named = [auto_tier] if isinstance(auto_tier, str) else list(auto_tier)
        for tier in named:
            if not isinstance(tier, str) or tier_name(tier) not in {None, *self._tiers.names}:
                known = ", ".join(["default", *self._tiers.names])
                raise ConfigError(f"auto_tier={tier!r} is no known service tier: there are {known}")
        return frozenset(tier_name(tier) for tier in named)

    def _open_tiers(self, found: FoundPrice, at_ms: int) -> frozenset[str | None]:
        """The tiers that a project can be set to, of a model that has them."""
        if found.host not in PROJECT_HOSTS or found.listed is None:
            return frozenset()
        has = pricelist.tier_prices(found.listed, at_ms, PROJECT_TIER) is not None
        return frozenset({PROJECT_TIER}) if has else frozenset()

    def _find(self, provider: str | None, model: str) -> FoundPrice:
        return find(provider, model, self._entries, self.discounts, self._list)


def _keep(cards: dict[_K, _V], key: _K, card: _V) -> None:
    if len(cards) >= _MANY:
        cards.clear()
    cards[key] = card
