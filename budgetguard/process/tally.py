"""
Tallies: the limits of one process, its `max_budget` and its scopes.

A tally is an account that lives as long as the object that owns it, in this
process alone. So it needs no expiry and no journal: the charge of a call takes
from it once and gives back once, under one lock, in about a microsecond. Admission
follows the same rule as in every store (`ledger.grant`), and a hold ends once here
too: an end that was interrupted (a `KeyboardInterrupt`) may be repeated.

One that child processes count on, too, is *shared*: its amounts are in a file that all of them have open (`family/`),
and it is no business of `reserve` and `settle` any more.

They count dollars. `Limits` is what they are as a `Layer` of a ledger (`layers.py`), `Held` what a call has of all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from ..budgets.crowds import NOBODY, Company, Crowd
from ..budgets.news import Mark
from ..concurrency.locks import mutex
from ..concurrency.steps import Steps
from ..ledger import Account, Amounts, Balance, Clock, Entry, Hold, Millis, Refusal, Stale, grant
from ..money import Nano
from .keeper import Living

_MOST_EXPIRED = 10_000


class _Shared:
    """One lock for all tallies, since a call takes from several at once; and how often this process was forked."""

    lock = mutex("tallies")
    forks = 0


class SharedAmounts(Protocol):
    """Where the amounts of a tally are that several processes count on."""

    def taken(self) -> tuple[Nano, Nano]:
        """What it has settled and held, whichever process did; raises `StoreError`."""
        ...

    def end(self, call_id: str, cost: Nano) -> None:
        """Settle what the call held when the tally was moved there."""
        ...


class Moved(NamedTuple):
    """What a tally has when it becomes a shared one."""

    settled: Nano
    holds: dict[str, Nano]
    """Amounts, by the id of the call."""
    due_s: dict[str, float]
    """In how many seconds those are booked that nobody looks at."""


class Tally:
    """What one scope, or the whole process, may spend, and has."""

    __slots__ = (
        "__weakref__",
        "_due",
        "_expired",
        "_forks",
        "_held",
        "_holds",
        "_settled",
        "account",
        "crowd",
        "cut",
        "fallbacks",
        "mark",
        "share",
    )

    apart: ClassVar[bool] = False
    """Whether any of this process may not be its own: shared, or its parent's."""

    def __init__(self, account: Account, in_flight: int | None = None) -> None:
        self.account = account
        self.crowd = Crowd(in_flight, sees_all=True)
        self.cut = 0
        """How many answers ended at an output cap that was added here."""
        self.fallbacks = 0
        """How many calls were sent to another model than the one that they were written for."""
        self.mark: Mark | None = None
        """From which amount on somebody is to be told of it."""
        self._settled: Nano = 0
        self._held: Nano = 0
        self._holds: dict[str, Nano] = {}
        """The amounts that add up to `_held`, by the id of the hold."""
        self._due: dict[str, tuple[Clock, float]] = {}
        """When the holds are booked of work that goes on in the background, if nobody looks at it: by which clock."""
        self._expired: dict[str, Nano] = {}
        """What was booked for those, to be corrected by a look that comes late."""
        self._forks = _Shared.forks
        self.share: SharedAmounts | None = None
        """Where its amounts are; `None`: here."""

    @property
    def left_behind(self) -> bool:
        """Whether it is a limit of the parent's, of which this forked child has no part."""
        return (
            self.share is None
            and self._forks != _Shared.forks
            and self.account.limit is not None
            and self.account.enforce != "observe"
        )

    @property
    def owed(self) -> Nano:
        """What has to be counted here though the tally is shared, as the others could not be told."""
        return self._settled

    @property
    def hard(self) -> bool:
        """Whether it may refuse a call by its projected cost."""
        return self.account.enforce == "hard" and self.account.limit is not None

    @property
    def settled(self) -> Nano:
        """What calls have cost."""
        if self._due:
            self._expire()
        return self._settled if self.share is None else self._settled + self.share.taken()[0]

    @property
    def held(self) -> Nano:
        """What calls in flight hold. In a forked child the parent's calls do not count: they are the parent's."""
        if self._due:
            self._expire()
        if self.share is not None:
            return self.share.taken()[1]
        return self._held if self._forks == _Shared.forks else 0

    @property
    def balance(self) -> Balance:
        """What it has taken so far."""
        if self.share is None:
            return Balance(self.account.key, self.settled, self.held)
        settled, held = self.share.taken()
        return Balance(self.account.key, settled + self._settled, held)

    def tell(self) -> None:
        """Have it told if it has come to its mark; raises `StoreError` if it is shared, and cannot be looked at."""
        mark, balance = self.mark, self.balance
        if mark is not None and balance.settled >= mark.next:
            mark.passed(balance)

    def leave_behind(self) -> None:
        """Have it be a limit of the parent's, of which this process has no part."""
        self._forks, Tally.apart = -1, True

    def _expire(self) -> None:
        """Book the holds that are due."""
        with _Shared.lock:
            for hold_id, (clock, due_s) in list(self._due.items()):
                amount = self._holds.get(hold_id)
                if amount is None or clock() >= due_s:
                    if amount is not None:
                        self.crowd.parts.pop(hold_id, None)
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


