"""
Prices that nobody can mean: a thousandth or a thousand times of what such a price is.

The mistake is always the same, dollars per token or per thousand where dollars per million are asked for, and it makes
a budget mean a thousand times what it says. So only what is far beyond every price ever listed counts as odd. Source:
all 2,330 models of genai-prices 0.2.3: a million tokens cost from $0.0011 to $600; output 0.06 to 150 times the input;
input 2 to 120 times what is read from a cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction

from ..kinds import declared_key
from ..tariffs import MILLION, PICO, Prices

_LEAST, _MOST = Fraction(1, 10_000), 10_000
"""Dollars per million tokens."""

_SMALLEST, _LARGEST = -24, 12
"""Powers of ten of a price, for one of a thing or for a million."""

_FAR = 300
"""How many times dearer or cheaper than the same model somewhere else."""

_PAIRS = (
    # A price, another one of the same model, and between which multiples of that it may be.
    ("output_tokens", "input_tokens", Fraction(1, 100), 700),
    ("cache_read_tokens", "input_tokens", Fraction(1, 700), 50),
    ("cache_write_tokens", "input_tokens", Fraction(1, 100), 100),
)

_EMBEDDED = 20
"""Dollars per million tokens that are only read. The dearest known: $12, of spoken input."""

_SLIPS = (Fraction(1000), Fraction(10**6), Fraction(1, 1000), Fraction(1, 10**6))


def oddity(prices: Prices, others: Prices | None = None) -> str | None:
    """
    What is odd about prices, and what they should be, in words; `None` if nothing is.

    `others` are those of the same model on a list that is trusted.
    """
    own = _base(prices)
    found = [*_odd(own, _base(others or {}))]
    if "output_tokens" in prices and "output_tokens" not in own and own.get("input_tokens", 0) > _EMBEDDED:
        found.append(("input_tokens", own["input_tokens"], Fraction(1, 10)))  # it costs nothing to write
    for kind, price, reference in found:
        key, unit = declared_key(kind)
        meant = min((price * slip for slip in _SLIPS), key=lambda guess: max(guess / reference, reference / guess))
        return f"{key} = {_plain(price)} cannot be in {unit}: is {_plain(meant)} meant?"
    return None


def likely(price: Decimal) -> bool:
    """Whether a number can be a price at all. As a fraction, 1e-999999999 would fill the memory."""
    return price.is_finite() and price > 0 and _SMALLEST <= price.adjusted() <= _LARGEST


def costs(prices: Prices) -> bool:
    """Whether any of it costs something."""
    return any(price for steps in prices.values() for _, price in steps)


def suspicious(prices: Prices) -> bool:
    """Whether prices are so low or high that it is worth looking the model up elsewhere."""
    return any(price < Fraction(1, 20) or price > 1_000 for price in _base(prices).values())


def _odd(own: Mapping[str, Fraction], others: Mapping[str, Fraction]) -> Iterator[tuple[str, Fraction, Fraction]]:
    """Each odd kind, its price, and one that it may be compared with."""
    for kind, price in own.items():
        listed = others.get(kind)
        if listed and not listed / _FAR < price < listed * _FAR:
            yield kind, price, listed
    for kind, price in own.items():
        if not _LEAST <= price <= _MOST:
            yield kind, price, next((other for other in own.values() if _LEAST <= other <= _MOST), Fraction(1))
    for kind, whole, least, most in _PAIRS:
        part, other = own.get(kind), own.get(whole)
        if part and other and part < other * least:
            yield kind, part, other
        elif part and other and part > other * most:
            yield whole, other, part


def _base(prices: Prices) -> dict[str, Fraction]:
    """Dollars per million of every kind of tokens that costs something, for short inputs."""
    return {
        kind: steps[0][1] * MILLION / PICO for kind, steps in prices.items() if kind.endswith("_tokens") and steps[0][1]
    }


def _plain(price: Fraction) -> str:
    return f"{float(price):.12f}".rstrip("0").rstrip(".")
