"""The settlements of the last minute, for a server that was promoted before it had heard of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

KEEP_S = 60.0
MOST = 20_000
"""Steps; one may settle many calls."""


class Recent:
    """What was acknowledged of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[tuple[float, Sequence[Any]]] = deque(maxlen=MOST)

    def add(self, args: Sequence[Any]) -> None:
        """Keep an acknowledged step."""
        now = self._clock()
        steps = self._steps
        steps.append((now, args))
        while steps and steps[0][0] < now - KEEP_S:
            steps.popleft()

    def all(self) -> Iterator[Sequence[Any]]:
        """What was kept, the oldest first."""
        for _, args in list(self._steps):
            yield args
