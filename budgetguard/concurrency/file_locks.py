"""
Locks on open files, between processes: `fcntl.flock` itself, and where there is none (Windows) the same by `filelock`.

A lock is the open file's. It ends when that is closed, or with its process, however that ends. The system hands `flock`
on in turn; elsewhere whoever waits asks again and again, and turns are a matter of luck.
"""

from __future__ import annotations

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
except ImportError:
    LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN = 1, 2, 4, 8  # type: ignore[misc]

    ASK_S = 0.002
    """How often whoever waits asks again."""

    def flock(fd: int, operation: int, /) -> None:  # type: ignore[misc]  # a number is enough here
        """
        Lock or unlock; raises `BlockingIOError` if it would wait and must not.

        There are no shared locks. The first byte is locked, and on Windows nobody else may read that meanwhile.
        """
        from filelock import lock_descriptor, unlock_descriptor

        if operation & LOCK_UN:
            unlock_descriptor(fd)
        elif not lock_descriptor(fd, blocking=not operation & LOCK_NB, poll_interval=ASK_S):
            raise BlockingIOError("another process has it locked")


__all__ = ["LOCK_EX", "LOCK_NB", "LOCK_SH", "LOCK_UN", "flock"]
