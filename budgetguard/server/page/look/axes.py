"""The scale of a chart: which amounts stand at its lines, and how high an amount is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ....money import DOLLAR
from ....reports.amounts import short

MOST_LINES = 4


@dataclass(frozen=True, slots=True)
class Gridline:
    """A line across a chart, with what is written at it."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0 at the bottom to `top`, `height` pixels above it."""

    top: int
    step: int
    height: int
    unit: str = "dollars"

    @classmethod
    def over(cls, most: int, height: int, unit: str = "dollars") -> Scale:
        """The scale with round lines (1, 2 or 5 times a power of ten) which `most` just fits under."""
        step = 1
        while not most <= step * MOST_LINES:
            step = _next_round(step)
        lines = max(1, -(-most // step))
        return cls(lines * step, step, height, unit)

    def height_of(self, value: int) -> float:
        """How many pixels an amount is high."""
        return round(value * self.height / self.top, 2)

    def y_of(self, value: int) -> float:
        """Where an amount is, from the top."""
        return round(self.height - self.height_of(value), 2)

    def lines(self) -> tuple[Gridline, ...]:
        """From the bottom up."""
        return tuple(Gridline(self.y_of(at), self._text(at)) for at in range(0, self.top + 1, self.step))

    def _text(self, at: int) -> str:
        """With as many digits as the other lines have: "$1.50" above "$1.00"."""
        if self.unit != "dollars" or self.step >= DOLLAR or not at:
            return short(at, self.unit)
        places = max(2, len(str(DOLLAR // self.step)) - (str(self.step)[0] == "1"))
        return f"${Decimal(at) / DOLLAR:,.{places}f}"


def _next_round(step: int) -> int:
    """1, 2, 5, 10, 20, 50, ..."""
    return step * 5 // 2 if str(step)[0] == "2" else step * 2
