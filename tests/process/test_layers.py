"""
The ledger in layers, each alone: what a call holds there, how that ends, and that every verb may be repeated.

An end may come twice (a call that was interrupted is ended by another thread), or for what was never held.
"""

from __future__ import annotations

from typing import Any

import pytest

from budgetguard.errors import StoreError
from budgetguard.guards.shells import Shell
from budgetguard.ledger import Account, Entry, Hold, Refusal, Stale, Terms
from budgetguard.process.journal import Journal
from budgetguard.process.layers import Books, Ledger, Slices
from budgetguard.process.leases import Leases
from budgetguard.process.tally import Held, Limits, Tally
from budgetguard.stores.memory.store import MemoryStore

LIMIT = 1_000
ACCOUNT = Account("all//all", LIMIT)
LEASED = Account("fleet//all", LIMIT, lease="release")
run = Shell().run


def held(amount: int = 600, *, tallies: Any = (), accounts: Any = (), name: str = "one") -> Held:
    """A call that wants an amount, and holds nothing yet."""
    return Held(name, 1, tallies, Hold(name, accounts, amount), amount)


def entry(cost: int, name: str = "one") -> Entry:
    return Entry(name, cost, model="m")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def journal(store: MemoryStore) -> Journal:
    return Journal(lambda kept: store.settle(kept.hold, kept.entry), store.release, None, "", background=False)


# -- the limits of this process ----------------------------------------------------------------------------------------


def test_a_limit_holds_and_books_what_a_call_cost():
    """600 of 1000 are held; then 250 are settled, and nothing is held."""
    limits, tally = Limits(), Tally(ACCOUNT)
    one = held(tallies=(tally,))
    assert run(limits.reserve(one, ())) is None
    assert (tally.held, tally.settled, one.amount) == (600, 0, 600)
    for _ in range(2):
        assert not run(limits.settle(one, entry(250)))
        assert (tally.held, tally.settled) == (0, 250)


def test_a_limit_without_room_refuses_and_a_release_gives_it_back():
    """600 and 600 are more than 1000."""
    limits, tally = Limits(), Tally(ACCOUNT)
    one, two = held(tallies=(tally,)), held(tallies=(tally,), name="two")
    assert run(limits.reserve(one, ())) is None
    refused = run(limits.reserve(two, ()))
    assert isinstance(refused, Refusal)
    assert refused.busy
    for each in (two, one, one):
        run(limits.release(each))
    assert (tally.held, tally.settled) == (0, 0)


# -- leases ------------------------------------------------------------------------------------------------------------


def test_a_slice_pays_for_a_call_without_the_store(store, journal):
    """What it cost is sent with others, later."""
    leases = Leases(store, journal, 60_000, background=False)
    slices, one = Slices(leases), held(10)
    assert run(slices.reserve(one, (LEASED,))) is None
    assert one.hold is not None
    assert one.hold.leases
    assert run(slices.settle(one, entry(7)._replace(accounts=(LEASED.key,))))  # the store hears of it from there
    assert list(store.entries()) == []
    assert leases.close()
    assert [each.cost for each in store.entries()] == [7]
    assert store.balances([LEASED.key])[0][1:] == (7, 0)


def test_what_a_call_took_from_a_slice_goes_back(store, journal):
    """A call that was not sent costs nothing."""
    leases = Leases(store, journal, 60_000, background=False)
    slices, one = Slices(leases), held(10)
    run(slices.reserve(one, (LEASED,)))
    for _ in range(2):
        run(slices.release(one))
    assert leases.close()
    assert store.balances([LEASED.key])[0][1:] == (0, 0)


def test_without_leases_the_layer_does_nothing():
    """Most budgets are not leased."""
    slices, one = Slices(None), held()
    assert run(slices.reserve(one, ())) is None
    assert not run(slices.settle(one, entry(7)))
    run(slices.release(one))


# -- the store, its allowance and its journal --------------------------------------------------------------------------


def test_the_books_hold_and_settle(store, journal):
    """As the store does."""
    books, one = Books(store, journal, None, None, Slices(None)), held(accounts=(ACCOUNT,))
    assert run(books.reserve(one, ())) is None
    assert store.balances([ACCOUNT.key])[0][1:] == (0, 600)
    for _ in range(2):
        assert run(books.settle(one, entry(250)))
        assert store.balances([ACCOUNT.key])[0][1:] == (250, 0)


def test_the_books_say_what_the_store_says(store, journal):
    """A refusal, or what it knows better."""
    books = Books(store, journal, None, None, Slices(None))
    assert isinstance(run(books.reserve(held(LIMIT + 1, accounts=(ACCOUNT,)), ())), Refusal)
    store.put_terms("users/ann", "{}")
    old = held()
    old.hold = old.hold._replace(terms=(("users/ann", 0),))
    said = run(books.reserve(old, ()))
    assert isinstance(said, Stale)
    assert said.terms == (Terms("users/ann", 1, "{}"),)


