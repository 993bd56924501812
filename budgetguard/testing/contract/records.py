"""Records beside the books: who hears that one is new, how they are read, and how long they stay."""

from __future__ import annotations

from typing import Any

import pytest

from ...errors import ConfigError
from ...ledger import KEPT_FOR_EVER, Entry, Hold, Record, RecordQuery, Store, new_id
from ..clock import StoppedClock
from .base import StoreTests, together


def record(
    id_: str, body: str = "{}", kind: str = "refusal", at_ms: int = 1_000, until_ms: int | None = None
) -> Record:
    """A record of this id."""
    return Record(kind, id_, at_ms, body, until_ms)


def ids(store: Store, kind: str = "refusal", **where: Any) -> list[str]:
    """The ids that a query finds."""
    return [each.id for each in store.noted(RecordQuery(kind, **where))]


class RecordsContract(StoreTests):
    """Records beside the books: who hears that one is new, how they are read, and how long they stay."""

    def test_a_record_is_kept_as_it_was_given(self, store: Store) -> None:
        """A store does not look into a body, and has no opinion of when something happened."""
        given = [
            Record("alert", "a", 5, '{"text": "80 %"}', 9_000),
            Record("alert", "b", 0, "", KEPT_FOR_EVER),
            Record("alert", "c", 1 << 50, "not even JSON", 0),
            Record("alert", "d", 7, "x" * 50_000),
        ]
        assert store.note(given) == [True] * 4
        assert list(store.noted(RecordQuery("alert"))) == given
        assert list(store.noted(RecordQuery("change"))) == []
        assert store.note([]) == []

    def test_records_come_in_the_order_of_their_ids(self, store: Store) -> None:
        """As code points, whatever the order they were written in: so a range of ids is a range of time."""
        for each in ("b", "é", "A", "a%", "a", "ab", "a_", "🙂", "\uffff"):
            store.note([record(each)])
        assert ids(store) == ["A", "a", "a%", "a_", "ab", "b", "é", "\uffff", "🙂"]
        assert ids(store, newest=True) == ["🙂", "\uffff", "é", "b", "ab", "a_", "a%", "a", "A"]

    def test_a_range_leaves_both_of_its_ends_out(self, store: Store) -> None:
        """The last id of a page leads to the next, in both directions; neither end need be there."""
        store.note([record(each) for each in "abcdef"])
        for where, found in (
            ({"after": "b"}, "cdef"),
            ({"before": "e"}, "abcd"),
            ({"after": "b", "before": "e"}, "cd"),
            ({"after": "b1", "before": "d1"}, "cd"),
            ({"after": "e", "before": "b"}, ""),
            ({"after": "c", "before": "c"}, ""),
            ({"after": "f"}, ""),
            ({"after": ""}, "abcdef"),
            ({"before": ""}, ""),
            ({"limit": 2}, "ab"),
            ({"limit": 0}, ""),
            ({"limit": 2, "newest": True}, "fe"),
            ({"before": "e", "limit": 2, "newest": True}, "dc"),
            ({"after": "b", "before": "f", "newest": True}, "edc"),
        ):
            assert ids(store, **where) == list(found), where

    def test_many_records_are_read_page_by_page(self, store: Store) -> None:
        """More than an engine reads at a time, forwards, backwards, and up to a limit."""
        every = [f"{number:05d}" for number in range(2_300)]
        assert store.note([record(each) for each in every]) == [True] * len(every)
        assert ids(store) == every
        assert ids(store, newest=True) == every[::-1]
        assert ids(store, limit=1_500) == every[:1_500]
        assert ids(store, after="00999", before="02100", newest=True) == every[1_000:2_100][::-1]

    def test_only_the_first_to_note_a_record_hears_that_it_is_new(self, store: Store) -> None:
        """Of a fleet one sends the alert; what it wrote stands."""
        assert store.note([record("a", "first"), record("b", "first")]) == [True, True]
        assert store.note([record("b", "second"), record("c", "second")]) == [False, True]
        assert [each.body for each in store.noted(RecordQuery("refusal"))] == ["first", "first", "second"]
        assert store.note([record("a", kind="change")]) == [True]

    def test_a_record_can_be_replaced(self, store: Store) -> None:
        """All of it: a count that went up, and the time until when it is kept."""
        store.note([record("a", "1", until_ms=5_000)])
        changed = record("a", "2", at_ms=2_000)
        assert store.note([changed, record("b", "2")], replace=True) == [False, True]
        assert list(store.noted(RecordQuery("refusal"))) == [changed, record("b", "2")]

    def test_an_id_twice_in_one_batch_is_new_once(self, store: Store) -> None:
        """The first stands; with `replace`, the last."""
        twice = [record("a", "1"), record("b", "1"), record("a", "2")]
        assert store.note(twice) == [True, True, False]
        assert [each.body for each in store.noted(RecordQuery("refusal"))] == ["1", "1"]
        again = [record("c", "1"), record("a", "3"), record("c", "2")]
        assert store.note(again, replace=True) == [True, False, False]
        assert [each.body for each in store.noted(RecordQuery("refusal"))] == ["3", "1", "2"]

    @pytest.mark.parametrize(
        "word", ["ann", "Ünï", "名前", "\udcff", "a\0b", 'a"b\\', "\x1aud800", "🙂", "a,':b\n", " "]
    )
    def test_any_text_may_stand_in_a_record(self, store: Store, word: str) -> None:
        """Accounts and users are in ids and bodies, and users choose their names."""
        given = record(f"users/{word}/2027@80", word)
        assert store.note([given, record(word + "x")]) == [True, True]
        assert store.note([given]) == [False]
        assert sorted(store.noted(RecordQuery("refusal"))) == sorted([given, record(word + "x")])
        assert list(store.noted(RecordQuery("refusal", after=word, before=word + "y"))) == [record(word + "x")]

    @pytest.mark.parametrize("kind", ["", "Refusal", "a b", "a:b", "ré", "a\n", "a" * 41])
    def test_a_kind_is_a_word_of_lower_case_letters(self, store: Store, kind: str) -> None:
        """So that it can be a part of a key, a path or a table's name, wherever the records are kept."""
        with pytest.raises(ConfigError, match="kind"):
            store.note([record("a"), record("b", kind=kind)])
        assert ids(store) == []
        with pytest.raises(ConfigError, match="kind"):
            store.noted(RecordQuery(kind))

    @pytest.mark.parametrize("when", [-1, (1 << 53) + 1])
    def test_a_time_that_not_every_store_keeps_exact_is_refused(self, store: Store, when: int) -> None:
        """Before anything of the batch is written."""
        for wrong in (record("b", at_ms=when), record("b", until_ms=when)):
            with pytest.raises(ConfigError, match="_ms"):
                store.note([record("a"), wrong])
        assert ids(store) == []

    def test_old_records_are_pruned_with_the_history(self, store: Store, clock: StoppedClock) -> None:
        """But for one that says until when it is needed; they are no entries, and are not counted."""
        booked = Entry(new_id(), 9)
        store.settle(Hold(booked.hold_id, (), 0), booked)
        now = store.now_ms()
        old, edge, young = record("old", at_ms=now - 1), record("edge", at_ms=now), record("young", at_ms=now + 5_000)
        month = record("month", kind="alert", at_ms=now - 1, until_ms=now + 60_000)
        ever = record("ever", kind="sum", at_ms=now - 1, until_ms=KEPT_FOR_EVER)
        earlier = record("earlier", at_ms=now - 1, until_ms=now - 5)
        store.note([old, edge, young, month, ever, earlier])
        assert store.prune(now) == 0
        assert ids(store) == ["edge", "young"]
        assert ids(store, "alert") == ["month"]
        assert store.note([old]) == [True]
        assert store.prune(now + 1) == 1
        assert ids(store) == ["young"]
        assert store.prune(now + 60_001) == 0
        assert ids(store) + ids(store, "alert") + ids(store, "sum") == ["ever"]

    def test_what_is_replaced_is_kept_as_long_as_it_says_then(self, store: Store) -> None:
        """A refusal that goes on is no old one, and an alert may outlive the window that it was first of."""
        store.note([record("a", until_ms=9_000), record("b"), record("c")])
        store.note([record("a"), record("b", at_ms=7_000), record("c", until_ms=9_000)], replace=True)
        store.prune(5_000)
        assert ids(store) == ["b", "c"]

    def test_many_old_records_are_pruned_at_once(self, store: Store) -> None:
        """More than an engine deletes in one step, beside some that stay."""
        store.note([record(f"{number:05d}", until_ms=9_000 if number % 500 == 0 else None) for number in range(2_300)])
        assert store.prune(5_000) == 0
        assert ids(store) == ["00000", "00500", "01000", "01500", "02000"]

    def test_records_leave_the_books_alone(self, store: Store) -> None:
        """They are no money: nothing is settled, held, listed or owed by them, and no namespace has books by them."""
        store.note([record("a")])
        assert [*store.accounts(), *store.entries(), *store.all_terms(), *store.holds()] == []
        assert store.namespace not in store.namespaces()
        assert store.check() == []

    def test_records_are_there_for_another_client(self, store: Store, clock: StoppedClock) -> None:
        """After the store was closed, too: what one process noted is not new to the next."""
        store.note([record("a", "1", until_ms=7_000)])
        store.close()
        other = self.same_store(clock)
        assert list(other.noted(RecordQuery("refusal"))) == [record("a", "1", until_ms=7_000)]
        assert other.note([record("a")]) == [False]
        assert store.note([record("a")]) == [False]
        other.close()

    def test_of_many_who_note_the_same_one_hears_that_it_is_new(self, store: Store) -> None:
        """Threads that pass a threshold at one moment, in whatever order they name their records."""
        every = [record(str(number)) for number in range(20)]

        def note(place: int) -> list[Any]:
            mine = every if place % 2 else every[::-1]
            return [(each.id, new) for each, new in zip(mine, store.note(mine), strict=True)]

        told = together(8, note)
        assert sorted(id_ for id_, new in told if new) == sorted(each.id for each in every)
        assert len(told) == 8 * 20
