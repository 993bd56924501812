"""
Crowds: how many calls are in flight on an account, and lately were, and what part of its room each may have.

A call that states no output cap gets one, and nobody knows how many others are about to come. What was seen lately is
the best guess: a call that had nobody beside it may have a good part of what is left, and each of fifty gets a part on
which all of them fit. What was never seen is met with care, for the first of a burst does not know of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ledger import Account, Admitted
from ..ledger.units import unit_of

MANY = 72
"""Of the room of an account on which more calls are in flight than lately were, each gets one part in so many."""

SPARE = 4
"""As many calls as were lately in flight take one part in so many of the room: the rest is for more than these."""

AMPLE = 4
"""So many of the largest answers of late is what a call may ask for that has nobody beside it, nor had lately."""

SOME = 1.5
"""A peak below this is that of calls one at a time."""

MEMORY = 16
"""How many calls it takes to forget two thirds of a peak."""


class Crowd:
    """The calls on one account that state no output cap. Its numbers are hints: no lock is taken for them."""

    __slots__ = ("ease", "holds", "parts", "peak", "pid", "stated")

    def __init__(self, stated: int | None = None, *, sees_all: bool = False) -> None:
        """`stated`: how many calls at once are to find room. `sees_all`: no other process has calls on the account."""
        self.stated = stated
        self.peak: float = 1 if sees_all else 0
        """How many were in flight lately, those of other processes among them."""
        self.parts: dict[str, int] = {}
        """By the id of each call in flight, in how many parts it divides the room, to have one."""
        self.holds: dict[str, int] = {}
        """What each holds, where the amounts of other processes are seen beside it."""
        self.ease = 0
        """
        How many of the largest answers of late the call that came last may ask for, whatever its part is: of none if
        it came unforeseen, or it was stated how many are to find room.
        """
        self.pid = 0

    def join(self, call_id: str, pid: int) -> int:
        """Count a call, once; in how many parts it divides the room, to have one."""
        if self.pid != pid:  # in a forked child the parent's calls do not count
            self.parts, self.holds, self.pid = {}, {}, pid
        part = self.parts.get(call_id)
        if part is None:
            now, peak = len(self.parts) + 1, self.peak
            if now > peak:
                self.peak, part = now, max(MANY, now + now // SPARE)
            else:
                self.peak = peak - (peak - now) / MEMORY
                most = max(now, round(self.peak))
                part = min(SPARE * most, max(MANY, most + most // SPARE))
            self.ease = AMPLE if now == 1 and self.peak < SOME else int(now <= peak)
            if self.stated is not None:
                part, self.ease = self.stated, AMPLE if self.stated == 1 else 0
            self.parts[call_id] = part
        return part

    def hear(self, held: int, mine: int) -> None:
        """Take in what all processes hold on the account: others' calls are so many as are as large as one of here."""
        others = max(held - sum(list(self.holds.values())), 0) // mine
        self.peak = max(self.peak, min(len(self.holds) + others, MANY))

    def leave(self, call_id: str) -> None:
        """A call has ended."""
        self.parts.pop(call_id, None)
        self.holds.pop(call_id, None)


class Company:
    """What a call asks of its accounts, given the crowds around it: its part of each is the `share` of that account."""

    __slots__ = ("_crowds", "accounts", "crowds", "leased", "plain")

    def __init__(self, accounts: Sequence[Account], crowds: Mapping[str, Crowd], parts: Sequence[int]) -> None:
        """`crowds` by the keys of their accounts, with the part of the call in each."""
        share = dict(zip(crowds, parts, strict=True))
        self.accounts = tuple([replace(each, share=share.get(each.key, each.share)) for each in accounts])
        self.plain = tuple([account for account in self.accounts if account.lease is None])
        self.leased = tuple([account for account in self.accounts if account.lease is not None])
        self.crowds = tuple(crowds.values())
        self._crowds = crowds

    def leave(self, call_id: str) -> None:
        """A call has ended."""
        for crowd in self.crowds:
            crowd.leave(call_id)

    def hear(self, call_id: str, outcome: Admitted) -> None:
        """Take in what a store holds on the accounts, for this call and all others."""
        for balance in outcome.balances:
            crowd = self._crowds.get(balance.key)
            if crowd is not None:
                mine = outcome.units.get(unit_of(balance.key), outcome.amount) if outcome.units else outcome.amount
                crowd.holds[call_id] = mine
                if balance.held > mine > 0:
                    crowd.hear(balance.held, mine)


NOBODY = Company((), {}, ())
"""Around a call that shares nothing."""
