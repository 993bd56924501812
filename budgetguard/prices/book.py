"""
Prices: what a call may cost at most (`PriceBook.quote`), and what it did cost (`PriceBook.tariff`).

The list is genai-prices'. Over it stand what is declared in a price file or in code, and a few prices that the list
lacks (`data/prices.toml`, each with its source). An unknown model is an `UnpricedModelError`, never $0.

A price file is TOML:

    [models."my-model"]          # a name, or a pattern: * and ? match as in file names; exact names come first
    input = 0.15                 # dollars per million tokens: a number, or text where every digit counts
    output = "0.60"
    cache_read = 0.075           # also cache_write, cache_write_1h, input_audio, output_audio, input_image, ...
    web_searches = 0.01          # everything that is not tokens or characters: dollars each
    max_output = 16384           # the most tokens of one answer
    context = 128000             # the most tokens of input
    provider = "azure"           # only there; without it, everywhere
    name = "my-model"            # where the heading is to be another, as two entries cannot have one

    [models."gemma*"]
    free = true                  # such calls pass every budget

    [deployments]                # other names of a model, such as Azure's
    "my-gpt4o-deployment" = "gpt-4o"

    [discounts]                  # negotiated: 12 % off the list at this provider
    openai = 0.12

    [tiers]                      # service tiers the list has no price for: multiples of the standard price
    turbo = 3
    "*" = 2.5                    # every tier without a line of its own

    [tiers.azure]                # what is so at one provider
    batch = 0.5

An entry that says what input or output costs replaces the list's, in every tier and at every time; one with only
other prices, fees or limits adds to it. Discounts are taken off the list, not off declared prices.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..errors import ConfigError, UnpricedModelError
from . import list as pricelist
from .file import (
    Declarations,
    PriceEntry,
    check_aliases,
    ordered,
    read_discounts,
    read_entry,
    read_file,
    read_table,
    read_tiers,
)
from .shipped import shipped
from .tariffs import Prices, Quote, Tariff, quoted, scaled, worst
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

_VARIANTS = frozenset({"online", "nitro", "floor", "exacto", "thinking", "extended", "beta"})
"""OpenRouter's ways to ask for a model (openrouter.ai/docs): its price is the model's own, unless the list has it."""

_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?|0\.0\.0\.0)(:\d+)?\Z")
_REGIONAL = re.compile(r"([a-z]{2,3})\.api\.openai\.com")


class _Found(NamedTuple):
    """Where the price of a name comes from, and what belongs to it."""

    provider: str
    """Who lists the price; "" for a declared one."""
    name: str
    """The name on the list, or the declared one behind all aliases."""
    host: str | None = None
    """The provider that is called."""
    own: PriceEntry | None = None
    """What is declared: the whole price, or something to add."""
    shipped: PriceEntry | None = None
    """What is shipped: the whole price, or what the list lacks."""
    listed: pricelist.Listed | None = None
    factor: Fraction = Fraction(1)
    """The discount."""
    surcharge: Fraction = Fraction(1)
    """That of a region, on tokens."""
    max_output: int | None = None
    context: int | None = None

    @property
    def free(self) -> bool:
        """Declared free, or on the list without a price because it is."""
        if self.own is not None and self.own.complete:
            return self.own.free
        if self.listed is None:
            return self.shipped is not None and self.shipped.free
        return pricelist.without_price(self.listed)


class _Cards:
    """What was compiled from one state of the list."""

    def __init__(self, snapshot: DataSnapshot | None) -> None:
        self.snapshot = snapshot
        self.quotes: dict[tuple[str | None, str, str | None, bool], Quote] = {}
        self.tariffs: dict[tuple[str | None, str, str | None, str | None], tuple[int, int, Tariff]] = {}
        self.hosts: dict[tuple[str, str], str | None] = {}


class PriceBook:
    """
    All prices that a program knows.

    `overrides` are the `[models]` of a price file as mappings (`{"my-model": {"input": 0.15, "output": 0.6}}`),
    `path` is a price file, `discounts`, `deployments` and `tiers` are as there. `auto_tier` names the service tiers
    that a call may be answered in when it asks for none, so that the pre-check counts with the dearest; `()` or
    "default": only the standard one. By default it is "priority" at OpenAI and Azure, whose projects and deployments
    can be set to it, of the models that have it. Raises `ConfigError` for anything it cannot use.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        from_file = read_file(path) if path is not None else Declarations()
        given = read_table({"models": overrides or {}, "deployments": deployments or {}}, "prices")
        self._entries = ordered([*given.entries, *from_file.entries])
        self._discounts = {**from_file.discounts, **read_discounts(discounts or {}, "discounts")}
        self._tiers = Tiers((read_tiers(tiers or {}, "tiers"), from_file.tiers), shipped().tiers)
        self._auto = None if auto_tier is None else self._named(auto_tier)
        self._met: dict[tuple[str | None, str], frozenset[str | None]] = {}
        self._clock = clock
        self._source: Callable[[], DataSnapshot | None] = _no_list
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
        found = self._provider(host.lower(), path)
        _keep(self._cards().hosts, key, found)
        return found

    def declares(self, provider: str | None, model: str) -> bool:
        """
        Whether a price of one's own stands for a model asked for by this name.

        It then counts whatever name the answer has: servers answer with dated names, file names, or OpenAI's.
        """
        if not self._entries:
            return False
        _name, own = self._declared((provider or "").lower().partition("/")[0] or None, model.strip().lower())
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
            self._cache.quotes.clear()

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
        first, second = (asked, answered) if _is_profile(asked, answered) else (answered, asked)
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
        source = pricelist.source()
        known = pricelist.providers(source()) | {entry.provider for entry in self._entries}
        for name in self._discounts:
            if name not in known:
                names = ", ".join(sorted(filter(None, known)))
                raise ConfigError(f"discounts: {name!r} is no provider that has prices; there are {names}")
        self._source = source
        return source()

    def _provider(self, host: str, path: str) -> str | None:
        if _LOOPBACK.match(host):
            return None
        regional = _REGIONAL.match(host)
        if regional:
            return f"openai/{regional[1]}"
        return pricelist.provider_at(self._list(), f"https://{host}{path}")

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
            least=_least(found),
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
            least=_least(found),
            assumed=assumed,
        )
        return since, until, tariff

    def _prices(self, found: _Found, at_ms: int, tier: str | None) -> tuple[Prices, bool]:
        """What a model costs at a time, in a tier; and whether the tier's price is assumed."""
        own = found.own.prices if found.own is not None else {}
        more = found.shipped.prices if found.shipped is not None else {}
        multiple = self._tiers.of(tier, found.host or found.provider)
        if found.own is not None and found.own.complete:
            fees = shipped().beside(found.host, found.provider, None, own)
            return {**fees, **in_tier(own, multiple.factor)}, multiple.assumed
        if found.listed is None:
            standard, special = more, None
        else:
            standard = pricelist.prices(found.listed, at_ms)
            special = pricelist.tier_prices(found.listed, at_ms, tier) if tier is not None else None
            if special is not None and found.listed.borrowed:  # it is another provider's tier
                special = None if multiple.declared else worst([standard, special])
        prices = in_tier(standard, multiple.factor) if special is None else special
        lacking = shipped().beside(found.host, found.provider, found.shipped, prices)
        beside = in_tier(lacking, multiple.factor)
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

    def _open_tiers(self, found: _Found, at_ms: int) -> frozenset[str | None]:
        """The tiers that a project can be set to, of a model that has them."""
        if found.host not in PROJECT_HOSTS or found.listed is None:
            return frozenset()
        has = pricelist.tier_prices(found.listed, at_ms, PROJECT_TIER) is not None
        return frozenset({PROJECT_TIER}) if has else frozenset()

    def _find(self, provider: str | None, model: str) -> _Found:
        """Where the price of a model comes from; raises `UnpricedModelError` if it has none."""
        place, _, region = (provider or "").lower().partition("/")
        host = place or None
        name, own = self._declared(host, model.strip().lower())
        more = shipped().entry(host, name)
        if own is not None and own.complete:
            limit = own.max_output or shipped().limit(host, name)
            return _Found(own.provider or "", name, host, own, more, max_output=limit, context=own.context)
        listed = pricelist.find(self._list(), host, name)
        if listed is not None and pricelist.unpriced(listed):
            listed = None
        if listed is None and not any(entry is not None and (entry.prices or entry.free) for entry in (own, more)):
            base, colon, variant = name.rpartition(":")
            if colon and variant in _VARIANTS:
                return self._find(provider, base)
            raise UnpricedModelError(_unknown_model(model, provider), model=model, provider=provider)
        seller = listed.provider if listed is not None else host or (more.provider if more is not None else None) or ""
        id_ = listed.id if listed is not None else name
        left = self._discounts.get(host or seller, Fraction(1))
        return _Found(
            provider=seller,
            name=id_,
            host=host,
            own=own,
            shipped=more,
            listed=listed,
            factor=left,
            surcharge=shipped().surcharge(host, region),
            max_output=_first((own, more), "max_output") or shipped().limit(seller, name, id_),
            context=_first((own, more), "context") or (listed.context if listed is not None else None),
        )

    def _declared(self, host: str | None, name: str) -> tuple[str, PriceEntry | None]:
        """The name behind all aliases, and what is declared for it."""
        seen = {name}
        while True:
            entry = next((entry for entry in self._entries if entry.matches(host, name)), None)
            if entry is None or entry.alias_of is None:
                return name, entry
            name = entry.alias_of.lower()
            if name in seen:  # a pattern matches the name that it is an alias of: that name is meant
                return name, None
            seen.add(name)


