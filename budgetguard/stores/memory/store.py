"""
The ledger in the memory of one process: one lock, a few dicts, one heap.

It is the executable specification: every other store answers as this one does.

The open holds and the entries are the truth, and the books of an account are sums over them. So an operation that
was interrupted between two assignments (a `KeyboardInterrupt`) is mended by adding up again.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile

from ...concurrency.locks import mutex
from ...errors import ConfigError
from ...ledger import (
    KEEP_ENDED_MS,
    Account,
    Admitted,
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
    Refusal,
    Settled,
    Stale,
    Store,
    Terms,
    Total,
    nothing_lives,
)
from ...money import MAX_AMOUNT, Nano
from ..base import know
from ..rules import (
    LARGE,
    REAP,
    REAP_MORE,
    Sums,
    absurd,
    admit,
    final_flags,
    last_end,
    matches,
    off_clock,
    require_amounts,
    require_rows,
    require_sums,
)
from .rows import EndedRow, EntryRow, MemoryBooks, OpenRow, add_up

EVERYTHING = Query()


class MemoryStore:
    """
    A `Store` in memory. Nothing outlives the process; a forked child goes on with a copy of what was settled.

    The history grows until it is pruned.
    """

    blocking = False

    def __init__(self, *, clock: Clock = time.time, namespace: str = "default") -> None:
        self.namespace = namespace
        self._clock = clock
        self._lock = mutex("memory store")
        self._books: dict[str, MemoryBooks] = {}
        self._sorted: list[str] = []  # keys of _books in order; the newest, at the end of _books, may be missing
        self._open: dict[str, OpenRow] = {}
        self._ended: dict[str, EndedRow] = {}
        self._entries: dict[str, EntryRow] = {}
        self._terms: dict[str, Terms] = {}
        self._due: list[tuple[Millis, str]] = []  # a heap; what no longer matches _open or _ended is void
        self.living: Callable[[Store], Sequence[Hold]] = nothing_lives
        """The holds whose calls live, whatever the clock says."""
        know(self)

    def now_ms(self) -> Millis:
        """The store's clock."""
        return int(self._clock() * 1000)

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        hold_id = hold.id
        if not 0 <= hold.amount <= MAX_AMOUNT:
            raise absurd(hold.amount, "a hold")
        with self._lock:
            now = int(self._clock() * 1000)
            if self._due and self._due[0][0] <= now:
                self._reap(now, REAP)
            if hold_id in self._open or hold_id in self._entries or hold_id in self._ended:
                known = self._known(hold_id, now)
                if known is not None:
                    return Admitted(known.amount) if isinstance(known, OpenRow) else Ended()
            stale = self._stale(hold, now)
            if stale is not None:
                return stale
            amount = admit(hold, self._sums(hold.accounts))
            while isinstance(amount, Refusal):
                if not self._reap(now, REAP_MORE):
                    return amount
                amount = admit(hold, self._sums(hold.accounts))
            books, due = self._charged(hold), now + hold.ttl_ms
            heappush(self._due, (due, hold_id))
            try:
                self._open[hold_id] = OpenRow(hold, amount, books, now, due)
                for account in books:
                    account.held += amount
            except BaseException:
                self._add_up()
                raise
            return Admitted(amount)

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        hold_id, cost, flags = hold.id, entry.cost, entry.flags
        if not 0 <= cost <= MAX_AMOUNT:
            raise absurd(cost, "a cost")
        with self._lock:
            now = int(self._clock() * 1000)
            known: OpenRow | EntryRow | EndedRow | None = self._open.get(hold_id)
            if not isinstance(known, OpenRow) or known.due <= now:
                known = self._known(hold_id, now)
            late, settled, held = False, cost, 0
            if isinstance(known, OpenRow):
                books, held = known.books, known.amount
            elif isinstance(known, EntryRow):
                if "expired" not in known.flags:
                    return Settled(cost, "late" in known.flags) if known.cost == cost else Conflict(known.cost)
                late, books, settled = True, known.books, cost - known.cost
            else:
                late = known is not None or (bool(hold.accounts) and "manual" not in flags)
                books = self._charged(hold)
            more = self._beside(hold, entry, books) if entry.accounts else []
            if cost > LARGE:
                require_sums(cost, [account.settled for account in [*books, *more]])
            if late or "expired" in flags:
                flags = final_flags(entry, late)
            try:
                self._entries[hold_id] = EntryRow(hold_id, entry, cost, [*more, *books], now, flags)
                self._open.pop(hold_id, None)
                self._ended.pop(hold_id, None)
                for account in books:
                    account.settled += settled
                    account.held -= held
                for account in more:
                    account.settled += cost
                for lease_id in hold.leases:
                    self._draw(lease_id, cost, now)
            except BaseException:
                self._add_up()
                raise
            return Settled(cost, late)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order."""
        return [self.settle(hold, entry) for hold, entry in settlements]

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        with self._lock:
            now = int(self._clock() * 1000)
            known = self._known(hold_id, now)
            if isinstance(known, EndedRow):
                self._ended[hold_id] = EndedRow(known.due, lapsed=False)
                return
            if isinstance(known, EntryRow) and "expired" not in known.flags:
                return
            due = now + KEEP_ENDED_MS
            heappush(self._due, (due, hold_id))
            try:
                self._ended[hold_id] = EndedRow(due, lapsed=False)
                self._open.pop(hold_id, None)
                self._entries.pop(hold_id, None)
                if isinstance(known, OpenRow):
                    for account in known.books:
                        account.held -= known.amount
                elif known is not None:
                    for account in known.books:
                        account.settled -= known.cost
            except BaseException:
                self._add_up()
                raise

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl; whether each does."""
        require_amounts(holds)
        with self._lock:
            now = int(self._clock() * 1000)
            try:
                return [self._keep(hold, now) for hold in holds]
            except BaseException:
                self._add_up()
                raise

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        with self._lock:
            expired = self._expired(int(self._clock() * 1000))
            return [self._balance(key, expired) for key in keys]

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        with self._lock:
            expired = self._expired(int(self._clock() * 1000))
            return iter([self._balance(key, expired) for key in self._keys(prefix, after)])

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
            return iter(
                [
                    terms
                    for key, terms in sorted(self._terms.items())
                    if terms.body is not None and key.startswith(prefix) and (after is None or key > after)
                ]
            )

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        with self._lock:
            now = int(self._clock() * 1000)
            found = [item.open_hold() for item in self._open.values() if item.due > now]
        return sorted(found, key=lambda item: (item.placed_ms, item.id))

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id)."""
        with self._lock:
            rows = [row.entry() for row in self._entries.values()]
        rows.sort(key=lambda entry: (entry.at_ms, entry.hold_id))
        if query.after is not None:
            places = [place for place, entry in enumerate(rows, 1) if entry.hold_id == query.after]
            if not places:
                raise ConfigError(f"after={query.after!r}: no entry has this hold id; begin with the first page again")
            rows = rows[places[0] :]
        return islice((entry for entry in rows if matches(entry, query)), query.limit)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return add_up(by, self.entries(query))

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        with self._lock:
            found = []
            sums = self._summed()
            for key in sorted(self._books):
                books = self._books[key]
                settled, held = sums.get(books, (0, 0))
                if books.settled != settled + books.pruned:
                    found.append(Difference(key, "settled", books.settled, settled + books.pruned))
                if books.held != held:
                    found.append(Difference(key, "held", books.held, held))
            return found

    def prune(self, before_ms: Millis) -> int:
        """Delete entries and accounts whose period ended before a time; how many entries went."""
        with self._lock:
            old = [hold_id for hold_id, row in self._entries.items() if row.at_ms < before_ms]
            for hold_id in old:
                row = self._entries.pop(hold_id)
                for books in row.books:
                    books.pruned += row.cost
            self._sorted = []
            needed = {books for held in self._open.values() for books in held.books}
            for key, books in list(self._books.items()):
                ended = books.end_ms is not None and books.end_ms <= before_ms
                if ended and books.settled == books.pruned and books not in needed:
                    del self._books[key]
            return len(old)

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        with self._lock:
            return iter(
                [Carried(key, self._books[key].end_ms, self._books[key].pruned) for key in self._keys("", after)]
            )

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are."""
        require_rows(accounts, entries)
        with self._lock:
            now = int(self._clock() * 1000)
            try:
                for each in terms:
                    there = self._terms.get(each.key)
                    if there is None or there.version < each.version:
                        self._terms[each.key] = each
                for account in accounts:
                    books = self._book(account.key)
                    books.end_ms = account.end_ms
                    books.settled += account.pruned - books.pruned
                    books.pruned = account.pruned
                for entry in entries:
                    self._put(entry, now)
            except BaseException:
                self._add_up()
                raise

    def close(self) -> None:
        """Nothing to close: what is in memory stays."""

    def _after_fork(self) -> None:
        """In a forked child: open holds were the parent's; what was settled still counts here."""
        self._open = {}
        self._add_up()

    # Everything below runs under the lock.

    def _keep(self, hold: Hold, now: Millis) -> bool:
        """Have a hold count for its ttl from now, unless it has ended; whether it does."""
        hold_id, due = hold.id, now + hold.ttl_ms
        held = self._open.get(hold_id)
        if held is not None:
            if due > held.due:
                heappush(self._due, (due, hold_id))
                held.due = due
            return True
        charged, ended = self._entries.get(hold_id), self._ended.get(hold_id)
        if charged is not None and "expired" not in charged.flags:
            return False
        if ended is not None and not ended.lapsed and ended.due > now:
            return False
        heappush(self._due, (due, hold_id))
        books, amount = (self._charged(hold), hold.amount) if charged is None else (charged.books, charged.cost)
        self._open[hold_id] = OpenRow(hold, amount, books, now, due)
        self._entries.pop(hold_id, None)
        self._ended.pop(hold_id, None)
        for account in books:
            account.held += amount
            account.settled -= 0 if charged is None else amount
        return True

    def _known(self, hold_id: str, now: Millis) -> OpenRow | EntryRow | EndedRow | None:
        """What became of an id: open, settled (or charged), ended, or never seen (`None`)."""
        held = self._open.get(hold_id)
        if held is not None:
            if held.due <= now:
                self._expire(hold_id, held, now)
            if held.due > now:
                return held
        row = self._entries.get(hold_id)
        if row is not None:
            return row
        ended = self._ended.get(hold_id)
        if ended is not None and ended.due <= now:
            del self._ended[hold_id]
            return None
        return ended

    def _stale(self, hold: Hold, now: Millis) -> Stale | None:
        newer = []
        for key, version in hold.terms:
            there = self._terms.get(key)
            if (0 if there is None else there.version) != version:
                newer.append(there or Terms(key, 0, None))
        return Stale(now, tuple(newer)) if newer or off_clock(hold.accounts, now) else None

    def _sums(self, accounts: Sequence[Account]) -> list[Sums]:
        books = self._books
        found = []
        for account in accounts:
            there = books.get(account.key)
            settled, held = (0, 0) if there is None else (there.settled, there.held)
            for key in account.window:
                earlier = books.get(key)
                if earlier is not None:
                    settled += earlier.settled
                    held += earlier.held
            found.append((settled, held))
        return found

    def _keys(self, prefix: str, after: str | None) -> Iterator[str]:
        """The keys of accounts that begin with a prefix, behind another, in order; the others are not looked at."""
        missing = len(self._books) - len(self._sorted)
        if missing:
            self._sorted = sorted([*self._sorted, *islice(reversed(self._books), missing)])
        keys = self._sorted
        first = max(bisect_left(keys, prefix), 0 if after is None else bisect_right(keys, after))
        return takewhile(lambda key: key.startswith(prefix), map(keys.__getitem__, range(first, len(keys))))

    def _book(self, key: str) -> MemoryBooks:
        """The books of an account; new ones, without an end, where there are none."""
        there = self._books.get(key)
        if there is None:
            there = self._books[key] = MemoryBooks(key, None)
        return there

    def _charged(self, hold: Hold) -> list[MemoryBooks]:
        """The books of the accounts that a hold names, each once; new ones where there are none."""
        found: list[MemoryBooks] = []
        for account in hold.accounts:
            there = self._books.get(account.key)
            if there is None:
                there = self._books[account.key] = MemoryBooks(account.key, account.over_ms)
            if there not in found:
                found.append(there)
        return found

    def _beside(self, hold: Hold, entry: Entry, charged: Sequence[MemoryBooks]) -> list[MemoryBooks]:
        """The books of the accounts that an entry names beside those that are charged to its hold."""
        found: list[MemoryBooks] = []
        for key in entry.accounts:
            there = self._books.get(key)
            if there is None:
                there = self._books[key] = MemoryBooks(key, last_end(hold))
            if there not in charged and there not in found:
                found.append(there)
        return found

    def _reap(self, now: Millis, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        done = 0
        due = self._due
        while done < most and due and due[0][0] <= now:
            when, hold_id = due[0]  # It goes last, or an interruption would leave a hold that nobody finds.
            held = self._open.get(hold_id)
            if held is not None and held.due == when:
                self._expire(hold_id, held, now)
                done += 1
            elif (ended := self._ended.get(hold_id)) is not None and ended.due == when:
                del self._ended[hold_id]
                done += 1
            heappop(due)
        if len(due) > 2 * (len(self._open) + len(self._ended)) + 1000:
            self._rebuild()
        return done

    def _expire(self, hold_id: str, held: OpenRow, now: Millis) -> None:
        """Expire a hold that is due, or renew it if its call lives: then the clock was set."""
        for alive in self.living(self):
            if alive.id == hold_id:
                self._keep(alive, now)
                return
        charge = held.hold.on_expire == "charge" and held.amount > 0
        try:
            if charge:
                hold = held.hold
                entry = Entry(hold_id, held.amount, tags=hold.tags, provider=hold.provider, model=hold.model)
                flags = frozenset({"expired"})
                self._entries[hold_id] = EntryRow(hold_id, entry, held.amount, held.books, held.due, flags)
            elif held.due + KEEP_ENDED_MS > now:
                self._ended[hold_id] = EndedRow(held.due + KEEP_ENDED_MS, lapsed=True)
                heappush(self._due, (held.due + KEEP_ENDED_MS, hold_id))
            self._open.pop(hold_id, None)
            for account in held.books:
                account.held -= held.amount
                if charge:
                    account.settled += held.amount
        except BaseException:
            self._add_up()
            raise

    def _draw(self, lease_id: str, cost: Nano, now: Millis) -> None:
        """Make a lease smaller by what one of its calls cost."""
        lease = self._known(lease_id, now)
        if isinstance(lease, OpenRow):
            drawn = min(cost, lease.amount)
            lease.amount -= drawn
            for account in lease.books:
                account.held -= drawn
        elif isinstance(lease, EntryRow) and "expired" in lease.flags:
            drawn = min(cost, lease.cost)
            lease.cost -= drawn
            for account in lease.books:
                account.settled -= drawn

    def _put(self, entry: Entry, now: Millis) -> None:
        """Put an entry of other books on these; what an expired hold was charged gives way to it."""
        known = self._known(entry.hold_id, now)
        if isinstance(known, EntryRow) and "expired" not in known.flags:
            return
        self._open.pop(entry.hold_id, None)
        self._ended.pop(entry.hold_id, None)
        for account in known.books if isinstance(known, OpenRow | EntryRow) else ():
            if isinstance(known, OpenRow):
                account.held -= known.amount
            elif isinstance(known, EntryRow):
                account.settled -= known.cost
        charged = [self._book(key) for key in dict.fromkeys(entry.accounts)]
        for account in charged:
            account.settled += entry.cost
        self._entries[entry.hold_id] = EntryRow(
            entry.hold_id, entry, entry.cost, charged, entry.at_ms, frozenset(entry.flags)
        )

    def _rebuild(self) -> None:
        self._due = [(held.due, hold_id) for hold_id, held in self._open.items()]
        self._due += [(ended.due, hold_id) for hold_id, ended in self._ended.items()]
        heapify(self._due)

    def _expired(self, now: Millis) -> dict[MemoryBooks, Sums]:
        """What is due and not yet reaped, by account: what to add to settled, and to take from held."""
        found: dict[MemoryBooks, Sums] = {}
        if not self._due or self._due[0][0] > now:
            return found
        for held in self._open.values():
            if held.due <= now:
                charge = held.amount if held.hold.on_expire == "charge" else 0
                for account in held.books:
                    settled, taken = found.get(account, (0, 0))
                    found[account] = (settled + charge, taken + held.amount)
        return found

    def _balance(self, key: str, expired: dict[MemoryBooks, Sums]) -> Balance:
        books = self._books.get(key)
        if books is None:
            return Balance(key)
        settled, taken = expired.get(books, (0, 0))
        return Balance(key, books.settled + settled, books.held - taken)

    def _summed(self) -> dict[MemoryBooks, Sums]:
        sums: dict[MemoryBooks, Sums] = {}
        for row in self._entries.values():
            for books in row.books:
                settled, held = sums.get(books, (0, 0))
                sums[books] = (settled + row.cost, held)
        for item in self._open.values():
            for books in item.books:
                settled, held = sums.get(books, (0, 0))
                sums[books] = (settled, held + item.amount)
        return sums

    def _add_up(self) -> None:
        """Make the books what the holds and entries say, after an operation that did not come to its end."""
        for hold_id in [*self._entries, *self._ended]:
            self._open.pop(hold_id, None)
        for hold_id in self._entries:
            self._ended.pop(hold_id, None)
        sums = self._summed()
        for books in {*self._books.values(), *sums}:
            settled, books.held = sums.get(books, (0, 0))
            books.settled = settled + books.pruned