class Away(MemoryStore):
    """A store that cannot be reached."""

    def reserve(self, hold: Hold) -> Any:
        raise StoreError("is away")

    def settle(self, hold: Hold, entry: Entry) -> Any:
        raise StoreError("is away")

    def release(self, hold_id: str) -> None:
        raise StoreError("is away")


def test_a_settlement_that_fails_is_kept(store, journal):
    """The journal has it, and repeats it."""
    books, one = Books(Away(), journal, None, None, Slices(None)), held(accounts=(ACCOUNT,))
    for _ in range(2):
        assert run(books.settle(one, entry(250)))
    assert len(journal) == 1
    assert journal.replay()
    assert [each.cost for each in store.entries()] == [250]


def test_an_allowance_stands_in_for_a_store_that_is_away(store, journal):
    """Until it is used up; what it paid for counts there until it is on the books."""
    spare = Tally(Account("allowance//all", LIMIT))
    books = Books(Away(), journal, spare, "0.000001", Slices(None))
    one, two = held(accounts=(ACCOUNT,)), held(accounts=(ACCOUNT,), name="two")
    books.without(one, StoreError("is away"))
    assert (spare.held, one.spared, one.amount) == (600, 600, 600)
    with pytest.raises(StoreError, match=r"the allowance for calls without it, 0\.000001, is used up"):
        books.without(two, StoreError("is away"))
    assert two.hold is None
    run(books.settle(one, entry(250)))
    assert spare.balance[1:] == (250, 0)
    assert journal.replay()
    assert spare.balance[1:] == (0, 0)


# -- all together ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["at once", "in steps"])
def reserve(request: pytest.FixtureRequest) -> Any:
    """Both ways to hold on every layer; whether it is held."""

    def at_once(ledger: Ledger, one: Held, leased: Any = ()) -> bool:
        return ledger.reserved(one, one.hold, leased, blocks=True) is True

    def in_steps(ledger: Ledger, one: Held, leased: Any = ()) -> bool:
        return run(ledger.reserve(one, one.hold, leased)) is None

    return at_once if request.param == "at once" else in_steps


def test_a_refusal_below_gives_back_what_was_held_above(store, journal, reserve):
    """The tally has room for 600, the store for 500."""
    tally, ledger = Tally(ACCOUNT), Ledger(store, journal)
    one = held(tallies=(tally,), accounts=(Account("small//all", 500),))
    assert not reserve(ledger, one)
    assert (tally.held, one.hold) == (0, None)
    assert store.holds() == []


def test_the_least_that_a_layer_grants_is_what_is_admitted(store, journal, reserve):
    """An elastic hold of 600: the tally gives 400, the store 300."""
    tally, ledger = Tally(Account("own//all", 400)), Ledger(store, journal)
    one = held(tallies=(tally,))
    one.hold = one.hold._replace(accounts=(Account("small//all", 300),), least=100, useful=100)
    assert reserve(ledger, one)
    assert (tally.held, one.amount) == (400, 300)
    run(ledger.settle(one, entry(250)))
    assert (tally.held, tally.settled) == (0, 250)
    assert store.balances(["small//all"])[0][1:] == (250, 0)


def test_a_store_that_may_wait_is_not_asked_at_once(store, journal):
    """A task gives it to a thread; nothing is held meanwhile."""
    store.blocking = True
    tally, ledger = Tally(ACCOUNT), Ledger(store, journal)
    one = held(tallies=(tally,), accounts=(ACCOUNT,))
    assert ledger.reserved(one, one.hold, (), blocks=False) is False
    assert (tally.held, store.holds()) == (0, [])


def test_a_failure_at_once_is_left_to_the_journal():
    """The store is not asked again: nobody waits twice for one that is away."""
    store = Away()
    journal = Journal(lambda _: None, store.release, None, "", background=False)
    ledger, one = Ledger(store, journal), held(accounts=(ACCOUNT,))
    assert not ledger.settled(one, entry(7), blocks=True)
    assert one.owed
    run(ledger.settle(one, entry(7)))
    assert len(journal) == 1


def test_an_end_at_once_may_be_repeated_in_steps(store, journal):
    """As when an interruption comes just behind it."""
    tally, ledger = Tally(ACCOUNT), Ledger(store, journal)
    one = held(tallies=(tally,), accounts=(ACCOUNT,))
    assert ledger.reserved(one, one.hold, (), blocks=True) is True
    assert ledger.settled(one, entry(250), blocks=True)
    run(ledger.settle(one, entry(250)))
    assert (tally.settled, tally.held) == (250, 0)
    assert [each.cost for each in store.entries()] == [250]
