"""
What the engines share: in a forked child, every store begins anew with what is its own.

Connections, locks and open holds are the parent's; one hook lists all stores that there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """A store that a forked child inherits."""

    def _after_fork(self) -> None:
        """In the child: let go of what is the parent's."""
        ...


class Resting(Forked, Protocol):
    """A store that nobody may be using at the moment of a fork."""

    def _before_fork(self) -> None:
        """Keep everybody out."""
        ...

    def _after_fork_in_parent(self) -> None:
        """Let them in again, also where the store was made in between."""
        ...


_first: list[Callable[[], None]] = []
_stores: WeakSet[Forked] = WeakSet()
_resting: WeakSet[Resting] = WeakSet()


def know(store: Forked) -> None:
    """Have a store told of a fork, in the child."""
    _stores.add(store)


def know_resting(store: Resting) -> None:
    """Have a store told of a fork before it, and after it on both sides."""
    know(store)
    _resting.add(store)


def before_rest(work: Callable[[], None]) -> None:
    """Have something done before every fork, while stores may still be used. It must not raise."""
    _first.append(work)


def _before() -> None:
    for work in _first:
        work()
    for store in list(_resting):
        store._before_fork()


def _after_in_parent() -> None:
    for store in list(_resting):
        store._after_fork_in_parent()


def _after_in_child() -> None:
    for store in list(_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
