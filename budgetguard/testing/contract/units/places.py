"""Budgets in calls in flight: each takes one place, and gives it back however it ends."""

from __future__ import annotations

import pytest

from ....ledger import (
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Refusal,
    Settled,
    Store,
    Wanted,
    key_in,
    new_id,
)
from ...clock import StoppedClock
from ..base import TTL_S, StoreTests, balance, entry, hold, together

PLACES = Account(key_in("parallel", "seats/ann/all"), limit=2)
DOLLARS = Account("team/2027-01", limit=100)
REQUESTS = Account(key_in("requests", "calls/29x60000"), limit=50)
BOTH = (DOLLARS, PLACES, REQUESTS)


def standing(store: Store) -> list[tuple[int, int]]:
    """What the three accounts have settled and held."""
    return [balance(store, account.key) for account in BOTH]


class PlacesContract(StoreTests):
    """An account in the unit "parallel" has one of each open hold, and nothing of one that has ended."""

    def test_each_call_in_flight_takes_one_place(self, store: Store) -> None:
        """Beside its dollars, in one step; a call more than there are places has to wait for one."""
        first, second = hold(40, *BOTH), hold(0, PLACES)
        assert store.reserve(first) == Admitted(40, {"parallel": 1, "requests": 1})
        assert store.reserve(second) == Admitted(0, {"parallel": 1})
        assert store.reserve(first) == Admitted(40, {"parallel": 1, "requests": 1})
        assert standing(store) == [(0, 40), (0, 2), (0, 1)]
        assert [(item.amount, item.units.get("parallel")) for item in store.holds()] == [(40, 1), (0, 1)]
        refusal = Refusal(PLACES, Balance(PLACES.key, 0, 2), busy=True)
        assert store.reserve(hold(1, *BOTH)) == refusal
        assert standing(store) == [(0, 40), (0, 2), (0, 1)]
        assert store.settle(first, entry(first, 25)) == Settled(25)
        assert standing(store) == [(25, 0), (0, 1), (1, 0)]
        assert isinstance(store.reserve(hold(1, *BOTH)), Admitted)

    def test_a_place_is_never_spent(self, store: Store) -> None:
        """So a limit of two calls at once is one on the thousandth call, too; and the history knows of no place."""
        for cost in range(5):
            held = hold(9, *BOTH)
            assert isinstance(store.reserve(held), Admitted)
            settled = store.settle(held, entry(held, cost))
            assert isinstance(settled, Settled)
            assert settled.balances[1] == Balance(PLACES.key)
            assert store.settle(held, entry(held, cost)) == settled
        assert standing(store) == [(10, 0), (0, 0), (5, 0)]
        assert [item.units for item in store.entries()] == [{}] * 5
        assert {item.key: item.pruned for item in store.carried()}[PLACES.key] == 0

    def test_a_release_gives_the_place_back(self, store: Store) -> None:
        """Once, however often it is said."""
        held = hold(40, *BOTH)
        store.reserve(held)
        for _ in range(2):
            store.release(held.id)
            assert standing(store) == [(0, 0)] * 3
        assert store.reserve(held) == Ended()

    @pytest.mark.parametrize("on_expire", ["release", "charge"])
    @pytest.mark.parametrize("amount", [0, 40])
    def test_the_place_of_a_process_that_died_comes_back(
        self, store: Store, clock: StoppedClock, on_expire: str, amount: int
    ) -> None:
        """When its hold expires, also where what it held of dollars is booked then: nobody has the place any more."""
        held = hold(amount, DOLLARS, PLACES, on_expire=on_expire)
        store.reserve(held)
        clock.advance(TTL_S)
        spent = amount if on_expire == "charge" else 0
        assert standing(store)[:2] == [(spent, 0), (0, 0)]
        for _ in range(2):
            assert isinstance(store.reserve(hold(0, PLACES)), Admitted)
        assert standing(store)[:2] == [(spent, 0), (0, 2)]
        assert len(list(store.entries())) == bool(spent)
        assert store.settle(held, entry(held, 7)) == Settled(7, late=True)
        assert standing(store)[:2] == [(7, 0), (0, 2)]

    @pytest.mark.parametrize("on_expire", ["release", "charge"])
    @pytest.mark.parametrize("reaped", [False, True])
    def test_a_call_that_lives_after_all_has_its_place_again(
        self, store: Store, clock: StoppedClock, on_expire: str, reaped: bool
    ) -> None:
        """A hold that is renewed counts, even above the limit; and gives one place back in the end, not two."""
        held = hold(40, *BOTH, on_expire=on_expire)
        admitted = store.reserve(held)
        assert isinstance(admitted, Admitted)
        clock.advance(TTL_S)
        if reaped:
            store.reserve(hold(0, Account("other")))
        assert store.renew([held.admitted(admitted), hold(5, PLACES)]) == [True, True]
        assert standing(store) == [(0, 40), (0, 2), (0, 1)]
        assert isinstance(store.reserve(hold(0, PLACES)), Refusal)
        assert store.renew([held.admitted(admitted)]) == [True]
        store.settle(held, entry(held, 25))
        assert standing(store) == [(25, 0), (0, 1), (1, 0)]

    def test_a_charge_that_is_taken_back_has_no_place(self, store: Store, clock: StoppedClock) -> None:
        """The call did not happen after all, and its place came back before."""
        held = hold(40, *BOTH, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        store.reserve(hold(0, Account("other")))
        store.release(held.id)
        assert standing(store) == [(0, 0)] * 3

    def test_nobody_can_say_how_many_places_a_call_has(self, store: Store) -> None:
        """It is one call; what its entry says of places changes nothing, nor is it a conflict."""
        held = hold(4, DOLLARS, PLACES, units={"parallel": Wanted(7)})
        assert store.reserve(held) == Admitted(4, {"parallel": 1})
        assert store.settle(held, entry(held, 4, units={"parallel": 5})) == Settled(4)
        assert store.settle(held, entry(held, 4)) == Settled(4)
        assert store.settle(held, entry(held, 5)) == Conflict(4)
        assert standing(store)[:2] == [(4, 0), (0, 0)]
        assert next(store.entries()).units == {}

    def test_a_late_settle_takes_no_place(self, store: Store) -> None:
        """What no store ever held was in flight elsewhere; the entry may name the account all the same."""
        held = hold(40, *BOTH)
        assert store.settle(held, entry(held, 25, accounts=(key_in("parallel", "more"),))) == Settled(25, late=True)
        assert standing(store) == [(25, 0), (0, 0), (1, 0)]
        assert balance(store, key_in("parallel", "more")) == (0, 0)

    def test_a_slice_of_dollars_keeps_its_place_until_it_goes_back(self, store: Store, clock: StoppedClock) -> None:
        """What calls draw from a lease are dollars: the hold is there as long as the lease is."""
        lease = hold(50, DOLLARS, PLACES, on_expire="charge")
        store.reserve(lease)
        drawn = Hold(new_id(), (), 0, leases=(lease.id,))
        store.settle(drawn, entry(drawn, 20, accounts=(DOLLARS.key,)))
        assert standing(store)[:2] == [(20, 30), (0, 1)]
        clock.advance(TTL_S)
        assert standing(store)[:2] == [(50, 0), (0, 0)]
        late = Hold(new_id(), (), 0, leases=(lease.id,))
        store.settle(late, entry(late, 10, accounts=(DOLLARS.key,)))
        assert standing(store)[:2] == [(50, 0), (0, 0)]

    @pytest.mark.parametrize("enforce", ["soft", "observe"])
    def test_places_are_counted_where_they_are_not_hard(self, store: Store, enforce: str) -> None:
        """A soft limit refuses once it is reached, one that watches never does."""
        account = Account(PLACES.key, limit=1, enforce=enforce)  # type: ignore[arg-type]
        store.reserve(hold(0, account))
        answer = store.reserve(hold(0, account))
        if enforce == "soft":
            assert answer == Refusal(account, Balance(account.key, 0, 1), busy=True)
        else:
            assert isinstance(answer, Admitted)
            assert answer.balances == (Balance(account.key, 0, 2),)

    def test_no_two_calls_get_the_last_place(self, store: Store) -> None:
        """Eight threads that begin and end calls never have more than two of them in flight."""
        inside: list[int] = []
        most: list[int] = []

        def work(place: int) -> list[int]:
            for _ in range(10):
                held = hold(0, PLACES)
                if isinstance(store.reserve(held), Admitted):
                    inside.append(place)
                    most.append(len(inside))
                    inside.remove(place)
                    store.settle(held, entry(held, 0)) if place % 2 else store.release(held.id)
            return []

        together(8, work)
        assert max(most) <= 2
        assert balance(store, PLACES.key) == (0, 0)

    def test_rows_are_loaded_and_pruned_without_places(self, store: Store) -> None:
        """A copy of the books begins with every place free."""
        lost = Entry(new_id(), 9, (DOLLARS.key, PLACES.key), 1_000, flags=frozenset({"expired"}))
        store.load(accounts=[Carried(PLACES.key)], entries=[lost])
        assert standing(store)[:2] == [(9, 0), (0, 0)]
        assert list(store.entries()) == [lost]
        assert store.prune(2_000) == 1
        assert standing(store)[:2] == [(9, 0), (0, 0)]
