"""The floors of the benchmarks: every row is printed, those that miss theirs are marked and counted."""

from __future__ import annotations

MARK = "   MISSED"
MOST_STATUS = 100


class Floors:
    """Counts the rows of one benchmark that missed."""

    def __init__(self) -> None:
        self.missed = 0

    def mark(self, kept: bool) -> str:
        """What to write behind a row."""
        self.missed += not kept
        return "" if kept else MARK

    def bound(self, value: float, floor: str) -> str:
        """The same for a floor that reads "<= 2.0" or ">= 8000"; "" is none."""
        sign, _, limit = floor.partition(" ")
        return self.mark(not floor or (value <= float(limit) if sign == "<=" else value >= float(limit)))

    def leave(self) -> None:
        """End with the number of rows that missed as the exit status."""
        if self.missed:
            raise SystemExit(min(self.missed, MOST_STATUS))
