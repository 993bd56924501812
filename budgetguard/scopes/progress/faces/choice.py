"""Which face a loop has: what was asked for, or what there is where it runs."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal, TypeAlias

from ..desk import Face
from .lines import LinesFace
from .notebook import NotebookFace, in_notebook
from .tqdm_bar import TqdmFace

ProgressKind: TypeAlias = Literal["auto", "terminal", "tqdm", "notebook", "lines", "off"]


def face_of(kind: ProgressKind, description: str, total: int | None, bar: Any, lines_s: float) -> Face | None:
    """The face; `None`: nothing is shown."""
    if kind == "auto":
        kind = _found(bar)
    if kind == "tqdm":
        return TqdmFace(description, total, bar)
    if kind == "notebook":
        return NotebookFace()
    if kind == "off" or _is_gone():
        return None
    if kind == "lines":
        return LinesFace(sys.stderr, lines_s)
    from .terminal import TerminalFace

    return TerminalFace()


def _found(bar: object) -> ProgressKind:
    if bar is not None:
        return "tqdm"
    if in_notebook():
        return "notebook"
    if _is_gone():
        return "off"
    behind = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # up to 14, what rich puts before it is no terminal
    drawn_over = behind.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}
    return "terminal" if drawn_over else "lines"


def _is_gone() -> bool:
    """Whether a program has no console, or has closed its stderr; what stands in its place need not say so."""
    return sys.stderr is None or getattr(sys.stderr, "closed", False)
