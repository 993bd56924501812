"""
What a run has spent, shown while it runs: on the terminal of its stderr, and so that it never disturbs the program.

The title of the terminal's window is nobody's output. Lines are few, and go to the terminal whole; where a program
draws on all of the screen, there are none unless they are asked for.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ...concurrency.errands import Errands
from ...errors import ConfigError, StoreError
from ...process.state import Process
from ...reports.amounts import readable, share

log = logging.getLogger("budgetguard")

MARKS = (0.5, 0.8, 0.95)
TICK_S = 1.0

_FULL_SCREEN = frozenset(
    {"curses", "_curses", "textual", "prompt_toolkit", "urwid", "blessed", "asciimatics", "pytermgui", "npyscreen"}
)
"""What draws on all of the screen."""

_TITLED = ("xterm", "screen", "tmux", "rxvt", "alacritty", "foot", "kitty", "vte", "wezterm", "ghostty", "konsole")
"""How the names of terminals begin whose windows have a title."""

_PUSH, _POP = "\x1b[22;2t", "\x1b[23;2t"
"""Have the terminal remember its title, and take it up again."""


@dataclass(frozen=True, slots=True)
class Showing:
    """What is shown."""

    title: bool = False
    marks: bool = False
    """A line when these parts of the budget are spent."""
    lines_s: float | None = None
    """A line after so many seconds; `None`: none."""
    asked: bool = False
    """Whether lines were asked for: then there are some in any case."""


def progress_of(kind: str, every_s: float) -> Showing:
    """What `--progress` and `--every` mean here; raises `ConfigError`."""
    if not every_s > 0:
        raise ConfigError(f"--every {every_s:g}: a number of seconds above 0 is needed")
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    titled = on_terminal and os.environ.get("TERM", "").startswith(_TITLED)
    match kind:
        case "off":
            return Showing()
        case "lines":
            return Showing(marks=True, lines_s=every_s, asked=True)
        case "title":
            return Showing(title=titled)
        case "auto":
            return Showing(title=titled, marks=on_terminal)
    raise ConfigError(f"--progress {kind}: use auto, lines, title or off")


class RunProgress:
    """Shows what a process has spent of its budget, in a thread, from `with` to its end."""

    def __init__(self, process: Process, showing: Showing, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = process
        self._showing = showing
        self._clock = clock
        self._errands = Errands("run progress", self)
        self._terminal: int | None = None
        """A descriptor of our own: the program may do with its own as it likes."""
        self._began_s = self._line_s = clock()
        self._passed = 0.0
        self._title = ""

    def __enter__(self) -> Self:
        if self._showing != Showing() and sys.stderr is not None:
            self._terminal = os.dup(sys.stderr.fileno())
            self._began_s = self._line_s = self._clock()
            self._errands.put(None)
        return self

    def __exit__(self, *error: object) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is None:
            return
        self._errands.drain(TICK_S)
        if self._title:
            self._write(terminal, _POP)
        os.close(terminal)

    def work(self, thing: object) -> None:
        """Begin."""

    def rest(self, final: bool) -> float | None:
        """Show how it is now."""
        terminal = self._terminal
        if terminal is None or final:
            return None
        try:
            spent = self._process.spent
        except StoreError as error:  # it counts with its children, in a file that is busy
            log.debug("what the run has spent is not known now: %s", error)
            return TICK_S
        self._show(terminal, spent)
        return TICK_S

    def renew(self) -> None:
        """In a forked child: its parent shows it."""
        self._terminal = None

    def _show(self, terminal: int, spent: int) -> None:
        limit = 0 if self._process.tally is None else self._process.tally.account.limit or 0
        text = self._said(spent, limit)
        if self._showing.title and text != self._title:
            self._write(terminal, f"{'' if self._title else _PUSH}\x1b]2;{text}\x07")
            self._title = text
        passed = max((mark for mark in MARKS if limit and spent >= mark * limit), default=0.0)
        every_s, now_s = self._showing.lines_s, self._clock()
        if (self._showing.marks and passed > self._passed) or (every_s is not None and now_s - self._line_s >= every_s):
            self._line_s = now_s
            if self._showing.asked or _FULL_SCREEN.isdisjoint(sys.modules):
                self._write(terminal, f"{text}\n")
        self._passed = passed

    def _said(self, spent: int, limit: int) -> str:
        minutes = (self._clock() - self._began_s) / 60
        text = f"budgetguard: {readable(spent)} of {readable(limit)} spent"
        if limit:
            text += f" ({share(spent / limit)}), {readable(max(limit - spent, 0))} left"
        return text + (f", {readable(int(spent / minutes))}/min" if spent and minutes >= 1 / 6 else "")

    def _write(self, terminal: int, text: str) -> None:
        try:
            os.write(terminal, text.encode())
        except OSError as error:
            self._terminal = None
            log.debug("the run is shown no longer: %s", error)
