"""
The ledger in the memory of one process: one lock before its books.

It is the executable specification: every other store answers as this one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from heapq import heappush

from ...concurrency.locks import mutex
from ...ledger import (
    KEEP_ENDED_MS,
    Admitted,
    Amounts,
    Balance,
    Carried,
    Clock,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    Millis,
    OpenHold,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Stale,
    Store,
    Terms,
    Total,
    Unit,
    beside_dollars,
    nothing_lives,
)
from ...money import MAX_AMOUNT
from ..base import know
from ..rules import (
    LARGE,
    REAP,
    REAP_MORE,
    final_flags,
    granted,
    off_clock,
    require_amounts,
    require_entry,
    require_hold,
    require_query,
    require_records,
    require_rows,
)
from .books import MemoryBooks
from .records import MemoryRecords
from .reports import add_up, differences, entries_in_order, terms_in_order
from .rows import NONE_BESIDE, EndedRow, EntryRow, OpenRow

EVERYTHING = Query()
NOTHING: Amounts = {"dollars": 0, "tokens": 0, "requests": 0, "parallel": 0}
ALONE: dict[Unit, int] = {"tokens": 0, "requests": 1, "parallel": 0}
"""What a call uses beside dollars of which nothing is said."""


class MemoryStore:
    """
    A `Store` in memory. Nothing outlives the process; a forked child goes on with a copy of what was settled.

    The history grows until it is pruned.
    """

    blocking = False
    journal = None

    def __init__(self, *, clock: Clock = time.time, namespace: str = "default") -> None:
        self.namespace = namespace
        self._clock = clock
        self._lock = mutex("memory store")
        self._books = MemoryBooks(lambda: self.living(self))
        self._terms: dict[str, Terms] = {}
        self._records = MemoryRecords()
        self.living: Callable[[Store], Sequence[Hold]] = nothing_lives
        """The holds whose calls live, whatever the clock says."""
        know(self)

    def now_ms(self) -> Millis:
        """The store's clock."""
        return int(self._clock() * 1000)

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        hold_id, accounts, books = hold.id, hold.accounts, self._books
        if not 0 <= hold.amount <= MAX_AMOUNT or hold.units or len(accounts) != 1 or accounts[0].unit != "dollars":
            require_hold(hold)
        with self._lock:
            now = int(self._clock() * 1000)
            if books.due and books.due[0][0] <= now:
                books.reap(now, REAP)
            if hold_id in books.open or hold_id in books.entries or hold_id in books.ended:
                known = books.known(hold_id, now)
                if known is not None:
                    return self._again(known, hold) if isinstance(known, OpenRow) else Ended()
            for key, version in hold.terms:
                there = self._terms.get(key)
                if version != (0 if there is None else there.version):
                    return self._stale(hold, now)
            if off_clock(accounts, now):
                return self._stale(hold, now)
            amounts = granted(hold, books.standings(accounts))
            while isinstance(amounts, Refusal):
                if not books.reap(now, REAP_MORE):
                    return amounts
                amounts = granted(hold, books.standings(accounts))
            charged, due = books.charged(hold), now + hold.ttl_ms
            heappush(books.due, (due, hold_id))
            row = OpenRow(hold, amounts, charged, now, due)
            try:
                books.open[hold_id] = row
                for account in charged:
                    account.held += amounts[account.unit]
            except BaseException:
                books.add_up()
                raise
            beside = NONE_BESIDE if len(amounts) == 1 else row.beside()
            return Admitted(amounts["dollars"], beside, books.told(accounts, charged))

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        hold_id, cost, flags, books = hold.id, entry.cost, entry.flags, self._books
        if not 0 <= cost <= MAX_AMOUNT or entry.units:
            require_entry(entry)
        used: dict[Unit, int] = entry.amounts() if entry.units else {"dollars": cost, **ALONE}
        with self._lock:
            now = int(self._clock() * 1000)
            row = books.open.get(hold_id)
            known = row if row is not None and row.due > now else books.known(hold_id, now)
            late, held, booked = False, NOTHING, NOTHING
            if isinstance(known, OpenRow):
                charged, held = known.accounts, known.amounts
            elif isinstance(known, EntryRow):
                if "expired" not in known.flags:
                    return self._repeated(known, hold, entry)
                late, charged, booked = True, known.accounts, known.amounts
            else:
                late = known is not None or (bool(hold.accounts) and "manual" not in flags)
                charged = books.charged(hold)
            more = books.beside(hold, entry, charged) if entry.accounts else []
            if cost > LARGE or entry.units:
                books.require_sums(used, (*charged, *more))
            if late or "expired" in flags:
                flags = final_flags(entry, late)
            try:
                books.entries[hold_id] = EntryRow(hold_id, entry, used, [*more, *charged], now, flags)
                books.open.pop(hold_id, None)
                books.ended.pop(hold_id, None)
                for account in charged:
                    account.settled += used[account.unit] - booked[account.unit]
                    account.held -= held[account.unit]
                for account in more:
                    account.settled += used[account.unit]
                for lease_id in hold.leases:
                    books.draw(lease_id, used, now)
            except BaseException:
                books.add_up()
                raise
            return Settled(cost, late, books.told(hold.accounts, charged, entry.accounts))

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order."""
        return [self.settle(hold, entry) for hold, entry in settlements]

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        books = self._books
        with self._lock:
            now = int(self._clock() * 1000)
            known = books.known(hold_id, now)
            if isinstance(known, EndedRow):
                books.ended[hold_id] = EndedRow(known.due, lapsed=False)
                return
            if isinstance(known, EntryRow) and "expired" not in known.flags:
                return
            due = now + KEEP_ENDED_MS
            heappush(books.due, (due, hold_id))
            try:
                books.ended[hold_id] = EndedRow(due, lapsed=False)
                books.open.pop(hold_id, None)
                books.entries.pop(hold_id, None)
                books.give_back(known)
            except BaseException:
                books.add_up()
                raise

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl; whether each does."""
        require_amounts(holds)
        with self._lock:
            now = int(self._clock() * 1000)
            try:
                return [self._books.renew(hold, now) for hold in holds]
            except BaseException:
                self._books.add_up()
                raise

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        with self._lock:
            expired = self._books.expired(self.now_ms())
            return [self._books.balance(key, expired) for key in keys]

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        with self._lock:
            expired = self._books.expired(self.now_ms())
            return iter([self._books.balance(key, expired) for key in self._books.keys(prefix, after)])

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        return self._terms.get(key)

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""
        with self._lock:
            there = self._terms.get(key)
            version = 0 if there is None else there.version
            if expected is not None and expected != version:
                return None
            self._terms[key] = terms = Terms(key, version + 1, body)
            return terms

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        with self._lock:
            return iter(terms_in_order(self._terms.values(), prefix, after))

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        with self._lock:
            now = self.now_ms()
            found = [item.open_hold() for item in self._books.open.values() if item.due > now]
        return sorted(found, key=lambda item: (item.placed_ms, item.id))

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id)."""
        with self._lock:
            rows = [row.entry() for row in self._books.entries.values()]
        return entries_in_order(rows, query)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return add_up(by, self.entries(query))

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        with self._lock:
            return differences(self._books.accounts.values(), self._books.summed())

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down; whether each is new."""
        require_records(records)
        with self._lock:
            return [self._records.put(record, replace=replace) for record in records]

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids."""
        require_query(query)
        with self._lock:
            return iter(self._records.find(query))

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        with self._lock:
            self._records.prune(before_ms)
            return self._books.prune(before_ms)

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        with self._lock:
            rows = [self._books.accounts[key] for key in self._books.keys("", after)]
            return iter([Carried(row.key, row.end_ms, row.pruned) for row in rows])

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are."""
        require_rows(accounts, entries)
        with self._lock:
            now = self.now_ms()
            try:
                for each in terms:
                    there = self._terms.get(each.key)
                    if there is None or there.version < each.version:
                        self._terms[each.key] = each
                for account in accounts:
                    self._books.carry(account)
                for entry in entries:
                    self._books.put(entry, now)
            except BaseException:
                self._books.add_up()
                raise

    def namespaces(self) -> list[str]:
        """Its own, if it has anything on its books."""
        with self._lock:
            return [self.namespace] if self._terms or self._books.accounts or self._books.entries else []

    def close(self) -> None:
        """Nothing to close: what is in memory stays."""

    # Everything below runs under the lock.

    def _again(self, row: OpenRow, hold: Hold) -> Admitted:
        """The answer to a reserve of a hold that is open."""
        return Admitted(row.amounts["dollars"], row.beside(), self._books.told(hold.accounts, ()))

    def _repeated(self, known: EntryRow, hold: Hold, entry: Entry) -> Settled | Conflict:
        """The answer to a settlement of a hold that was settled."""
        if known.amounts != entry.amounts():
            return Conflict(known.amounts["dollars"], beside_dollars(known.amounts))
        return Settled(entry.cost, "late" in known.flags, self._books.told(hold.accounts, (), entry.accounts))

    def _stale(self, hold: Hold, now: Millis) -> Stale:
        newer = []
        for key, version in hold.terms:
            there = self._terms.get(key)
            if (0 if there is None else there.version) != version:
                newer.append(there or Terms(key, 0, None))
        return Stale(now, tuple(newer))

    def _after_fork(self) -> None:
        """In a forked child: open holds were the parent's; what was settled still counts here."""
        self._books.open = {}
        self._books.add_up()
