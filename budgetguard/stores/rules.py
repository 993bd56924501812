"""
The rules that every store follows: who is admitted, what an ended hold answers, how much is reaped.

Pure functions over plain numbers, so that an engine decides only how its numbers are kept.

How a hold ends, and what comes after (`StoreContract` tests each line):

    reserve again, while open       `Admitted` with the same amounts; the clock and the terms are not asked again
    reserve after any end           `Ended`
    settle, while open              the hold is replaced by the entry
    settle again, same amounts      `Settled` as before; nothing changes
    settle again, other amounts     `Conflict`; the first stands
    settle after release, expiry,   recorded in full and marked "late": money wins
      or of a hold never seen         (a direct booking, flagged "manual", was never reserved and is not late; nor is
                                      a call that no account limits)
    settle after a charged expiry   the booked amount is corrected to the true cost, and marked "late"
    release, while open             the money is free; the id is remembered for `KEEP_ENDED_MS`
    release of an unknown hold      the id is remembered: the reserve that it overtook answers `Ended`
    release after a charged expiry  the charge is taken back, with its entry: the call cost nothing
    release after settle or release nothing changes
    renew, while open               it counts for its ttl from now, or as long as before
    renew after any other end       nothing changes
    renew after expiry, or of a     placed again, whatever the limit; a charge is taken back, and its amount is held
      hold never seen
    settle with leases              each lease, open or charged when it expired, becomes smaller by what was used, once

Every account is held and charged in its own unit, which the end of its key says: what is asked of one unit is asked
of each, and "amount" and "cost" above mean dollars, tokens and requests. A hold that expires into a charge is booked
at what it held in each.

A hold is expired from `placed + ttl_ms` on, whether or not it was reaped. Reading never reaps. A reserve reaps a
few, in the order of (due, id), and all that are due before it refuses; what it reaped stays reaped when the clock
steps back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ..errors import AmountError, ConfigError, StoreError
from ..ledger import (
    KEPT_FOR_EVER,
    Account,
    Balance,
    Carried,
    Entry,
    Hold,
    Millis,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Unit,
    Wanted,
    grant,
    show_amount,
)
from ..money import MAX_AMOUNT, Nano, format_nano

Sums: TypeAlias = tuple[int, int]
"""What an account has settled and held, in its unit, the window of a rolling period included."""

Stand: TypeAlias = tuple[Account, int, int]
"""An account, and its sums."""

REAP = 4
"""How many due holds and forgotten ids every reserve clears away."""

REAP_MORE = 64
"""How many at a time when a reserve would otherwise be refused."""

MS_PER_DAY: Millis = 86_400_000

END_OF_TIME_MS: Millis = 253_402_300_800_000
"""The year 10000, which no calendar here has."""

MOST_KIND = 40
"""Letters of a kind of records."""

MOST_PRUNED: Nano = 2**62
"""Twice as much is more than the integers of a database hold."""


MOST_SUM: Nano = 2**62
"""What an account can have settled: $4.6 billion."""

LARGE: Nano = 10**15
"""Only costs above it ($1,000,000) are looked at for that: smaller ones would have to be billions."""


def ends_of(hold: Hold) -> dict[str, Millis | None]:
    """The keys that a hold is charged to, each once, in order, and when they are over."""
    ends: dict[str, Millis | None] = {}
    for account in hold.accounts:
        if account.key not in ends:
            ends[account.key] = account.over_ms
    return ends


def last_end(hold: Hold) -> Millis | None:
    """
    When all accounts of a hold are over, and with them the accounts that its entry names beside them.

    Those have no limit, and count what is settled only.
    """
    last: Millis | None = None
    for account in hold.accounts:
        over = account.over_ms
        if over is None:
            return None
        if last is None or over > last:
            last = over
    return last


def absurd(amount: int, what: str, unit: Unit = "dollars") -> AmountError:
    """The error for an amount below 0, or larger (`MAX_AMOUNT`) than every store can keep exact."""
    shown = f"{what} of {show_amount(amount, unit)} cannot be booked"
    if unit == "dollars":
        return AmountError(f"{shown}: a call costs from $0 to $9,000,000; check its price")
    return AmountError(f"{shown}: a call uses from 0 to {MAX_AMOUNT:,} {unit}; check what it said")


def require_sums(cost: Nano, settled: Iterable[Nano]) -> None:
    """Raise `AmountError` if a cost, added to one of these sums, is more than the integers of a database hold."""
    if cost > LARGE and any(sum_ + cost > MOST_SUM for sum_ in settled):
        raise AmountError(f"a cost of {format_nano(cost)} cannot be booked: its budget has taken all that it can count")


def require_hold(hold: Hold) -> None:
    """Raise `AmountError` if an amount, in dollars or a unit of its accounts, is not said or cannot be booked."""
    if not 0 <= hold.amount <= MAX_AMOUNT:
        raise absurd(hold.amount, "a hold")
    for account in hold.accounts:
        unit = account.unit
        if unit != "dollars" and not 0 <= (amount := hold.wanted(unit).amount) <= MAX_AMOUNT:
            raise absurd(amount, "a hold", unit)


def require_entry(entry: Entry) -> None:
    """Raise `AmountError` if what an entry used of some unit cannot be booked."""
    if not 0 <= entry.cost <= MAX_AMOUNT:
        raise absurd(entry.cost, "a cost")
    for unit, amount in entry.units.items():
        if not 0 <= amount <= MAX_AMOUNT:
            raise absurd(amount, "a cost", unit)


def require_amounts(holds: Iterable[Hold]) -> None:
    """`require_hold` for each of these."""
    for hold in holds:
        require_hold(hold)


def require_costs(entries: Iterable[Entry]) -> None:
    """`require_entry` for each of these."""
    for entry in entries:
        require_entry(entry)


def require_rows(accounts: Iterable[Carried], entries: Iterable[Entry]) -> None:
    """Raise `StoreError` if one of these rows of other books cannot be booked."""
    for account in accounts:
        if not 0 <= account.pruned <= MOST_PRUNED:
            raise StoreError(f"account {account.key!r}: {account.pruned} pruned nano-dollars cannot be booked")
    for entry in entries:
        require_entry(entry)
        if not 0 <= entry.at_ms < END_OF_TIME_MS:
            raise StoreError(
                f"call {entry.hold_id}: an entry at {entry.at_ms} cannot be booked; its time is in milliseconds since "
                "1970, before the year 10000"
            )


def require_records(records: Iterable[Record]) -> None:
    """Raise `ConfigError` if one of these is of no kind, or of a time that not every store keeps exact."""
    for record in records:
        _require_kind(record.kind)
        for name, when in (("at_ms", record.at_ms), ("until_ms", record.until_ms)):
            if when is not None and not 0 <= when <= KEPT_FOR_EVER:
                raise ConfigError(f"record {record.id!r}: {name}={when} is no time in milliseconds since 1970")


def require_query(query: RecordQuery) -> None:
    """Raise `ConfigError` if there can be no records of the kind that is asked for."""
    _require_kind(query.kind)


def _require_kind(kind: str) -> None:
    if not (kind.isascii() and kind.isalpha() and kind.islower() and len(kind) <= MOST_KIND):
        raise ConfigError(f"kind={kind!r}: records are of a kind of up to {MOST_KIND} lower-case letters")


def over_ms(record: Record) -> Millis:
    """When a record may be pruned: it goes with what is before a later time."""
    return record.at_ms if record.until_ms is None else max(record.at_ms, record.until_ms)


def off_clock(accounts: Sequence[Account], now_ms: Millis) -> bool:
    """Whether the store's clock is outside an account's period."""
    for account in accounts:
        if account.start_ms is not None and now_ms < account.start_ms:
            return True
        if account.end_ms is not None and now_ms >= account.end_ms:
            return True
    return False


def granted(hold: Hold, standings: Iterable[Stand]) -> dict[Unit, int] | Refusal:
    """
    What a hold may take, in dollars and in the units of its accounts, by how these stand.

    Or the refusal of the first that has no room.
    """
    amounts: dict[Unit, int] = {"dollars": hold.amount}
    for account, settled, held in standings:
        unit, limit = account.unit, account.limit
        wanted: Hold | Wanted = hold
        if unit != "dollars":
            wanted = hold.wanted(unit)
            amounts.setdefault(unit, wanted.amount)
        if limit is None or account.enforce == "observe":
            continue
        if account.enforce == "soft":
            if settled + held >= limit:
                return Refusal(account, Balance(account.key, settled, held), busy=settled < limit)
            continue
        room = grant(wanted, limit, settled, held, account.share)
        if room is None:
            busy = grant(wanted, limit, settled, 0, account.share) is not None
            return Refusal(account, Balance(account.key, settled, held), busy)
        if room != amounts[unit]:
            amounts[unit] = min(amounts[unit], room)
    return amounts


def final_flags(entry: Entry, late: bool) -> frozenset[str]:
    """An entry's flags as they are kept: "expired" is the store's own word for its own bookings."""
    flags = entry.flags - {"expired"} if "expired" in entry.flags else entry.flags
    return flags | {"late"} if late else flags


def matches(entry: Entry, query: Query) -> bool:
    """Whether an entry is one that a query asks for, its page aside."""
    return (
        (query.since_ms is None or entry.at_ms >= query.since_ms)
        and (query.until_ms is None or entry.at_ms < query.until_ms)
        and (query.model is None or entry.model == query.model)
        and all(entry.tags.get(name) == value for name, value in query.tags.items())
    )
