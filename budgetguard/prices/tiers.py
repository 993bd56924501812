"""
Service tiers: what their names mean, and what they cost where the price list has no price for them.

A tier is a multiple of the standard price of a model's tokens. It is declared in code, in a price file, or shipped
(`data/prices.toml`), and counts in this order; in each, what is said of a provider goes before what is said of all.
`"*"` stands for every tier that has no name there. One that nobody declared is not taken to be cheaper than standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from .tariffs import Prices, scaled

Multiples: TypeAlias = Mapping[tuple[str, str], Fraction]
"""Multiples of the standard price, by provider ("": any) and tier ("*": any other)."""

ANY = ""
OTHERS = "*"

PROJECT_TIER = "priority"
"""The tier that a project at OpenAI, or a deployment at Azure, can be set to for requests that name none."""

PROJECT_HOSTS = frozenset({"openai", "azure"})

_WHOLE_CACHES = frozenset({("google", "batch")})
"""
Where a cheaper tier leaves the price of a cache as it is: what Google's pages say of a cached prompt in a batch can be
read either way, and the dearer reading is taken.
"""

_OPEN = frozenset({"", "auto", "unspecified"})
"""Names by which a request leaves the tier to the provider."""

_STANDARD = _OPEN | {"default", "standard", "on_demand", "standard_only"}


@lru_cache(maxsize=256)
def tier_name(tier: str | None) -> str | None:
    """The tier by its plain name, however an API spells it; `None`: the standard one."""
    name = _plain(tier)
    return None if name in _STANDARD else name


@lru_cache(maxsize=256)
def leaves_open(tier: str | None) -> bool:
    """Whether a request that says this of its tier may be answered in the one that the project is set to."""
    return _plain(tier) in _OPEN


def _plain(tier: str | None) -> str:
    # Google's are SERVICE_TIER_FLEX, and ON_DEMAND_FLEX for the traffic of Vertex.
    name = (tier or "").strip().lower().replace("-", "_")
    for prefix in ("service_tier_", "traffic_type_", "on_demand_"):
        name = name.removeprefix(prefix)
    return name


class Multiple(NamedTuple):
    """What a tier multiplies prices by."""

    factor: Fraction
    declared: bool
    """Whether the user said so: it then counts before a price that one provider borrows from another."""
    assumed: bool
    """Whether nobody said anything of a tier of this name."""
    whole_caches: bool = False
    """Whether what is read from a cache costs the same in it."""

    def applied(self, standard: Prices) -> Prices:
        """Standard prices as they are in the tier."""
        return in_tier(standard, self.factor, whole_caches=self.whole_caches)


class Tiers:
    """All that is said of tiers."""

    __slots__ = ("_declared", "_shipped")

    def __init__(self, declared: Iterator[Multiples] | tuple[Multiples, ...], shipped: Multiples) -> None:
        self._declared = tuple(declared)
        self._shipped = shipped

    @property
    def names(self) -> list[str]:
        """Every tier that something is said of."""
        return sorted({name for said in (*self._declared, self._shipped) for _, name in said if name != OTHERS})

    def of(self, tier: str | None, provider: str) -> Multiple:
        """The multiple of a tier (by its plain name) at a provider."""
        if tier is None:
            return Multiple(Fraction(1), declared=False, assumed=False)
        for said in self._declared:
            for key in ((provider, tier), (ANY, tier), (provider, OTHERS), (ANY, OTHERS)):
                if key in said:
                    return Multiple(said[key], declared=True, assumed=False)
        for key in ((provider, tier), (ANY, tier)):
            if key in self._shipped:
                whole = (provider, tier) in _WHOLE_CACHES
                return Multiple(self._shipped[key], declared=False, assumed=False, whole_caches=whole)
        return Multiple(self._shipped[ANY, OTHERS], declared=False, assumed=True)


def in_tier(standard: Prices, factor: Fraction, *, whole_caches: bool = False) -> Prices:
    """
    Standard prices times a tier's multiple: those of tokens; fees for tools stay the same, and with `whole_caches` what
    is read from a cache.
    """
    kept = ("_read_tokens",) if whole_caches else ()
    tokens = {kind: steps for kind, steps in standard.items() if kind.endswith("_tokens") and not kind.endswith(kept)}
    return {**standard, **scaled(tokens, factor)}
