"""
What one process shares: its own ledger, its `max_budget`, its default guard, and the ends of abandoned calls.

This is the only module-level state beside the `ContextVar` of the scope. A
forked child starts with the money its parent had spent, but none of its holds:
they are the parent's to end.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .budgets import DEFAULT_IN_FLIGHT
from .ledger import Account
from .money import DOLLAR, Nano, parse_dollars
from .stores.memory import MemoryStore

if TYPE_CHECKING:
    from .charge import Charge
    from .guards import Guard

log = logging.getLogger("budgetguard")

KEPT_ENTRIES = 10_000
"""How many ended calls the process's own ledger remembers, so that none of them ends twice."""


class Process:
    """The state of this process."""

    def __init__(self) -> None:
        self.ledger = MemoryStore(keep=KEPT_ENTRIES)
        self.guard: Guard | None = None
        self.open: dict[int, Charge] = {}
        """Charges that have not ended, by their id()."""
        self.reaper = Reaper(self)
        self.pid = os.getpid()
        self._limit: Nano | None = None
        self._epoch = 0
        self._scopes = 0
        self._dropped: list[str] = []
        self.max_account: Account | None = None

    @property
    def max_budget(self) -> float | None:
        """The dollars that this process may spend; `None`: no such limit."""
        return None if self._limit is None else self._limit / DOLLAR

    @max_budget.setter
    def max_budget(self, value: object) -> None:
        self._limit = None if value is None else parse_dollars(value, name="max_budget")
        self._set_account()

    @property
    def spent(self) -> Nano:
        """What this process spent under `max_budget`."""
        return self.ledger.balances([self._key])[0].settled

    def reset(self) -> None:
        """Begin `max_budget` again at nothing spent."""
        self._epoch += 1
        self._set_account()

    def scope_key(self) -> str:
        """The key of a new scope's account."""
        self._scopes += 1
        return f"scope/{self._scopes}/all"

    def drop(self, key: str) -> None:
        """Forget a scope's account. Safe in a finalizer: it only notes the key, the next call forgets it."""
        self._dropped.append(key)

    def sweep(self) -> None:
        """Forget the accounts that were dropped."""
        if self._dropped:
            dropped, self._dropped = self._dropped, []
            self.ledger.forget(dropped)

    @property
    def _key(self) -> str:
        return f"max_budget//{self._epoch}" if self._epoch else "max_budget//all"

    def _set_account(self) -> None:
        limit = self._limit
        self.max_account = None if limit is None else Account(self._key, limit, share=DEFAULT_IN_FLIGHT)

    def after_fork(self) -> None:
        """In a forked child: the parent's calls in flight, locks and threads are not ours."""
        self.pid = os.getpid()
        self.open = {}
        self.reaper = Reaper(self)
        self.ledger.reset_after_fork()


class Reaper:
    """
    Ends calls whose stream was dropped.

    A finalizer may run anywhere, also inside one of our locks, so it only puts the end on a queue, whose `put`
    is safe there; a daemon thread, started with the first stream, runs it.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ends: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the thread, if it does not run."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="budgetguard-reaper", daemon=True)
                    self._thread.start()

    def put(self, end: Callable[[], None]) -> None:
        """Have an end run soon. Safe in a finalizer."""
        self._ends.put(end)

    def drain(self) -> None:
        """Wait until everything that was put has run."""
        if self._thread is None:
            return
        done = threading.Event()
        self._ends.put(done.set)
        done.wait(timeout=5)

    def _run(self) -> None:
        while (end := self._ends.get()) is not None:
            run_quietly(end)


def run_quietly(end: Callable[[], None]) -> None:
    """Run what comes after a provider's answer: it is logged if it fails, and never raised."""
    try:
        end()
    except Exception:
        log.exception("the end of a call could not be recorded")


PROCESS = Process()


@atexit.register
def _end_open_calls() -> None:
    """At exit, end the calls that nobody will end any more."""
    PROCESS.reaper.drain()
    for charge in list(PROCESS.open.values()):
        run_quietly(charge.abandon)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)
