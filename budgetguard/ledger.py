"""
The ledger: what may be spent, what is held, what was spent.

A call places a *hold* for its projected cost (an authorization), then either
*settles* it at the true cost (a capture) or *releases* it (a void). A hold that
is neither, because a process died, expires.

An *account* is one budget, for one subject, in one period:
`available = limit - settled - held`. Amounts are whole nano-dollars, times are
milliseconds since the epoch by the store's clock.

`Store` is the protocol that every store answers alike; `stores/memory.py` is its
executable specification and `testing.StoreContract` its test.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .money import Nano

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
    limit: Nano | None = None
    """`None`: counted, never refused."""
    enforce: Enforce = "hard"
    share: int = 1
    """An elastic hold gets at most one part in `share` of what is unspent, if that is still useful."""
    start_ms: Millis | None = None
    """A store whose clock is not in [start_ms, end_ms) answers `Stale`."""
    end_ms: Millis | None = None
    window: tuple[str, ...] = ()
    """Keys of earlier accounts whose settled and held money counts here too: the buckets of a rolling period."""
    lease: OnExpire | None = None
    """
    For clients: a process may hold a part of the account and serve calls from it (`leases.py`); and what becomes of
    the rest of that part once the calls of a process that died are settled. A store takes no notice of it.
    """

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
    Money set aside for one call, on every account the call touches.

    Its `id` is made by the caller before the first try (`new_id`), and makes every operation safe to repeat.
    """

    id: str
    accounts: tuple[Account, ...]
    amount: Nano
    """The amount wanted."""
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
    Ids of the holds, of this process, out of which a part of the money for this call was taken: its settlement makes
    each of them smaller by its cost. See `Store.settle`.
    """


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
    "tier" (nothing is known of the service tier that answered),
    "manual" (booked by hand, without a hold).
    """


class Balance(NamedTuple):
    """What an account has taken so far."""

    key: str
    settled: Nano = 0
    held: Nano = 0


class Admitted(NamedTuple):
    """A hold was placed, for this amount."""

    amount: Nano


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


class Settled(NamedTuple):
    """The cost stands; `late`: the hold had ended before."""

    cost: Nano
    late: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """The hold was settled before at another cost, which stands."""

    recorded: Nano


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold that has not ended."""

    id: str
    amount: Nano
    accounts: tuple[str, ...]
    placed_ms: Millis
    expires_ms: Millis
    tags: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """An account whose books do not add up, found by `Store.check`."""

    key: str
    kind: Literal["settled", "held"]
    booked: Nano
    summed: Nano


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries: all that match every field that is set. Times are [since_ms, until_ms)."""

    since_ms: Millis | None = None
    until_ms: Millis | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    after: str | None = None
    """Only entries behind the one with this hold id, in the store's order: the key of the next page."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What one group of entries adds up to."""

    group: tuple[str, ...]
    """One value for each field grouped by; "" where an entry has none."""
    cost: Nano
    calls: int
    input_tokens: int
    output_tokens: int
    estimated: int
    """How many of the calls were settled on an estimate."""


class Carried(NamedTuple):
    """What an account has beside its entries: what a copy of the books needs to know."""

    key: str
    end_ms: Millis | None = None
    """When its period ends."""
    pruned: Nano = 0
    """The part of what is settled whose entries were deleted."""


