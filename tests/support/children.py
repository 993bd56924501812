"""Forked children that do some work."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable


def fork(work: Callable[[], object]) -> int:
    """The pid of a child that does this work, within 20 s; it ends with 0 unless something is raised."""
    child = os.fork()
    if child:
        return child
    signal.alarm(20)
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ends(*children: int) -> list[int]:
    """How they ended, once they have."""
    return [os.waitpid(child, 0)[1] for child in children]
