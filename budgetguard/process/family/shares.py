"""
The limits that other processes count on, too, as a layer of the ledger.

A call holds on all of them in the family's file (`file.py`), or on none. What a child cannot count on, as the file
could not be made, or is gone with the process that made it, is refused: never multiplied, never gone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from ...concurrency.interrupts import raise_interruption
from ...concurrency.steps import Step, Steps
from ...errors import StoreError
from ...ledger import Account, Admitted, Entry, Hold, Refusal, Stale, new_id
from ...money import Money, Nano
from .. import tally
from ..keeper import Living
from ..tally import Held, Tally
from .file import MADE, FamilyFile, FileShare

log = logging.getLogger("budgetguard")


def is_apart(tallies: Sequence[Tally]) -> bool:
    """Whether any of these is shared, or was left behind by a parent."""
    return Tally.apart and any(own.share is not None or own.left_behind for own in tallies)


class Shares:
    """The shared tallies of a call: `max_budget`, and the scopes that a child was started in, or was sent."""

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Hold on all of them, or on none; raises `StoreError`."""
        if not Tally.apart:
            return None
        for own in held.tallies:
            if own.left_behind:
                raise StoreError(_left_behind(own))
        for file, shares in _by_file(held.tallies).items():
            assert held.hold is not None
            hold = _hold_of(held.id, held.hold, shares)
            held.shared = (*held.shared, (file.store, hold))
            try:
                outcome = yield Step(partial(file.reserve, hold), blocking=True)
            except StoreError as error:
                raise_interruption(error)
                raise StoreError(_unreachable(next(iter(shares.values())), error)) from error
            if isinstance(outcome, Refusal):
                held.shared = held.shared[:-1]
                return _refusal(shares[outcome.account.key], outcome)
            for balance in outcome.balances:
                crowd = shares[balance.key].crowd
                crowd.holds[held.id] = outcome.amount
                if balance.held > outcome.amount > 0:
                    crowd.hear(balance.held, outcome.amount)
            held.hold = held.hold._replace(amount=outcome.amount)
            held.amount = outcome.amount
        return None

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """Book the cost. Never raises."""
        if Tally.apart:
            yield from self.book(held, entry.cost)
            _leave(held)
        return False

    def book(self, held: Held, cost: Nano) -> Steps[None]:
        """Settle what is held at a cost, and book that where nothing is held. Each is harmless to repeat."""
        open_ = [hold for _, hold in held.shared]
        for file, shares in _by_file(held.tallies).items():
            moved = file.moved.get(held.id, ())
            ours = [each for each in (*open_, *moved) if any(account.key in shares for account in each.accounts)]
            rest = shares.keys() - {account.key for each in ours for account in each.accounts}
            if rest:
                ours.append(Hold(held.id, tuple(Account(key) for key in sorted(rest)), 0))
            for hold in ours:
                try:
                    yield Step(partial(file.settle, hold, cost), blocking=True)
                except Exception as error:
                    raise_interruption(error)
                    self._owe(held, [shares[account.key] for account in hold.accounts], cost, error)
            if any(own.mark is not None for own in shares.values()):
                yield from self._tell(shares.values())

    def release(self, held: Held) -> Steps[None]:
        """Give back what is held. Never raises for the file: what it does not hear of expires."""
        if not Tally.apart:
            return
        _leave(held)
        for store, hold in living(held):
            try:
                yield Step(partial(store.release, hold.id), blocking=True)
            except StoreError as error:
                raise_interruption(error)
                log.warning("what call %s held on a shared limit is given back when it expires: %s", held.id, error)
        held.shared = ()

    def _tell(self, tallies: Iterable[Tally]) -> Steps[None]:
        """Have it told which of these have come to their marks."""
        try:
            for own in tallies:
                if own.mark is not None:
                    yield Step(own.tell, blocking=True)
        except StoreError as error:  # the next settlement looks again
            raise_interruption(error)
            log.warning("nobody is told whether a shared limit comes to its end: %s", error)

    def _owe(self, held: Held, tallies: Sequence[Tally], cost: Nano, error: Exception) -> None:
        """Count here, at least, and once, what the file did not take."""
        tally.book(tallies, cost)
        held.tallies = tuple(own for own in held.tallies if own not in tallies)
        log.error("call %s, of %s, is counted in this process alone: %s", held.id, Money(cost), error)


def living(held: Held) -> Sequence[Living]:
    """What a call holds on shared limits, to be kept while it lives."""
    if not Tally.apart:
        return ()
    moved = [(file.store, hold) for file in _by_file(held.tallies) for hold in file.moved.get(held.id, ())]
    return [*((store, hold.admitted(Admitted(held.amount))) for store, hold in held.shared), *moved]


def _leave(held: Held) -> None:
    """A call has ended, or is not made."""
    for own in held.tallies:
        own.crowd.leave(held.id)


def _by_file(tallies: Sequence[Tally]) -> dict[FamilyFile, dict[str, Tally]]:
    """Those that are shared, by the files that they are in, and their keys there."""
    found: dict[FamilyFile, dict[str, Tally]] = {}
    for own in tallies:
        if isinstance(own.share, FileShare):
            found.setdefault(own.share.file, {})[own.share.key] = own
    return found


def _hold_of(call_id: str, hold: Hold, shares: dict[str, Tally]) -> Hold:
    """What a call is to hold in a file: by an id of its own, as it may be tried again. What is owed here is off."""
    accounts = []
    for key, own in shares.items():
        limit = None if own.account.limit is None else max(own.account.limit - own.owed, 0)
        share = own.crowd.parts.get(call_id, own.account.share)
        accounts.append(replace(own.account, key=key, limit=limit, share=share))
    terms = ((MADE[0], 1),)
    return Hold(new_id(), tuple(accounts), hold.amount, hold.least, hold.useful, hold.ttl_ms, hold.on_expire, terms)


def _refusal(own: Tally, refusal: Refusal) -> Refusal:
    """A file's refusal, as of the tally that it is about."""
    balance = refusal.balance._replace(key=own.account.key, settled=refusal.balance.settled + own.owed)
    return Refusal(own.account, balance, refusal.busy)


_ELSE = "or keep the budget in a store that both can open: BudgetManager(..., store='sqlite:///budgets.db')"


def _name(own: Tally) -> tuple[str, str]:
    """What a limit is called, and how this process gets one of its own."""
    if own.account.key.startswith("max_budget"):
        return "max_budget", "set budgetguard.max_budget in this process (to None first, if it has one)"
    return "budget(...)", "enter a budget(...) that is made in this process"


def _left_behind(own: Tally) -> str:
    name, instead = _name(own)
    return f"{name}: its limit was made by the parent of this process, and is not shared with it: {instead}, {_ELSE}"


def _unreachable(own: Tally, error: Exception) -> str:
    name, instead = _name(own)
    return (
        f"{name}: the file in which this process and its relatives count cannot be used ({error}); where the process "
        f"that made it has ended, {instead}, {_ELSE}"
    )
