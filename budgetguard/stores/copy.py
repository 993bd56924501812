"""
Copies of the books: terms, accounts, history and the records beside them, from one store to another.

A copy is a comparison. What both stores hold is read side by side, in one order and a page at a time, and what the
target lacks is loaded, in steps that are done whole or not at all. So a copy may be killed anywhere and begun again,
and a second one brings what happened since the first.

The first thing it writes is a mark, which says whose copy the target is: books of another origin, and a target that
was spent from since it was copied, are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from ..errors import ConfigError, StoreError
from ..ledger import (
    KINDS,
    Account,
    Balance,
    Carried,
    Entry,
    Hold,
    Query,
    Record,
    RecordQuery,
    Store,
    Terms,
    new_id,
)
from ..money import Nano, format_nano

MARK = "copied"
"""The key of the terms that say of which books a store is a copy."""

BOOKS = "books"
"""The key of the terms that tell books from others which have, or had, the same name."""

BATCH = 500
"""Rows loaded at a time: others wait for them, and an interrupted copy repeats no more than these."""

T = TypeVar("T")
Report = Callable[[int, int], object]
"""Hears how many entries were looked at, and of how many."""


@dataclass(slots=True)
class Copied:
    """How much there was to copy, and what of it was new to the target, or had changed."""

    terms: int = 0
    accounts: int = 0
    entries: int = 0
    cost: Nano = 0
    """What all of the entries add up to."""
    new_terms: int = 0
    new_accounts: int = 0
    new_entries: int = 0
    records: int = 0
    new_records: int = 0
    removed: int = 0
    """Entries that were taken away, as they had been where they came from."""


def copy_books(
    source: Store, target: Store, name: str, *, while_running: bool = False, report: Report | None = None
) -> Copied:
    """
    Make `target` hold what `source` holds, which goes by `name`; repeated, what is new in it.

    Raises `ConfigError` where nothing may be copied: while calls are under way (but `while_running`, which leaves out
    what they cost), or to a target with books of its own. Raises `StoreError` if the two differ in the end, because
    somebody spent meanwhile: copy again.
    """
    return _Copy(source, target, name, while_running, report or (lambda done, total: None)).run()


class _Copy:
    """One run."""

    def __init__(self, source: Store, target: Store, name: str, while_running: bool, report: Report) -> None:
        self.source = source
        self.target = target
        self.name = name
        self.while_running = while_running
        self.report = report
        self.done = Copied()
        self.books = ""
        self.version = 0
        """Of the mark in the target."""

    def run(self) -> Copied:
        """All of it."""
        if _is_empty(self.source):
            raise ConfigError(f"{self.name} holds nothing that could be copied: check the URL, and --project")
        self.books = self._identify()
        if not self.while_running:
            self._require_rest()
        again = self._check_target()
        self._mark(None)
        if again:
            self._prune()
        self._load("terms", self._terms())
        self._load("accounts", self._accounts())
        self._load("entries", self._entries())
        self._note(self._records())
        if not self.while_running:
            self._compare()
        self._mark(_calls(self.target))
        return self.done

    def _identify(self) -> str:
        """The id of the source's books, which they keep from their first copy on."""
        there = self.source.terms(BOOKS) or self.source.put_terms(BOOKS, new_id(), expected=0)
        if there is None or there.body is None:
            raise StoreError(f"{self.name} is copied by somebody else at this moment: try again when that is over")
        return there.body

    def _require_rest(self) -> None:
        """Refuse while calls are under way; what expired holds are charged is on the books afterwards."""
        # Reading never books what is due, but a reserve that is refused has booked all of it.
        self.source.reserve(Hold(new_id(), (Account(MARK, limit=0),), 1))
        under_way = self.source.holds()
        if under_way:
            raise ConfigError(
                f"{_count(len(under_way), 'call is', 'calls are')} under way in {self.name}: stop the program and copy "
                "then (what a killed one holds ends by itself: budgetguard holds says when); or copy with "
                "--while-running now, and without it when the program has stopped"
            )

    def _check_target(self) -> bool:
        """Whether the target is a copy of these books already; raises `ConfigError` if it is neither that nor empty."""
        target, there = self.target, self.target.terms(MARK)
        self.version = 0 if there is None else there.version
        if there is None or there.body is None:
            if target.holds() or not _is_empty(target):
                raise ConfigError(f"the target has books of its own, which are no copy of {self.name}: {_ELSEWHERE}")
            return False
        mark = json.loads(there.body)
        if mark["books"] != self.books:
            raise ConfigError(f"the target is a copy of other books, which were {mark['name']}: {_ELSEWHERE}")
        if target.holds() or mark["entries"] not in {None, _calls(target)}:
            raise ConfigError(f"the target was spent from since {self.name} was copied there: {_ELSEWHERE}")
        return True

    def _mark(self, entries: int | None) -> None:
        """Say whose copy the target is, and how many entries it was left with; `None`: the copy is under way."""
        said = json.dumps({"books": self.books, "name": self.name, "entries": entries})
        mark = self.target.put_terms(MARK, said, expected=self.version)
        if mark is None:
            raise StoreError("another copy to the target was begun meanwhile: copy again when that is over")
        self.version = mark.version

    def _prune(self) -> None:
        """Delete from the target what was pruned from the source since it was copied; older records come again."""
        first = next(self.source.entries(Query(limit=1)), None)
        self.done.removed += self.target.prune(self.source.now_ms() + 1 if first is None else first.at_ms)

    def _load(self, what: str, rows: Iterator[Any]) -> None:
        while batch := list(islice(rows, BATCH)):
            self.target.load(**{what: batch})

    def _note(self, records: Iterator[Record]) -> None:
        while batch := list(islice(records, BATCH)):
            self.target.note(batch, replace=True)

    def _terms(self) -> Iterator[Terms]:
        """Terms that are new or were changed or removed, with the versions that they have."""
        for ours, theirs in _side_by_side(_terms(self.source), _terms(self.target), lambda terms: terms.key):
            self.done.terms += ours is not None
            found = self.source.terms(theirs.key) if ours is None and theirs is not None else ours
            if found is None or found == theirs:
                continue
            if theirs is not None and found.version <= theirs.version:
                raise ConfigError(f"the terms of {found.key!r} were changed in the target: {_ELSEWHERE}")
            self.done.new_terms += 1
            yield found

    def _accounts(self) -> Iterator[Carried]:
        """Accounts that are new, or of which more was pruned."""
        for ours, theirs in _side_by_side(self.source.carried(), self.target.carried(), lambda account: account.key):
            self.done.accounts += ours is not None
            if ours is not None and ours != theirs:
                self.done.new_accounts += 1
                yield ours

    def _entries(self) -> Iterator[Entry]:
        """Entries that are new, or corrected; those that are no more are taken away meanwhile."""
        done, total = self.done, _calls(self.source)
        for ours, theirs in _side_by_side(self.source.entries(), self.target.entries(), _place):
            if theirs is not None and ours != theirs and "expired" not in theirs.flags:
                raise ConfigError(f"call {theirs.hold_id} of the target is not so in {self.name}: {_ELSEWHERE}")
            if ours is None:
                if theirs is not None:  # its charge was taken back, or it was settled after all
                    self.target.release(theirs.hold_id)
                    done.removed += 1
                continue
            done.entries += 1
            done.cost += ours.cost
            if done.entries % BATCH == 0:
                self.report(done.entries, max(done.entries, total))
            if ours != theirs:
                done.new_entries += 1
                yield ours
        self.report(done.entries, done.entries)

    def _records(self) -> Iterator[Record]:
        """Records that are new, or have changed."""
        for kind in KINDS:
            query = RecordQuery(kind)
            for ours, theirs in _side_by_side(self.source.noted(query), self.target.noted(query), lambda each: each.id):
                self.done.records += ours is not None
                if ours is not None and ours != theirs:
                    self.done.new_records += 1
                    yield ours

    def _compare(self) -> None:
        """Raise `StoreError` if an account has not settled the same in both."""
        balances = _side_by_side(self.source.accounts(), self.target.accounts(), lambda balance: balance.key)
        for ours, theirs in balances:
            if ours != theirs:
                key = ours.key if ours is not None else "" if theirs is None else theirs.key
                raise StoreError(
                    f"account {key}: {_settled(ours)} was spent in {self.name}, and {_settled(theirs)} is in the copy; "
                    "somebody spends meanwhile: stop the program, and copy again"
                )


