"""Rows of other books, for copies and restores."""

from __future__ import annotations

import pytest

from ...errors import StoreError
from ...ledger import Balance, Carried, Conflict, Ended, Entry, Query, Refusal, Settled, Store, Terms, Total, new_id
from ..clock import StoppedClock
from .base import ACCOUNT, TTL_S, StoreTests, balance, entry, hold


class LoadingContract(StoreTests):
    """Rows of other books, for copies and restores."""

    def test_rows_are_loaded_as_they_are(self, store: Store) -> None:
        """Times, flags and versions of other books are not ours to change; a repetition changes nothing."""
        flags = frozenset({"late", "estimated"})
        first = Entry(new_id(), 7, ("a", "b"), 1_000, {"user": "ann"}, "openai", "gpt-4o", {"input_tokens": 12}, flags)
        second = Entry(new_id(), 9, ("b",), 1_000, flags=frozenset({"expired"}))
        accounts = [Carried("a", 5_000), Carried("b", None, 30), Carried("c", 6_000, 2)]
        terms = [Terms("ann", 4, "10 a month"), Terms("bob", 2, None)]
        for _ in range(2):
            store.load(terms=terms, accounts=accounts, entries=[first, second])
            assert list(store.entries()) == [first, second]
            assert list(store.accounts()) == [Balance("a", 7), Balance("b", 46), Balance("c", 2)]
            assert list(store.carried()) == accounts
            assert [store.terms("ann"), store.terms("bob")] == terms
            assert store.check() == []
        assert list(store.entries(Query(after=first.hold_id))) == [second]
        assert store.totals(["user"]) == [Total(("",), 9, 1, 0, 0, 0), Total(("ann",), 7, 1, 12, 0, 1)]
        store.load()

    def test_loaded_rows_are_books_like_any_other(self, store: Store) -> None:
        """What was spent elsewhere takes room here, no call is booked twice, and history is pruned as ever."""
        held = hold(50, ACCOUNT)
        store.load(terms=[Terms("ann", 4, "x")], entries=[Entry(held.id, 90, (ACCOUNT.key,), 1_000)])
        assert store.reserve(hold(11)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 90), busy=False)
        assert store.reserve(held) == Ended()
        assert store.settle(held, entry(held, 90)) == Settled(90)
        assert store.settle(held, entry(held, 91)) == Conflict(90)
        assert store.put_terms("ann", "y", expected=4) == Terms("ann", 5, "y")
        assert store.prune(1_001) == 1
        assert list(store.carried()) == [Carried(ACCOUNT.key, None, 90)]
        assert balance(store) == (90, 0)

    def test_rows_that_are_there_stay(self, store: Store) -> None:
        """A copy that is repeated must not undo what was done since."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 7))
        [there] = store.entries()
        store.put_terms("ann", "new")
        store.put_terms("ann", "newer")
        store.load(terms=[Terms("ann", 2, "other")], entries=[there._replace(cost=8, at_ms=1_000)])
        assert list(store.entries()) == [there]
        assert store.terms("ann") == Terms("ann", 2, "newer")
        assert balance(store) == (7, 0)

    def test_an_accounts_end_and_pruned_sum_become_what_is_loaded(self, store: Store) -> None:
        """They may have changed since they were last copied; entries made the account without either."""
        store.load(entries=[Entry(new_id(), 7, ("a",), 1_000)])
        assert list(store.carried()) == [Carried("a")]
        for account in (Carried("a", 5_000, 30), Carried("a", 6_000, 20), Carried("a", None, 0)):
            store.load(accounts=[account])
            assert list(store.carried()) == [account]
            assert list(store.accounts()) == [Balance("a", 7 + account.pruned)]
            assert store.check() == []

    def test_a_loaded_entry_replaces_the_charge_of_an_expired_hold(self, store: Store, clock: StoppedClock) -> None:
        """The other books learnt what the call did cost, or that less of a lease was lost."""
        held = hold(40, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        less = Entry(held.id, 30, (ACCOUNT.key,), 1_000, flags=frozenset({"expired"}))
        truth = Entry(held.id, 25, ("b", ACCOUNT.key), 2_000, flags=frozenset({"late"}))
        for loaded, balances in ((less, (0, 30)), (truth, (25, 25)), (less, (25, 25))):
            store.load(entries=[loaded])
            assert [balance.settled for balance in store.balances(["b", ACCOUNT.key])] == list(balances)
            assert store.check() == []
        assert list(store.entries()) == [truth]

    @pytest.mark.parametrize("ended", [False, True])
    def test_a_loaded_entry_ends_its_hold(self, store: Store, ended: bool) -> None:
        """Money wins, as when it is settled."""
        held = hold(40)
        store.reserve(held)
        if ended:
            store.release(held.id)
        store.load(entries=[Entry(held.id, 25, (ACCOUNT.key,), 1_000)])
        assert balance(store) == (25, 0)
        assert store.holds() == []
        assert store.reserve(held) == Ended()

    @pytest.mark.parametrize(
        ("cost", "at_ms", "pruned"),
        [(10**16, 1_000, 5), (-1, 1_000, 5), (7, -1, 5), (7, 253_402_300_800_000, 5), (7, 1_000, -1)],
    )
    def test_rows_are_loaded_all_or_none(self, store: Store, cost: int, at_ms: int, pruned: int) -> None:
        """An error in one leaves nothing of the others, so that a copy knows how far it got."""
        good, absurd = Entry(new_id(), 7, ("a",), 1_000), Entry(new_id(), cost, ("a",), at_ms)
        with pytest.raises(StoreError, match="cannot be booked"):
            store.load(terms=[Terms("ann", 1, "x")], accounts=[Carried("b", None, pruned)], entries=[good, absurd])
        assert [list(store.entries()), list(store.carried()), list(store.all_terms())] == [[], [], []]
