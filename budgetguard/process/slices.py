"""
Slices: the parts of an account that one process holds; how large one is, and when it goes back.

Arithmetic only: `leases.py` asks the store for slices, and has calls take from them under its lock.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

from ..budgets.steering.steers import STEERS
from ..ledger import Account, Hold, Millis, Wanted
from ..money import MAX_AMOUNT

SLICES = 16
"""A slice is at most one part in so many of what is unspent, if that is enough for the call that asks."""

HORIZON_S = 5.0
"""A slice should last so long, at the pace of late."""

SPAN_S = 0.1
"""A pace is not told from a shorter time."""

FIRST_CALLS = 8
"""A slice that nothing is known for is enough for so many calls like the one that asks."""

IDLE_S = 1.0
"""A slice that nobody used for so long goes back."""


@dataclass(slots=True)
class Pace:
    """How fast the calls of this process take from one account, in its unit."""

    since_s: float
    taken: int = 0
    unspent: int = 0
    """What was left of the account's limit when last looked at, less what was spent here since then."""
    asking: bool = False
    """Whether a call is asking for a slice already: others, meanwhile, ask for what they need and no more."""

    def size(self, want: int, now_s: float) -> int:
        """How large the next slice should be, for a call that wants so much of it."""
        lasting = int(self.taken * HORIZON_S / max(now_s - self.since_s, SPAN_S)) if self.taken else want * FIRST_CALLS
        return max(want, min(lasting, MAX_AMOUNT))


class Lease:
    """A slice of one account, in the account's unit."""

    __slots__ = ("account", "amount", "hold", "holds", "id", "old_s", "pace", "room", "unit", "used_s")

    def __init__(self, hold: Hold, account: Account, pace: Pace, now_s: float) -> None:
        self.id = hold.id
        self.hold = hold
        """At the amount that was admitted."""
        self.account = account
        self.unit = account.unit
        self.pace = pace
        self.amount = hold.wanted(account.unit).amount
        self.room = self.amount
        """What no call has taken."""
        self.holds = 0
        """Calls in flight that took from it."""
        self.used_s = now_s
        self.old_s = now_s + hold.ttl_ms / 2000
        """From then on it serves no more calls, so that it does not expire under them."""

    def is_idle(self, now_s: float) -> bool:
        """Whether nobody uses it any more, nor should."""
        return now_s - self.used_s > IDLE_S or now_s >= self.old_s or self.room < self.amount // SLICES


@dataclass(frozen=True, slots=True)
class Short:
    """An account whose leases have no room."""

    account: Account


def wanted(asked: Hold | Wanted, account: Account, pace: Pace | None) -> int:
    """What a call should get: the amount; without a cap of its own, its share of what is unspent (`grant`)."""
    if asked.least is None:
        return asked.amount
    unspent = 0 if pace is None else pace.unspent
    return min(asked.amount, max(unspent // account.share, asked.useful, asked.least))


def slice_of(
    account: Account, lease_id: str, size: Wanted, ttl_ms: Millis, terms: tuple[tuple[str, int], ...] = ()
) -> Hold:
    """
    The hold by which a slice is asked of the store; whose it is, for people who look at what is held.

    Of the `terms` of the call that asks it has what people changed of rules: a user's are the call's alone.
    """
    terms = tuple([each for each in terms if each[0] == STEERS])
    sliced, tags = (replace(account, share=SLICES),), {"lease": f"{socket.gethostname()}:{os.getpid()}"}
    if account.unit == "dollars":
        return Hold(lease_id, sliced, *size, ttl_ms, "charge", terms, tags)
    return Hold(
        lease_id, sliced, 0, ttl_ms=ttl_ms, on_expire="charge", terms=terms, tags=tags, units={account.unit: size}
    )
