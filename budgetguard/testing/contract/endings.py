"""How a hold ends: settled, released, late, again, in any order."""

from __future__ import annotations

import pytest

from ...errors import AmountError
from ...ledger import (
    KEEP_ENDED_MS,
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
    new_id,
)
from ...money import MAX_AMOUNT
from ..clock import StoppedClock
from .base import ACCOUNT, TTL_S, StoreTests, balance, entry, hold, together


class EndingsContract(StoreTests):
    """How a hold ends: settled, released, late, again, in any order."""

    def test_p2_the_books_are_the_sums_of_holds_and_entries(self, store: Store) -> None:
        """At every instant between operations."""
        first, second, third = hold(10), hold(20), hold(30)
        for held in (first, second, third):
            store.reserve(held)
        store.settle(first, entry(first, 7))
        store.release(second.id)
        assert balance(store) == (7, 30)
        assert [item.id for item in store.holds()] == [third.id]
        assert store.check() == []

    def test_p5_every_operation_may_be_repeated(self, store: Store) -> None:
        """After a lost reply the caller asks again, and counts once."""
        held, given_back = hold(10), hold(20)
        assert store.reserve(held) == store.reserve(held) == Admitted(10)
        assert store.settle(held, entry(held, 7)) == store.settle(held, entry(held, 7))
        store.reserve(given_back)
        store.release(given_back.id)
        store.release(given_back.id)
        assert balance(store) == (7, 0)
        assert len(list(store.entries())) == 1

    def test_p5_many_clients_that_settle_one_hold_settle_it_once(self, store: Store) -> None:
        """Also when the repetitions are simultaneous."""
        held = hold(10)
        store.reserve(held)
        answers = together(8, lambda _: [store.settle(held, entry(held, 9))])
        assert all(isinstance(answer, Settled) and not answer.late for answer in answers)
        assert balance(store) == (9, 0)

    def test_p5_settling_at_another_cost_is_a_conflict(self, store: Store) -> None:
        """The first stands: an overwrite would hide a bug that bills twice."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 7))
        assert store.settle(held, entry(held, 8)) == Conflict(7)
        assert balance(store) == (7, 0)

    def test_p5_a_hold_that_has_ended_cannot_be_placed_again(self, store: Store, clock: StoppedClock) -> None:
        """Whichever way it ended."""
        settled, released, expired = hold(1), hold(2), hold(3)
        for held in (settled, released, expired):
            store.reserve(held)
        store.settle(settled, entry(settled, 1))
        store.release(released.id)
        clock.advance(TTL_S)
        assert [store.reserve(held) for held in (settled, released, expired)] == [Ended()] * 3
        assert balance(store) == (1, 0)

    def test_p5_a_release_may_overtake_its_reserve(self, store: Store, clock: StoppedClock) -> None:
        """The reserve of a caller that was cancelled must not hold money for nobody; a day later it is forgotten."""
        held = hold(10)
        store.release(held.id)
        assert store.reserve(held) == Ended()
        assert balance(store) == (0, 0)
        clock.advance(KEEP_ENDED_MS / 1000)
        assert isinstance(store.reserve(held), Admitted)

    @pytest.mark.parametrize("how", ["released", "expired", "never seen"])
    def test_p6_a_late_settle_is_recorded_in_full(self, store: Store, clock: StoppedClock, how: str) -> None:
        """What was spent was spent, above the limit if need be; the next reserve is refused."""
        held = hold(60, tags={"user": "ann"})
        if how != "never seen":
            store.reserve(held)
        if how == "released":
            store.release(held.id)
        if how == "expired":
            clock.advance(TTL_S)
        settled = store.settle(held, entry(held, 250, flags=frozenset({"estimated"})))
        assert settled == Settled(250, late=True)
        assert settled == store.settle(held, entry(held, 250))
        assert next(store.entries()).flags == {"estimated", "late"}
        assert store.reserve(hold(1)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 250), busy=False)
        store.release(held.id)
        assert store.reserve(held) == Ended()
        assert balance(store) == (250, 0)

    @pytest.mark.parametrize("released", [False, True])
    def test_p6_an_account_that_a_late_settle_makes_has_its_end(self, store: Store, released: bool) -> None:
        """Or it would stay for ever; an account is as its first settle or reserve says."""
        daily = Account("daily", limit=100, end_ms=store.now_ms() + 1_000)
        held = hold(1, daily)
        if released:
            store.release(held.id)
        for late in (held, hold(1, Account("daily"))):
            store.settle(late, entry(late, 5))
            assert list(store.carried()) == [Carried("daily", daily.end_ms)]

    def test_p6_a_direct_booking_is_not_late(self, store: Store) -> None:
        """A cost that was booked by hand never had a hold."""
        booked = hold(0)
        settled = store.settle(booked, entry(booked, 5, flags=frozenset({"manual"})))
        assert settled == Settled(5, late=False)
        assert next(store.entries()).flags == {"manual"}

    def test_an_entry_may_name_more_accounts(self, store: Store) -> None:
        """They count what is settled, once, and refuse nothing; the entry lists them before the hold's."""
        held = hold(10)
        store.reserve(held)
        said = entry(held, 9, accounts=("models/gpt-4o", ACCOUNT.key))
        assert store.settle(held, said) == store.settle(held, said)
        assert list(store.accounts()) == [Balance("models/gpt-4o", 9), Balance(ACCOUNT.key, 9)]
        assert next(store.entries()).accounts == ("models/gpt-4o", ACCOUNT.key)

    def test_a_hold_ends_on_the_accounts_it_was_placed_on(self, store: Store) -> None:
        """Whatever the one who settles it believes."""
        held = hold(10)
        store.reserve(held)
        store.settle(Hold(held.id, (Account("elsewhere"),), 10), entry(held, 9))
        assert balance(store) == (9, 0)
        assert balance(store, "elsewhere") == (0, 0)
        assert next(store.entries()).accounts == (ACCOUNT.key,)

    def test_an_account_has_an_end_to_what_it_can_count(self, store: Store) -> None:
        """After five hundred absurd costs the next is an error, and the books still add up."""
        ids = [new_id() for _ in range(512)]
        store.settle_many([(Hold(id_, (ACCOUNT,), 0), Entry(id_, MAX_AMOUNT)) for id_ in ids])

        def settle_more() -> None:
            for _ in range(600):
                call = Hold(new_id(), (ACCOUNT,), 0)
                store.settle(call, Entry(call.id, MAX_AMOUNT))

        with pytest.raises(AmountError):
            settle_more()
        settled, held = balance(store)
        assert 512 * MAX_AMOUNT <= settled < 2**63
        assert held == 0
        assert isinstance(store.reserve(hold(1)), Refusal)

    def test_a_release_of_a_settled_hold_changes_nothing(self, store: Store) -> None:
        """Money wins."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 9))
        store.release(held.id)
        assert balance(store) == (9, 0)
        assert len(list(store.entries())) == 1

    def test_the_clock_may_step_back(self, store: Store, clock: StoppedClock) -> None:
        """What has ended stays ended, and what is open only lasts longer."""
        held, later = hold(60), hold(100)
        store.reserve(held)
        clock.advance(TTL_S)
        assert isinstance(store.reserve(later), Admitted)
        clock.advance(-2 * TTL_S)
        assert store.reserve(held) == Ended()
        assert balance(store) == (0, 100)
        clock.advance(3 * TTL_S)
        assert balance(store) == (0, 0)
