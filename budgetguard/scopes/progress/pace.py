"""
How fast a loop goes, when it will end, and how far its budget reaches: arithmetic alone, by a clock that is passed in.

Rates are those of the last minute, so that a loop which was slow at first is not slow for ever; what a row costs is the
mean of all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ...money import Nano

WINDOW_S = 60.0
"""Rates are of so long."""

_APART_S = 1.0
"""How far the moments that are remembered lie apart."""


@dataclass(frozen=True, slots=True)
class LoopSums:
    """What is known of a loop at one moment."""

    done: int = 0
    total: int | None = None
    spent: Nano = 0
    left: Nano | None = None
    """Of the tightest budget; `None`: there is none in dollars, or nothing is known of it yet."""


@dataclass(frozen=True, slots=True)
class LoopView:
    """All that is shown of a loop."""

    description: str
    sums: LoopSums
    elapsed_s: float = 0.0
    rows_per_s: float | None = None
    spent_per_s: float | None = None
    """In nano-dollars."""
    ended: str = ""
    """How it ended; "": it goes on."""

    @property
    def per_row(self) -> Nano | None:
        """What a row costs, on the average of those that are done."""
        return self.sums.spent // self.sums.done if self.sums.done and self.sums.spent else None

    @property
    def part(self) -> float | None:
        """How much of it is done, from 0 to 1."""
        sums = self.sums
        return min(sums.done / sums.total, 1.0) if sums.total else None

    @property
    def ends_in_s(self) -> float | None:
        """How long it will take yet, at this rate."""
        sums = self.sums
        if sums.total is None or not self.rows_per_s or self.ended:
            return None
        return max(sums.total - sums.done, 0) / self.rows_per_s

    @property
    def reaches(self) -> int | None:
        """The row that the budget reaches if rows go on to cost what they did; `None`: nobody can say."""
        sums = self.sums
        if sums.left is None or not sums.done or not sums.spent:
            return None
        return sums.done + max(sums.left, 0) * sums.done // sums.spent

    @property
    def falls_short(self) -> bool:
        """Whether the budget is over before the rows are, as far as can be told."""
        return self.reaches is not None and self.sums.total is not None and self.reaches < self.sums.total


class LoopPace:
    """Remembers what a loop had done, and when."""

    def __init__(self, description: str, clock: Callable[[], float]) -> None:
        self._description = description
        self._clock = clock
        self._began_s = clock()
        self._known: deque[tuple[float, LoopSums]] = deque([(self._began_s, LoopSums())])

    def view(self, sums: LoopSums, ended: str = "") -> LoopView:
        """What is to be shown of it now."""
        now_s = self._clock()
        since_s, before = self._before(now_s)
        passed_s = now_s - since_s
        if now_s - self._known[-1][0] >= _APART_S:
            self._known.append((now_s, sums))
        if passed_s <= 0 or sums.done <= before.done:
            return LoopView(self._description, sums, now_s - self._began_s, ended=ended)
        rows, spent = sums.done - before.done, max(sums.spent - before.spent, 0)
        elapsed_s = now_s - self._began_s
        return LoopView(self._description, sums, elapsed_s, rows / passed_s, spent / passed_s, ended)

    def again(self, sums: LoopSums) -> None:
        """The loop goes on, after it was left: the time between does not count."""
        now_s = self._clock()
        self._began_s = now_s
        self._known = deque([(now_s, sums)])

    def _before(self, now_s: float) -> tuple[float, LoopSums]:
        """The moment that rates are counted from: the last before the window; there is always one."""
        while len(self._known) > 1 and self._known[1][0] <= now_s - WINDOW_S:
            self._known.popleft()
        return self._known[0]
