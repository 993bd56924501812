"""
What the stores behind a network have in common: a breaker for outages, and where settlements wait meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from ..concurrency.locks import mutex
from ..errors import StoreError

FAILURES = 3
"""After so many failures in a row the breaker opens."""

PAUSE_S, MOST_PAUSE_S = 0.25, 2.0
"""How long it stays open at first, and at most: every further failure doubles it."""


class Breaker:
    """
    Keeps an outage from costing every call its deadline.

    After a few failures in a row the engine is taken to be away: callers are told so at once, and only one of them,
    every now and then, asks it. Its success closes the breaker.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = mutex("breaker")
        self._pause_s = PAUSE_S
        self._asks_at = 0.0
        self._last = ""
        self.failures = 0
        """How many in a row; 0: nothing has to be asked or told here."""

    def enter(self) -> None:
        """Pass, or raise `StoreError` at once while the engine is away. Only needed while there are `failures`."""
        with self._lock:
            if self.failures < FAILURES:
                return
            left_s = self._asks_at - self._clock()
            if left_s > 0:
                raise StoreError(f"{self._name} is away ({self._last}); it is asked again in {left_s:.1f} s")
            self._asks_at = self._clock() + self._pause_s  # the others wait for what this one finds

    def failed(self, error: BaseException) -> None:
        """Take in that the engine could not be reached, or did not answer in time."""
        with self._lock:
            self.failures += 1
            self._last = str(error) or type(error).__name__
            if self.failures > FAILURES:
                self._pause_s = min(2 * self._pause_s, MOST_PAUSE_S)
            self._asks_at = self._clock() + self._pause_s

    def passed(self) -> None:
        """Take in that the engine answered. Only needed while there are `failures`."""
        with self._lock:
            self.failures, self._pause_s = 0, PAUSE_S


def journal_home(engine: str, namespace: str) -> str | None:
    """
    The directory where settlements wait for an engine behind a network: in the user's state directory, as
    the XDG base directory specification has it. `engine` names it without any secret. `None`: there is no such place.
    """
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        return None
    named = hashlib.sha256(f"{engine}\0{namespace}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return os.path.join(state, "budgetguard", named)
