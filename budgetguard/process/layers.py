"""
The ledger of a guard, in layers: the limits of this process, its leases, the store with its allowance and journal.

Each layer has three verbs, `reserve`, `settle` and `release`, and a call goes through all layers in this order. What
may wait is a step. `reserved` and `settled` are the same where nothing waits, is refused, or fails, as plain functions
over all layers at once: most calls need no more than these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from ..budgets.crowds import NOBODY
from ..budgets.news import Markings, tell
from ..budgets.steering.steers import STEERS
from ..concurrency.interrupts import raise_interruption
from ..concurrency.steps import Step, Steps
from ..errors import StoreError
from ..ledger import (
    NOTHING_SAID,
    Account,
    Admitted,
    Amounts,
    Conflict,
    Ended,
    Entry,
    Hold,
    Refusal,
    Stale,
    Store,
)
from ..money import Nano
from . import tally
from .family.shares import Shares, is_apart
from .journal import Journal
from .journal_files import Kept
from .leases import Leases
from .state import PROCESS
from .tally import Held, Layer, Limits, Tally

log = logging.getLogger("budgetguard")


class Slices:
    """The leases of this process: parts of budgets that calls take from without asking the store."""

    def __init__(self, leases: Leases | None) -> None:
        self.leases = leases

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Take from them, and have them filled if need be."""
        leases, hold = self.leases, held.hold
        if leases is None or not leased:
            return None
        assert hold is not None
        taken = leases.take(hold, leased)
        filled = taken if isinstance(taken, int) else (yield from leases.fill(hold, leased))
        if not isinstance(filled, int):
            return filled
        hold = held.hold = hold._replace(amount=filled, leases=leases.ids(held.id))
        held.amount = filled
        if hold.units:
            self.in_units(held, hold)
        return None

    def in_units(self, held: Held, hold: Hold) -> Hold:
        """Have a call hold of other units what leases gave it of them."""
        assert self.leases is not None
        held.units = {**held.units, **self.leases.beside(held.id)}
        wanted = {unit: each._replace(amount=held.units[unit]) for unit, each in hold.units.items()}
        held.hold = hold = hold._replace(units=wanted)
        return hold

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """Have a call that only leases paid for settled with others; else say that the store is about to settle it."""
        yield from ()
        leases, hold = self.leases, held.hold
        if leases is None or hold is None or not hold.leases:
            return False
        if not is_stored(hold):
            leases.settle(hold, entry)
            return True
        leases.settled(hold.id, entry)
        return False

    def release(self, held: Held) -> Steps[None]:
        """Give back what was taken."""
        yield from ()
        self.undo(held)

    def undo(self, held: Held) -> None:
        """`release`, which never waits."""
        if self.leases is not None:
            self.leases.give_back(held.id)

    def lower(self, held: Held, amount: Nano, units: Amounts = NOTHING_SAID) -> None:
        """Give back what was taken above these amounts: the store admitted less."""
        if self.leases is not None and held.hold is not None and held.hold.leases:
            self.leases.lower(held.id, amount, units)

    def landed(self, held: Held) -> None:
        """The store has settled it."""
        if self.leases is not None:
            self.leases.landed(held.id)