def _is_profile(asked: str, answered: str) -> bool:
    """
    Whether the name asked for is that of the answer's model in a place, as Bedrock's are, which may have a price of its
    own: global.anthropic.claude-opus-5-v1:0.
    """
    _place, dot, rest = asked.partition(f".{answered}")
    return bool(dot) and (not rest or rest.startswith(("-v", ":", "@")))


def in_region(provider: str | None, region: str) -> str | None:
    """A provider whose prices count, where a request is processed in a region; "": in one without a surcharge."""
    if provider is None:
        return None
    place = provider.partition("/")[0]
    return f"{place}/{region}" if region else place


def _no_list() -> None:
    """The list before it is needed."""


def _keep(cards: dict[_K, _V], key: _K, card: _V) -> None:
    if len(cards) >= _MANY:
        cards.clear()
    cards[key] = card


def _first(entries: Iterable[PriceEntry | None], name: str) -> int | None:
    """The first limit that an entry states."""
    return next((value for entry in entries if entry is not None and (value := getattr(entry, name))), None)


def _least(found: _Found) -> Mapping[str, int]:
    """The smallest amounts that are billed: Groq bills at least ten seconds of audio (genai-prices 0.2.3, types.py)."""
    if found.provider == "groq" and found.name.startswith("whisper-large-v3"):
        return {"input_audio_seconds": 10, "audio_seconds": 10}
    return {}


def _unknown_model(model: str, provider: str | None) -> str:
    if not model:
        return "the request names no model, so that its price cannot be known: state model= in the call"
    name = quoted(model)
    return (
        f"no price is known for model {model!r} at {provider or 'this host'}. Add it to the price file, in dollars per "
        f"million tokens:\n\n    [models.{name}]\n    input = 0.00\n    output = 0.00\n\nor in code: "
        f"prices.add({model!r}, input='0.00', output='0.00'). If it is another name of a model, write\n\n"
        f"    [deployments]\n    {name} = \"gpt-4o\"\n\nor prices.add({model!r}, alias_of='gpt-4o'); if it costs "
        f"nothing, free = true, or prices.add({model!r}, free=True)."
    )
