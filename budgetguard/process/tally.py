"""
Tallies: the limits of one process, its `max_budget` and its scopes.

A tally is an account that lives as long as the object that owns it, in this
process alone. So it needs no expiry and no journal: the charge of a call takes
from it once and gives back once, under one lock, in about a microsecond. Admission
follows the same rule as in every store (`ledger.grant`), and a hold ends once here
too: an end that was interrupted (a `KeyboardInterrupt`) may be repeated.

They count dollars. `Limits` is what they are as a `Layer` of a ledger (`layers.py`), `Held` what a call has of all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..budgets.crowds import NOBODY, Company, Crowd
from ..concurrency.locks import mutex
from ..concurrency.steps import Steps
from ..ledger import Account, Amounts, Balance, Clock, Entry, Hold, Millis, Refusal, Stale, grant
from ..money import Nano

_MOST_EXPIRED = 10_000


class _Shared:
    """One lock for all tallies, since a call takes from several at once; and how often this process was forked."""

    lock = mutex("tallies")
    forks = 0


class Tally:
    """What one scope, or the whole process, may spend, and has."""

    __slots__ = ("_due", "_expired", "_forks", "_held", "_holds", "_settled", "account", "crowd", "cut")

    def __init__(self, account: Account, in_flight: int | None = None) -> None:
        self.account = account
        self.crowd = Crowd(in_flight, sees_all=True)
        self.cut = 0
        """How many answers ended at an output cap that was added here."""
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
        self.crowd.parts.pop(hold_id, None)
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
            share = tally.crowd.parts.get(hold.id, account.share)
            granted = grant(hold, limit, tally.settled, tally.held, share)
            if granted is None:
                return Refusal(account, tally.balance, grant(hold, limit, tally.settled, 0, share) is not None)
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


@dataclass(slots=True, eq=False)
class Held:
    """What one call holds, on every layer."""

    id: str
    pid: int
    """The process whose call it is."""
    tallies: Sequence[Tally] = ()
    """The limits of this process that the call is under."""
    hold: Hold | None = None
    """What leases and the store are asked for."""
    amount: Nano = 0
    """The dollars that were admitted."""
    units: Amounts = field(default_factory=dict)
    """What was admitted beside dollars."""
    spared: Nano | None = None
    """What is held on the allowance, while the store is away."""
    spared_ms: Millis = 0
    """When that was."""
    company: Company = NOBODY
    """The calls beside it on its accounts in the store."""
    owed: bool = False
    """Whether the store failed to settle it, so that the journal has to."""


class Layer(Protocol):
    """One layer of the ledger. Every verb may be repeated; a layer that the call does not touch does nothing."""

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Hold here what the layers above admitted; or say why not, with nothing held here."""
        ...

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """End the hold here at its true cost; whether the layers below hear of it from this one."""
        ...

    def release(self, held: Held) -> Steps[None]:
        """Give back what is held here."""
        ...


class Limits:
    """The tallies of this process: `max_budget`, and the scopes that a call is made in."""

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Hold on all of them, or on none."""
        yield from ()
        hold = held.hold
        assert hold is not None
        if held.tallies:
            granted = reserve(held.tallies, hold)
            if isinstance(granted, Refusal):
                return granted
            held.hold = hold._replace(amount=granted)
            held.amount = granted
        return None

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """Book the cost."""
        yield from ()
        if held.tallies:
            settle(held.tallies, held.id, entry.cost)
        return False

    def release(self, held: Held) -> Steps[None]:
        """End the holds at nothing."""
        yield from ()
        self.undo(held)

    def undo(self, held: Held) -> None:
        """`release`, which never waits."""
        if held.tallies:
            settle(held.tallies, held.id, 0)


def _forked() -> None:
    _Shared.forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
