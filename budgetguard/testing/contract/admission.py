"""Who is admitted: limits, elastic holds, rolling periods, terms and clocks."""

from __future__ import annotations

import pytest

from ...errors import StoreError
from ...ledger import Account, Admitted, Balance, Refusal, Settled, Stale, Store, Terms
from ..clock import StoppedClock
from .base import ACCOUNT, StoreTests, balance, entry, hold, together


class AdmissionContract(StoreTests):
    """Who is admitted: limits, elastic holds, rolling periods, terms and clocks."""

    def test_p1_no_hold_is_admitted_beyond_a_hard_limit(self, store: Store) -> None:
        """Under any interleaving: a hundred dollars are a hundred dollars, and all of them can be used."""
        account = Account("crowd", limit=1000)
        answers = together(8, lambda _: [store.reserve(hold(3, account)) for _ in range(100)])
        admitted = [answer for answer in answers if isinstance(answer, Admitted)]
        assert len(admitted) == 333
        assert balance(store, "crowd") == (0, 999)

    def test_p3_a_hold_is_placed_on_all_accounts_or_on_none(self, store: Store) -> None:
        """A refusal by the last account leaves nothing on the first."""
        roomy, tight = Account("a", limit=100), Account("b", limit=5)
        refusal = store.reserve(hold(10, roomy, tight))
        assert refusal == Refusal(tight, Balance("b"), busy=False)
        assert store.balances(["a", "b"]) == [Balance("a"), Balance("b")]
        assert list(store.accounts()) == []
        assert store.reserve(hold(5, roomy, tight)) == Admitted(5)
        assert store.balances(["a", "b"]) == [Balance("a", held=5), Balance("b", held=5)]

    def test_p8_the_stores_clock_decides_the_period(self, store: Store, clock: StoppedClock) -> None:
        """A caller with a wrong clock is told the time, and nothing is held."""
        now = store.now_ms()
        assert now == round(clock() * 1000)
        this = Account("day/1", limit=100, start_ms=now - 10, end_ms=now + 10)
        assert store.reserve(hold(1, Account("day/2", limit=100, start_ms=now + 10))) == Stale(now)
        assert store.reserve(hold(1, Account("day/0", limit=100, end_ms=now))) == Stale(now)
        held = hold(10, this)
        assert isinstance(store.reserve(held), Admitted)
        clock.advance(1)
        assert store.reserve(held) == Admitted(10)
        store.settle(held, entry(held, 9))
        assert [(item.key, item.settled) for item in store.accounts()] == [("day/1", 9)]

    def test_a_hold_may_take_the_last_nano_dollar(self, store: Store) -> None:
        """The limit is what may be spent, so reaching it is allowed."""
        assert store.reserve(hold(100)) == Admitted(100)
        assert isinstance(store.reserve(hold(0)), Admitted)
        assert isinstance(store.reserve(hold(1)), Refusal)

    def test_a_refusal_is_busy_if_only_holds_are_in_the_way(self, store: Store) -> None:
        """It may pass in a moment; one for lack of money does not."""
        first = hold(60)
        store.reserve(first)
        assert store.reserve(hold(41)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, held=60), busy=True)
        assert store.reserve(hold(101)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, held=60), busy=False)
        store.settle(first, entry(first, 60))
        assert store.reserve(hold(41)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 60), busy=False)

    def test_a_soft_limit_lets_the_crossing_call_through(self, store: Store) -> None:
        """Whole, and only that one."""
        soft = Account("soft", limit=100, enforce="soft")
        crossing = hold(500, soft)
        assert isinstance(store.reserve(hold(99, soft)), Admitted)
        assert store.reserve(crossing) == Admitted(500)
        assert store.reserve(hold(0, soft)) == Refusal(soft, Balance("soft", held=599), busy=True)
        store.settle(crossing, entry(crossing, 100))
        assert store.reserve(hold(0, soft)) == Refusal(soft, Balance("soft", 100, 99), busy=False)

    def test_an_observed_or_unlimited_account_refuses_nothing(self, store: Store) -> None:
        """It counts."""
        accounts = Account("watched", limit=1, enforce="observe"), Account("free")
        assert store.reserve(hold(50, *accounts)) == Admitted(50)
        assert store.reserve(hold(50, accounts[1])) == Admitted(50)
        assert balance(store, "free") == (0, 100)

    def test_an_elastic_hold_takes_what_there_is(self, store: Store) -> None:
        """From its wish down to its least; below that it is refused."""
        assert isinstance(store.reserve(hold(70)), Admitted)
        elastic = hold(50, least=10)
        assert store.reserve(elastic) == Admitted(30)
        assert store.reserve(elastic) == Admitted(30)
        assert {item.id: item.amount for item in store.holds()}[elastic.id] == 30
        store.settle(elastic, entry(elastic, 25))
        assert store.reserve(hold(50, least=6)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 25, 70), busy=True)

    def test_elastic_holds_share_the_room(self, store: Store) -> None:
        """Many calls in flight do not lock each other out; a share too small to be useful is not cut further."""
        shared, other = Account("shared", limit=100, share=5), Account("other", limit=1000)
        assert store.reserve(hold(90, other, shared, least=1)) == Admitted(20)
        assert store.reserve(hold(90, shared, least=1, useful=30)) == Admitted(30)
        assert store.reserve(hold(5, shared, least=1)) == Admitted(5)

    def test_a_rolling_period_counts_its_earlier_accounts(self, store: Store) -> None:
        """Their settled and held money takes room, and shows in the balance."""
        old = hold(30, Account("roll/1", limit=100))
        store.reserve(old)
        store.settle(old, entry(old, 30))
        store.reserve(hold(20, Account("roll/2", limit=100)))
        now = Account("roll/3", limit=100, window=("roll/1", "roll/2", "roll/0"))
        refusal = store.reserve(hold(51, now))
        assert refusal == Refusal(now, Balance("roll/3", 30, 20), busy=True)
        last = hold(50, now)
        assert store.reserve(last) == Admitted(50)
        assert balance(store, "roll/3") == (0, 50)
        assert store.settle(last, entry(last, 45)) == Settled(45)

    def test_an_account_named_twice_is_charged_once(self, store: Store) -> None:
        """Two rules may lead to one account."""
        held = hold(10, ACCOUNT, Account(ACCOUNT.key, limit=50))
        assert isinstance(store.reserve(held), Admitted)
        assert balance(store) == (0, 10)
        store.settle(held, entry(held, 9))
        assert balance(store) == (9, 0)

    @pytest.mark.parametrize("amount", [-1, 10**16])
    def test_an_absurd_amount_is_an_error(self, store: Store, amount: int) -> None:
        """A negative hold would make room, and a huge one cannot be kept exact."""
        held = hold(1)
        with pytest.raises(StoreError, match="cannot be booked"):
            store.reserve(hold(amount))
        with pytest.raises(StoreError, match="cannot be booked"):
            store.settle(held, entry(held, amount))
        assert balance(store) == (0, 0)

    def test_terms_have_versions_that_only_grow(self, store: Store) -> None:
        """Also over a removal, so that nobody takes old terms for new ones."""
        assert store.terms("ann") is None
        assert store.put_terms("ann", "10 a month", expected=0) == Terms("ann", 1, "10 a month")
        assert store.put_terms("ann", "never seen", expected=0) is None
        assert store.put_terms("ann", None) == store.terms("ann") == Terms("ann", 2, None)
        assert list(store.all_terms()) == []
        assert store.put_terms("ann", "5 a day", expected=2) == Terms("ann", 3, "5 a day")
        store.put_terms("bob", "1 a day")
        store.put_terms("an", "2 a day")
        assert [terms.key for terms in store.all_terms()] == ["an", "ann", "bob"]
        assert [terms.key for terms in store.all_terms("ann")] == ["ann"]

    def test_a_hold_computed_from_old_terms_is_stale(self, store: Store) -> None:
        """The answer brings the new ones, so that the second try passes."""
        ann = Terms("ann", 1, "10 a month")
        store.put_terms("ann", ann.body)
        assert store.reserve(hold(1, terms=(("ann", 0), ("bob", 0)))) == Stale(store.now_ms(), (ann,))
        assert isinstance(store.reserve(hold(1, terms=(("ann", 1), ("bob", 0)))), Admitted)
        store.put_terms("ann", None)
        assert store.reserve(hold(1, terms=(("ann", 1),))) == Stale(store.now_ms(), (Terms("ann", 2, None),))
        assert store.reserve(hold(1, terms=(("bob", 3),))) == Stale(store.now_ms(), (Terms("bob", 0, None),))

    def test_a_repeated_reserve_is_not_stale(self, store: Store, clock: StoppedClock) -> None:
        """It was admitted; what changed since then does not count."""
        held = hold(10, Account("day", limit=50, end_ms=store.now_ms() + 10), terms=(("ann", 0),))
        store.reserve(held)
        store.put_terms("ann", "0 a day")
        clock.advance(1)
        assert store.reserve(held) == Admitted(10)
