"""Ids of holds: made by the caller before the first try, so that every operation may be repeated."""

from __future__ import annotations

import os
import time
from itertools import count


class _Ids:
    """What makes the ids of this process its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a forked child has to."""
        self.numbers = count()
        self.process = os.urandom(6).hex()


_ids = _Ids()


def new_id() -> str:
    """A new hold id: 32 hexadecimal digits that sort by time, unique over processes and machines."""
    ids = _ids
    return f"{time.time_ns() // 1_000_000:012x}{next(ids.numbers) & 0xFFFFFFFF:08x}{ids.process}"


def id_at(at_ms: int) -> str:
    """The least id that `new_id` may have made at a moment: ids before it are older."""
    return f"{max(at_ms, 0):012x}"


def began_ms(id_: str) -> int:
    """The moment at which an id was made."""
    return int(id_[:12], 16)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)
