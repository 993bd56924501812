"""Plain lines, where nothing can be drawn over: a log, a pipe, a terminal that knows no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from ..pace import LoopView
from ..said import line_of

_LEAST_S = 1.0
_TENTHS = 10


class LinesFace:
    """A line after so many seconds, and at each tenth of the rows; at most one in a second. One at the end."""

    every_s = 0.25

    def __init__(self, stream: TextIO, lines_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._lines_s = lines_s
        self._clock = clock
        self._last_s = clock()
        self._tenth = 0

    def draw(self, view: LoopView) -> None:
        """Write a line, if it is time for one."""
        passed_s, tenth = self._clock() - self._last_s, int((view.part or 0.0) * _TENTHS)
        if passed_s >= self._lines_s or (passed_s >= _LEAST_S and tenth > self._tenth):
            self._last_s, self._tenth = self._clock(), tenth
            self._write(view)

    def end(self, view: LoopView) -> None:
        """Write the last one."""
        self._write(view)

    def _write(self, view: LoopView) -> None:
        encoding = self._stream.encoding or "utf-8"
        text = line_of(view).encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text + "\n")
        self._stream.flush()
