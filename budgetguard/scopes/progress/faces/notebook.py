"""A notebook: a bar and a line of text below the cell, as plain HTML that the front end replaces."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

from ..pace import LoopView
from ..said import line_of, money_said, rows_said, time_said

_FULL, _SHORT, _EMPTY = "#2e8b57", "#c77700", "#dfe6e9"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookFace:
    """One loop below its cell."""

    every_s = 0.5

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, view: LoopView) -> None:
        """Show it, in the place of what was shown before."""
        from IPython.display import display

        shown = {"text/html": html_of(view), "text/plain": line_of(view)}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)

    def end(self, view: LoopView) -> None:
        """Show how it ended."""
        self.draw(view)


def html_of(view: LoopView) -> str:
    """A bar, if the number of rows is known, and two lines of text."""
    head = ", ".join(each for each in (rows_said(view), time_said(view), view.ended) if each)
    if view.description:
        head = f"{view.description}: {head}"
    bar, short = "", view.falls_short or view.ended.startswith("refused")
    if view.part is not None:
        filled = f'<div style="width:{view.part * 100:.1f}%;height:100%;background:{_SHORT if short else _FULL}"></div>'
        bar = f'<div style="max-width:28em;height:0.6em;background:{_EMPTY}">{filled}</div>'
    return f"<div>{escape(head)}{bar}<small>{escape(', '.join(money_said(view)))}</small></div>"
