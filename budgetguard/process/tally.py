"""
Tallies: the limits of one process, its `max_budget` and its scopes.

A tally is an account that lives as long as the object that owns it, in this
process alone. So it needs no expiry and no journal: the charge of a call takes
from it once and gives back once, under one lock, in about a microsecond. Admission
follows the same rule as in every store (`ledger.grant`), and a hold ends once here
too: an end that was interrupted (a `KeyboardInterrupt`) may be repeated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..concurrency.locks import mutex
from ..ledger import Account, Balance, Clock, Hold, Refusal, grant
from ..money import Nano

_MOST_EXPIRED = 10_000


class _Shared:
    """One lock for all tallies, since a call takes from several at once; and how often this process was forked."""

    lock = mutex("tallies")
    forks = 0


class Tally:
    """What one scope, or the whole process, may spend, and has."""

    __slots__ = ("_due", "_expired", "_forks", "_held", "_holds", "_settled", "account")

    def __init__(self, account: Account) -> None:
        self.account = account
        self._settled: Nano = 0
        self._held: Nano = 0
        self._holds: dict[str, Nano] = {}
        """The amounts that add up to `_held`, by the id of the hold."""
        self._due: dict[str, tuple[Clock, float]] = {}
        """When the holds are booked of work that goes on in the background, if nobody looks at it: by which clock."""
        self._expired: dict[str, Nano] = {}
        """What was booked for those, to be corrected by a look that comes late."""
        self._forks = _Shared.forks

    @property
    def hard(self) -> bool:
        """Whether it may refuse a call by its projected cost."""
        return self.account.enforce == "hard" and self.account.limit is not None

    @property
    def settled(self) -> Nano:
        """What calls have cost."""
        if self._due:
            self._expire()
        return self._settled

    @property
    def held(self) -> Nano:
        """What calls in flight hold. In a forked child the parent's calls do not count: they are the parent's."""
        if self._due:
            self._expire()
        return self._held if self._forks == _Shared.forks else 0

    @property
    def balance(self) -> Balance:
        """What it has taken so far."""
        return Balance(self.account.key, self.settled, self.held)

    def _expire(self) -> None:
        """Book the holds that are due."""
        with _Shared.lock:
            for hold_id, (clock, due_s) in list(self._due.items()):
                amount = self._holds.get(hold_id)
                if amount is None or clock() >= due_s:
                    if amount is not None:
                        self._settle(hold_id, amount)
                        self._expired[hold_id] = amount
                    del self._due[hold_id]
            while len(self._expired) > _MOST_EXPIRED:
                del self._expired[next(iter(self._expired))]

    def _hold(self, hold_id: str, amount: Nano) -> None:
        if self._forks != _Shared.forks:
            self._forks, self._held, self._holds, self._due = _Shared.forks, 0, {}, {}
        try:
            self._holds[hold_id] = amount
            self._held += amount
        except BaseException:
            self._held = sum(self._holds.values())
            raise

    def _settle(self, hold_id: str, cost: Nano) -> None:
        held, settled = self._holds.get(hold_id), self._settled
        if held is None or self._forks != _Shared.forks:
            self._settled += cost - self._expired.pop(hold_id, cost)
            return
        try:
            self._settled = settled + cost
            self._held -= held
            del self._holds[hold_id]
        except BaseException:
            self._settled, self._holds[hold_id] = settled, held
            self._held = sum(self._holds.values())
            raise


def reserve(tallies: Sequence[Tally], hold: Hold) -> Nano | Refusal:
    """Hold on all tallies or on none; the amount that was granted, or the first that has no room."""
    amount = hold.amount
    with _Shared.lock:
        for tally in tallies:
            account = tally.account
            limit = account.limit
            if limit is None or account.enforce == "observe":
                continue
            if account.enforce == "soft":
                if tally.settled + tally.held >= limit:
                    return Refusal(account, tally.balance, busy=tally.settled < limit)
                continue
            granted = grant(hold, limit, tally.settled, tally.held, account.share)
            if granted is None:
                return Refusal(account, tally.balance, grant(hold, limit, tally.settled, 0, account.share) is not None)
            amount = min(amount, granted)
        for tally in tallies:
            tally._hold(hold.id, amount)
    return amount


def settle(tallies: Sequence[Tally], hold_id: str, cost: Nano) -> None:
    """End a hold at its true cost, where it has not ended: 0 gives it back."""
    with _Shared.lock:
        for tally in tallies:
            tally._settle(hold_id, cost)


def expect(tallies: Sequence[Tally], hold_id: str, clock: Clock, seconds: float) -> None:
    """Book what is held for work in the background after so long, if nobody has seen its end by then."""
    with _Shared.lock:
        due_s = clock() + seconds
        for tally in tallies:
            tally._due[hold_id] = clock, due_s


def book(tallies: Sequence[Tally], cost: Nano) -> None:
    """Book a cost without a hold; a negative one takes it back."""
    with _Shared.lock:
        for tally in tallies:
            tally._settled += cost


def _forked() -> None:
    _Shared.forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