def own_alone(tallies: Sequence[Tally]) -> Sequence[Tally]:
    """Those of these whose amounts are here."""
    return tuple(tally for tally in tallies if tally.share is None) if Tally.apart else tallies


def reserve(tallies: Sequence[Tally], hold: Hold) -> Nano | Refusal:
    """
    Hold on all tallies or on none; the amount that was granted, or the first that has no room.

    One that another thread has just shared has no room here: ask again without it.
    """
    amount = hold.amount
    with _Shared.lock:
        for tally in tallies:
            account = tally.account
            if tally.share is not None:
                return Refusal(account, Balance(account.key), busy=True)
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
            tally.crowd.parts.pop(hold_id, None)
            if tally.share is not None:  # by another thread, a moment ago
                tally.share.end(hold_id, cost)
            else:
                tally._settle(hold_id, cost)
                if tally.mark is not None and tally._settled >= tally.mark.next:
                    tally.tell()


def move(tally: Tally, take: Callable[[Moved], SharedAmounts]) -> None:
    """Share a tally, with all that it has: `take` says where that is from now on, or raises."""
    with _Shared.lock:
        if tally.share is None:
            dues = {id_: max(due_s - clock(), 0) for id_, (clock, due_s) in tally._due.items()}
            held = tally._holds if tally._forks == _Shared.forks else {}
            tally.crowd.peak = 0  # from here on there are others' calls beside those that were seen
            tally.share, Tally.apart = take(Moved(tally._settled, dict(held), dues)), True
            tally._settled, tally._held, tally._holds, tally._due = 0, 0, {}, {}


def expect(tallies: Sequence[Tally], hold_id: str, clock: Clock, seconds: float) -> None:
    """Book what is held for work in the background after so long, if nobody has seen its end by then."""
    with _Shared.lock:
        due_s = clock() + seconds
        for tally in own_alone(tallies):  # elsewhere, the hold itself has its time
            tally._due[hold_id] = clock, due_s


def book(tallies: Sequence[Tally], cost: Nano) -> None:
    """Book a cost without a hold; a negative one takes it back."""
    with _Shared.lock:
        for tally in tallies:
            tally._settled += cost
            if tally.mark is not None and tally.share is None:
                tally.tell()


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
    balances: Sequence[Balance] = ()
    """What the store then said of the hold's accounts, this hold among it."""
    spared: Nano | None = None
    """What is held on the allowance, while the store is away."""
    spared_ms: Millis = 0
    """When that was."""
    company: Company = NOBODY
    """The calls beside it on its accounts in the store."""
    owed: bool = False
    """Whether the store failed to settle it, so that the journal has to."""
    shared: Sequence[Living] = ()
    """What is held on those limits that other processes count on, too, and where."""


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
    """The tallies of this process alone: `max_budget`, and the scopes that a call is made in."""

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Hold on all of them, or on none."""
        yield from ()
        hold = held.hold
        assert hold is not None
        while own := own_alone(held.tallies):
            granted = reserve(own, hold)
            if not isinstance(granted, Refusal):
                held.hold = hold._replace(amount=granted)
                held.amount = granted
                break
            if own_alone(own) == own:
                return granted
        return None

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """Book the cost."""
        yield from ()
        if held.tallies:
            settle(own_alone(held.tallies), held.id, entry.cost)
        return False

    def release(self, held: Held) -> Steps[None]:
        """End the holds at nothing."""
        yield from ()
        self.undo(held)

    def undo(self, held: Held) -> None:
        """`release`, which never waits."""
        if held.tallies:
            settle(own_alone(held.tallies), held.id, 0)


def _forked() -> None:
    _Shared.forks += 1
    Tally.apart = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
