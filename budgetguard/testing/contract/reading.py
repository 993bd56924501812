"""What can be read: lists, history and totals; and what pruning leaves of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ...errors import ConfigError
from ...ledger import Account, Admitted, Balance, Entry, Hold, Query, Refusal, Store, Terms, Total, new_id
from ..clock import StoppedClock
from .base import ACCOUNT, TTL_S, StoreTests, balance, entry, hold


class ReadingContract(StoreTests):
    """What can be read: lists, history and totals; and what pruning leaves of them."""

    def test_open_holds_say_for_whom(self, store: Store, clock: StoppedClock) -> None:
        """What blocks a budget must be visible; the oldest comes first."""
        first = hold(10, tags={"user": "ann"}, provider="openai", model="gpt-4o")
        store.reserve(first)
        placed = store.now_ms()
        clock.advance(1)
        store.reserve(hold(5))
        found = store.holds()
        assert [item.amount for item in found] == [10, 5]
        assert found[0].id == first.id
        assert found[0].accounts == (ACCOUNT.key,)
        assert (found[0].placed_ms, found[0].expires_ms) == (placed, placed + TTL_S * 1000)
        assert (found[0].tags, found[0].provider, found[0].model) == ({"user": "ann"}, "openai", "gpt-4o")

    def test_a_namespace_is_told_of_once_it_has_books(self, store: Store) -> None:
        """Who asks in the wrong one is told where the books are; to look at one does not make it."""
        list(store.accounts())
        assert store.namespace not in store.namespaces()
        store.put_terms("a", "x")
        assert store.namespace in store.namespaces()

    def test_a_namespace_with_a_history_only_has_books(self, store: Store) -> None:
        """A call that no budget covered is on them."""
        booked = Entry(new_id(), 9)
        store.settle(Hold(booked.hold_id, (), 0), booked)
        assert store.namespace in store.namespaces()

    def test_accounts_are_listed_by_key(self, store: Store) -> None:
        """With a prefix, only its own; a prefix is plain text."""
        for key in ("b", "a%", "a", "ab", "a_", "é", "Z"):
            store.reserve(hold(1, Account(key)))
        assert [item.key for item in store.accounts()] == ["Z", "a", "a%", "a_", "ab", "b", "é"]
        assert [item.key for item in store.accounts("a")] == ["a", "a%", "a_", "ab"]
        assert list(store.accounts("a%")) == [Balance("a%", held=1)]

    def test_lists_by_key_go_on_behind_a_key(self, store: Store) -> None:
        """A page costs as much as it has rows, wherever it begins; a key need not be there any more."""
        keys = ["A", "a", "ab", "b", "é"]
        for key in keys:
            store.reserve(hold(1, Account(key)))
            store.put_terms(key, "x")
        for after in (*keys, "", "aa", "z", "ö"):
            behind = [key for key in keys if key > after]
            assert [item.key for item in store.accounts(after=after)] == behind
            assert [item.key for item in store.carried(after=after)] == behind
            assert [item.key for item in store.all_terms(after=after)] == behind
            with_a = [key for key in behind if key.startswith("a")]
            assert [item.key for item in store.accounts("a", after=after)] == with_a
            assert [item.key for item in store.all_terms("a", after=after)] == with_a

    @pytest.mark.parametrize("word", ["ann", "Ünï", "名前", "\udcff", "a\0b", 'a"b\\', "$.x", "", "🙂", "a,':b\n"])
    def test_any_text_may_name_things(self, store: Store, word: str) -> None:
        """Users choose their names; lone surrogates come from file names and bad input."""
        account = Account(f"users/{word}/2027", limit=50)
        held = hold(10, account, tags={"user": word, word + "x": word}, provider=word, model=word, on_expire="charge")
        store.put_terms(word, word)
        assert isinstance(store.reserve(held), Admitted)
        assert store.holds()[0].tags == held.tags
        store.settle(held, entry(held, 9, tags=held.tags, provider=word, model=word, usage={word: 3}))
        found = list(store.entries(Query(tags={word + "x": word}, model=word)))
        assert [(item.accounts, item.tags, item.model) for item in found] == [((account.key,), held.tags, word)]
        assert found[0].usage == {word: 3}
        assert store.totals([word + "x", "model"]) == [Total((word, word), 9, 1, 0, 0, 0)]
        assert store.totals([word + "y"]) == [Total(("",), 9, 1, 0, 0, 0)]
        assert list(store.entries(Query(tags={"user": word + "."}))) == []
        assert list(store.accounts(f"users/{word}")) == [Balance(account.key, 9)]
        assert list(store.all_terms(word)) == [Terms(word, 1, word)]

    def test_an_entry_is_kept_as_it_was_given(self, store: Store) -> None:
        """The store adds the time and the accounts."""
        held = hold(10, ACCOUNT, Account("b"))
        store.reserve(held)
        given = entry(held, 9, tags={"user": "ann"}, provider="openai", model="gpt-4o", usage={"input_tokens": 12})
        store.settle(held, given)
        assert list(store.entries()) == [
            Entry(
                held.id,
                9,
                (ACCOUNT.key, "b"),
                store.now_ms(),
                {"user": "ann"},
                "openai",
                "gpt-4o",
                {"input_tokens": 12},
            )
        ]

    def test_entries_are_found_by_time_tag_and_model(self, store: Store, clock: StoppedClock) -> None:
        """All that match every field that is set."""
        start = self._three_calls(store, clock)
        for query, costs in (
            (Query(), [1, 2, 4]),
            (Query(since_ms=start + 1000), [2, 4]),
            (Query(until_ms=start + 1000), [1]),
            (Query(model="b"), [2, 4]),
            (Query(model="b", limit=1), [2]),
            (Query(limit=0), []),
            (Query(tags={"user": "ann"}), [1, 4]),
            (Query(tags={"user": "ann", "feature": "x"}), [4]),
        ):
            assert [item.cost for item in store.entries(query)] == costs

    def test_entries_come_in_pages(self, store: Store, clock: StoppedClock) -> None:
        """The last id of a page leads to the next; among equal times, ids decide."""
        self._three_calls(store, clock)
        for _ in range(4):
            held = hold(0)
            store.settle(held, entry(held, 8))
        everything = list(store.entries())
        assert everything == sorted(everything, key=lambda item: (item.at_ms, item.hold_id))
        pages, after = [], None
        while page := list(store.entries(Query(after=after, limit=2))):
            pages += page
            after = page[-1].hold_id
        assert pages == everything
        with pytest.raises(ConfigError, match="after"):
            store.entries(Query(after="nobody"))

    def test_totals_add_up_what_a_query_finds(self, store: Store, clock: StoppedClock) -> None:
        """By model, provider, day or any tag; "" where an entry has none."""
        self._three_calls(store, clock)
        assert store.totals(["model"]) == [Total(("a",), 1, 1, 10, 0, 1), Total(("b",), 6, 2, 10, 5, 0, 1)]
        assert store.totals(["feature", "user"]) == [
            Total(("", "ann"), 1, 1, 10, 0, 1),
            Total(("", "bob"), 2, 1, 10, 5, 0, 1),
            Total(("x", "ann"), 4, 1, 0, 0, 0),
        ]
        assert store.totals(["day"]) == [
            Total(("2027-01-01",), 3, 2, 20, 5, 1, 1),
            Total(("2027-01-02",), 4, 1, 0, 0, 0),
        ]
        assert store.totals([], Query(tags={"user": "ann"})) == [Total((), 5, 2, 10, 0, 1)]
        assert store.totals(["provider"], Query(limit=2)) == [Total(("p",), 3, 2, 20, 5, 1, 1)]
        assert store.totals([], Query(model="c")) == []

    def test_sums_of_what_calls_used_do_not_overflow(self, store: Store) -> None:
        """However much a provider says that it was: the calls are booked, and reports go on."""
        most = 2**63 - 1
        for number in range(3):
            used = {"input_tokens": most, "output_tokens": -most if number else 5}
            booked = Entry(new_id(), 1, ("a",), usage=used, flags=frozenset({"manual"}))
            store.settle(Hold(booked.hold_id, (), 0), booked)
        [total] = store.totals([])
        assert (total.calls, total.input_tokens, total.output_tokens) == (3, 3 * most, 5 - 2 * most)

    def test_pruning_deletes_history_and_keeps_the_books(self, store: Store, clock: StoppedClock) -> None:
        """An account without an end keeps its sum; one whose period is over goes with its last entry."""
        end = store.now_ms() + 5000
        over, lasting = Account("over", limit=100, end_ms=end), Account("lasting", limit=100)
        first, second = hold(10, over, lasting), hold(10, over, lasting)
        for held in (first, second):
            store.reserve(held)
        store.settle(first, entry(first, 7))
        clock.advance(10)
        store.settle(second, entry(second, 8))
        assert store.prune(end) == 1
        assert list(store.accounts()) == [Balance("lasting", 15), Balance("over", 15)]
        assert store.check() == []
        assert store.prune(store.now_ms() + 1) == 1
        assert list(store.accounts()) == [Balance("lasting", 15)]
        assert list(store.entries()) == []
        assert isinstance(store.reserve(hold(86, lasting)), Refusal)

    def test_pruning_leaves_an_account_with_an_open_hold(self, store: Store, clock: StoppedClock) -> None:
        """A hold settles in the period in which it was reserved."""
        held = hold(10, Account("over", limit=100, end_ms=store.now_ms() + 1))
        store.reserve(held)
        clock.advance(1)
        assert store.prune(store.now_ms()) == 0
        assert balance(store, "over") == (0, 10)
        store.settle(held, entry(held, 9))
        assert balance(store, "over") == (9, 0)

    def test_a_bucket_of_a_rolling_period_is_kept_while_it_counts(self, store: Store, clock: StoppedClock) -> None:
        """It is over when the last bucket is that has it in its window; what users spend on a model, likewise."""
        start = store.now_ms()
        buckets = [
            Account(
                f"r/{n}",
                100,
                start_ms=start + n * 1000,
                end_ms=start + n * 1000 + 1000,
                window=(f"r/{n - 2}", f"r/{n - 1}"),
            )
            for n in range(4)
        ]
        spent = hold(60, buckets[0])
        store.reserve(spent)
        store.settle(spent, entry(spent, 60)._replace(accounts=("models/r/0/a",)))
        for n in (1, 2):
            clock.advance(1)
            store.prune(store.now_ms())
            assert isinstance(store.reserve(hold(41, buckets[n])), Refusal), n
            assert store.balances(["models/r/0/a"])[0].settled == 60
        clock.advance(1)
        store.prune(store.now_ms())
        assert list(store.accounts()) == []
        assert store.reserve(hold(100, buckets[3])) == Admitted(100)

    def test_a_late_settlement_makes_a_bucket_that_is_kept(self, store: Store, clock: StoppedClock) -> None:
        """Also where the account was not there."""
        start = store.now_ms()
        bucket = Account("r/0", 100, start_ms=start, end_ms=start + 1000, window=("r/-1",))
        spent = hold(60, bucket)
        store.release(spent.id)
        clock.advance(1)
        store.settle(spent, entry(spent, 60))
        store.prune(store.now_ms() + 1)
        assert balance(store, "r/0") == (60, 0)

    def _three_calls(self, store: Store, clock: StoppedClock) -> int:
        """Calls that cost 1, 2 and 4, a second and a day apart; the time of the first."""
        start = store.now_ms()
        said: list[tuple[int, str, Mapping[str, str], Mapping[str, int], set[str]]] = [
            (1, "a", {"user": "ann"}, {"input_tokens": 10}, {"estimated"}),
            (2, "b", {"user": "bob"}, {"input_tokens": 10, "output_tokens": 5}, {"cut"}),
            (4, "b", {"user": "ann", "feature": "x"}, {}, set()),
        ]
        for place, (cost, model, tags, usage, flags) in enumerate(said):
            held = hold(5)
            store.reserve(held)
            given = Entry(held.id, cost, (), 0, tags, "p", model, usage, frozenset(flags))
            store.settle(held, given)
            clock.advance(1 if place == 0 else 86_400)
        return start
