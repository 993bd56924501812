"""The settlements of the last minute, for a server that was promoted before it had heard of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...concurrency.locks import mutex
from ...errors import StoreError

KEEP_S = 60.0
MOST_BYTES = 128 * 1024 * 1024
"""Some 200,000 settlements with two tags: more than a process makes in a minute."""

TOGETHER = 256
"""How many settlements are booked again in one step, as a rule."""

_BESIDE = 400
"""What a settlement takes in memory beside the characters of its texts, in bytes; an estimate."""


class Recent:
    """What was acknowledged of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._lock = mutex("redis replay")
        self._steps: deque[tuple[float, int, int, Sequence[Any]]] = deque()
        """When it was, how many settlements and bytes, and what was sent."""
        self._most_bytes = most_bytes
        self._bytes = 0

    def add(self, args: Sequence[Any], count: int = 1) -> None:
        """Keep an acknowledged step of so many settlements."""
        size = count * _BESIDE + sum([len(arg) for arg in args if isinstance(arg, str)])
        now = self._clock()
        with self._lock:
            steps = self._steps
            steps.append((now, count, size, args))
            self._bytes += size
            while steps and (steps[0][0] < now - KEEP_S or self._bytes > self._most_bytes):
                self._bytes -= steps.popleft()[2]

    def steps(self) -> Iterator[list[Any]]:
        """What was kept, the oldest first, some hundred settlements at a time."""
        with self._lock:
            kept = list(self._steps)
        joined: list[Any] = []
        together = 0
        for _, count, _, args in kept:
            joined += args
            together += count
            if together >= TOGETHER:
                yield joined
                joined, together = [], 0
        if joined:
            yield joined


class Replay:
    """
    Books again what a server has not heard of, in a thread of its own.

    All steps of the process wait for it, each up to its own deadline; so none of them has to do it.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._over = threading.Event()
        self._error: StoreError | None = None
        try:
            threading.Thread(target=self._run, name="budgetguard-replay", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down: do it here, as nobody else can
            self._run()

    @property
    def over(self) -> bool:
        """Whether it has ended, in one way or the other."""
        return self._over.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ends in time; raises the `StoreError` that it ended with."""
        ended = self._over.wait(timeout_s)
        if self._error is not None:
            raise self._error
        return ended

    def _run(self) -> None:
        try:
            self._work()
        except StoreError as error:
            self._error = error
        finally:
            self._over.set()