class Books:
    """The store; while it is away, the allowance for what it cannot hold, and the journal for what it cannot settle."""

    def __init__(
        self,
        store: Store | None,
        journal: Journal | None,
        spare: Tally | None,
        allowance: object,
        slices: Slices,
        *,
        marks: Markings | None = None,
    ) -> None:
        self.store = store
        self.journal = journal
        self.spare = spare
        """What may be spent while the store is away."""
        self.allowance = allowance
        """The same as it was written."""
        self._slices = slices
        self._marks = marks or Markings()

    def reserve(self, held: Held, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """Hold in the store; raises `StoreError`."""
        store, hold = self.store, held.hold
        if store is None or hold is None or not is_stored(hold):
            return None
        if store.blocking:
            outcome = yield Step(partial(store.reserve, hold), blocking=True)
        else:
            outcome = store.reserve(hold)
        return self.take_in(held, outcome)

    def take_in(self, held: Held, outcome: Admitted | Refusal | Stale | Ended) -> Refusal | Stale | None:
        """What the store says to a hold."""
        if isinstance(outcome, Admitted):
            held.amount, held.balances = outcome.amount, outcome.balances
            held.company.hear(held.id, outcome)
            if outcome.units:
                held.units = {**held.units, **outcome.units}
            self._slices.lower(held, outcome.amount, outcome.units)
            return None
        if isinstance(outcome, Ended):
            raise StoreError("the call had already ended when its money was to be held")
        return outcome

    def without(self, held: Held, error: StoreError) -> None:
        """Hold on the allowance for calls without a store, or raise; the store may have taken the hold, or not."""
        hold = held.hold
        assert hold is not None
        self._marks.news.away(error)
        self._slices.undo(held)
        hold = held.hold = hold._replace(leases=())
        if self.spare is not None:
            granted = tally.reserve((self.spare,), hold)
            if not isinstance(granted, Refusal):
                held.spared = held.amount = granted
                return
            error = StoreError(f"{error}; the allowance for calls without it, {self.allowance}, is used up")
        held.hold = None
        if self.journal is not None and is_stored(hold):
            self.journal.give_back(held.id)
        raise error

    def settle(self, held: Held, entry: Entry) -> Steps[bool]:
        """Settle in the store; where that fails, have the journal repeat it."""
        store, hold = self.store, held.hold or Hold(held.id, (), 0)
        if store is None:
            return True
        if not held.owed:
            try:
                if self.journal is not None and self.journal.behind:
                    held.owed = True
                elif store.blocking:
                    self.booked(held, entry, (yield Step(partial(store.settle, hold, entry), blocking=True)))
                else:
                    self.booked(held, entry, store.settle(hold, entry))
            except Exception as error:
                self.failed(held, error)
        if held.owed:
            yield from self._keep(held, hold, entry)
        return True

    def booked(self, held: Held, entry: Entry, outcome: object) -> None:
        """The store has settled it."""
        if held.spared is not None:
            self._unspare(held, 0)
        else:
            self._slices.landed(held)
        if isinstance(outcome, Conflict):
            log.error("call %s was settled at %d before, now at %d", held.id, outcome.recorded, entry.cost)
        tell(self._marks.by_key, outcome)

    def failed(self, held: Held, error: Exception) -> None:
        """The store failed to settle it: whatever it is, what was spent is not forgotten."""
        raise_interruption(error)
        if not isinstance(error, StoreError):
            log.exception("call %s could not be settled, and waits", held.id)
        self._marks.news.away(error)
        held.owed = True

    def release(self, held: Held) -> Steps[None]:
        """Release what the store holds, sooner or later; give back the allowance."""
        self._unspare(held, 0)
        store, hold = self.store, held.hold
        if store is not None and hold is not None and is_stored(hold):
            try:
                yield Step(partial(store.release, held.id), store.blocking)
            except StoreError as error:
                raise_interruption(error)
                if self.journal is not None:
                    self.journal.give_back(held.id)
        held.hold = None

    def _keep(self, held: Held, hold: Hold, entry: Entry) -> Steps[None]:
        """Have the journal settle it when the store can be reached."""
        assert self.journal is not None  # there is one for every store
        landed: Callable[[], None] | None = None
        spared = held.spared is not None
        kept = Kept(hold, entry, held.spared_ms, hold.model if spared else None)
        if spared and self.spare is not None:
            landed = partial(tally.book, (self.spare,), -entry.cost)
        elif hold.leases:
            landed = partial(self._slices.landed, held)
        yield Step(partial(self.journal.keep, kept, landed), blocking=True)
        self._unspare(held, entry.cost)

    def _unspare(self, held: Held, cost: Nano) -> None:
        """End the hold on the allowance, at what is not on the books yet."""
        if self.spare is not None:
            tally.settle((self.spare,), held.id, cost)
            held.spared = None


class Ledger:
    """All layers."""

    def __init__(
        self,
        store: Store | None = None,
        journal: Journal | None = None,
        leases: Leases | None = None,
        spare: Tally | None = None,
        allowance: object = None,
        *,
        marks: Markings | None = None,
    ) -> None:
        noted = marks or Markings()
        self.marks = noted.by_key
        self.shares = Shares()
        self.limits = Limits()
        self.slices = Slices(leases)
        self.books = Books(store, journal, spare, allowance, self.slices, marks=noted)
        self.blocking = store is not None and store.blocking
        """Whether the store may wait for a disk or a network."""
        self.layers: tuple[Layer, ...] = (self.shares, self.limits, self.slices, self.books)

    def reserve(self, held: Held, hold: Hold, leased: Sequence[Account]) -> Steps[Refusal | Stale | None]:
        """
        Hold on every layer; or say why not, with nothing held anywhere. Raises `StoreError`.

        `hold` is at what is wanted. It names the accounts that are for the store; `leased` are those that are not.
        """
        held.hold, held.amount, held.units = hold, hold.amount, _said(hold)
        if (leased or is_stored(hold) or is_apart(held.tallies)) and hold.ttl_ms < PROCESS.keeper.pace_ms:
            PROCESS.keeper.watch(hold.ttl_ms)
        outcome = yield from self.shares.reserve(held, leased)  # no allowance is for these
        try:
            for layer in self.layers[1:]:
                if outcome is None:
                    outcome = yield from layer.reserve(held, leased)
        except StoreError as error:
            raise_interruption(error)
            self.books.without(held, error)
        if outcome is not None:
            yield from self.shares.release(held)
            self._undo(held)
        return outcome

    def reserved(self, held: Held, hold: Hold, leased: Sequence[Account], blocks: bool) -> Stale | bool:
        """`reserve`, if that is done at once; else nothing is held. `blocks`: the caller may wait for a store."""
        store, leases = self.books.store, self.slices.leases
        stored = store is not None and (hold.accounts or (hold.terms and hold.terms[0][0] != STEERS))
        held.hold, held.units = hold, _said(hold) if hold.units else NOTHING_SAID
        if (stored or leased) and hold.ttl_ms < PROCESS.keeper.pace_ms:
            PROCESS.keeper.watch(hold.ttl_ms)
        if leases is not None and leased:  # first, as it is they that may have to be filled
            taken = leases.take(hold, leased)
            if not isinstance(taken, int):
                held.hold = None
                return False
            hold = held.hold = hold._replace(amount=taken, leases=leases.ids(held.id))
            hold = self.slices.in_units(held, hold) if hold.units else hold
        if held.tallies:
            granted = tally.reserve(held.tallies, hold)
            if isinstance(granted, Refusal):
                return self._undo(held)
            if granted != hold.amount:
                self.slices.lower(held, granted)
                hold = held.hold = hold._replace(amount=granted)
        held.amount = hold.amount
        if not stored or store is None:
            return True
        outcome: object = None
        if blocks or not store.blocking:
            try:
                outcome = store.reserve(hold)
            except StoreError as error:
                raise_interruption(error)
                self.books.without(held, error)
                return True
        if type(outcome) is Admitted:
            held.amount, held.balances = outcome.amount, outcome.balances
            if held.company is not NOBODY:
                held.company.hear(held.id, outcome)
            if leased or outcome.units:
                self.books.take_in(held, outcome)
            return True
        return self._undo(held) or (outcome if isinstance(outcome, Stale) else False)

    def settle(self, held: Held, entry: Entry) -> Steps[None]:
        """End the hold on every layer at its true cost. Never raises for a store."""
        for layer in self.layers:
            if (yield from layer.settle(held, entry)):
                return

    def settled(self, held: Held, entry: Entry, blocks: bool) -> bool:
        """`settle`, if that is done at once; else it is still to be done. `blocks`: the caller may wait for a store."""
        books, hold, leases = self.books, held.hold, self.slices.leases
        store, journal = books.store, books.journal
        if held.tallies:
            tally.settle(held.tallies, held.id, entry.cost)
        if store is None:
            return True
        if hold is None or held.spared is not None or held.owed or (journal is not None and journal.behind):
            return False
        if hold.leases and leases is not None and not is_stored(hold):
            leases.settle(hold, entry)
            return True
        if hold.leases or (store.blocking and not blocks):
            return False
        try:
            outcome = store.settle(hold, entry)
        except Exception as error:
            self.books.failed(held, error)
            return False
        if type(outcome) is Conflict:
            self.books.booked(held, entry, outcome)
        elif marks := self.marks:
            for balance in outcome.balances:  # type: ignore[union-attr]  # it is `Settled`
                mark = marks.get(balance.key)
                if mark is not None and balance.settled >= mark.next:
                    mark.passed(balance)
        return True

    def book(self, held: Held, cost: Nano) -> Steps[None]:
        """Book a cost on the limits of this process, for which nothing was held."""
        yield from self.shares.book(held, cost)
        tallies, held.tallies = held.tallies, ()  # every step may be repeated
        tally.book(tally.own_alone(tallies), cost)

    def release(self, held: Held) -> Steps[None]:
        """Give back what is held on every layer."""
        for layer in self.layers:
            yield from layer.release(held)

    def _undo(self, held: Held) -> Literal[False]:
        """Give back what is held on the layers above the store, which holds nothing; so nothing is held."""
        self.limits.undo(held)
        self.slices.undo(held)
        held.hold = None
        return False


def _said(hold: Hold) -> Amounts:
    """What a hold says that it wants beside dollars."""
    return {unit: wanted.amount for unit, wanted in hold.units.items()} if hold.units else NOTHING_SAID


def is_stored(hold: Hold) -> bool:
    """
    Whether a call holds anything in the store itself, or only on leases of this process.

    What it says of steers is for the accounts that it names, and for slices: alone it is no reason to ask.
    """
    return bool(hold.accounts or (hold.terms and hold.terms[0][0] != STEERS))
