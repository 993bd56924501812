"""
What the engines share: in a forked child, every store begins anew with what is its own.

Connections, locks and open holds are the parent's; one hook lists all stores that there are.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """A store that a forked child inherits."""

    def _after_fork(self) -> None:
        """Let go of what is the parent's."""
        ...


_stores: WeakSet[Forked] = WeakSet()


def know(store: Forked) -> None:
    """Have a store told of a fork, in the child."""
    _stores.add(store)


def _after_in_child() -> None:
    for store in list(_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
