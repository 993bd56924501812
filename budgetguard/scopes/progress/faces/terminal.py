"""
A terminal: two lines for each loop at its bottom, which rich keeps there while the program prints above them.

All loops that run at once, inside of each other or side by side, are in one picture. The last of them to end stays
there; those before go away.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from ....budgets.said.shown import on_lines
from ....concurrency.locks import mutex
from ..pace import LoopView
from ..said import fitting, money_said, rows_said, time_said

_BAR = 24
_LEAST_BAR = 6
_SHORT = "yellow"


class Picture:
    """What is at the bottom of the terminal."""

    def __init__(self) -> None:
        self._views: dict[int, LoopView] = {}
        self._live: Live | None = None
        self._lock = mutex("progress picture")
        self.drawn = 0
        """How often."""

    def show(self, key: int, view: LoopView) -> None:
        """Draw one of its loops anew."""
        with self._lock:
            self._views[key] = view
            if self._live is None:
                self._begin()
            self._draw()

    def end(self, key: int, view: LoopView) -> None:
        """Draw it for the last time: it stays there if it was the only one."""
        with self._lock:
            if self._live is None:
                self._begin()
            self._views[key] = view
            if len(self._views) > 1:
                del self._views[key]
                self._draw()
                return
            self._draw()
            live, self._live = self._live, None
            assert live is not None
            live.stop()  # it draws what is there once more, which is what stays
            self._views = {}

    def _begin(self) -> None:
        """
        Take the terminal. What the program prints goes above, if it goes to this terminal at all; what a program sends
        elsewhere, into a file or a pipe, is left alone.
        """
        console = Console(stderr=True, highlight=False, emoji=False, markup=False)
        shared = sys.stdout is not None and sys.stdout.isatty()
        self._live = Live(
            get_renderable=self._rendered, console=console, auto_refresh=False, redirect_stdout=shared, transient=False
        )
        self._live.start()

    def _draw(self) -> None:
        assert self._live is not None
        self._live.refresh()
        self.drawn += 1

    def _rendered(self) -> RenderableType:
        return Group(*[TwoLines(view) for view in list(self._views.values())])


class TwoLines:
    """One loop: its rows and a bar, and its money."""

    def __init__(self, view: LoopView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - 1, 1)
        yield _cut(self._rows(width, plain=options.ascii_only), width)
        parts: Sequence[str] = money_said(self._view)
        if self._view.ended:
            parts = [self._view.ended, *parts]
        style = _SHORT if self._view.falls_short or self._view.ended else ""
        yield _cut(Text("  " + fitting([on_lines(each) for each in parts], width - 2) or "", style), width)

    def _rows(self, width: int, *, plain: bool) -> Text:
        view = self._view
        name = f"{on_lines(view.description)}: " if view.description else ""
        words = fitting([rows_said(view), time_said(view)], width)
        text = Text(name + words)
        if view.part is None:
            return text
        cells = min(width - text.cell_len - 1, _BAR)
        if cells < _LEAST_BAR:
            return text
        full = int(view.part * cells)
        text.append(" " + ("#" if plain else "━") * full, "green")
        text.append(("." if plain else "━") * (cells - full), "bright_black")
        return text


def _cut(text: Text, width: int) -> Text:
    text.no_wrap = True
    text.truncate(width, overflow="crop")
    return text


PICTURE = Picture()
"""A process has one terminal."""


class TerminalFace:
    """One loop in the picture."""

    every_s = 0.2

    def draw(self, view: LoopView) -> None:
        """Draw it anew."""
        PICTURE.show(id(self), view)

    def end(self, view: LoopView) -> None:
        """Draw it for the last time."""
        PICTURE.end(id(self), view)
