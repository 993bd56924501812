"""
A factor between the bill and our prices: what a discount looks like.

It is looked for on the bill alone: what its tokens cost there, and what they cost at our prices. So calls that went
round, and those that are not billed, do not blur it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

from ...money import DOLLAR, Nano
from .facts import BilledCell

ENOUGH: Final[Nano] = DOLLAR // 100
"""A day with less, at our prices, says nothing: its roundings show."""
FEWEST_DAYS: Final = 3
STEADY: Final = Fraction(1, 200)
"""How far the factor of a day or a model may be from that of all."""
LEAST: Final = Fraction(1, 1000)
"""A bill of less is paid by credits, or credits themselves: that ends, and is no price."""
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class BillFactor:
    """What the bill is of our prices, on every day alike."""

    ppm: int
    """In millionths: 850,000 is 15 % off."""
    days: int
    models: tuple[str, ...]

    @property
    def discount(self) -> Decimal | None:
        """As a price file has it, to a thousandth: 0.15. `None` where the bill is dearer than our prices."""
        found = (Decimal(MILLION - self.ppm) / MILLION).quantize(Decimal("0.001"), ROUND_HALF_EVEN).normalize()
        return found if 0 < found < 1 else None

    @property
    def shown(self) -> str:
        """For people: "0.85"."""
        return f"{Decimal(self.ppm) / MILLION:.3f}".rstrip("0").rstrip(".")


def factor_of(cells: Iterable[BilledCell]) -> BillFactor | None:
    """The factor of all cells, if there is one that holds for each day and each model, and is not 1."""
    usable = [cell for cell in cells if _says(cell)]
    by_day, by_model = defaultdict[str, list[BilledCell]](list), defaultdict[str, list[BilledCell]](list)
    for cell in usable:
        by_day[cell.day].append(cell)
        by_model[cell.model].append(cell)
    days = _ratios(by_day.values())
    if len(days) < FEWEST_DAYS:
        return None
    whole = _ratio(usable)
    if whole < LEAST:
        return None
    if abs(whole - 1) <= STEADY or any(abs(each - whole) > STEADY for each in (*days, *_ratios(by_model.values()))):
        return None
    return BillFactor(round(whole * MILLION), len(days), tuple(sorted(by_model)))


def _says(cell: BilledCell) -> bool:
    """Whether a cell's tokens are all known, and at the standard tier: others have other prices."""
    bill = cell.bill
    return bool(cell.model) and not (cell.pending or bill.uncounted or bill.tiered) and bill.listed > 0


def _ratios(groups: Iterable[Sequence[BilledCell]]) -> list[Fraction]:
    """The factor of each group that has enough to say one."""
    return [_ratio(group) for group in groups if sum([cell.bill.listed for cell in group]) >= ENOUGH]


def _ratio(cells: Sequence[BilledCell]) -> Fraction:
    return Fraction(sum([cell.bill.cost for cell in cells]), sum([cell.bill.listed for cell in cells]))