_ELSEWHERE = "copy to an empty project (--to-project), or to another store"


def _side_by_side(
    source: Iterator[T], target: Iterator[T], place: Callable[[T], Any]
) -> Iterator[tuple[T | None, T | None]]:
    """The rows of both, which are in the order of their places; those of one place together."""
    ours, theirs = next(source, None), next(target, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and place(ours) < place(theirs)):
            yield ours, None
            ours = next(source, None)
        elif ours is None or place(theirs) < place(ours):
            yield None, theirs
            theirs = next(target, None)
        else:
            yield ours, theirs
            ours, theirs = next(source, None), next(target, None)


def _place(entry: Entry) -> tuple[int, str]:
    return entry.at_ms, entry.hold_id


def _terms(store: Store) -> Iterator[Terms]:
    return (terms for terms in store.all_terms() if terms.key not in {MARK, BOOKS})


def _is_empty(store: Store) -> bool:
    lists: list[Iterator[Any]] = [_terms(store), store.accounts(), store.entries(Query(limit=1))]
    return all(next(rows, None) is None for rows in lists)


def _calls(store: Store) -> int:
    return sum(total.calls for total in store.totals(()))


def _settled(balance: Balance | None) -> str:
    return "nothing" if balance is None else format_nano(balance.settled)


def _count(number: int, one: str, many: str) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many}"
