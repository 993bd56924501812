"""
The line of calls that wait for room: in order of arrival, threads and tasks alike.

A call that may wait (`wait=`) and whose room is held by others stands in line for
the account that refused it. Only the first in line asks again: when a call of this
process ends, and every `POLL_S`, for room comes from other processes, expired holds
and raised limits too. While nobody stands in line, a call looks at one empty dict.
"""

from __future__ import annotations

import os
import time
from bisect import insort
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Event

from .locks import any_held, mutex
from .reaper import REAPER

POLL_S = 0.02
"""How often the first in line asks again."""


class Turn:
    """One call's turn: since when it waits, until when, and for which account."""

    __slots__ = ("_called", "_wake", "arrival", "key", "patient", "until_s")

    def __init__(self, wait_s: float) -> None:
        self.until_s = time.monotonic() + wait_s
        self.arrival = -1
        self.key: Hashable = None
        """What it stands in line for; `None`: for nothing."""
        self.patient = True
        """Whether it waits on, or has come to its last try."""
        self._wake: Callable[[], object] | None = None
        self._called = False

    def left_s(self) -> float:
        """The seconds that it may still wait."""
        return self.until_s - time.monotonic()

    def arm(self, wake: Callable[[], object]) -> None:
        """Have `wake` called when it is time to ask again: at once, if that was said already."""
        self._wake = wake
        if self._called:
            wake()

    def disarm(self) -> None:
        """The wait is over: what is said from now on is for the next one."""
        self._wake, self._called = None, False

    def call(self) -> None:
        """Say that it is time to ask again; from any thread."""
        self._called = True
        wake = self._wake
        if wake is not None:
            with suppress(RuntimeError):  # the event loop it waited on is closed
                wake()

    def wait(self, seconds: float) -> None:
        """Block this thread until it is called, for so long at most."""
        called = Event()
        self.arm(called.set)
        try:
            called.wait(seconds)
        finally:
            self.disarm()


class Line:
    """Who waits for what in this process. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.queues: dict[Hashable, list[Turn]] = {}
        """The turns for each account, in order of arrival; empty while nobody waits."""
        self._lock = mutex("line")
        self._arrivals = count()

    def first_busy(self, keys: Iterable[Hashable]) -> Hashable:
        """The first of these accounts that somebody stands in line for; `None` if there is none."""
        return next((key for key in keys if key in self.queues), None)

    def stand(self, turn: Turn, key: Hashable) -> bool:
        """Stand in line for an account, with the rank of one's arrival; whether one did not before."""
        if turn.key == key:
            return False
        self.leave(turn)
        with self._lock:
            if turn.arrival < 0:
                turn.arrival = next(self._arrivals)
            turn.key = key
            now = time.monotonic()
            queue = [each for each in self.queues.get(key, ()) if each.until_s > now]
            insort(queue, turn, key=_arrival)
            self.queues[key] = queue
        return True

    def leave(self, turn: Turn) -> None:
        """Leave the line; the next one's turn begins, for what is there may do for two."""
        if any_held():  # a coroutine that nobody has any more is closed by the collector, wherever that runs
            REAPER.put(partial(self.leave, turn))
            return
        following = None
        with self._lock:
            queue = self.queues.get(turn.key)
            if queue is not None and turn in queue:
                queue.remove(turn)
                following = queue[0] if queue else None
                if not queue:
                    del self.queues[turn.key]
            turn.key = None
        if following is not None:
            following.call()

    def is_first(self, turn: Turn) -> bool:
        """Whether it is this turn's turn. One that did not leave when its time was up does not count."""
        return self._ahead(turn) is turn

    def pause_s(self, turn: Turn) -> float:
        """How long to wait to be called before one looks by oneself: the first in line asks again and again."""
        ahead = self._ahead(turn)
        pause_s = POLL_S if ahead is turn else ahead.left_s() + POLL_S
        return max(min(pause_s, turn.left_s()), 0.0)

    def call(self, keys: Iterable[Hashable]) -> None:
        """Say that something became free on these accounts."""
        with self._lock:
            firsts = [self.queues[key][0] for key in keys if key in self.queues]
        for turn in firsts:
            turn.call()

    def _ahead(self, turn: Turn) -> Turn:
        """The one whose turn it is on the account that `turn` stands in line for."""
        now = time.monotonic()
        with self._lock:
            return next((each for each in self.queues.get(turn.key, ()) if each.until_s > now), turn)

    def after_fork(self) -> None:
        """In a forked child: those who waited are the parent's."""
        self.queues = {}


def _arrival(turn: Turn) -> int:
    return turn.arrival


LINE = Line()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LINE.after_fork)
