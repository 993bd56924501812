"""
Who reads and draws while a loop runs: a thread for each of the two, while there is a loop that needs it.

Reading may wait for a store, so it never keeps the drawing, nor the loop. A face that cannot be drawn any more, as its
terminal is gone, is given up, which is said in the log once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ...concurrency.errands import Errands
from ...concurrency.locks import mutex
from .pace import LoopView
from .purse import Purse

log = logging.getLogger("budgetguard")

READ_S = 1.0
"""How often the budgets of stores are read."""


class Face(Protocol):
    """How one loop looks somewhere. Its methods are called one at a time."""

    every_s: float
    """How often it is drawn."""

    def draw(self, view: LoopView) -> None:
        """Show how it is now."""
        ...

    def end(self, view: LoopView) -> None:
        """Show how it ended, and leave things as they were before."""
        ...


class Sitting:
    """A face, what it shows, and when it is to be drawn again."""

    def __init__(self, face: Face, view: Callable[[str], LoopView]) -> None:
        self.due_s = time.monotonic()
        self._face: Face | None = face
        self._view: Callable[[str], LoopView] | None = view
        self._lock = mutex("progress face")

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._face is None

    def draw(self) -> None:
        """Draw it, if it has not ended."""
        with self._lock:
            if self._face is not None:
                self.due_s = time.monotonic() + self._face.every_s
                self._try(self._face.draw, "")

    def end(self, how: str) -> None:
        """Draw it for the last time."""
        with self._lock:
            if self._face is not None:
                self._try(self._face.end, how)
                self._face = self._view = None  # the loop, and so its rows, are nobody's now

    def _try(self, show: Callable[[LoopView], None], how: str) -> None:
        assert self._view is not None
        try:
            show(self._view(how))
        except Exception as error:
            self._face = None
            log.warning("progress is shown no longer: %s: %s", type(error).__name__, error)


class Drawing:
    """Draws what is open."""

    def __init__(self) -> None:
        self._open: Sequence[Sitting] = ()
        self._errands = Errands("progress", self)

    def begin(self, sitting: Sitting) -> None:
        """Draw this from now on."""
        self._errands.put(sitting)

    def end(self, sitting: Sitting, how: str) -> None:
        """Draw it for the last time, here and now."""
        sitting.end(how)

    def work(self, sitting: Sitting) -> None:
        """Take it in, unless it has ended by now."""
        self._open = tuple(each for each in (*self._open, sitting) if not each.over)

    def rest(self, final: bool) -> float | None:
        """Draw what is due."""
        if final:
            return None
        self._open = tuple(each for each in self._open if not each.over)
        for sitting in self._open:
            if sitting.due_s <= time.monotonic():
                sitting.draw()
        return min((max(each.due_s - time.monotonic(), 0.0) for each in self._open), default=None)

    def renew(self) -> None:
        """In a forked child: it is the parent's terminal."""
        self._open = ()


class Reader:
    """Reads what is left to the loops that are open."""

    def __init__(self) -> None:
        self._open: Sequence[Purse] = ()
        self._due_s = 0.0
        self._errands = Errands("progress balances", self)

    def begin(self, purse: Purse) -> threading.Event:
        """Read for this one from now on; set once that was done."""
        done = threading.Event()
        self._errands.put((purse, done))
        return done

    def end(self, purse: Purse) -> None:
        """No more for this one."""
        purse.over = True

    def work(self, opened: Any) -> None:
        """Take it in, and read at once."""
        purse, done = opened
        if not purse.over:
            self._open = (*self._open, purse)
            purse.read()
        done.set()

    def rest(self, final: bool) -> float | None:
        """Read what is due."""
        self._open = tuple(each for each in self._open if not each.over)
        if final or not self._open:
            return None
        if self._due_s <= time.monotonic():
            self._due_s = time.monotonic() + READ_S
            for purse in self._open:
                purse.read()
        return max(self._due_s - time.monotonic(), 0.0)

    def renew(self) -> None:
        """In a forked child: its parent's loops go on there."""
        self._open = ()


DRAWING, READER = Drawing(), Reader()
"""One of each for the process."""
