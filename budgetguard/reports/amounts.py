"""
How amounts and counts look to people: cents where money is read, more digits where a single call's cost is.

Nothing here adds anything up: what is exact is in the JSON of the same view.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from ..ledger import Unit, show_amount
from ..money import DOLLAR, Nano

_CENT = DOLLAR // 100
_NOTHING = "–"
_PLACES = 5
_LARGE = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def cents(amount: Nano | None) -> str:
    """Dollars to the cent: "$1,234.56"; "< $0.01" for less than one that is not nothing; "–" where none is known."""
    if amount is None:
        return _NOTHING
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if 0 < size < _CENT:
        return f"> -{_in_cents(_CENT)}" if sign else f"< {_in_cents(_CENT)}"
    return sign + _in_cents(size)


def whole_cents(value: int) -> str:
    """A number of cents, of a sum that adds up in them: "$1,234.56", "$0.00"."""
    return f"{'-' if value < 0 else ''}${abs(value) // 100:,}.{abs(value) % 100:02d}"


def precise(amount: Nano | None) -> str:
    """What one call cost, with the digits that tell calls apart: "$0.00231"; to the cent from ten dollars on."""
    if amount is None or amount == 0 or abs(amount) >= 10 * DOLLAR:
        return cents(amount)
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size < DOLLAR // 10**_PLACES:
        return f"{'> -' if sign else '< '}${Decimal(1).scaleb(-_PLACES)}"
    return f"{sign}${Decimal(size) / DOLLAR:.{_PLACES}f}"


def readable(amount: Nano) -> str:
    """An amount in a line of text: to the cent from a dollar on, three digits below: "$12.50", "$0.00231", "$0.00"."""
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size == 0 or size >= DOLLAR:
        return sign + _in_cents(size)
    dollars = Decimal(size) / DOLLAR
    rounded = dollars.quantize(Decimal(1).scaleb(dollars.adjusted() - 2), ROUND_HALF_EVEN)
    whole, _, fraction = f"{rounded:f}".partition(".")
    return f"{sign}${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def readable_in(amount: int | None, unit: Unit) -> str:
    """The same of an amount in any unit, which is said: "$12.50", "1,204 tokens"; "-" where there is none."""
    if amount is None:
        return "-"
    return readable(amount) if unit == "dollars" else show_amount(amount, unit)


def figure(value: int | None, unit: str = "dollars") -> str:
    """An amount in a column whose unit is said elsewhere in its row: "$1.20", "1,204"."""
    return cents(value) if unit == "dollars" else count(value)


def amount(value: int | None, unit: str = "dollars") -> str:
    """An amount in its unit: "$1.20", "1,204 tokens", "3 requests", "2 in parallel"."""
    if value is None:
        return _NOTHING
    if unit == "dollars":
        return cents(value)
    if unit == "parallel":
        return f"{value:,} in parallel"
    return f"{value:,} {unit[:-1] if value == 1 else unit}"


def count(value: int | None) -> str:
    """A whole number with its thousands set apart."""
    return _NOTHING if value is None else f"{value:,}"


def counted(value: int, one: str) -> str:
    """So many of a thing: "1 call", "1,204 calls"."""
    return f"{value:,} {one}" if value == 1 else f"{value:,} {one}s"


def short(value: int, unit: str = "dollars") -> str:
    """An amount for an axis or a tile: at most five characters or so: "$1.2k", "$0.25", "340k"."""
    sign, size = ("-", -value) if value < 0 else ("", value)
    mark, size_in_units = ("$", Decimal(size) / DOLLAR) if unit == "dollars" else ("", Decimal(size))
    for least, letter in _LARGE:
        if size_in_units >= least:
            return f"{sign}{mark}{_trimmed(size_in_units / least, 1)}{letter}"
    if unit == "dollars" and size_in_units != size_in_units.to_integral_value():
        places = max(2, 1 - size_in_units.adjusted())
        whole, _, fraction = f"{size_in_units:.{places}f}".partition(".")
        return f"{sign}{mark}{whole}.{fraction.rstrip('0').ljust(2, '0')}"
    return f"{sign}{mark}{_trimmed(size_in_units, 1)}"


def share(part: float | None) -> str:
    """A part of a whole, from 0 to 1, in per cent: "12 %", "< 1 %"; "–" where there is no whole."""
    if part is None:
        return _NOTHING
    if 0 < part < 0.01:
        return "< 1 %"
    if 0.99 < part < 1:
        return "> 99 %"
    return f"{part * 100:.0f} %"


def change(part: float | None) -> str:
    """By how much something grew: "+12 %", "-3 %", "×14" from tenfold on; "new" where nothing was before."""
    if part is None:
        return "new"
    if part >= 9:
        return f"×{part + 1:,.0f}"
    if abs(part) < 0.005:
        return "±0 %"
    return f"{part * 100:+.0f} %"


def _in_cents(size: Nano) -> str:
    return f"${(Decimal(size) / DOLLAR).quantize(Decimal('0.01'), ROUND_HALF_EVEN):,}"


def _trimmed(number: Decimal, places: int) -> str:
    text = f"{number:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
