"""
Prices, limits and other names that are shipped, since the price list does not have them: three files in `data/`.

Each is read once, and names the source and the date of what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..kinds import words
from ..tariffs import Prices, PriceSteps
from ..tiers import Multiples
from .file import (
    PriceEntry,
    ordered,
    read_entry,
    read_multiples,
    read_prices,
    read_tiers,
)

_MAIN = "openai"
_LENDERS: Mapping[str | None, str] = {None: _MAIN, "azure": _MAIN}
"""Whose shipped prices count where a host is unknown, or sells another's models."""


class Shipped(NamedTuple):
    """What `data/prices.toml`, `data/limits.toml` and `data/aliases.toml` say."""

    entries: tuple[PriceEntry, ...]
    tiers: Multiples
    """Multiples of the standard price, for service tiers."""
    regions: Mapping[str, Fraction]
    """Multiples of the price, by "provider/region"."""
    fees: Mapping[str, Prices]
    """Prices for the use of tools, by provider."""
    longer: Mapping[str, Mapping[str, Fraction]]
    """By provider, prices of writes to a longer cache as multiples of the price of a plain write."""
    limits: Mapping[str, Mapping[str, int]]
    """The most output tokens, by provider and model."""
    rooms: Mapping[str, Mapping[str, int]]
    """The most input tokens, by provider and model."""
    aliases: Mapping[str, Mapping[str, str]]
    """Other names of models, by provider."""

    def entry(self, host: str | None, name: str) -> PriceEntry | None:
        """What is shipped for a model."""
        for provider in dict.fromkeys((host, _LENDERS.get(host, host))):
            for entry in self.entries:
                if entry.matches(provider, name):
                    return entry
        return None

    def surcharge(self, provider: str | None, region: str) -> Fraction:
        """What processing in a region multiplies prices by: the dearest known of the provider, if it is not listed."""
        known = {name: factor for name, factor in self.regions.items() if name.startswith(f"{provider}/")}
        return known.get(f"{provider}/{region}", max(known.values(), default=Fraction(1))) if region else Fraction(1)

    def limit(self, provider: str | None, *names: str) -> int | None:
        """
        The most output tokens of one answer, by the first name that is known; `None` if none is.

        A name may have its provider before it ("openai/gpt-4o"); a fine-tuned model has the limit of its base.
        """
        return _limit(self.limits, provider, names)

    def room(self, provider: str | None, *names: str) -> int | None:
        """The most input tokens, in the same way."""
        return _limit(self.rooms, provider, names)

    def meant(self, host: str | None, name: str) -> str | None:
        """The model that a name is another one of; `None` if none is known."""
        return self.aliases.get(_LENDERS.get(host) or host or _MAIN, {}).get(name)

    def beside(self, host: str | None, seller: str, entry: PriceEntry | None, listed: Prices) -> dict[str, PriceSteps]:
        """What is shipped beside a model's prices on the list: those it lacks, and fees of the model itself."""
        own = entry.prices if entry is not None else {}
        beside = {**self.fees.get(host or seller, self.fees.get(seller, {})), **own}
        write = listed.get("cache_write_tokens", ())
        for kind, multiple in self.longer.get(seller, {}).items() if write else ():
            beside[kind] = tuple((start, price * multiple) for start, price in write)
        fees = {kind for kind in own if "tokens" not in words(kind)}
        return {kind: steps for kind, steps in beside.items() if kind not in listed or kind in fees}


def _limit(limits: Mapping[str, Mapping[str, int]], provider: str | None, names: tuple[str, ...]) -> int | None:
    place = _LENDERS.get(provider, provider) or ""
    for name in names:
        base = name.split(":")[1] if name.startswith("ft:") else name
        prefix, slash, rest = base.partition("/")
        limit = limits.get(place, {}).get(base) or (limits.get(prefix, {}).get(rest) if slash else None)
        if limit is not None:
            return limit
    return None


@cache
def shipped() -> Shipped:
    """What is shipped, read at the first use."""
    where = "data/prices.toml"
    table, limits = _read("prices.toml"), _read("limits.toml")
    return Shipped(
        entries=ordered([read_entry(name, value, f"{where}: {name}") for name, value in table["models"].items()]),
        tiers=read_tiers(table["tiers"], f"{where}: [tiers]"),
        regions=read_multiples(table["regions"], f"{where}: [regions]"),
        fees={name: read_prices(value, f"{where}: [fees.{name}]") for name, value in table["fees"].items()},
        longer={
            name: {f"{key}_tokens": multiple for key, multiple in read_multiples(value, f"{where}: [longer]").items()}
            for name, value in table["longer"].items()
        },
        limits=limits["output"],
        rooms=limits["context"],
        aliases=_read("aliases.toml"),
    )


def _read(name: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((Path(__file__).parent.parent / "data" / name).read_text(encoding="utf-8"))
