"""Accounts, holds and entries; what a store answers to them; and the one rule of admission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from ..errors import AmountError, ConfigError
from ..money import Nano
from .units import MARK, NOTHING_SAID, NOTHING_WANTED, ONE_PLACE, ONE_REQUEST, USUAL, Amounts, Unit, Wanted, unit_of

Millis: TypeAlias = int
"""Milliseconds since the epoch, or of a duration."""

Enforce: TypeAlias = Literal["hard", "soft", "observe"]
OnExpire: TypeAlias = Literal["release", "charge"]

DEFAULT_TTL_MS: Millis = 15 * 60 * 1000
"""How long a hold counts when nobody ends it: above the SDK's default timeout of ten minutes."""

KEEP_ENDED_MS: Millis = 24 * 60 * 60 * 1000
"""How long a store remembers that a hold was released or expired, so that a late repetition changes nothing."""


NO_TAGS: Mapping[str, str] = MappingProxyType({})
NO_USAGE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Account:
    """One budget, for one subject, in one period, with the rules by which it admits a hold."""

    key: str
    """ "budget/subject/period": unique in a store's namespace."""
    limit: int | None = None
    """In the account's unit. `None`: counted, never refused."""
    enforce: Enforce = "hard"
    share: int = 1
    """An elastic hold gets at most one part in `share` of what is unspent, if that is still useful."""
    start_ms: Millis | None = None
    """A store whose clock is not in [start_ms, end_ms) answers `Stale`."""
    end_ms: Millis | None = None
    window: tuple[str, ...] = ()
    """Keys of earlier accounts, in the same unit, that count here too: the buckets of a rolling period."""
    lease: OnExpire | None = None
    """
    For clients: a process may hold a part of the account and serve calls from it (`leases.py`); and what becomes of
    the rest of that part once the calls of a process that died are settled. A store takes no notice of it.
    """
    unit: Unit = field(default="dollars", init=False, repr=False, compare=False)
    """What it counts, as the end of its key says; the limit is so many of these."""

    def __post_init__(self) -> None:
        if MARK in self.key:
            object.__setattr__(self, "unit", unit_of(self.key))
        for key in self.window:
            if unit_of(key) != self.unit:
                raise ConfigError(f"account {self.key!r} counts {self.unit}, and {key!r} in its window does not")

    @property
    def over_ms(self) -> Millis | None:
        """
        When nothing depends on it any more, so that it may be pruned: at its end; a bucket of a rolling period, which
        has as many others in its window as will have it in theirs, so many buckets later.
        """
        if self.end_ms is None or self.start_ms is None:
            return self.end_ms
        return self.end_ms + len(self.window) * (self.end_ms - self.start_ms)


class Hold(NamedTuple):
    """
    What is set aside for one call, on every account the call touches: in each the amount in its unit.

    Its `id` is made by the caller before the first try (`new_id`), and makes every operation safe to repeat.
    """

    id: str
    accounts: tuple[Account, ...]
    amount: Nano
    """The dollars wanted."""
    least: Nano | None = None
    """An elastic hold takes any amount from `least` to `amount`; `None`: `amount` or nothing."""
    useful: Nano = 0
    """An elastic hold is not cut below this for the sake of sharing, only for want of room."""
    ttl_ms: Millis = DEFAULT_TTL_MS
    on_expire: OnExpire = "release"
    terms: tuple[tuple[str, int], ...] = ()
    """The key and version of every stored `Terms` that `accounts` was computed from; version 0: none was known."""
    tags: Mapping[str, str] = NO_TAGS
    provider: str = ""
    model: str = ""
    leases: tuple[str, ...] = ()
    """
    Ids of the holds, of this process, out of which a part of what this call may use was taken: its settlement makes
    each of them smaller by what it used. See `Store.settle`.
    """
    units: Mapping[Unit, Wanted] = NOTHING_WANTED
    """
    What is wanted beside dollars. Tokens have to be said where an account counts them; a call is one request where
    nothing is said, and has one place whatever is said. Each unit is as elastic as its own `least` says, and cut by
    the accounts that count it.
    """

    def wanted(self, unit: Unit) -> Wanted:
        """What it wants of a unit; raises `AmountError` if that was not said."""
        if unit == "dollars":
            return Wanted(self.amount, self.least, self.useful)
        if unit == "parallel":
            return ONE_PLACE
        wanted = self.units.get(unit)
        if wanted is not None:
            return wanted
        if unit == "requests":
            return ONE_REQUEST
        raise AmountError(f"call {self.id} does not say how many {unit} it wants, which a budget counts")

    def amounts(self) -> dict[Unit, int]:
        """The most it wants, in dollars and in the units of its accounts."""
        return {"dollars": self.amount, **{each.unit: self.wanted(each.unit).amount for each in self.accounts}}

    def admitted(self, answer: Admitted) -> Hold:
        """The same at what was admitted, as `Store.renew` needs it."""
        units = {unit: Wanted(amount) for unit, amount in answer.units.items()}
        return self._replace(amount=answer.amount, least=None, useful=0, units={**self.units, **units})


