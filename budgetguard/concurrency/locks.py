"""
Every lock of the package is made here, so that one place knows which of them a thread holds.

The garbage collector runs wherever memory is asked for, also inside of our locks, and may close a stream there that
somebody dropped. To end its call takes locks, too: so whoever may be called by the collector asks `any_held` first.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol, TypeAlias, cast
from weakref import ReferenceType, ref


class Mutex(Protocol):
    """A lock that knows its owner, which costs nothing: an `RLock` of the interpreter's own."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; whether that was done in time."""
        ...

    def release(self) -> None:
        """Let the next one have it."""
        ...

    def __enter__(self) -> bool: ...
    def __exit__(self, *error: object) -> None: ...

    # What `threading.Condition` and `os.fork` ask of a lock.
    def _is_owned(self) -> bool: ...
    def _at_fork_reinit(self) -> None: ...


Latch: TypeAlias = threading.Lock

_made: dict[int, tuple[str, ReferenceType[Mutex]]] = {}
"""Those that exist, by their id()."""


def mutex(name: str) -> Mutex:
    """A lock to do something inside of. In a forked child it is free, if it was another thread's."""
    made = cast(Mutex, threading.RLock())
    key = id(made)
    _made[key] = name, ref(made, lambda _: _made.pop(key, None))
    return made


def take(made: Mutex, timeout: float = -1) -> bool:
    """
    Take a mutex where `with` cannot be used; whether that was done in time.

    A signal's handler may raise as soon as it is taken, before its owner knows: then it is free again.
    """
    try:
        return made.acquire(timeout=timeout)
    except BaseException:
        if made._is_owned():
            made.release()
        raise


def latch() -> Latch:
    """A lock that one thread may take and another free. Nothing that ends a call waits for one."""
    return threading.Lock()


def all_made() -> list[tuple[str, Mutex]]:
    """Every mutex that exists, by its name."""
    return [(name, made) for name, known in list(_made.values()) if (made := known()) is not None]


def any_held() -> bool:
    """Whether this thread holds a mutex: then it must not wait for another."""
    return any(made._is_owned() for _, made in all_made())


def _after_in_child() -> None:
    """What other threads of the parent held, nobody would ever free here."""
    for _, made in all_made():
        if not made._is_owned():
            made._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
