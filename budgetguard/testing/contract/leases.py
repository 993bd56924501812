"""Many settlements at once, and those that were paid out of a lease."""

from __future__ import annotations

from ...ledger import Account, Admitted, Balance, Conflict, Hold, Settled, Store, new_id
from ..clock import StoppedClock
from .base import ACCOUNT, TTL_S, StoreTests, balance, entry, hold


class LeasesContract(StoreTests):
    """Many settlements at once, and those that were paid out of a lease."""

    def test_many_settlements_are_answered_as_one_by_one(self, store: Store) -> None:
        """In their order, repetitions and conflicts among them included."""
        first, second = hold(10), hold(20)
        store.reserve(first)
        said = [
            (first, entry(first, 7)),
            (second, entry(second, 9)),
            (first, entry(first, 7)),
            (first, entry(first, 8)),
        ]
        answers = [Settled(7), Settled(9, late=True), Settled(7), Conflict(7)]
        assert store.settle_many(said) == answers
        assert store.settle_many(said[:3]) == answers[:3]
        assert store.settle_many([]) == []
        assert balance(store) == (16, 0)
        assert len(list(store.entries())) == 2

    def test_a_settlement_makes_its_lease_smaller_once(self, store: Store) -> None:
        """A call that was paid out of a hold of its process: what is settled is no longer held, and nothing more."""
        lease = hold(50, on_expire="charge")
        store.reserve(lease)
        calls = [Hold(new_id(), (), 0, leases=(lease.id,)) for _ in range(3)]
        said = [
            (call, entry(call, cost, accounts=(ACCOUNT.key,))) for call, cost in zip(calls, (7, 0, 20), strict=True)
        ]
        assert store.settle_many(said) == store.settle_many(said) == [Settled(7), Settled(0), Settled(20)]
        assert balance(store) == (27, 23)
        assert [(item.id, item.amount) for item in store.holds()] == [(lease.id, 23)]
        assert [item.accounts for item in store.entries()] == [(ACCOUNT.key,)] * 3
        assert store.reserve(lease) == Admitted(23)
        above = Hold(new_id(), (), 0, leases=(lease.id, "never seen"))
        assert store.settle(above, entry(above, 30, accounts=(ACCOUNT.key,))) == Settled(30)
        assert balance(store) == (57, 0)
        store.release(lease.id)
        assert balance(store) == (57, 0)

    def test_a_settlement_takes_from_every_lease_and_from_its_own_hold(self, store: Store) -> None:
        """One account may be leased and another not; a lease gives what was never drawn back."""
        one, two, own = Account("one", limit=100), Account("two", limit=100), Account("own", limit=100)
        first, second = hold(50, one), hold(40, two)
        call = hold(30, own, leases=(first.id, second.id))
        for held in (first, second, call):
            store.reserve(held)
        store.settle(call, entry(call, 10, accounts=("one", "two")))
        assert store.balances(["one", "two", "own"]) == [
            Balance("one", 10, 40),
            Balance("two", 10, 30),
            Balance("own", 10, 0),
        ]
        store.release(first.id)
        assert store.balances(["one"]) == [Balance("one", 10, 0)]
        late = hold(5, own, leases=(first.id,))
        store.settle(late, entry(late, 5, accounts=("one",)))
        assert store.balances(["one"]) == [Balance("one", 15, 0)]

    def test_an_expired_lease_is_spent_until_its_calls_are_known(self, store: Store, clock: StoppedClock) -> None:
        """What was charged for it becomes less with each of them, and the rest is given back with a release."""
        lease = hold(50, on_expire="charge")
        store.reserve(lease)
        clock.advance(TTL_S)
        assert balance(store) == (50, 0)
        call = Hold(new_id(), (), 0, leases=(lease.id,))
        for _ in range(2):
            assert store.settle(call, entry(call, 20, accounts=(ACCOUNT.key,))) == Settled(20)
            assert balance(store) == (50, 0)
        assert sorted((item.cost, sorted(item.flags)) for item in store.entries()) == [(20, []), (30, ["expired"])]
        store.release(lease.id)
        assert balance(store) == (20, 0)

    def test_a_lease_that_is_used_up_expires_without_a_charge(self, store: Store, clock: StoppedClock) -> None:
        """Nothing is left to be charged; a settlement of it that comes late is booked where it says."""
        lease = hold(100, on_expire="charge")
        store.reserve(lease)
        call = hold(0)._replace(accounts=(), leases=(lease.id,))
        store.settle(call, entry(call, 100)._replace(accounts=(ACCOUNT.key,)))
        clock.advance(TTL_S)
        store.reserve(hold(1, Account("b")))
        assert [found.hold_id for found in store.entries()] == [call.id]
        store.settle(lease._replace(accounts=(ACCOUNT, Account("d"))), entry(lease, 30))
        assert [found.settled for found in store.balances([ACCOUNT.key, "d"])] == [130, 30]
