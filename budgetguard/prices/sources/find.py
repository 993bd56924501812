"""
Where the price of a model comes from: what is declared for its name, else the list, with what is shipped beside it.

A date at the end of a name that the list does not have leaves the price of its family. An unknown model is an
`UnpricedModelError`, whose text has the lines to add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from ...errors import ConfigError, UnpricedModelError
from ..kinds import TOOL_KINDS
from . import list as pricelist
from . import names
from .file import PriceEntry
from .odd import oddity, suspicious
from .shipped import shipped

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

_VARIANTS = frozenset({"online", "nitro", "floor", "exacto", "thinking", "extended", "beta"})
"""OpenRouter's ways to ask for a model (openrouter.ai/docs): its price is the model's own, unless the list has it."""

FREE_PROVIDER: Final = "budgetguard:free"
"""Of whom nothing costs anything, whatever is declared or listed: a machine of one's own."""


class FoundPrice(NamedTuple):
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

    @property
    def least(self) -> Mapping[str, int]:
        """The least that is billed: Groq bills at least ten seconds of audio (genai-prices 0.2.3, types.py)."""
        if self.provider == "groq" and self.name.startswith("whisper-large-v3"):
            return {"input_audio_seconds": 10, "audio_seconds": 10}
        return {}


def find(
    provider: str | None,
    model: str,
    entries: Sequence[PriceEntry],
    discounts: Mapping[str, Fraction],
    price_list: Callable[[], DataSnapshot],
) -> FoundPrice:
    """Where the price of a model comes from; raises `UnpricedModelError` if it has none."""
    found = _find(provider, model.strip().lower(), entries, discounts, price_list)
    if found is not None:
        return found
    host = (provider or "").lower().partition("/")[0] or None
    meant, _ = declared(entries, host, model.strip().lower())
    wanted = model if meant == model.strip().lower() else meant

    def advice(place: str) -> str:
        own = [entry.name for entry in entries if entry.exact and entry.provider in {None, host}]
        return names.advice(wanted, [*own, *pricelist.names(price_list(), host)], place)

    text = names.unknown(wanted, provider) + ("" if wanted is model else f", which {model!r} is another name of")
    raise UnpricedModelError(text, model=model, provider=provider, advice=advice)


def _find(
    provider: str | None,
    asked: str,
    entries: Sequence[PriceEntry],
    discounts: Mapping[str, Fraction],
    price_list: Callable[[], DataSnapshot],
) -> FoundPrice | None:
    place, _, region = (provider or "").lower().partition("/")
    host = place or None
    name, own = declared(entries, host, asked)
    if host == FREE_PROVIDER:
        limit, room = _first((own,), "max_output"), _first((own,), "context")
        return FoundPrice("", name, host, PriceEntry(name, free=True), max_output=limit, context=room)
    more = shipped().entry(host, name)
    if own is not None and own.complete:
        _require_likely(own, host, name, price_list)
        limit, room = own.max_output or shipped().limit(host, name), own.context or shipped().room(host, name)
        return FoundPrice(own.provider or "", name, host, own, more, max_output=limit, context=room)
    listed = pricelist.find(price_list(), host, name)
    if listed is not None and pricelist.unpriced(listed):
        listed = None
    if listed is None and not any(map(_says_a_price, (own, more))):
        others = _other_names(provider, name, alias=name != asked)
        return next(filter(None, (_find(*other, entries, discounts, price_list) for other in others)), None)
    seller = listed.provider if listed is not None else host or (more.provider if more is not None else None) or ""
    id_ = listed.id if listed is not None else name
    left = discounts.get(host or seller, Fraction(1))
    return FoundPrice(
        provider=seller,
        name=id_,
        host=host,
        own=own,
        shipped=more,
        listed=listed,
        factor=left,
        surcharge=shipped().surcharge(host, region),
        max_output=_first((own, listed, more), "max_output") or shipped().limit(seller, name, id_),
        context=_first((own, more, listed), "context") or shipped().room(seller, name, id_),
    )


def _require_likely(own: PriceEntry, host: str | None, name: str, price_list: Callable[[], DataSnapshot]) -> None:
    """Raises `ConfigError` for a declared price that is a thousandth of the model's listed one, or a thousand times."""
    if own.exact and suspicious(own.prices):  # else the list is not needed for it, and not imported
        listed = pricelist.find(price_list(), host, name)
        if listed is not None and (odd := oddity(own.prices, pricelist.prices(listed, 0))):
            raise ConfigError(f"the declared price of {name!r}: {odd}")


def _says_a_price(entry: PriceEntry | None) -> bool:
    """Whether an entry says what a model costs: a fee for a tool beside it is not that."""
    return entry is not None and (entry.free or not TOOL_KINDS.issuperset(entry.prices))


def _other_names(provider: str | None, name: str, *, alias: bool) -> Iterator[tuple[str | None, str]]:
    """Whose price is that of a name which has none: its provider and name."""
    host = (provider or "").lower().partition("/")[0] or None
    if (meant := shipped().meant(host, name)) is not None:
        yield provider, meant
    base, colon, variant = name.rpartition(":")
    if colon and variant in _VARIANTS:
        yield provider, base
    if (dateless := names.family(name)) is not None:
        yield provider, dateless
    if alias and provider is not None and "/" in name:  # it names the provider whose model is meant
        yield None, name


def declared(entries: Sequence[PriceEntry], host: str | None, name: str) -> tuple[str, PriceEntry | None]:
    """The name behind all aliases, and what is declared for it."""
    seen = {name}
    while True:
        entry = next((entry for entry in entries if entry.matches(host, name)), None)
        if entry is None or entry.alias_of is None:
            return name, entry
        name = entry.alias_of.lower()
        if name in seen:  # a pattern matches the name that it is an alias of: that name is meant
            return name, None
        seen.add(name)


def _first(entries: Iterable[PriceEntry | pricelist.Listed | None], name: str) -> int | None:
    """The first limit that one of them states."""
    return next((value for entry in entries if entry is not None and (value := getattr(entry, name))), None)
