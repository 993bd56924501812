"""How threads of a server take turns: a view that is being made keeps no call waiting for long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

TURN_S = 0.000_5
"""
How long a thread that works may go on while others wait. Python's own 5 ms are paid several times for each call, once
for each thread that it goes through, while a view of a long history is made.
"""


@contextmanager
def short_turns() -> Iterator[None]:
    """Threads take short turns meanwhile; for a process that is a server and nothing else."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
