"""
The reaper: a thread that ends calls where whoever noticed their end must not wait.

A finalizer may run anywhere, also inside of a lock: of ours, of logging, of a driver. So it only puts the end on a
queue, whose `put` is safe there. What it runs is harmless to repeat.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from .locks import any_held

log = logging.getLogger("budgetguard")


class Reaper:
    """The queue of ends, and the thread that runs them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin with nothing, as a forked child has to: the parent's ends are the parent's."""
        self._ends: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._unstarted = [True]

    def start(self) -> None:
        """Start the thread, if it does not run. Safe in a finalizer, where `threading` might wait for itself."""
        with suppress(IndexError):
            self._unstarted.pop()  # atomic
            try:
                start_new_thread(self._run, ())
            except BaseException:
                self._unstarted.append(True)
                raise

    def put(self, end: Callable[[], object]) -> None:
        """Have an end run soon, whether the thread runs or not. Where none can start any more, the exit runs it."""
        self._ends.put(end)
        with suppress(RuntimeError):
            self.start()

    def run(self, end: Callable[[], object]) -> None:
        """Run an end: here, or soon where this thread must not wait."""
        if must_not_wait():
            self.put(end)
        else:
            end()

    def drain(self) -> None:
        """Wait until everything that was put has run."""
        if self._unstarted:
            return
        done = threading.Event()
        self._ends.put(done.set)
        done.wait(timeout=5)

    def _run(self) -> None:
        threading.current_thread().name = "budgetguard-reaper"
        while True:
            run_quietly(self._ends.get())


def must_not_wait() -> bool:
    """
    Whether this thread may be in the middle of anything: a generator or a coroutine that nobody has any more is closed
    by the collector, wherever that runs; or one of our own locks is held here.
    """
    return isinstance(sys.exception(), GeneratorExit) or any_held()


def run_quietly(end: Callable[[], object]) -> None:
    """Run what comes after a provider's answer: it is logged if it fails, and never raised."""
    try:
        end()
    except Exception:
        log.exception("the end of a call could not be recorded")


REAPER = Reaper()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=REAPER.renew)