class Store(Protocol):
    """
    Where budgets live. Every method is atomic, and harmless to repeat, in any order and from any process.

    A method that cannot reach its engine raises `StoreError`; a refusal is a value. Everything is inside the
    namespace that the store was opened with.
    """

    blocking: bool
    """Whether its methods wait for a disk or a network: an async caller then uses a thread."""

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """
        Place a hold on all of its accounts, or on none.

        First the terms and clocks are compared (`Stale`), then every account is asked. Hard: settled + held +
        amount <= limit. Soft: settled + held < limit. A repetition answers as the first did.
        """
        ...

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """
        End a hold at its true cost and record the entry, once.

        Also for a hold that expired, was released or was never seen: what was spent was spent, so the cost is
        added in full, above the limit if need be, and the entry marked "late". A hold that expired into a
        charge is corrected to the true cost.

        With the entry, and so once, every lease of the hold becomes smaller by the cost, down to nothing: one that is
        open holds less, one that expired into a charge has less charged. One that has ended stays as it is.
        """
        ...

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, in one round trip; if it fails, some may be done: repeat it."""
        ...

    def release(self, hold_id: str) -> None:
        """Give a hold back. It may overtake its reserve, which then answers `Ended`. A settled hold stays settled."""
        ...

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """
        Have each of these holds, whose calls live, count for another `ttl_ms` from now, in one round trip.

        `amount` is what was admitted. Whether each counts, then: not one that was settled or released. One that has
        expired counts again, in full and above the limit if need be: a charge for it is taken back. One that was never
        seen, as by a server that was promoted, is placed. A hold is never made shorter.
        """
        ...

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used. Expired holds are out."""
        ...

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys; with `after`, those behind it."""
        ...

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        ...

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """
        Store (`None`: remove) the terms under a key, with the next version.

        With `expected`, only if that is the version there now (0: none); otherwise nothing is changed and `None`
        returned.
        """
        ...

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix` (and is behind `after`), by their keys."""
        ...

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        ...

    def entries(self, query: Query = ...) -> Iterator[Entry]:
        """The history, the oldest first."""
        ...

    def totals(self, by: Sequence[str], query: Query = ...) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        ...

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        ...

    def prune(self, before_ms: Millis) -> int:
        """Delete entries and accounts whose period ended before a time; how many entries went."""
        ...

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts (behind `after`), in the order of their keys, each with what its entries do not tell."""
        ...

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """
        Put these rows on the books as they are, all of them or none, in one round trip: for copies and restores.

        Terms are put unless there are any of the same or a later version. An account is made if need be, and its end
        and pruned sum become these; what it has settled changes by as much as the pruned sum does.

        An entry keeps its time, flags and accounts; they are charged, without a limit being asked, and made if need
        be. One whose id has an entry changes nothing, unless that one was booked by an expired hold (it is flagged
        "expired"), which then gives way. An open hold of that id ends; a remembered end of one is forgotten.
        """
        ...

    def now_ms(self) -> Millis:
        """The store's clock."""
        ...

    def close(self) -> None:
        """Close files and connections. A store that was closed opens again when it is used."""
        ...


@runtime_checkable
class OwnTime(Protocol):
    """
    A store that tells the time itself, by a clock of this machine, which may be set while calls are on their way.

    A hold that `living` names is renewed where it would expire. A server's clock is the server's affair.
    """

    living: Callable[[Store], Sequence[Hold]]
    """The holds in this store whose calls live, in this process; takes no lock."""


def nothing_lives(store: Store) -> Sequence[Hold]:
    """What a store knows of calls until somebody knows better."""
    return ()


Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch, as `time.time`."""


def grant(hold: Hold, limit: Nano, settled: Nano, held: Nano, share: int) -> Nano | None:
    """
    The amount that a hard account with these books lets a hold take; `None` if it has no room.

    The one rule of admission, as each store must apply it: a fixed hold fits whole or not at all; an elastic one
    gets its wish, or one part in `share` of what is unspent (never less than `useful`), or what is left.
    """
    available = limit - settled - held
    if hold.least is None:
        return hold.amount if hold.amount <= available else None
    if hold.least > available:
        return None
    part = max((limit - settled) // share, hold.useful, hold.least)
    return min(hold.amount, part, available)


class _Ids:
    """What makes the ids of this process its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a forked child has to."""
        self.numbers = count()
        self.process = os.urandom(6).hex()


_ids = _Ids()


def new_id() -> str:
    """A new hold id: 32 hexadecimal digits that sort by time, unique over processes and machines."""
    ids = _ids
    return f"{time.time_ns() // 1_000_000:012x}{next(ids.numbers) & 0xFFFFFFFF:08x}{ids.process}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)
