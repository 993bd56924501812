"""Where two lists of prices differ: of the names that both know, and of those that a program has used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from ...tariffs import Prices, price_at
from .. import list as pricelist

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

_LONG = 10**7
"""Input tokens above every step."""


class PriceGap(NamedTuple):
    """A price that two lists have, and not alike."""

    provider: str
    model: str
    kind: str
    long: bool
    """Whether it is that of the longest inputs."""
    first: Fraction
    """Pico-dollars for one."""
    second: Fraction


class Compared(NamedTuple):
    """What two lists have in common."""

    models: int
    """Names that both have a price for."""
    gaps: tuple[PriceGap, ...]


def compare(first: DataSnapshot, second: DataSnapshot, at_ms: int, above: Fraction) -> Compared:
    """Every price for the same thing that differs by more than a part of the lower one."""
    known, gaps = 0, []
    for provider, name in _names(first, second):
        one, two = priced(first, provider, name, at_ms), priced(second, provider, name, at_ms)
        if one is not None and two is not None:
            known += 1
            gaps += [PriceGap(provider, name, *gap) for gap in _gaps(one, two, above)]
    return Compared(known, tuple(gaps))


def priced(snapshot: DataSnapshot, provider: str | None, name: str, at_ms: int) -> Prices | None:
    """What a list says that a name costs; `None` if it does not say."""
    listed = pricelist.find(snapshot, provider, name)
    return None if listed is None or pricelist.without_price(listed) else pricelist.prices(listed, at_ms)


def known_to_one(
    used: Iterable[tuple[str | None, str]], first: DataSnapshot, second: DataSnapshot, at_ms: int
) -> Iterator[tuple[str | None, str, bool]]:
    """Of names that were used, those that only one list has a price for; whether that is the first."""
    for provider, name in used:
        place = (provider or "").partition("/")[0] or None
        one, two = (priced(each, place, name.lower(), at_ms) is not None for each in (first, second))
        if one != two:
            yield provider, name, one


def _names(first: DataSnapshot, second: DataSnapshot) -> list[tuple[str, str]]:
    """Every name that one of them lists, of sellers that both have."""
    ids = [
        {each.id: [model.id.lower() for model in each.models] for each in side.providers} for side in (first, second)
    ]
    both = ids[0].keys() & ids[1].keys()
    return sorted({(seller, name) for side in ids for seller in both for name in side[seller]})


def _gaps(one: Prices, two: Prices, above: Fraction) -> Iterator[tuple[str, bool, Fraction, Fraction]]:
    for kind in sorted(one.keys() & two.keys()):
        differing = False
        for long in (False, True):
            prices = [price_at(each[kind], _LONG if long else 0) for each in (one, two)]
            if not differing and max(prices) > min(prices) * (1 + above):
                differing = True
                yield kind, long, prices[0], prices[1]
