"""
Steps: what a decision needs done, and yields instead of doing it.

A decision is a generator of steps, so it is written once; the sync and the async shell of `guards.py` run it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .queue import Turn

T = TypeVar("T")


class Step(NamedTuple):
    """Something to be done for a charge; `blocking` if it may wait for a disk, a network or a long computation."""

    run: Callable[[], Any]
    blocking: bool
    turn: Turn | None = None
    """Stand in line first, until its turn comes."""


Steps: TypeAlias = Generator[Step, Any, T]
