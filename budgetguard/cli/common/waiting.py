"""What is said on a terminal while something takes longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

PATIENCE_S = 1.0
"""So long nothing is said."""
_EVERY_S = 0.1

HearDone: TypeAlias = Callable[[float], None]
"""It hears which part of the work is done, from 0 to 1."""


@contextmanager
def waiting(what: str, *, monotonic: Callable[[], float] = time.monotonic) -> Iterator[HearDone]:
    """Say on stderr, if that is a terminal, how far something is that takes more than a second; gone at the end."""
    next_s = monotonic() + PATIENCE_S if sys.stderr.isatty() else float("inf")
    shown = 0

    def told(done: float) -> None:
        nonlocal next_s, shown
        now_s = monotonic()
        if now_s >= next_s:
            text = f"{what}: {100 * done:.0f} %"
            print(f"\r{text.ljust(shown)}", end="", file=sys.stderr, flush=True)
            next_s, shown = now_s + _EVERY_S, len(text)

    try:
        yield told
    finally:
        if shown:
            print(f"\r{' ' * shown}\r", end="", file=sys.stderr, flush=True)
