"""
Errands: a thread that does what was put into its queue, while there is anything to do.

What comes after a call, and nobody waits for. Putting never waits: a queue that is full says so. The thread begins
with the first thing and ends when nothing is left, so that a program which forks has none of them for long; a child
has its own queue, and none of what its parent still has to do.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from _thread import start_new_thread
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol
from weakref import WeakSet

log = logging.getLogger("budgetguard")

LINGER_S = 0.5
"""How long the thread stays when nothing is left."""

EXIT_S = 2.0
"""How long the end of the process waits for all workers together."""


class Work(Protocol):
    """What is done; always in one thread."""

    def work(self, thing: Any) -> None:
        """Do one thing that was put."""
        ...

    def rest(self, final: bool) -> float | None:
        """
        Do what is due, now that nothing waits; all of it, if that is `final`.

        In how many seconds more is due; `None`: nothing is.
        """
        ...

    def renew(self) -> None:
        """In a forked child: forget what the parent has to do."""
        ...


class Errands:
    """The thread of one kind of work. `most` things wait at once. What the work raises is logged."""

    def __init__(self, name: str, job: Work, *, most: int = 10_000) -> None:
        self.name = name
        self._job = job
        self._most = most
        self.threadless = False
        """Whether no thread begins any more: then who waits at the end of the process does the work."""
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._things: SimpleQueue[Any] = SimpleQueue()
        self._unstarted = [True]

    def put(self, thing: object) -> bool:
        """Have this done soon; `False`: too much waits already. Safe wherever the collector may run."""
        if self._things.qsize() >= self._most:
            return False
        self._things.put(thing)
        with suppress(RuntimeError):  # the interpreter is shutting down: `drain` does the rest
            self._start()
        return True

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was put is done, for so long at most; whether it is."""
        if self._unstarted and not self._things.qsize():
            return True
        done = threading.Event()
        self._things.put(done)
        try:
            self._start()
        except RuntimeError:
            self.threadless = True
            if timeout_s > 0:
                self._turn(self._things, 0.0, time.monotonic() + timeout_s)
            return done.is_set()
        return done.wait(timeout_s)

    def renew(self) -> None:
        """Begin with nothing, as a forked child has to."""
        self._begin()
        self._job.renew()

    def _start(self) -> None:
        with suppress(IndexError):
            self._unstarted.pop()  # atomic: of several threads one
            try:
                start_new_thread(self._run, (self._things, self._unstarted))
            except BaseException:
                self._unstarted.append(True)
                raise

    def _run(self, things: SimpleQueue[Any], unstarted: list[bool]) -> None:
        threading.current_thread().name = f"budgetguard-{self.name}"
        while True:
            due_s = self._turn(things, 0.0)
            while due_s is not None:
                due_s = self._turn(things, due_s)
            if self._turn(things, LINGER_S) is not None:
                continue
            unstarted.append(True)
            if not things.qsize():
                return
            try:
                unstarted.pop()
            except IndexError:  # another one began meanwhile
                return

    def _turn(self, things: SimpleQueue[Any], wait_s: float, until_s: float = float("inf")) -> float | None:
        """Do what waits, or comes in this time, and then what is due; in how many seconds more is."""
        with suppress(Empty):
            thing = things.get(timeout=wait_s) if wait_s > 0 else things.get_nowait()
            while True:
                self._do(thing)
                if time.monotonic() >= until_s:
                    break
                thing = things.get_nowait()
        return self._rest(final=False)

    def _do(self, thing: object) -> None:
        if isinstance(thing, threading.Event):
            self._rest(final=True)
            thing.set()
            return
        try:
            self._job.work(thing)
        except (Exception, SystemExit):  # a function of somebody's may try to end the program: others are told yet
            log.exception("what %s was to do failed", self.name)

    def _rest(self, *, final: bool) -> float | None:
        try:
            return self._job.rest(final)
        except Exception:
            log.exception("what %s was to do failed", self.name)
            return None


_all: WeakSet[Errands] = WeakSet()


def all_errands() -> list[Errands]:
    """All that exist."""
    return list(_all)


@atexit.register
def _drain_all() -> None:
    """At exit, have done what waits, for a while; twice, as what one does is put to another."""
    until_s = time.monotonic() + EXIT_S
    for errands in [*all_errands(), *all_errands()]:
        errands.drain(max(until_s - time.monotonic(), 0.0))


def _after_in_child() -> None:
    for errands in all_errands():
        errands.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
