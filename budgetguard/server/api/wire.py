"""Between the structs of the native API and the ledger's own types: pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from ...ledger import (
    Account,
    Admitted,
    Balance,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Query,
    Refusal,
    Settled,
    Stale,
    Terms,
    Total,
)
from . import schemas as s


def account(said: s.AccountIn) -> Account:
    """An account, with the rules by which it admits a hold."""
    return Account(said.key, said.limit, said.enforce, said.share, said.start_ms, said.end_ms, said.window)


def hold(said: s.HoldIn) -> Hold:
    """A hold."""
    return Hold(
        said.id,
        tuple([account(each) for each in said.accounts]),
        said.amount,
        said.least,
        said.useful,
        said.ttl_ms,
        said.on_expire,
        tuple([(known.key, known.version) for known in said.terms]),
        said.tags,
        said.provider,
        said.model,
        said.leases,
    )


def entry(said: s.EntryIn) -> Entry:
    """An entry to be settled."""
    return Entry(
        said.hold_id,
        said.cost,
        said.accounts,
        0,
        said.tags,
        said.provider,
        said.model,
        said.usage,
        frozenset(said.flags),
    )


def query(said: s.QueryIn) -> Query:
    """Which entries."""
    return Query(said.since_ms, said.until_ms, said.tags, said.model, said.after, said.limit)


def reserved(outcome: Admitted | Refusal | Stale | Ended, held: Hold) -> s.Reserved:
    """The answer to a reserve."""
    if isinstance(outcome, Admitted):
        return s.Reserved(admitted=outcome.amount)
    if isinstance(outcome, Refusal):
        told, taken = outcome.account, outcome.balance
        place = held.accounts.index(told)
        return s.Reserved(
            refusal=s.RefusalOut(place, told.key, told.limit, taken.settled, taken.held, outcome.busy),
        )
    if isinstance(outcome, Stale):
        return s.Reserved(stale=s.StaleOut(outcome.now_ms, [terms(each) for each in outcome.terms]))
    return s.Reserved(ended=True)


def settled(outcome: Settled | Conflict) -> s.SettledOut:
    """The answer to a settlement."""
    if isinstance(outcome, Conflict):
        return s.SettledOut(conflict=outcome.recorded)
    return s.SettledOut(outcome.cost, outcome.late)


def terms(found: Terms) -> s.TermsOut:
    """Stored terms."""
    return s.TermsOut(found.key, found.version, found.body)


def balances(found: Iterable[Balance]) -> list[s.BalanceOut]:
    """Accounts."""
    return [s.BalanceOut(*balance) for balance in found]


def entry_out(found: Entry) -> s.EntryOut:
    """A line of the history."""
    return s.EntryOut(
        found.hold_id,
        found.cost,
        found.accounts,
        found.at_ms,
        dict(found.tags),
        found.provider,
        found.model,
        dict(found.usage),
        sorted(found.flags),
    )


def open_hold(found: OpenHold) -> s.OpenHoldOut:
    """A hold that has not ended."""
    return s.OpenHoldOut(
        found.id,
        found.amount,
        found.accounts,
        found.placed_ms,
        found.expires_ms,
        dict(found.tags),
        found.provider,
        found.model,
    )


def total(found: Total) -> s.TotalOut:
    """What one group of entries adds up to."""
    return s.TotalOut(found.group, found.cost, found.calls, found.input_tokens, found.output_tokens, found.estimated)


def difference(found: Difference) -> s.DifferenceOut:
    """An account whose books do not add up."""
    return s.DifferenceOut(found.key, found.kind, found.booked, found.summed)