class Entry(NamedTuple):
    """The history's line for one call: who, what, how much. It never holds a prompt or an answer."""

    hold_id: str
    cost: Nano
    accounts: tuple[str, ...] = ()
    """
    Keys of the accounts that were charged: the hold's, and before them those that the caller put here, which have
    no limit and count what is settled only.
    """
    at_ms: Millis = 0
    """When it was settled, by the store's clock (the store fills it in)."""
    tags: Mapping[str, str] = NO_TAGS
    provider: str = ""
    model: str = ""
    usage: Mapping[str, int] = NO_USAGE
    flags: frozenset[str] = frozenset()
    """
    "estimated" (no usage was reported), "late" (settled after the hold had ended; the store adds it),
    "expired" (booked by the store when the hold expired), "capped" (an output cap was added),
    "cut" (the answer ended at that cap), "unpriced" (no price was known, and no budget asked for one),
    "fallback" (another model was asked than the one in its tag "asked_model", which did not fit),
    "tier" (nothing is known of the service tier that answered),
    "manual" (booked by hand, without a hold).
    """
    units: Amounts = NOTHING_SAID
    """
    What it used beside dollars: nothing said is no tokens, and one request. Every account is charged in its own unit.
    A store keeps what is not `USUAL`.
    """

    def amounts(self) -> dict[Unit, int]:
        """What it used, in every unit."""
        units = self.units
        if not units:
            return {"dollars": self.cost, "tokens": 0, "requests": 1, "parallel": 0}
        return {**USUAL, **units, "parallel": 0, "dollars": self.cost}


class Balance(NamedTuple):
    """What an account has taken so far, in its unit."""

    key: str
    settled: int = 0
    held: int = 0


# Outcomes are not frozen, as that costs as much as the rest of them; and two that say the same of a hold are equal,
# whatever else was booked between them.


@dataclass(slots=True)
class Admitted:
    """A hold was placed, for this amount."""

    amount: Nano
    units: Amounts = field(default_factory=dict)
    """What is held beside dollars, in the units of its accounts."""
    balances: tuple[Balance, ...] = field(default=(), compare=False)
    """
    Of each account that the hold names, in this order, its window included: as the books stand now, this hold among
    what is held. (What expired counts until it is reaped.) A repetition brings them as they are then.
    """


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first account that has no room for a hold; nothing was held anywhere."""

    account: Account
    balance: Balance
    """Of the account, the window of a rolling period included."""
    busy: bool
    """Whether there would be room if nothing were held."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The stored terms of one subject's own budget: opaque text to a store, with a version that only grows."""

    key: str
    version: int
    body: str | None
    """`None`: removed."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The hold was computed from old terms or from a wrong clock; nothing was held. Compute it again from these."""

    now_ms: Millis
    terms: tuple[Terms, ...] = ()
    """The newer terms, if any are."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The hold has already been released, settled or expired: it cannot be placed again."""


@dataclass(slots=True)
class Settled:
    """The cost stands; `late`: the hold had ended before."""

    cost: Nano
    late: bool = False
    balances: tuple[Balance, ...] = field(default=(), compare=False)
    """
    As those of `Admitted`: of each account that the hold it was given names, its window included, and behind them of
    each that the entry it was given names, alone. A repetition brings them as they are then.
    """


@dataclass(frozen=True, slots=True)
class Conflict:
    """The hold was settled before at another cost, or at other amounts in other units, which stand."""

    recorded: Nano
    units: Amounts = field(default_factory=dict)
    """Those of the entry that stands."""


def grant(wanted: Hold | Wanted, limit: int, settled: int, held: int, share: int) -> int | None:
    """
    The amount that a hard account with these books lets a hold take; `None` if it has no room.

    The one rule of admission, as each store must apply it, in every unit: a fixed hold fits whole or not at all; an
    elastic one gets its wish, or one part in `share` of what is unspent (never less than `useful`), or what is left.
    """
    available = limit - settled - held
    if wanted.least is None:
        return wanted.amount if wanted.amount <= available else None
    if wanted.least > available:
        return None
    part = max((limit - settled) // share, wanted.useful, wanted.least)
    return min(wanted.amount, part, available)
