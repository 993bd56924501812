"""
What one process shares: its `max_budget`, the calls that are open, and the ends of abandoned ones.

With `REAPER` and `FAMILY`, this is the only module-level state beside the `ContextVar` of the scope. A
forked child has a part in `max_budget`, and in the limits of the scope in which it was forked; its parent's calls in
flight are none of its own.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..budgets.crowds import MANY
from ..concurrency.reaper import REAPER, run_quietly
from ..errors import BudgetExceededError, StoreError
from ..ledger import NO_TAGS, Account
from ..money import DOLLAR, Nano, parse_dollars
from ..stores.base import before_rest
from .family.file import FAMILY, SentLimit, told
from .journal import flush_all
from .keeper import NEVER_MS, Keeper, Living
from .leases import close_all, living_leases
from .tally import Tally, book

SWEEP_S = 1.0
"""How often the garbage collector is asked, at most, for streams that were dropped."""


class Open(Protocol):
    """What has not ended: a call under way, or an answer that took it over and is unread."""

    @property
    def unread(self) -> bool:
        """Whether it is such an answer, which nobody may have any more."""
        ...

    @property
    def missed(self) -> bool:
        """Whether it is known to be over, though nobody could say so."""
        ...

    def living(self) -> Sequence[Living]:
        """What is to be kept while it lives: its holds, and where they are."""
        ...

    def abandon(self) -> None:
        """End it here and now."""
        ...


class CallFollower(Protocol):
    """Who is told of the calls of this process as they end. It neither raises nor waits, nor asks a store."""

    def settled(self, scope: Any, tags: Mapping[str, str], cost: Nano) -> None:
        """A call that was made in this scope, or in none, has cost so much."""
        ...

    def refused(self, scope: Any, error: BudgetExceededError) -> None:
        """A budget said no to one."""
        ...


class Process:
    """The state of this process."""

    def __init__(self) -> None:
        self.tally: Tally | None = None
        """What counts under `max_budget`; `None` while there is none."""
        self.around: Callable[[], Sequence[Tally]] = tuple
        """The limits of the scope that this thread is in."""
        self.open: dict[int, Open] = {}
        """What has not ended, by its id()."""
        self.tags: Mapping[str, str] = NO_TAGS
        """What all of its calls are tagged with; a scope may say otherwise."""
        self.followers: tuple[CallFollower, ...] = ()
        """Who is told of its calls: nobody, as a rule."""
        self.reaper = REAPER
        self.keeper = Keeper(self.living, self.has_open)
        self.pid = os.getpid()
        self.scoped = False
        """Whether scopes are used: somebody entered one."""
        FAMILY.living = self.keeper.living
        self._paused_ms = NEVER_MS
        self._swept_s = float("-inf")

    def has_open(self) -> bool:
        """Whether any call is under way, or an answer unread."""
        return bool(self.open)

    def living(self) -> Sequence[Living]:
        """The holds in stores whose calls live, those of leases among them. Takes no lock."""
        self.end_missed()
        return [*[kept for each in list(self.open.values()) for kept in each.living()], *living_leases()]

    def sweep_due(self) -> bool:
        """Whether there are unread answers, which may be garbage, and nobody looked a moment ago."""
        now = time.monotonic()
        if now - self._swept_s < SWEEP_S or not any(each.unread for each in list(self.open.values())):
            return False
        self._swept_s = now
        return True

    def sweep(self) -> None:
        """
        End the calls whose stream was dropped: room that only they hold is room.

        The SDK's stream and its generator are a cycle, so it takes the collector to see that nobody has it any more.
        """
        gc.collect()
        self.end_missed()
        self.reaper.drain()

    def end_missed(self) -> None:
        """Have the calls ended whose stream is gone, and whose finalizer could not say so."""
        for each in list(self.open.values()):
            if each.missed:
                self.reaper.put(each.abandon)

    def end_all(self) -> None:
        """At exit, end the calls that nobody will end any more."""
        self.reaper.drain()
        for charge in list(self.open.values()):
            run_quietly(charge.abandon)
        run_quietly(close_all)
        run_quietly(flush_all)

    @property
    def max_budget(self) -> float | None:
        """The dollars that this process may spend; `None`: no such limit."""
        limit = None if self.tally is None else self.tally.account.limit
        return None if limit is None else limit / DOLLAR

    @max_budget.setter
    def max_budget(self, value: object) -> None:
        if value is None:
            self.tally = None
            return
        account = Account("max_budget//all", parse_dollars(value, name="max_budget"), share=MANY)
        if self.tally is None or self.tally.left_behind:
            self.tally = Tally(account)
        else:
            self.tally.account = account

    def adopt(self, part: SentLimit) -> None:
        """Have a part in the `max_budget` of a parent, whatever the main module said of it when it was imported."""
        before, self.tally = self.tally, FAMILY.tally_of(part)
        if before is not None and before.share is None:
            book((self.tally,), before.settled)

    @property
    def spent(self) -> Nano:
        """What this process spent under `max_budget`."""
        return 0 if self.tally is None else self.tally.settled

    def reset(self) -> None:
        """Begin `max_budget` again at nothing spent."""
        if self.tally is not None:
            self.tally = Tally(self.tally.account)

    def limits(self) -> Sequence[Tally]:
        """What holds for calls made here and now: `max_budget`, and the limits of the scope."""
        scoped = self.around()
        return scoped if self.tally is None else (self.tally, *scoped)

    def share(self) -> None:
        """Before a fork: have the child count on the limits that it inherits; one that it cannot, it refuses."""
        try:
            for tally in self.limits():
                FAMILY.share(tally)
        except (OSError, StoreError) as error:
            told(error)

    def before_fork(self) -> None:
        """Have no thread running that would have nothing to do in a child, and need not be there in the parent."""
        self._paused_ms = self.keeper.stop()

    def after_fork_in_parent(self) -> None:
        """Go on keeping what is open."""
        if self.open and self._paused_ms < NEVER_MS:
            self.keeper.watch(self._paused_ms)

    def after_fork(self) -> None:
        """In a forked child: the parent's calls in flight are not ours."""
        self.pid = os.getpid()
        self.open = {}
        self.followers = ()
        FAMILY.after_fork()
        self.keeper = Keeper(self.living, self.has_open)


PROCESS = Process()


atexit.register(PROCESS.end_all)


if hasattr(os, "register_at_fork"):
    before_rest(PROCESS.share)
    os.register_at_fork(
        before=PROCESS.before_fork,
        after_in_parent=PROCESS.after_fork_in_parent,
        after_in_child=PROCESS.after_fork,
    )
