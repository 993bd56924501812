"""
What a loop has spent, and what is left to it: heard of the calls as they end, and read in a thread now and then.

A call belongs to a loop if it is made in the loop's own scope, tasks and threads that carry it among them. One that is
made elsewhere in the scope around the loop, as by a pool which was handed its work before, belongs to it, too, unless
it is another loop's; where there is no scope around, that is every call of the process. What child processes spend is
what the limit that they share has grown by beyond what was heard here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...concurrency.locks import mutex
from ...errors import BudgetExceededError, StoreError
from ...guards.scope import NO_TAGS, Scope
from ...ledger import Account
from ...money import Nano
from ...process.state import PROCESS
from ...process.tally import Tally
from ...sdks.install import default_guard

log = logging.getLogger("budgetguard")


class LoopLimit(NamedTuple):
    """A limit over a loop, and what was taken of it."""

    limit: Nano
    taken: Nano


class _Read(NamedTuple):
    """What was read last of budgets elsewhere, and what the loop had spent by then."""

    found: tuple[LoopLimit, ...] = ()
    spent: Nano = 0


class Purse:
    """The money of one loop: a `CallFollower` of the process while it runs."""

    def __init__(self, scope: Scope | None, own: Tally | None) -> None:
        self._scope = scope
        self._own = own
        self._around = tuple(each for each in _tallies(scope) if each is not own)
        self._lock = mutex("progress")
        self._heard: Nano = 0
        self._tags: Mapping[str, str] | None = None
        """What all calls have in common; `None`: there was none yet."""
        self._read = _Read()
        self._outermost = next(iter(self._limits()), None)
        self._outermost_before: Nano = 0
        self._outermost_heard: Nano = 0
        self._children: Nano = 0
        self.refusal: BudgetExceededError | None = None
        """The last that a call of the loop met with."""
        self.over = False
        """Whether nobody asks any more."""
        self._failed = False
        """Whether the store could not be read, which is said once."""

    @property
    def own(self) -> Tally | None:
        """What the loop's own scope counts in."""
        return self._own

    def begin(self) -> None:
        """Hear of calls from now on."""
        if self._outermost is not None:
            self._outermost_before = self._taken(self._outermost)
        PROCESS.followers = (*PROCESS.followers, self)

    def end(self) -> None:
        """Hear no more."""
        self._look_at_children()
        PROCESS.followers = tuple(each for each in PROCESS.followers if each is not self)

    # -- told on the path of a call ------------------------------------------------------------------------------

    def settled(self, scope: Any, tags: Mapping[str, str], cost: Nano) -> None:
        """A call has cost so much."""
        mine, outermost = self._belongs(scope), self._outermost
        counts_there = outermost is not None and (outermost is PROCESS.tally or outermost in _tallies(scope))
        with self._lock:
            if counts_there:
                self._outermost_heard += cost
            if mine:
                self._heard += cost
                if self._tags is None:
                    self._tags = dict(tags)
                elif self._tags != tags:
                    self._tags = {name: value for name, value in self._tags.items() if tags.get(name) == value}

    def refused(self, scope: Any, error: BudgetExceededError) -> None:
        """A budget said no to a call."""
        if self._belongs(scope):
            self.refusal = error

    def _belongs(self, scope: Scope | None) -> bool:
        tallies = _tallies(scope)
        if self._own is not None and self._own in tallies:
            return True
        if tallies[: len(self._around)] != self._around:
            return False
        others = [each.own for each in PROCESS.followers if isinstance(each, Purse) and each is not self]
        return not any(own is not None and own in tallies and own not in self._around for own in others)

    # -- asked by the loop and its faces -------------------------------------------------------------------------

    @property
    def spent(self) -> Nano:
        """What the loop has spent; asks nobody."""
        return self._heard + self._children

    @property
    def left(self) -> Nano | None:
        """What the tightest budget has left, as far as is known; asks nobody."""
        return min((limit - taken for limit, taken in self._limited()), default=None)

    def stops(self, part: float, mean: Nano) -> bool:
        """Whether this part of a budget is spent, or would be by a row at this cost."""
        return any(taken >= (mark := int(limit * part)) or taken + mean > mark for limit, taken in self._limited())

    def read(self) -> None:
        """Look at the budgets of stores, and at what child processes have spent; may wait, and never raises."""
        scope, tags = self._scope, self._tags or {}
        if scope is not None:
            tags = {**scope.tags, **tags}
        spent = self.spent
        try:
            guard = (scope.guard if scope is not None else None) or default_guard()
            pairs = guard.balances(tags or NO_TAGS, scope)
            self._look_at_children()
        except Exception as error:  # a store of the user's own may raise anything, and its loop goes on all the same
            if not self._failed:
                self._failed = True
                log.warning("progress does not know what is left: %s", error)
            return
        here = [tally.account for tally in self._limits() if tally.share is None]
        found = [
            LoopLimit(account.limit, balance.settled)
            for account, balance in pairs
            if account.limit is not None and _may_refuse(account) and not any(account is own for own in here)
        ]
        self._read = _Read(tuple(found), spent)

    def _limited(self) -> list[LoopLimit]:
        """Every limit in dollars over the loop that may refuse a call."""
        read, found = self._read, []
        for tally in self._limits():
            limit = tally.account.limit
            if limit is not None and tally.share is None and _may_refuse(tally.account):
                found.append(LoopLimit(limit, tally.settled))
        since = self.spent - read.spent
        return [*found, *[LoopLimit(limit, taken + since) for limit, taken in read.found]]

    def _limits(self) -> Sequence[Tally]:
        scoped = self._scope.tallies if self._scope is not None else ()
        return scoped if PROCESS.tally is None else (PROCESS.tally, *scoped)

    def _look_at_children(self) -> None:
        """Count what the limit that they share has grown by; nothing where none is shared."""
        outermost = self._outermost
        if outermost is not None and outermost.share is not None:
            heard = self._outermost_heard
            self._children = max(self._taken(outermost) - self._outermost_before - heard, self._children, 0)

    def _taken(self, tally: Tally) -> Nano:
        try:
            return tally.settled
        except StoreError as error:
            log.debug("what child processes spent is not known: %s", error)
            return 0


def _tallies(scope: Scope | None) -> tuple[Tally, ...]:
    return () if scope is None else scope.tallies


def _may_refuse(account: Account) -> bool:
    """Whether it is a budget in dollars that says no."""
    return account.unit == "dollars" and account.enforce != "observe"
