"""One loop while it runs: its scope, its money, its pace, its face; the same for `for` and `async for`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import BudgetExceededError, ConfigError
from ...guards.scope import current
from ...money import Nano
from ...sdks.hooks import Patches
from ..context import budget
from .desk import DRAWING, READER, Sitting
from .faces.choice import ProgressKind, face_of
from .pace import LoopPace, LoopSums, LoopView
from .purse import Purse

WAIT_S = 1.0
"""How long a loop with `stop_at` waits, before its first row, to know what is left in a store."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    description: str = ""
    total: int | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of its own `budget(...)`."""
    stop_at: float | None = None
    progress: ProgressKind = "auto"
    lines_s: float = 30.0
    bar: Any = None
    """The rows, if they are a bar by themselves."""


class Loop:
    """A loop; entered when its first row is asked for, and left with it."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self.done = 0
        self.stopped = self.whole = False
        """How it ended: by `stop_at`, or with all rows done."""
        self.total = options.total
        self._clock = clock
        self._before: Nano = 0
        self._purse: Purse | None = None
        self._run: _Run | None = None
        self._pace: LoopPace | None = None
        self._budget = budget(**options.scope, reraise=False)

    def __enter__(self) -> None:
        if self._run is not None:
            raise ConfigError("track(...): this one is being iterated already: make one for each loop")
        self._before, self.stopped, self.whole = self.spent, False, False
        own = self._enter_scope()
        try:
            scope = current.get()
            purse = self._purse = Purse(scope, None if own is None or scope is None else scope.tallies[-1])
            options = self.options
            face = face_of(options.progress, options.description, self.total, options.bar, options.lines_s)
            self._pace = self._paced()
            purse.begin()
        except BaseException:
            if own is not None:
                own.__exit__(None, None, None)
            raise
        needed = face is not None or self.options.stop_at is not None
        known = READER.begin(purse) if needed else None
        sitting = None if face is None else Sitting(face, self._view)
        self._run = _Run(own, sitting, known)
        if sitting is not None:
            DRAWING.begin(sitting)

    def __exit__(self, *error: object) -> None:
        run, purse, self._run = self._run, self._purse, None
        if run is None or purse is None:
            return
        try:
            READER.end(purse)
            purse.end()
            if run.budget is not None:
                run.budget.__exit__(None, None, None)
        finally:
            if run.sitting is not None:
                DRAWING.end(run.sitting, self._ended())

    def _enter_scope(self) -> budget | None:
        """
        The loop's own scope, where it says something, is inside of another, or is all that guards the calls in it.

        Else there is none: whoever uses no scopes is not to be told that a call is outside of them.
        """
        said = any(self.options.scope.values())
        if said or current.get() is not None or not Patches.everywhere:
            return self._budget.__enter__()
        return None

    def _paced(self) -> LoopPace:
        pace = self._pace
        if pace is None:
            return LoopPace(self.options.description, self._clock)
        pace.again(self._sums())
        return pace

    # -- asked on the way ----------------------------------------------------------------------------------------

    def stops(self) -> bool:
        """Whether it is to end before the next row."""
        part, purse = self.options.stop_at, self._purse
        if part is None or purse is None or self.done == self.total:
            return False
        self.stopped = purse.stops(part, self.spent // self.done if self.done else 0)
        return self.stopped

    def wait_for_balances(self) -> None:
        """Wait a moment, if it may have to stop, to know what is left."""
        if self.options.stop_at is not None and self._run is not None and self._run.known is not None:
            self._run.known.wait(WAIT_S)

    @property
    def knows_balances(self) -> bool:
        """Whether it is known what is left."""
        return self._run is None or self._run.known is None or self._run.known.is_set()

    @property
    def spent(self) -> Nano:
        """By all of its rows so far."""
        return self._before + (0 if self._purse is None else self._purse.spent)

    @property
    def refusal(self) -> BudgetExceededError | None:
        """The last that it met with."""
        return None if self._purse is None else self._purse.refusal

    def left(self) -> Nano | None:
        """What is left now; reads the store."""
        purse = self._purse
        if purse is None:
            remaining = self._budget.remaining
            return None if remaining is None else remaining.nano
        purse.read()
        return purse.left

    def _sums(self) -> LoopSums:
        return LoopSums(self.done, self.total, self.spent, None if self._purse is None else self._purse.left)

    def _view(self, ended: str) -> LoopView:
        assert self._pace is not None
        return self._pace.view(self._sums(), ended)

    def _ended(self) -> str:
        """How it ended, in words."""
        if self.whole:
            return "done"
        if self.stopped:
            rest = "" if self.total is None else f", {self.total - self.done:,} rows are left"
            return f"stopped at {self.options.stop_at:.0%} of the budget{rest}"
        if self.refusal is not None:
            return f"refused at row {self.done + 1:,}: {self.refusal}"
        return f"left at row {self.done + 1:,}"


@dataclass(frozen=True, slots=True)
class _Run:
    """What there is only while it runs."""

    budget: budget | None
    sitting: Sitting | None
    known: Any
    """Set once the store was read; `None`: nobody reads it."""
